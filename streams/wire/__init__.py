"""OTLP requests as bytes: validated, indexed and cut without building objects.

``scan`` checks an ``Export*ServiceRequest`` completely and gives numpy columns; ``split``,
``split_by_size`` and ``select`` copy items by their byte ranges; ``count`` checks and counts
frames only, which is what ``merge``, the concatenation, needs. For sampling, ``trace_state`` and
``lookup`` read what spans and resources say, and ``sampled`` copies the spans that are kept, with
their threshold. ``points`` and ``stream_identity`` read what data points say. Kernels are
compiled by numba and release the GIL.
"""

from streams.wire.counting import count
from streams.wire.lookup import (
    FIELDS_MAX,
    SERVICE_NAME,
    Attribute,
    ValueKind,
    Values,
    lookup,
    service_hash,
)
from streams.wire.partition import (
    Partitioner,
    partition_by_resource,
    partition_by_trace,
    partition_of_trace,
)
from streams.wire.points import PointFault, Points, metric_units, points, stream_identity
from streams.wire.rewrite import Oversized, merge, select, split, split_by_size
from streams.wire.sampled import Sampled, sampled
from streams.wire.scan import (
    ITEMS_MAX,
    LogScan,
    PointScan,
    Scan,
    SpanScan,
    scan,
    scan_logs,
    scan_metrics,
    scan_traces,
)
from streams.wire.text import hash64
from streams.wire.tracestate import TraceStates, trace_state
from streams.wire.warming import warm_up

__all__ = [
    "FIELDS_MAX",
    "ITEMS_MAX",
    "SERVICE_NAME",
    "Attribute",
    "LogScan",
    "Oversized",
    "Partitioner",
    "PointFault",
    "PointScan",
    "Points",
    "Sampled",
    "Scan",
    "SpanScan",
    "TraceStates",
    "ValueKind",
    "Values",
    "count",
    "hash64",
    "lookup",
    "merge",
    "metric_units",
    "partition_by_resource",
    "partition_by_trace",
    "partition_of_trace",
    "points",
    "sampled",
    "scan",
    "scan_logs",
    "scan_metrics",
    "scan_traces",
    "select",
    "service_hash",
    "split",
    "split_by_size",
    "stream_identity",
    "trace_state",
    "warm_up",
]

"""OTLP requests as bytes: validated, indexed and cut without building objects.

``scan`` checks an ``Export*ServiceRequest`` completely and gives numpy columns; ``split``,
``split_by_size`` and ``select`` copy items by their byte ranges; ``count`` checks and counts
frames only, which is what ``merge``, the concatenation, needs. Kernels are compiled by numba and
release the GIL.
"""

from streams.wire.counting import count
from streams.wire.partition import Partitioner, partition_by_resource, partition_by_trace
from streams.wire.rewrite import Oversized, merge, select, split, split_by_size
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
from streams.wire.warming import warm_up

__all__ = [
    "ITEMS_MAX",
    "LogScan",
    "Oversized",
    "Partitioner",
    "PointScan",
    "Scan",
    "SpanScan",
    "count",
    "merge",
    "partition_by_resource",
    "partition_by_trace",
    "scan",
    "scan_logs",
    "scan_metrics",
    "scan_traces",
    "select",
    "split",
    "split_by_size",
    "warm_up",
]

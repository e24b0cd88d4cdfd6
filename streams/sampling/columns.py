"""What the parts of sampling hand to each other: arrays, one row a span or one row a trace."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["SpanFacts", "Traces", "Verdicts"]


class SpanFacts(NamedTuple):
    """What a batch says about its spans beside the scan; one row a span."""

    service: NDArray[np.uint64]
    """Hash of the resource's ``service.name``."""
    extra: NDArray[np.uint64]
    """Shape (fields, spans): hash of each further field of the sampling key, 0: absent."""
    matched: NDArray[np.uint32]
    """Bit i: span predicate i of the policies holds."""
    randomness: NDArray[np.uint64]
    """56 bits: ``rv`` of the span's tracestate, else the trace id's last 7 bytes."""
    threshold: NDArray[np.uint64]
    """Incoming ``th`` of the span's tracestate, 56 bits; 0: none."""


class Traces(NamedTuple):
    """Traces whose wait is over; one row a trace, oldest first."""

    trace_id_high: NDArray[np.uint64]
    trace_id_low: NDArray[np.uint64]
    randomness: NDArray[np.uint64]
    """56 bits."""
    threshold: NDArray[np.uint64]
    """Greatest incoming threshold of its spans, 56 bits."""
    first: NDArray[np.int64]
    """Source offset of the message with its first span to arrive."""
    last: NDArray[np.int64]
    """Source offset of the message with its last span to arrive."""
    arrived_ms: NDArray[np.int64]
    """Broker's time of ``first``, Unix milliseconds."""
    start: NDArray[np.uint64]
    """Least start time, Unix nanoseconds; 0: no span has one."""
    end: NDArray[np.uint64]
    """Greatest end time, Unix nanoseconds; 0: no span has one."""
    spans: NDArray[np.int64]
    bytes: NDArray[np.int64]
    """Sum of the spans' encoded sizes."""
    errors: NDArray[np.int64]
    """Spans with status error."""
    matched: NDArray[np.uint32]
    """Bit i: some span has ``SpanFacts.matched`` bit i."""
    tenant: NDArray[np.uint64]
    """Hash of the tenant header's value; 0: none."""
    service: NDArray[np.uint64]
    """Of the entry span: the root if it was seen, else the earliest start."""
    operation: NDArray[np.uint64]
    """Name hash of the entry span."""
    root_operation: NDArray[np.uint64]
    """Name hash of the root span; 0: not seen."""
    extra: NDArray[np.uint64]
    """Shape (fields, traces): the value of the newest span that was taken for the entry span and
    has one; else the first that arrived, of any span; 0: none has."""
    root_lag_ms: NDArray[np.int64]
    """Broker's time from the root's arrival to the last span's; -1: no root was seen."""
    early: NDArray[np.bool_]
    """Decided before its wait was over, because too many were open."""


class Verdicts(NamedTuple):
    """What was decided about ``Traces``; one row a trace, same order."""

    group: NDArray[np.int32]
    """Index into the step's groups: (policy, sampling key, threshold)."""
    kept: NDArray[np.bool_]
    threshold: NDArray[np.uint64]
    """What goes into ``tracestate`` of the kept, 56 bits; UNKNOWN: ``th`` is to be removed."""

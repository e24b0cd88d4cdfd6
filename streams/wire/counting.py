"""Count the items of a request by its frames, without reading what is inside of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.signals import Signal
from streams.wire import faults
from streams.wire.compiling import kernel
from streams.wire.faults import fault, raise_fault
from streams.wire.fields import FIELDS, NO_FIELDS, NUMBERS, ROW, Kind
from streams.wire.memory import address_of, load_i64, load_u8, store_i64
from streams.wire.scratch import scratch
from streams.wire.walk import STACK, field_body, walk

__all__ = ["count", "count_bytes"]

_CHILD = int(Kind.CHILD)
_METRIC = NUMBERS["Metric"]
_ROOTS = {
    Signal.TRACES: (NUMBERS["ExportTraceServiceRequest"], 2),
    Signal.LOGS: (NUMBERS["ExportLogsServiceRequest"], 2),
    Signal.METRICS: (NUMBERS["ExportMetricsServiceRequest"], 4),
}
"""Type of the request, and the level (the request is 0) whose children are the items."""


@kernel
def count_items(data, message, last, area):
    """Number of items below the request ``message``, or a fault."""
    a = address_of(data)
    work = address_of(area)
    p = np.int64(0)
    end = np.int64(data.size)
    level = 0
    items = 0
    first_data = 0
    while True:
        if p >= end:  # equal: a length never reaches beyond
            if level == 0:
                return items
            level -= 1
            end = load_i64(work, STACK + 2 * level)
            message = load_i64(work, STACK + 2 * level + 1)
            continue
        tag = load_u8(a, p)
        row = np.int64(FIELDS[message * ROW + (tag >> 3)]) if tag < 0x80 else 0
        if (row >> 8) & 0xFF != _CHILD:
            # One that may not be here goes to the walker as what it is: it says what is wrong.
            known = tag < 0x80 and not (row >> (tag & 7)) & 1
            p = walk(a, p, end, message if known else NO_FIELDS, level, True, work)
            if p < 0:
                return p
            continue
        if tag & 7 != 2:
            return fault(faults.WIRE_TYPE if tag & 7 < 3 else faults.GROUP, p)
        if message == _METRIC:
            if first_data != 0 and tag != first_data:
                return fault(faults.ONEOF, p)
            first_data = tag
        body = field_body(a, p + 1, end)
        if body < 0:
            return body
        p = body & 0xFFFFFFFF
        stop = p + (body >> 32)
        if level == last:
            items += 1
            p = stop
            continue
        store_i64(work, STACK + 2 * level, end)
        store_i64(work, STACK + 2 * level + 1, message)
        level += 1
        end = stop
        message = row >> 16
        if message == _METRIC:
            first_data = 0


def count_bytes(signal: Signal, array: NDArray[np.uint8]) -> int:
    """Count in bytes that are a read-only array already; see ``count``."""
    message, last = _ROOTS[signal]
    result: int = count_items(array, message, last, scratch.area)
    if result < 0:
        raise_fault(result)
    return result


def count(signal: Signal, data: bytes) -> int:
    """Number of items (spans, data points, log records) in an ``Export*ServiceRequest``.

    For what ``scan`` accepts it is ``scan.items``, at a fraction of the cost: only the frames of
    request, resources, scopes and (for metrics) metrics and their data are walked.

    Raises MalformedMessage, with the byte offset, if a field on one of these levels does not end
    where it has to: truncated, too long, a group, a tag not in its shortest form, a known field
    with the wrong wire type, a metric with data of two kinds. What passes can be concatenated
    with others: whatever is wrong inside of an item stays there. A message that is not checked
    can not: cut off behind a length, it takes its neighbour in as that field's content.
    """
    return count_bytes(signal, np.frombuffer(data, np.uint8))

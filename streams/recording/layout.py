"""Where the ids and times of a request lie in its bytes.

All of them have a fixed length on the wire (ids are 16 or 8 bytes, times are ``fixed64``), so
a request can be given other ids and times in place, without parsing it again. This is the
slow step, once per request; :mod:`streams.recording.laps` is the fast one, once per lap.

Source: opentelemetry-proto 1.x, ``trace.proto``, ``logs.proto``, ``metrics.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MalformedMessage
from schemas.signals import Signal

__all__ = ["Layout", "fields", "find"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TRACE_ID, _SPAN_ID, _TIME = "trace_id", "span_id", "time"


class _Message(NamedTuple):
    """Fields worth looking at, by (number, wire type); ``item`` marks spans, points, records."""

    children: dict[tuple[int, int], _Message | str]
    item: bool = False


def _repeated(number: int, inner: _Message) -> _Message:
    return _Message({(number, _BYTES): inner})


_LINK = _Message({(1, _BYTES): _TRACE_ID, (2, _BYTES): _SPAN_ID})
_EVENT = _Message({(1, _FIXED64): _TIME})
_SPAN = _Message(
    {
        (1, _BYTES): _TRACE_ID,
        (2, _BYTES): _SPAN_ID,
        (4, _BYTES): _SPAN_ID,
        (7, _FIXED64): _TIME,
        (8, _FIXED64): _TIME,
        (11, _BYTES): _EVENT,
        (13, _BYTES): _LINK,
    },
    item=True,
)
_LOG_RECORD = _Message(
    {
        (1, _FIXED64): _TIME,
        (9, _BYTES): _TRACE_ID,
        (10, _BYTES): _SPAN_ID,
        (11, _FIXED64): _TIME,
    },
    item=True,
)
_EXEMPLAR = _Message({(2, _FIXED64): _TIME, (4, _BYTES): _SPAN_ID, (5, _BYTES): _TRACE_ID})


def _points(exemplars: int | None) -> _Message:
    point: dict[tuple[int, int], _Message | str] = {(2, _FIXED64): _TIME, (3, _FIXED64): _TIME}
    if exemplars is not None:
        point[exemplars, _BYTES] = _EXEMPLAR
    return _repeated(1, _Message(point, item=True))


_METRIC = _Message(
    {
        (5, _BYTES): _points(exemplars=5),  # gauge
        (7, _BYTES): _points(exemplars=5),  # sum
        (9, _BYTES): _points(exemplars=8),  # histogram
        (10, _BYTES): _points(exemplars=11),  # exponential histogram
        (11, _BYTES): _points(exemplars=None),  # summary
    }
)
_REQUESTS = {
    Signal.TRACES: _repeated(1, _repeated(2, _repeated(2, _SPAN))),
    Signal.LOGS: _repeated(1, _repeated(2, _repeated(2, _LOG_RECORD))),
    Signal.METRICS: _repeated(1, _repeated(2, _repeated(2, _METRIC))),
}


class Layout(NamedTuple):
    """Byte offsets into one request; unset (zero or absent) ids and times are left out."""

    trace_ids: NDArray[np.int64]
    """Offsets of 16-byte trace ids: spans, links, log records, exemplars."""
    span_ids: NDArray[np.int64]
    """Offsets of 8-byte span ids, parents among them."""
    times: NDArray[np.int64]
    """Offsets of little-endian 8-byte Unix nanoseconds."""
    items: int
    """Spans, data points or log records."""
    earliest_ns: int
    """Least of the times; 0 without any."""
    latest_ns: int
    """Greatest of the times, which is about when the request was sent; 0 without any."""


def fields(data: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, begin and end of each field's value in ``data[begin:end]``.

    Raises:
        MalformedMessage: cut short, over-long varint, field number 0, or a group.
    """
    at = begin
    while at < end:
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise MalformedMessage("field number 0", at)
        if wire == _BYTES:
            size, at = _varint(data, at, end)
            stop = at + size
        elif wire == _FIXED64:
            stop = at + 8
        elif wire == _VARINT:
            stop = _varint(data, at, end)[1]
        elif wire == _FIXED32:
            stop = at + 4
        else:
            raise MalformedMessage(f"wire type {wire}", at)
        if stop > end:
            raise MalformedMessage("field reaches beyond its message", at)
        yield number, wire, at, stop
        at = stop


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise MalformedMessage("varint of more than 10 bytes", at)
    raise MalformedMessage("varint cut short", at)


def find(signal: Signal, data: bytes) -> Layout:
    """Look at every id and time of a request.

    Raises:
        MalformedMessage: the bytes are not the request they should be.
    """
    found: dict[str, list[int]] = {_TRACE_ID: [], _SPAN_ID: [], _TIME: []}
    items = _look(data, 0, len(data), _REQUESTS[signal], found)
    raw = np.frombuffer(data, np.uint8)
    times = np.array(found[_TIME], np.int64)
    values = raw[times[:, None] + np.arange(8)].view("<u8").ravel()
    times, values = times[values != 0], values[values != 0]
    return Layout(
        trace_ids=_set_ids(raw, found[_TRACE_ID], 16),
        span_ids=_set_ids(raw, found[_SPAN_ID], 8),
        times=times,
        items=items,
        earliest_ns=int(values.min()) if len(values) else 0,
        latest_ns=int(values.max()) if len(values) else 0,
    )


def _set_ids(raw: NDArray[np.uint8], offsets: list[int], size: int) -> NDArray[np.int64]:
    at = np.array(offsets, np.int64)
    return cast(NDArray[np.int64], at[raw[at[:, None] + np.arange(size)].any(axis=1)])


def _look(data: bytes, begin: int, end: int, message: _Message, found: dict[str, list[int]]) -> int:
    items = 1 if message.item else 0
    children = message.children
    for number, wire, at, stop in fields(data, begin, end):
        child = children.get((number, wire))
        if child is None:
            continue
        if isinstance(child, _Message):
            items += _look(data, at, stop, child, found)
        elif child is _TIME or stop - at == (16 if child is _TRACE_ID else 8):
            found[child].append(at)
    return items

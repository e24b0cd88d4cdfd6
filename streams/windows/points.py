"""Data points of windows as bytes; compiled.

The fields are written in ascending order, what has its default is left out: as the protobuf library
does it (opentelemetry-proto, metrics/v1/metrics.proto).
"""

from __future__ import annotations

import numpy as np

from streams.windows.blocks import AT, BASE, LENGTH
from streams.windows.protobuf import (
    put_close,
    put_double,
    put_fixed64,
    put_varint,
    put_word,
    put_zigzag,
)
from streams.wire.compiling import inner

__all__ = [
    "CALLS", "ERRORS", "EXPONENTIAL", "HISTOGRAM", "LAST", "STATISTIC", "SUM", "SUMMARY",
    "UP_DOWN_SUM", "put_point", "room_of",
]  # fmt: skip

CALLS, ERRORS, SUM, UP_DOWN_SUM, LAST, STATISTIC, EXPONENTIAL, HISTOGRAM, SUMMARY = range(9)
"""What of an accumulator a data point tells."""

_NONE = np.uint64(0)
_NUMBER, _DISTRIBUTION, _EXEMPLAR = 34, 110, 54
"""Bytes of a point beside attributes and buckets, and of an exemplar, at most."""


@inner
def _attributes(buffer, at, tag, texts, start, size):
    """KeyValues, each with its length before it; ``tag`` differs from point to point."""
    stop = start + size
    end = at
    at -= _attributes_size(texts, start, stop)
    to = at
    while start < stop:
        buffer[to] = tag
        to += 1
        length, shift = 0, 0
        while True:
            byte = np.int64(texts[start])
            buffer[to] = texts[start]
            start += 1
            to += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        buffer[to : to + length] = texts[start : start + length]
        to += length
        start += length
    return at if to == end else -1


@inner
def _attributes_size(texts, start, stop):
    total = stop - start
    while start < stop:
        length, shift = 0, 0
        while True:
            byte = np.int64(texts[start])
            start += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        start += length
        total += 1
    return total


@inner
def _big_endian(buffer, at, value):
    at -= 8
    for i in range(8):
        buffer[at + i] = np.uint8((value >> np.uint64(56 - 8 * i)) & np.uint64(0xFF))
    return at


@inner
def _exemplar(buffer, at, tag, a, scratch):
    if np.isnan(a.exemplar_value):
        return at
    end = at
    if a.exemplar_trace_high != _NONE or a.exemplar_trace_low != _NONE:
        ids = at
        at = _big_endian(buffer, at, a.exemplar_trace_low)
        at = _big_endian(buffer, at, a.exemplar_trace_high)
        at = put_close(buffer, at, ids, 0x2A)
    if a.exemplar_span != _NONE:
        ids = at
        at = _big_endian(buffer, at, a.exemplar_span)
        at = put_close(buffer, at, ids, 0x22)
    at = put_double(buffer, at, 0x19, a.exemplar_value, scratch)
    if a.exemplar_time != _NONE:
        at = put_fixed64(buffer, at, 0x11, a.exemplar_time)
    return put_close(buffer, at, end, tag)


@inner
def _buckets(buffer, at, tag, runs, pool, run):
    length = np.int64(runs[run, LENGTH])
    if length == 0:
        return at
    end = at
    start = np.int64(runs[run, AT])
    for i in range(length - 1, -1, -1):
        at = put_varint(buffer, at, pool[start + i])
    at = put_close(buffer, at, end, 0x12)
    base = np.int64(runs[run, BASE])
    if base != 0:
        at = put_zigzag(buffer, at, base) - 1
        buffer[at] = 0x08
    return put_close(buffer, at, end, tag)


@inner
def _times(buffer, at, start, time):
    at = put_fixed64(buffer, at, 0x19, np.uint64(time))
    if start > 0:
        at = put_fixed64(buffer, at, 0x11, np.uint64(start))
    return at


@inner
def _number(buffer, at, what, a, statistic, attributes, start, time, scratch):
    texts, attributes_at, attributes_size = attributes
    at = _attributes(buffer, at, 0x3A, texts, attributes_at, attributes_size)
    if what == CALLS:
        at = put_fixed64(buffer, at, 0x31, a.count)
    elif what == ERRORS:
        at = put_fixed64(buffer, at, 0x31, a.errors)
    else:
        value = a.sum
        if what == LAST:
            value = a.last
        elif what == STATISTIC:
            value = statistic
        at = put_double(buffer, at, 0x21, value, scratch)
    return _times(buffer, at, start, time)


@inner
def _sum_and_count(buffer, at, a, scratch):
    if not np.isnan(a.sum):
        at = put_double(buffer, at, 0x29, a.sum, scratch)
    if a.count != _NONE:
        at = put_fixed64(buffer, at, 0x21, a.count)
    return at


@inner
def _range(buffer, at, tag, a, scratch):
    if not np.isnan(a.max):
        at = put_double(buffer, at, tag + 8, a.max, scratch)
    if not np.isnan(a.min):
        at = put_double(buffer, at, tag, a.min, scratch)
    return at


@inner
def _exponential(buffer, at, a, runs, pool, row, attributes, start, time, scratch):
    texts, attributes_at, attributes_size = attributes
    at = _range(buffer, at, 0x61, a, scratch)
    at = _exemplar(buffer, at, 0x5A, a, scratch)
    at = _buckets(buffer, at, 0x4A, runs, pool, 2 * row + 1)
    at = _buckets(buffer, at, 0x42, runs, pool, 2 * row)
    if a.zero != _NONE:
        at = put_fixed64(buffer, at, 0x39, a.zero)
    if a.scale != 0:
        at = put_zigzag(buffer, at, np.int64(a.scale)) - 1
        buffer[at] = 0x30
    at = _sum_and_count(buffer, at, a, scratch)
    at = _times(buffer, at, start, time)
    return _attributes(buffer, at, 0x0A, texts, attributes_at, attributes_size)


@inner
def _histogram(
    buffer, at, a, runs, pool, row, bounds_stop, bound, attributes, start, time, scratch
):  # fmt: skip
    texts, attributes_at, attributes_size = attributes
    at = _range(buffer, at, 0x59, a, scratch)
    at = _attributes(buffer, at, 0x4A, texts, attributes_at, attributes_size)
    at = _exemplar(buffer, at, 0x42, a, scratch)
    length = np.int64(runs[2 * row, LENGTH])
    if length > 0:
        first = bounds_stop[a.bounds - 1] if a.bounds > 0 else 0
        if bounds_stop[a.bounds] > first:
            end = at
            for i in range(bounds_stop[a.bounds] - 1, first - 1, -1):
                scratch[0][0] = bound[i]
                at = put_word(buffer, at, scratch[1][0])
            at = put_close(buffer, at, end, 0x3A)
        end = at
        words = np.int64(runs[2 * row, AT])
        for i in range(length - 1, -1, -1):
            at = put_word(buffer, at, pool[words + i])
        at = put_close(buffer, at, end, 0x32)
    at = _sum_and_count(buffer, at, a, scratch)
    return _times(buffer, at, start, time)


@inner
def put_point(
    buffer, at, what, a, statistic, runs, pool, row, bounds_stop, bound, attributes, start, time,
    scratch,
):  # fmt: skip
    """A data point of the accumulator ``a`` in ``row``, with length and tag of `data_points`.

    ``attributes``: texts, where in them its KeyValues begin, and their size. ``start`` and
    ``time`` in nanoseconds.
    """
    end = at
    if what == EXPONENTIAL:
        at = _exponential(buffer, at, a, runs, pool, row, attributes, start, time, scratch)
    elif what == HISTOGRAM or what == SUMMARY:
        at = _histogram(
            buffer, at, a, runs, pool, row, bounds_stop, bound, attributes, start, time, scratch
        )  # fmt: skip
    else:
        at = _number(buffer, at, what, a, statistic, attributes, start, time, scratch)
    return put_close(buffer, at, end, 0x0A)


@inner
def _room_of_counts(runs, pool, run):
    at = np.int64(runs[run, AT])
    total = 0
    for i in range(np.int64(runs[run, LENGTH])):
        count = pool[at + i]
        total += 1
        while count >= np.uint64(0x80):
            count >>= np.uint64(7)
            total += 1
    return total


@inner
def room_of(what, a, runs, pool, row, attributes):
    """A point takes no more bytes than that, with its length and tag; see ``put_point``."""
    texts, start, size = attributes
    size = _attributes_size(texts, start, start + size)
    if what < EXPONENTIAL:
        return _NUMBER + size
    size += _DISTRIBUTION + (0 if np.isnan(a.exemplar_value) else _EXEMPLAR)
    if what == EXPONENTIAL:
        size += _room_of_counts(runs, pool, 2 * row) + _room_of_counts(runs, pool, 2 * row + 1)
        return size
    return size + 16 * np.int64(runs[2 * row, LENGTH])

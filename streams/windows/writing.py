"""Whole requests of windows as bytes; compiled.

Rows are accumulators in an order in which tenants, services and metrics lie together. A run of one
service becomes a ResourceMetrics, a run of one shape within it the metrics of that shape, each with
a point of every row.
"""

from __future__ import annotations

import numpy as np

from streams.windows.points import (
    CALLS,
    ERRORS,
    EXPONENTIAL,
    HISTOGRAM,
    LAST,
    STATISTIC,
    SUM,
    SUMMARY,
    put_point,
    room_of,
)
from streams.windows.protobuf import put_bytes, put_close
from streams.wire.compiling import inner, kernel

__all__ = ["CUMULATIVE", "DELTA", "METRIC", "TEXT", "cut", "measure", "write"]

METRIC = np.dtype(
    [("at", "<i8"), ("size", "<i4"), ("what", "<i4"), ("statistic", "<i4"), ("pad", "<i4")]
)
"""A metric of a shape: where its name and unit lie as bytes, and what its points tell."""
TEXT = np.dtype([("at", "<i8"), ("size", "<i4"), ("pad", "<i4")])
"""Where bytes lie."""
DELTA, CUMULATIVE = 1, 2
_MS = 1_000_000
_FRAME = 40
"""Tags and lengths around what lies in a run, generously."""


@inner
def _data_tag(what):
    if what == EXPONENTIAL:
        return 0x52
    if what == HISTOGRAM or what == SUMMARY:
        return 0x4A
    return 0x2A if what == LAST or what == STATISTIC else 0x3A


@inner
def _point(buffer, at, metric, i, tables, times):
    rows, totals, statistics, accumulators, runs, pool, bounds_stop, bound, groups, texts = tables
    temporality, begin, end, scratch = times
    row, start = rows[i], begin
    own = metric.what == LAST or metric.what == STATISTIC
    if temporality == CUMULATIVE and not own:
        row = totals[i]
        start = accumulators[row].start
    value = statistics[metric.statistic, i] if metric.what == STATISTIC else 0.0
    if np.isnan(value):
        return at  # nothing can be said: no point
    group = groups[accumulators[row].group]
    attributes = (texts, np.int64(group.attributes_at), np.int64(group.attributes_size))
    return put_point(
        buffer, at, metric.what, accumulators[row], value, runs, pool, row, bounds_stop, bound,
        attributes, start * _MS, end * _MS, scratch,
    )  # fmt: skip


@kernel
def measure(shape_stops, metrics, tables, temporality, sizes):
    """Bytes that all points of each row take at most."""
    rows, totals, runs, pool = tables[0], tables[1], tables[4], tables[5]
    accumulators, groups = tables[3], tables[8]
    for i in range(rows.size):
        group = groups[accumulators[rows[i]].group]
        row = totals[i] if temporality == CUMULATIVE else rows[i]
        attributes = (tables[9], np.int64(group.attributes_at), np.int64(group.attributes_size))
        total = 0
        for m in range(shape_stops[group.shape], shape_stops[group.shape + 1]):
            total += room_of(metrics[m].what, accumulators[row], runs, pool, row, attributes)
        sizes[i] = total


@kernel
def cut(sizes, max_bytes, scope_size, services, shape_stops, metrics, tables, stops, part_sizes):
    """Where parts end that are of one tenant and at most ``max_bytes``, and how many there are.

    A part of one row may be larger. ``part_sizes``: how large they are at most.
    """
    rows, accumulators, groups = tables[0], tables[3], tables[8]
    parts, size = 0, 0
    before = groups[0]
    for i in range(rows.size):
        group = groups[accumulators[rows[i]].group]
        for attempt in range(2):
            first = size == 0
            needed = sizes[i]
            if first or group.service != before.service:
                needed += scope_size + services[group.service].size + _FRAME
                first = True
            if first or group.shape != before.shape:
                for m in range(shape_stops[group.shape], shape_stops[group.shape + 1]):
                    needed += metrics[m].size + _FRAME
            full = size > 0 and (size + needed > max_bytes or group.tenant != before.tenant)
            if not full or attempt == 1:
                break
            stops[parts] = i
            part_sizes[parts] = size
            parts += 1
            size = 0
        size += needed
        before = group
    if rows.size > 0:
        stops[parts] = rows.size
        part_sizes[parts] = size
        parts += 1
    return parts


@kernel
def write(buffer, first, stop, scope, services, shape_stops, metrics, tables, times):
    """A request of rows ``first`` to before ``stop`` at the buffer's end; gives where it begins."""
    rows, accumulators, groups, texts = tables[0], tables[3], tables[8], tables[9]
    at = buffer.size
    while stop > first:
        service = groups[accumulators[rows[stop - 1]].group].service
        low = stop - 1
        while low > first and groups[accumulators[rows[low - 1]].group].service == service:
            low -= 1
        resource_end = at
        while stop > low:
            shape = groups[accumulators[rows[stop - 1]].group].shape
            begin = stop - 1
            while begin > low and groups[accumulators[rows[begin - 1]].group].shape == shape:
                begin -= 1
            for m in range(shape_stops[shape + 1] - 1, shape_stops[shape] - 1, -1):
                at = _metric(buffer, at, metrics[m], begin, stop, tables, times)
            stop = begin
        at = put_bytes(buffer, at, scope, 0, scope.size)
        at = put_close(buffer, at, resource_end, 0x12)
        at = put_bytes(buffer, at, texts, services[service].at, np.int64(services[service].size))
        at = put_close(buffer, at, resource_end, 0x0A)
    return at


@inner
def _metric(buffer, at, metric, first, stop, tables, times):
    end = at
    what = metric.what
    if what == CALLS or what == ERRORS or what == SUM:
        at -= 2
        buffer[at] = 0x18
        buffer[at + 1] = 1
    if what != LAST and what != STATISTIC:
        at -= 2
        buffer[at] = 0x10
        buffer[at + 1] = times[0]
    for i in range(stop - 1, first - 1, -1):
        at = _point(buffer, at, metric, i, tables, times)
    if at == end:
        return at
    at = put_close(buffer, at, end, _data_tag(what))
    at = put_bytes(buffer, at, tables[9], metric.at, np.int64(metric.size))
    return put_close(buffer, at, end, 0x12)

"""The kernel that gathers data points: into cells, or one by one where they are cumulative.

As those of ``gathering``. What the points say comes from ``wire.points``, as blocks.
"""

from __future__ import annotations

import numpy as np

from streams.windows import cells as t
from streams.windows.cells import (
    add_bucket,
    add_to,
    bits_of,
    cell_of,
    exemplify,
    extend,
    group_of,
    limits_of,
    reach,
    row_of,
    usable_time,
)
from streams.windows.exponential import SCALE_MAX, bucket_index, fitting_shift
from streams.windows.gathering import (
    EXPONENTIAL,
    GAUGE,
    HISTOGRAM,
    SUM,
    SUMMARY,
    UP_DOWN_SUM,
    UP_DOWN_SUM_DELTA,
    add_value,
    enter,
    room,
)
from streams.wire import point_values as said
from streams.wire.compiling import inner, kernel
from streams.wire.memory import address_of, load_f64, load_i64, load_u64, store_f64, store_i64
from streams.wire.text import hash_bytes

__all__ = ["gather_points"]

_CUMULATIVE = 16
_NONE = np.uint64(0)
_ONE = np.uint64(1)


@inner
def kind_of_point(data, temporality, monotonic):
    """Place in ``KINDS``, plus _CUMULATIVE where it is that; -1: it has no temporality."""
    if data == 5:
        return GAUGE
    if data == 11:
        return SUMMARY + _CUMULATIVE
    if temporality != 1 and temporality != 2:
        return -1
    if data == 7:
        if monotonic:
            return SUM + (_CUMULATIVE if temporality == 2 else 0)
        return UP_DOWN_SUM if temporality == 2 else UP_DOWN_SUM_DELTA
    return (HISTOGRAM if data == 9 else EXPONENTIAL) + (_CUMULATIVE if temporality == 2 else 0)


@inner
def add_exponential(c, cell, scale, negative, offset, counts, start, stop):
    """Add ``counts[start:stop]`` (an address) to the buckets of a cell."""
    finer = max(scale - SCALE_MAX, 0)
    coarser = max(SCALE_MAX - scale, 0)
    for k in range(start, stop):
        count = load_i64(counts, k)
        if count != 0:
            add_bucket(c, cell, negative, coarser, (offset + (k - start)) >> min(finer, 31), count)


@inner
def put_bucket(c, index, negative, count):
    """Append a bucket of a cumulative point, or add to the last one."""
    rows = load_i64(c, t.POINT_BUCKETS)
    at = load_i64(c, t.POINT_BUCKET_COUNT)
    store_i64(rows, 3 * at, index)
    store_i64(rows, 3 * at + 1, negative)
    store_i64(rows, 3 * at + 2, count)
    store_i64(c, t.POINT_BUCKET_COUNT, at + 1)


@inner
def put_exponential(c, halved, negative, offset, counts, start, stop):
    """Append the buckets ``counts[start:stop]`` of a point, so many halvings coarser."""
    rows = load_i64(c, t.POINT_BUCKETS)
    first = load_i64(c, t.POINT_BUCKET_COUNT)
    for k in range(start, stop):
        count = load_i64(counts, k)
        if count != 0:
            index = (offset + (k - start)) >> halved
            last = load_i64(c, t.POINT_BUCKET_COUNT) - 1
            if last >= first and load_i64(rows, 3 * last) == index:
                add_to(rows, 3 * last + 2, count)
            else:
                put_bucket(c, index, negative, count)


@inner
def halvings(scale, offset, counts, start, stop):
    """How often the buckets of one sign have to be halved for scale and number to be in range."""
    least = start
    while least < stop and load_i64(counts, least) == 0:
        least += 1
    most = stop - 1
    while most > least and load_i64(counts, most) == 0:
        most -= 1
    finer = min(max(scale - SCALE_MAX, 0), 31)
    if least >= stop:
        return finer
    low = (offset + (least - start)) >> finer
    high = (offset + (most - start)) >> finer
    return finer + fitting_shift(low, high)


@inner
def put_point(c, group, kind, limits, i, floats, longs, ints, counts, first, middle, last):
    """Append a cumulative point of a group, but for its stream and times; its address."""
    scale = np.int64(SCALE_MAX)
    if kind == HISTOGRAM:
        for k in range(first, last):
            if load_i64(counts, k) != 0:
                put_bucket(c, k - first, 0, load_i64(counts, k))
        if last == first and longs[said.COUNT, i] != _NONE:
            put_bucket(c, 0, 0, np.int64(longs[said.COUNT, i]))
    elif kind == EXPONENTIAL:
        offset = np.int64(ints[said.OFFSET, i])
        negative_offset = np.int64(ints[said.NEGATIVE_OFFSET, i])
        scale = np.int64(ints[said.SCALE, i])
        shift = max(
            halvings(scale, offset, counts, first, middle),
            halvings(scale, negative_offset, counts, middle, last),
        )
        put_exponential(c, shift, 0, offset, counts, first, middle)
        put_exponential(c, shift, 1, negative_offset, counts, middle, last)
        scale -= shift
    row = load_i64(c, t.POINT_COUNT)
    store_i64(c, t.POINT_COUNT, row + 1)
    p = load_i64(c, t.POINTS) + 8 * t.POINT_WORDS * row
    store_i64(p, t.P_GROUP, group)
    store_i64(p, t.P_COUNT, np.int64(longs[said.COUNT, i]))
    store_i64(p, t.P_ZERO, np.int64(longs[said.ZERO, i]))
    store_i64(p, t.P_SCALE, scale)
    store_i64(p, t.P_BOUNDS, limits)
    store_i64(p, t.P_STOP, load_i64(c, t.POINT_BUCKET_COUNT))
    store_f64(p, t.P_SUM, floats[said.VALUE, i] if kind == SUM else floats[said.SUM, i])
    store_f64(p, t.P_MIN, floats[said.MIN, i])
    store_f64(p, t.P_MAX, floats[said.MAX, i])
    return p


@inner
def add_histogram(c, cell, kind, i, floats, longs, ints, counts, first, middle, last):
    """Take the histogram of a point, which is not empty, into a cell."""
    add_to(cell, t.C_COUNT, np.int64(longs[said.COUNT, i]))
    store_f64(cell, t.C_SUM, load_f64(cell, 8 * t.C_SUM) + floats[said.SUM, i])
    extend(cell, floats[said.MIN, i], floats[said.MAX, i])
    add_to(cell, t.C_ZERO, np.int64(longs[said.ZERO, i]))
    row = row_of(c, cell)
    if kind == EXPONENTIAL:
        scale = np.int64(ints[said.SCALE, i])
        offset = np.int64(ints[said.OFFSET, i])
        negative_offset = np.int64(ints[said.NEGATIVE_OFFSET, i])
        add_exponential(c, row, scale, 0, offset, counts, first, middle)
        add_exponential(c, row, scale, 1, negative_offset, counts, middle, last)
        return
    for k in range(first, last):
        if load_i64(counts, k) != 0:
            add_bucket(c, row, 0, 0, k - first, load_i64(counts, k))
    if last == first:
        add_bucket(c, row, 0, 0, 0, np.int64(longs[said.COUNT, i]))


@inner
def more_room(c, rules, buckets, bounds):
    """Whether the tables of points and bounds can take one more item of all rules."""
    return (
        load_i64(c, t.POINT_COUNT) + rules <= load_i64(c, t.POINT_ROOM)
        and load_i64(c, t.POINT_BUCKET_COUNT) + rules * buckets <= load_i64(c, t.POINT_BUCKET_ROOM)
        and load_i64(c, t.LIMIT_COUNT) + 1 <= load_i64(c, t.LIMIT_ROOM)
        and 2 * (load_i64(c, t.LIMIT_COUNT) + 1) <= load_i64(c, t.LIMIT_MASK)
        and load_i64(c, t.BOUND_COUNT) + bounds <= load_i64(c, t.BOUND_ROOM)
    )


@kernel
def gather_points(
    control, begin, data, times, starts, kinds, temporality, monotonic, metric, units, names,
    resource, service, floats, longs, ints, faults, counts, bounds, streams, wanted, buckets_max,
    codes, stops, seeds, fields, held,
):  # fmt: skip
    """Data points.

    ``floats``, ``longs``, ``ints``, ``faults``, ``counts``, ``bounds``: what ``wire.points`` said;
    ``wanted``: rules per metric, as bits; the rest as for spans.
    """
    c = address_of(control)
    a = address_of(data)
    count_at = address_of(counts)
    bound_at = address_of(bounds)
    rules = len(seeds)
    everything = len(held) == 0
    pane_ms = load_i64(c, t.PANE_MS)
    for i in range(begin, len(times)):
        first = np.int64(ints[said.NEGATIVE_STOP, i - 1]) if i > 0 else np.int64(0)
        middle = np.int64(ints[said.POSITIVE_STOP, i])
        last = np.int64(ints[said.NEGATIVE_STOP, i])
        bound = np.int64(ints[said.BOUNDS_STOP, i - 1]) if i > 0 else np.int64(0)
        bound_stop = np.int64(ints[said.BOUNDS_STOP, i])
        # An explicit histogram without buckets has one.
        size = max(last - first, 1)
        if not room(c, rules, size) or not more_room(c, rules, size, bound_stop - bound):
            return i
        mine = wanted[metric[i]]
        if not everything:
            mine &= held[i]
        if mine == _NONE:
            reach(c, np.int64(times[i] // np.uint64(1_000_000)))
            continue
        time_ms = usable_time(c, times[i])
        if time_ms < 0:
            continue
        if faults[i] != 0:
            bit = 0
            while not (faults[i] >> bit) & 1:
                bit += 1
            add_to(c, t.FAULTS + bit, 1)
            continue
        kind = kind_of_point(kinds[i], temporality[i], monotonic[i])
        if kind < 0:
            add_to(c, t.NO_TEMPORALITY, 1)
            continue
        cumulative = kind >= _CUMULATIVE
        kind &= _CUMULATIVE - 1
        if kind == HISTOGRAM and last - first > buckets_max:
            add_to(c, t.TOO_MANY_BUCKETS, 1)
            continue
        if kind == SUM and floats[said.VALUE, i] < 0.0:
            add_to(c, t.NEGATIVE, 1)
            continue
        pane = time_ms // pane_ms
        limits = np.int64(-1)
        if kind == HISTOGRAM:
            limits = limits_of(c, bound_at, bound, bound_stop)
        value = floats[said.VALUE, i]
        index = np.int64(0)
        if (kind == GAUGE or kind == UP_DOWN_SUM) and value != 0.0:
            index = bucket_index(bits_of(c, abs(value)))
        unit_start = np.int64(units[metric[i], 0])
        unit_stop = np.int64(units[metric[i], 1])
        unit = hash_bytes(a, unit_start, unit_stop) if unit_stop > unit_start else _NONE
        at = 0
        for r in range(rules):
            stop = stops[r]
            if (mine >> np.uint64(r)) & _ONE == _NONE:
                at = stop
                continue
            h = enter(seeds[r], service[resource[i]])
            h = enter(h, names[i])
            h = enter(h, unit)
            h = enter(h, np.uint64(kind))
            while at < stop:
                h = enter(h, fields[codes[at], i])
                at += 1
            h = max(h, _ONE)
            add_to(c, t.RULE_ITEMS + r, 1)
            if cumulative:
                row = put_point(
                    c, group_of(c, h, r, kind, i), kind, limits, i, floats, longs, ints, count_at,
                    first, middle, last,
                )  # fmt: skip
                store_i64(row, t.P_STREAM, np.int64(streams[i]))
                store_i64(row, t.P_TIME, np.int64(times[i]))
                store_i64(row, t.P_START, np.int64(starts[i]))
                continue
            cell = cell_of(c, h, r, kind, i, pane, limits)
            if kind == GAUGE or kind == UP_DOWN_SUM:
                add_value(c, cell, value, index)
                held_time = load_u64(cell, 8 * t.C_LAST_TIME)
                if times[i] > held_time or (
                    times[i] == held_time and not value <= load_f64(cell, 8 * t.C_LAST)
                ):
                    store_i64(cell, t.C_LAST_TIME, np.int64(times[i]))
                    store_f64(cell, t.C_LAST, value)
            elif kind == SUM or kind == UP_DOWN_SUM_DELTA:
                add_to(cell, t.C_COUNT, 1)
                store_f64(cell, t.C_SUM, load_f64(cell, 8 * t.C_SUM) + value)
            elif longs[said.COUNT, i] != _NONE:
                add_histogram(c, cell, kind, i, floats, longs, ints, count_at, first, middle, last)
            if not np.isnan(floats[said.EXEMPLAR_VALUE, i]):
                exemplify(
                    cell,
                    floats[said.EXEMPLAR_VALUE, i],
                    longs[said.EXEMPLAR_TIME, i],
                    longs[said.TRACE_HIGH, i],
                    longs[said.TRACE_LOW, i],
                    longs[said.EXEMPLAR_SPAN, i],
                )
    return len(times)

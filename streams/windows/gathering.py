"""The kernels that gather spans, log records and data points into cells; see ``tables``.

Each takes the items from ``begin`` on and returns where it stopped: at the end, or at an item for
which a table may have no room.
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
    row_of,
    usable_time,
)
from streams.windows.exponential import SCALE_MAX, bucket_index, fitting_shift
from streams.wire.compiling import inner, kernel
from streams.wire.memory import address_of, load_f64, load_i64, load_u64, mix, store_f64, store_i64
from streams.wire.text import hash_bytes

__all__ = ["KINDS", "NAME", "gather_logs", "gather_points", "gather_spans"]

KINDS = (
    "spans", "logs", "gauge", "sum", "up_down_sum", "up_down_sum_delta", "histogram",
    "exponential_histogram", "summary",
)  # fmt: skip
"""As in a descriptor; a group's kind is its place here."""
(
    SPANS, LOGS, GAUGE, SUM, UP_DOWN_SUM, UP_DOWN_SUM_DELTA, HISTOGRAM, EXPONENTIAL, SUMMARY,
) = range(9)  # fmt: skip

# Codes of fields that are no attributes.
NAME, KIND, STATUS, SEVERITY = -1, -2, -3, -4
_KINDS_OF_SPANS, _STATUSES, _SEVERITY_LAST = 6, 3, 24
_ERROR = 2
_FIELD = np.uint64(0xFF51AFD7ED558CCD)
_NONE = np.uint64(0)
_ONE = np.uint64(1)
_BYTES = 8


@inner
def known(number, count):
    """A number of an enumeration, 0 where it is none."""
    return number if 0 <= number < count else 0


@inner
def severity_range(number):
    """Place in ``SEVERITIES``: 0 unspecified, then four numbers each."""
    return (number + 3) // 4 if 0 < number <= _SEVERITY_LAST else 0


@inner
def enter(h, field):
    """Fold a field's hash into a group's."""
    return mix(h ^ field, _FIELD) ^ field


@inner
def room(c, rules, buckets):
    """Whether every table can take one more item of all rules."""
    return (
        load_i64(c, t.CELL_COUNT) + rules <= load_i64(c, t.CELL_ROOM)
        and load_i64(c, t.GROUP_COUNT) + rules <= load_i64(c, t.GROUP_ROOM)
        and 2 * (load_i64(c, t.CELL_COUNT) + rules) <= load_i64(c, t.CELL_MASK)
        and 2 * (load_i64(c, t.GROUP_COUNT) + rules) <= load_i64(c, t.GROUP_MASK)
        and 2 * (load_i64(c, t.BUCKET_COUNT) + rules * buckets) <= load_i64(c, t.BUCKET_MASK)
    )


@inner
def add_value(c, cell, value, index):
    """Take a value into a distribution; ``index``: of its absolute value's bucket."""
    add_to(cell, t.C_COUNT, 1)
    store_f64(cell, t.C_SUM, load_f64(cell, _BYTES * t.C_SUM) + value)
    extend(cell, value, value)
    if value == 0.0:
        add_to(cell, t.C_ZERO, 1)
    else:
        add_bucket(c, row_of(c, cell), np.int64(value < 0.0), 0, index, 1)


@kernel
def gather_spans(
    control, begin, starts, ends, statuses, kinds, names, high, low, ids, resource, service,
    codes, stops, seeds, fields, held,
):  # fmt: skip
    """Spans.

    ``codes``: the fields of all rules; ``stops``: where each rule's end; ``seeds``: each rule's
    hash; ``fields``: hashes of attributes, a row each; ``held``: rules per span as bits, empty
    where all rules take every span.
    """
    c = address_of(control)
    rules = len(seeds)
    everything = len(held) == 0
    pane_ms = load_i64(c, t.PANE_MS)
    for i in range(begin, len(ends)):
        if not room(c, rules, 1):
            return i
        time_ms = usable_time(c, ends[i])
        if time_ms < 0:
            continue
        pane = time_ms // pane_ms
        value = 0.0
        index = np.int64(0)
        if starts[i] == _NONE or starts[i] > ends[i]:
            add_to(c, t.NO_DURATION, 1)
        elif ends[i] > starts[i]:
            value = np.float64(ends[i] - starts[i]) / 1e9
            index = bucket_index(bits_of(c, value))
        at = 0
        for r in range(rules):
            stop = stops[r]
            if not everything and (held[i] >> np.uint64(r)) & _ONE == _NONE:
                at = stop
                continue
            h = enter(seeds[r], service[resource[i]])
            while at < stop:
                code = codes[at]
                if code >= 0:
                    h = enter(h, fields[code, i])
                elif code == NAME:
                    h = enter(h, names[i])
                elif code == KIND:
                    h = enter(h, np.uint64(known(np.int64(kinds[i]), _KINDS_OF_SPANS) + 1))
                else:
                    h = enter(h, np.uint64(known(np.int64(statuses[i]), _STATUSES) + 1))
                at += 1
            cell = cell_of(c, max(h, _ONE), r, SPANS, i, pane, -1)
            add_value(c, cell, value, index)
            if statuses[i] == _ERROR:
                add_to(cell, t.C_ERRORS, 1)
            if (high[i] | low[i]) != _NONE:
                exemplify(cell, value, ends[i], high[i], low[i], ids[i])
            add_to(c, t.RULE_ITEMS + r, 1)
    return len(ends)


@kernel
def gather_logs(
    control, begin, times, observed, severities, resource, service, codes, stops, seeds, fields,
    held,
):  # fmt: skip
    """Log records; the arguments as for spans."""
    c = address_of(control)
    rules = len(seeds)
    everything = len(held) == 0
    pane_ms = load_i64(c, t.PANE_MS)
    for i in range(begin, len(times)):
        if not room(c, rules, 0):
            return i
        time_ms = usable_time(c, times[i] if times[i] != _NONE else observed[i])
        if time_ms < 0:
            continue
        pane = time_ms // pane_ms
        at = 0
        for r in range(rules):
            stop = stops[r]
            if not everything and (held[i] >> np.uint64(r)) & _ONE == _NONE:
                at = stop
                continue
            h = enter(seeds[r], service[resource[i]])
            while at < stop:
                code = codes[at]
                if code >= 0:
                    h = enter(h, fields[code, i])
                else:
                    h = enter(h, np.uint64(severity_range(np.int64(severities[i])) + 1))
                at += 1
            add_to(cell_of(c, max(h, _ONE), r, LOGS, i, pane, -1), t.C_COUNT, 1)
            add_to(c, t.RULE_ITEMS + r, 1)
    return len(times)


@inner
def kind_of_point(data, temporality, monotonic):
    """Place in ``KINDS``, -1 where the temporality is missing; plus 16: it is cumulative."""
    if data == 5:
        return GAUGE
    if data == 11:
        return SUMMARY + 16
    if temporality != 1 and temporality != 2:
        return -1
    if data == 7:
        if monotonic:
            return SUM + (16 if temporality == 2 else 0)
        return UP_DOWN_SUM if temporality == 2 else UP_DOWN_SUM_DELTA
    return (HISTOGRAM if data == 9 else EXPONENTIAL) + (16 if temporality == 2 else 0)


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
def put_exponential(c, scale, negative, offset, counts, start, stop, first):
    """Append the buckets ``counts[start:stop]`` of a point, ``scale`` halvings coarser."""
    rows = load_i64(c, t.POINT_BUCKETS)
    for k in range(start, stop):
        count = load_i64(counts, k)
        if count != 0:
            index = (offset + (k - start)) >> scale
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
        before = i - 1
        first = np.int64(ints[4, before]) if i > 0 else np.int64(0)
        middle = np.int64(ints[3, i])
        last = np.int64(ints[4, i])
        bound = np.int64(ints[5, before]) if i > 0 else np.int64(0)
        bound_stop = np.int64(ints[5, i])
        # An explicit histogram without buckets has one.
        size = max(last - first, 1)
        if not room(c, rules, size) or not more_room(c, rules, size, bound_stop - bound):
            return i
        mine = wanted[metric[i]]
        if not everything:
            mine &= held[i]
        if mine == _NONE:
            if times[i] != _NONE:
                seen = min(np.int64(times[i] // np.uint64(1_000_000)), load_i64(c, t.STAMP))
                if np.int64(times[i] // np.uint64(1_000_000)) <= load_i64(c, t.AHEAD_LIMIT):
                    store_i64(c, t.PROGRESS, max(load_i64(c, t.PROGRESS), seen))
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
        cumulative = kind >= 16
        kind &= 15
        if kind == HISTOGRAM and last - first > buckets_max:
            add_to(c, t.TOO_MANY_BUCKETS, 1)
            continue
        pane = time_ms // pane_ms
        limits = np.int64(-1)
        if kind == HISTOGRAM:
            limits = limits_of(c, bound_at, bound, bound_stop)
        value = floats[0, i]
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
                group = group_of(c, h, r, kind, i)
                scale = np.int64(SCALE_MAX)
                if kind == HISTOGRAM:
                    for k in range(first, last):
                        if load_i64(count_at, k) != 0:
                            put_bucket(c, k - first, 0, load_i64(count_at, k))
                    if last == first and longs[0, i] != _NONE:
                        put_bucket(c, 0, 0, np.int64(longs[0, i]))
                elif kind == EXPONENTIAL:
                    scale = np.int64(ints[0, i])
                    shift = max(
                        halvings(scale, np.int64(ints[1, i]), count_at, first, middle),
                        halvings(scale, np.int64(ints[2, i]), count_at, middle, last),
                    )
                    mark = load_i64(c, t.POINT_BUCKET_COUNT)
                    put_exponential(
                        c, shift, 0, np.int64(ints[1, i]), count_at, first, middle, mark
                    )
                    mark = load_i64(c, t.POINT_BUCKET_COUNT)
                    put_exponential(c, shift, 1, np.int64(ints[2, i]), count_at, middle, last, mark)
                    scale -= shift
                row = load_i64(c, t.POINT_COUNT)
                store_i64(c, t.POINT_COUNT, row + 1)
                p = load_i64(c, t.POINTS) + 8 * t.POINT_WORDS * row
                store_i64(p, t.P_GROUP, group)
                store_i64(p, t.P_STREAM, np.int64(streams[i]))
                store_i64(p, t.P_TIME, np.int64(times[i]))
                store_i64(p, t.P_START, np.int64(starts[i]))
                store_i64(p, t.P_COUNT, np.int64(longs[0, i]))
                store_i64(p, t.P_ZERO, np.int64(longs[1, i]))
                store_i64(p, t.P_SCALE, scale)
                store_i64(p, t.P_BOUNDS, limits)
                store_i64(p, t.P_STOP, load_i64(c, t.POINT_BUCKET_COUNT))
                store_f64(p, t.P_SUM, value if kind == SUM else floats[1, i])
                store_f64(p, t.P_MIN, floats[2, i])
                store_f64(p, t.P_MAX, floats[3, i])
                continue
            cell = cell_of(c, h, r, kind, i, pane, limits)
            if kind == GAUGE or kind == UP_DOWN_SUM:
                add_value(c, cell, value, index)
                held_time = load_u64(cell, _BYTES * t.C_LAST_TIME)
                if times[i] > held_time or (
                    times[i] == held_time and not value <= load_f64(cell, _BYTES * t.C_LAST)
                ):
                    store_i64(cell, t.C_LAST_TIME, np.int64(times[i]))
                    store_f64(cell, t.C_LAST, value)
            elif kind == SUM or kind == UP_DOWN_SUM_DELTA:
                add_to(cell, t.C_COUNT, 1)
                store_f64(cell, t.C_SUM, load_f64(cell, _BYTES * t.C_SUM) + value)
            elif longs[0, i] != _NONE:
                add_to(cell, t.C_COUNT, np.int64(longs[0, i]))
                store_f64(cell, t.C_SUM, load_f64(cell, _BYTES * t.C_SUM) + floats[1, i])
                extend(cell, floats[2, i], floats[3, i])
                add_to(cell, t.C_ZERO, np.int64(longs[1, i]))
                row = row_of(c, cell)
                if kind == EXPONENTIAL:
                    scale = np.int64(ints[0, i])
                    add_exponential(c, row, scale, 0, np.int64(ints[1, i]), count_at, first, middle)
                    add_exponential(c, row, scale, 1, np.int64(ints[2, i]), count_at, middle, last)
                else:
                    for k in range(first, last):
                        if load_i64(count_at, k) != 0:
                            add_bucket(c, row, 0, 0, k - first, load_i64(count_at, k))
                    if last == first:
                        add_bucket(c, row, 0, 0, 0, np.int64(longs[0, i]))
            if not np.isnan(floats[5, i]):
                exemplify(cell, floats[5, i], longs[3, i], longs[4, i], longs[5, i], longs[6, i])
    return len(times)


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

"""From points of cumulative streams to what they increased by; compiled.

A point in time order, and what its stream said before:

=========================================  ====================================================
the stream is not known                    all of it, if it says that it began while we have
                                           been watching; else only where it stands is noted
it began later than what was said before   all of it: a reset
it began earlier                           left out: two writers of one identity
it has the time of what was said before    left out: it came twice
it comes ``stale`` after that              only where it stands is noted: a gap
a value or a count went backwards          all of it: a reset
a histogram has other bounds               only where it stands is noted
anything else                              the difference
=========================================  ====================================================

OpenTelemetry metrics data model, "Resets and Gaps"; a value that goes backwards is what Prometheus
takes for a reset.
"""

from __future__ import annotations

import numpy as np

from streams.windows.accumulators import free_row, has_room, merge, new_row
from streams.windows.blocks import AT, BASE, LENGTH, copy_run, downscale
from streams.windows.index import place_of
from streams.windows.merging import DONE, ROOM_MISSING, STREAM, merge_into
from streams.wire.compiling import inner, kernel

__all__ = [
    "BOUNDS_CHANGED", "COUNTERS", "DUPLICATE", "GAP", "NEW", "OVERLAP", "RESET", "STREAM_ROW",
    "increases",
]  # fmt: skip

STREAM_ROW = np.dtype(
    [("time", "<u8"), ("start", "<u8"), ("sum", "<f8"), ("group", "<i4"), ("row", "<i4")]
)
"""Of the last point: its time and start in nanoseconds, the value of a sum, the row of the
accumulator that holds what a histogram said (-1: a sum)."""
RESET, GAP, OVERLAP, DUPLICATE, BOUNDS_CHANGED, NEW, COUNTERS = range(7)
_ALL, _NOTHING, _DIFFERENCE, _LEFT_OUT = range(4)
_ZERO = np.uint64(0)


@inner
def _by_times(known, time, start, stream, base, stale, counters):
    """What to take of a point, by its times alone."""
    if not known:
        counters[NEW] += 1
        return _ALL if start > _ZERO and start >= base else _NOTHING
    if time <= stream.time:
        counters[DUPLICATE] += 1
        return _LEFT_OUT
    if start > _ZERO:
        if start < stream.start:
            counters[OVERLAP] += 1
            return _LEFT_OUT
        if (stream.start > _ZERO and start > stream.start) or start > stream.time:
            counters[RESET] += 1
            return _ALL
    if time - stream.time > stale:
        counters[GAP] += 1
        return _NOTHING
    return _DIFFERENCE


@inner
def _backwards(accumulators, runs, pool, old, new):
    """Whether a histogram says less than before; both are at one scale."""
    if accumulators[new].count < accumulators[old].count:
        return True
    if accumulators[new].zero < accumulators[old].zero:
        return True
    for side in range(2):
        was, now = 2 * old + side, 2 * new + side
        for i in range(np.int64(runs[was, LENGTH])):
            count = pool[np.int64(runs[was, AT]) + i]
            at = np.int64(runs[was, BASE]) + i - np.int64(runs[now, BASE])
            there = _ZERO
            if at >= 0 and at < runs[now, LENGTH]:
                there = pool[np.int64(runs[now, AT]) + at]
            if there < count:
                return True
    return False


@inner
def _difference(runs, pool, old, new, index, negative, count):
    """Buckets that grew, into columns; gives how many."""
    stop = 0
    for side in range(2):
        was, now = 2 * old + side, 2 * new + side
        for i in range(np.int64(runs[now, LENGTH])):
            value = pool[np.int64(runs[now, AT]) + i]
            at = np.int64(runs[now, BASE]) + i - np.int64(runs[was, BASE])
            if at >= 0 and at < runs[was, LENGTH]:
                value -= pool[np.int64(runs[was, AT]) + at]
            if value > _ZERO:
                index[stop] = np.int64(runs[now, BASE]) + i
                negative[stop] = side
                count[stop] = value
                stop += 1
    return stop


@inner
def _one_scale(accumulators, runs, pool, old, new):
    if accumulators[old].bounds >= 0:
        return
    scale = min(accumulators[old].scale, accumulators[new].scale)
    for row in (old, new):
        for run in range(2 * row, 2 * row + 2):
            downscale(pool, runs, run, accumulators[row].scale - scale)
        accumulators[row].scale = scale


@kernel
def increases(
    order, first, points, identities, index, negative, count, bucket_starts, streams, keys, places,
    stream_count, base, stale, sum_kind, difference, buckets, counters, accumulators, runs, pool,
    meta, heads, groups, slot_stops, slots, late, registry,
):  # fmt: skip
    """Take points in ``order`` from its place ``first`` on.

    Gives the next place, why it stopped there, which bounds have to meet, and how many streams
    there are.

    ``difference``: one cell to work with; ``buckets``: three columns with room for its buckets.
    ``base``: a stream that is not known and began before that (nanoseconds) began before us.
    """
    cell = difference[0]
    out_index, out_negative, out_count = buckets
    for step in range(first, order.size):
        i = order[step]
        point = points[i]
        group = np.int64(point.group)
        rule = np.int64(groups[group].rule)
        if not has_room(accumulators, pool, meta, slot_stops[rule + 1] - slot_stops[rule] + 2):
            return step, ROOM_MISSING, 0, 0, stream_count
        place = place_of(identities[i], keys, places)
        at = np.int64(places[place])
        known = at >= 0
        if not known:
            at = stream_count  # free; it is ours once the point is taken
        stream = streams[at]
        time, start = point.last_time, point.exemplar_time
        before = counters.copy()
        take = _by_times(known, time, start, stream, base, stale, counters)
        if take == _LEFT_OUT:
            groups[group].points -= 1
            continue
        plain = groups[group].kind == sum_kind
        begin, stop = bucket_starts[i], bucket_starts[i + 1]
        new = -1
        cell.time = point.time
        cell.group = point.group
        cell.bounds = point.bounds
        cell.scale = point.scale
        cell.count = point.count
        cell.sum = point.sum
        cell.zero = point.zero
        cell.min = point.min
        cell.max = point.max
        cell.last_time = time
        if plain:
            cell.count = 1
            if take == _DIFFERENCE:
                if point.sum < stream.sum:
                    counters[RESET] += 1
                else:
                    cell.sum = point.sum - stream.sum
            size = 0
        else:
            new = new_row(accumulators, runs, meta, STREAM, 0, group)
            merge(
                accumulators[new], pool, meta, runs, new, point, index, negative, count, begin,
                stop, registry,
            )  # fmt: skip
            size = -1
            if take == _DIFFERENCE:
                old = np.int64(stream.row)
                if accumulators[old].bounds != accumulators[new].bounds:
                    counters[BOUNDS_CHANGED] += 1
                    take = _NOTHING
                else:
                    _one_scale(accumulators, runs, pool, old, new)
                    if _backwards(accumulators, runs, pool, old, new):
                        counters[RESET] += 1
                    else:
                        size = _difference(
                            runs, pool, old, new, out_index, out_negative, out_count
                        )  # fmt: skip
                        cell.count = accumulators[new].count - accumulators[old].count
                        cell.sum = accumulators[new].sum - accumulators[old].sum
                        cell.zero = accumulators[new].zero - accumulators[old].zero
                        cell.min = np.nan
                        cell.max = np.nan
                        cell.scale = accumulators[new].scale
            if size < 0:  # all of it
                size = copy_run(pool, runs, 2 * new, 0, out_index, out_negative, out_count, 0)
                size = copy_run(
                    pool, runs, 2 * new + 1, 1, out_index, out_negative, out_count, size
                )  # fmt: skip
                cell.scale = accumulators[new].scale
        if take != _NOTHING:
            why, left, right = merge_into(
                cell, out_index, out_negative, out_count, 0, size, accumulators, runs, pool, meta,
                heads, groups, slot_stops, slots, late, registry,
            )  # fmt: skip
            if why != DONE:
                if new >= 0:
                    free_row(accumulators, runs, pool, meta, new)
                counters[:] = before
                return step, why, left, right, stream_count
        if not known:
            keys[at] = identities[i]
            places[place] = at
            stream_count += 1
        elif stream.row >= 0:
            free_row(accumulators, runs, pool, meta, np.int64(stream.row))
        stream.row = new
        stream.time = time
        stream.start = start if start > _ZERO or not known else stream.start
        stream.sum = point.sum
        stream.group = point.group
        groups[group].points -= 1
    return order.size, DONE, 0, 0, stream_count

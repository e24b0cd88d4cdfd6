"""Cells into the windows that they belong to, and windows into what is exported; compiled.

``slots`` has a row for each rule and length, all of a rule one after the other in ascending order.
``heads[group, n]`` begins the list of a group's accumulators in its rule's n-th length, newest
first. Kernels stop where the tables are too small or bounds have not met yet, and say why; their
caller helps and calls them again.
"""

from __future__ import annotations

import numpy as np

from streams.windows.accumulators import (
    free_row,
    has_room,
    merge,
    new_row,
    unknown_meeting,
)
from streams.windows.blocks import AT, BASE, copy_run, cover
from streams.windows.blocks import LENGTH as RUN_LENGTH
from streams.wire.compiling import inner, kernel

__all__ = [
    "BOUNDS", "CLOSED", "CUMULATIVE", "DONE", "GROUP", "LENGTH", "NEVER", "ROOM_MISSING", "STREAM",
    "bucket_count", "close_rows", "dense", "export_rows", "free_rows", "gather", "gather_texts",
    "lists", "merge_cells", "merge_into", "refill",
]  # fmt: skip

GROUP = np.dtype(
    [
        ("key", "<u8"), ("identity", "<u8"), ("order", "<u8"), ("last_ms", "<i8"),
        ("attributes_at", "<i8"), ("attributes_size", "<i4"), ("tenant", "<i4"),
        ("service", "<i4"), ("shape", "<i4"), ("rule", "<i4"), ("cumulative", "<i4"),
        ("overflow", "<i4"), ("points", "<i4"), ("kind", "<i4"),
    ]
)  # fmt: skip
"""``cumulative``: row of its accumulator since it was first seen, -1: none. ``points``: how many of
it wait. The others are in groups.py."""
LENGTH, CLOSED = 0, 1
"""Columns of ``slots``, milliseconds: how long windows are, and where the last closed one ends."""
NEVER = -(1 << 62)
"""In place of an end: no window has been closed yet."""
CUMULATIVE, STREAM = -1, -2
"""In place of slots: of a group since it was first seen; the last point of a stream."""
DONE, ROOM_MISSING, BOUNDS = 0, 1, 2
"""Why a kernel stopped; ``BOUNDS``: two sets of bounds have to meet first."""


@inner
def seek(accumulators, heads, group, place, start):
    """Row of a group's accumulator for the window that begins at ``start``; -1: there is none."""
    row = np.int64(heads[group, place])
    while row >= 0 and accumulators[row].start != start:
        row = np.int64(accumulators[row].next)
    return row


@inner
def merge_into(
    cell, index, negative, count, start, stop, accumulators, runs, pool, meta, heads, groups,
    slot_stops, slots, late, registry,
):  # fmt: skip
    """Add a cell to its window of every length; gives why it was not, and which bounds met."""
    group = np.int64(cell.group)
    rule = np.int64(groups[group].rule)
    first = slot_stops[rule]
    lengths = slot_stops[rule + 1] - first
    if not has_room(accumulators, pool, meta, lengths):
        return ROOM_MISSING, 0, 0
    meetings = registry[2]
    for place in range(lengths):
        length, closed = slots[first + place, LENGTH], slots[first + place, CLOSED]
        begin = cell.time // length * length
        if begin + length > closed:
            row = seek(accumulators, heads, group, place, begin)
            if row >= 0:
                bounds = np.int64(accumulators[row].bounds)
                if unknown_meeting(meetings, bounds, np.int64(cell.bounds)):
                    return BOUNDS, bounds, np.int64(cell.bounds)
    for place in range(lengths):
        slot = first + place
        begin = cell.time // slots[slot, LENGTH] * slots[slot, LENGTH]
        if begin + slots[slot, LENGTH] <= slots[slot, CLOSED]:
            late[slot] += cell.count
            continue
        row = seek(accumulators, heads, group, place, begin)
        if row < 0:
            row = new_row(accumulators, runs, meta, slot, begin, group)
            accumulators[row].next = heads[group, place]
            heads[group, place] = row
        merge(
            accumulators[row], pool, meta, runs, row, cell, index, negative, count, start, stop,
            registry,
        )  # fmt: skip
    groups[group].last_ms = max(groups[group].last_ms, cell.time)
    return DONE, 0, 0


@kernel
def merge_cells(
    cells, first, index, negative, count, accumulators, runs, pool, meta, heads, groups,
    slot_stops, slots, late, registry,
):  # fmt: skip
    """Add cells from ``first`` on; gives the next one, and why it stopped there."""
    for i in range(first, cells.size):
        start = np.int64(cells[i - 1].buckets_stop) if i > 0 else 0
        why, left, right = merge_into(
            cells[i], index, negative, count, start, np.int64(cells[i].buckets_stop), accumulators,
            runs, pool, meta, heads, groups, slot_stops, slots, late, registry,
        )  # fmt: skip
        if why != DONE:
            return i, why, left, right
    return cells.size, DONE, 0, 0


@kernel
def export_rows(
    rows, first, begin, index, negative, count, accumulators, runs, pool, meta, groups, registry
):
    """Add closed windows to what their groups have since they were first seen.

    ``begin``: of the window; where a group that is new begins. ``index``, ``negative`` and
    ``count`` have room for the buckets of one. Gives the next, and why it stopped there.
    """
    for i in range(first, rows.size):
        row = rows[i]
        group = np.int64(accumulators[row].group)
        if not has_room(accumulators, pool, meta, 1):
            return i, ROOM_MISSING, 0, 0
        total = np.int64(groups[group].cumulative)
        if total < 0:
            total = new_row(accumulators, runs, meta, CUMULATIVE, begin, group)
            groups[group].cumulative = total
        mine = np.int64(accumulators[total].bounds)
        theirs = np.int64(accumulators[row].bounds)
        if unknown_meeting(registry[2], mine, theirs):
            return i, BOUNDS, mine, theirs
        stop = copy_run(pool, runs, 2 * row, 0, index, negative, count, 0)
        stop = copy_run(pool, runs, 2 * row + 1, 1, index, negative, count, stop)
        merge(
            accumulators[total], pool, meta, runs, total, accumulators[row], index, negative, count,
            0, stop, registry,
        )  # fmt: skip
        # An exemplar is of its window.
        accumulators[total].exemplar_value = accumulators[row].exemplar_value
        accumulators[total].exemplar_time = accumulators[row].exemplar_time
        accumulators[total].exemplar_trace_high = accumulators[row].exemplar_trace_high
        accumulators[total].exemplar_trace_low = accumulators[row].exemplar_trace_low
        accumulators[total].exemplar_span = accumulators[row].exemplar_span
    return rows.size, DONE, 0, 0


@kernel
def close_rows(rows, place, accumulators, runs, pool, meta, heads):
    """Give back the accumulators of emitted windows of the rule's ``place``-th length."""
    for i in range(rows.size):
        row = rows[i]
        group = np.int64(accumulators[row].group)
        at = np.int64(heads[group, place])
        if at == row:
            heads[group, place] = accumulators[row].next
        else:
            while accumulators[at].next != row:
                at = np.int64(accumulators[at].next)
            accumulators[at].next = accumulators[row].next
        free_row(accumulators, runs, pool, meta, row)


@kernel
def free_rows(rows, accumulators, runs, pool, meta):
    """Give back accumulators that are in no list."""
    for i in range(rows.size):
        if rows[i] >= 0:
            free_row(accumulators, runs, pool, meta, rows[i])


@kernel
def lists(accumulators, meta_rows, heads, slot_places):
    """Make the lists anew, of accumulators in rows 0 to before ``meta_rows``, oldest row first."""
    heads[:] = -1
    for row in range(meta_rows):
        slot = accumulators[row].slot
        if slot >= 0:
            group, place = np.int64(accumulators[row].group), slot_places[slot]
            accumulators[row].next = heads[group, place]
            heads[group, place] = row


@kernel
def gather(rows, accumulators, runs, pool, stops, index, negative, count):
    """Buckets of accumulators, those that are not zero, into columns; as cells have them."""
    at = 0
    for i in range(rows.size):
        at = copy_run(pool, runs, 2 * rows[i], 0, index, negative, count, at)
        at = copy_run(pool, runs, 2 * rows[i] + 1, 1, index, negative, count, at)
        stops[i] = at


@kernel
def bucket_count(rows, runs):
    """At most so many buckets have these accumulators."""
    total = 0
    for i in range(rows.size):
        total += np.int64(runs[2 * rows[i], RUN_LENGTH]) + np.int64(
            runs[2 * rows[i] + 1, RUN_LENGTH]
        )
    return total


@kernel
def dense(rows, runs, pool, places, indices, counts):
    """Both runs of accumulators one after the other, with their gaps.

    ``places`` has for each where positive ones begin, negative ones begin, and these end;
    ``indices`` their first indices.
    """
    at = 0
    for i in range(rows.size):
        for side in range(2):
            run = 2 * rows[i] + side
            places[side, i] = at
            indices[side, i] = runs[run, BASE]
            length = np.int64(runs[run, RUN_LENGTH])
            words = np.int64(runs[run, AT])
            for k in range(length):
                counts[at + k] = pool[words + k]
            at += length
        places[2, i] = at


@kernel
def gather_texts(texts, at, size, into):
    """Pieces of a text, one after the other."""
    to = 0
    for i in range(at.size):
        into[to : to + size[i]] = texts[at[i] : at[i] + size[i]]
        to += size[i]


@kernel
def refill(
    first, stop, stops, index, negative, count, accumulators, runs, pool, meta, bounds_stop
):  # fmt: skip
    """Give accumulators from ``first`` on their buckets back; gives where there is no more room."""
    for row in range(first, stop):
        if not has_room(accumulators, pool, meta, 0):
            return row
        start = stops[row - 1] if row > 0 else 0
        bounds = np.int64(accumulators[row].bounds)
        if bounds >= 0 and stops[row] > start:
            before = bounds_stop[bounds - 1] if bounds > 0 else 0
            cover(pool, meta, runs, 2 * row, np.int64(0), bounds_stop[bounds] - before)
        # From both ends, so that a run gets its whole length at once.
        for side in range(2):
            low = high = np.int64(-1)
            for i in range(start, stops[row]):
                if negative[i] == side:
                    low = i if low < 0 else low
                    high = i
            if low >= 0:
                cover(
                    pool, meta, runs, 2 * row + side, np.int64(index[low]), np.int64(index[high])
                )  # fmt: skip
        for i in range(start, stops[row]):
            run = 2 * row + np.int64(negative[i])
            pool[np.int64(runs[run, AT]) + np.int64(index[i]) - np.int64(runs[run, BASE])] = count[
                i
            ]
    return stop

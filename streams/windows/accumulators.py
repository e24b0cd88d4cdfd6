"""Accumulators: what a group has in one window, merged from parts in any order; compiled.

Everything but sums of floating point numbers is the same for every order of the parts. So is the
scale of exponential buckets: it is the greatest, none above that of a part with buckets, at which
all fit into ``BUCKETS_MAX`` (OTLP: base 2^(2^-scale), a bucket is (base^i, base^(i+1)]). Explicit
buckets are merged on the bounds that all parts have in common, which loses detail and no count.
"""

from __future__ import annotations

import numpy as np

from streams.windows.blocks import (
    AT,
    BASE,
    BLOCKS_FREE,
    CLASSES,
    LENGTH,
    POOL_TOP,
    cover,
    downscale,
    release,
    span,
)
from streams.windows.exponential import BUCKETS_MAX, SCALE_MAX
from streams.wire.compiling import inner

__all__ = [
    "ACCUMULATOR", "BOUNDS_NONE", "CELL", "META", "ROOM", "ROWS_FREE", "ROWS_OPEN", "ROWS_TOP",
    "ROWS_USED",
    "free_row", "has_room", "merge", "new_row", "unknown_meeting",
]  # fmt: skip

BOUNDS_NONE = -1
"""In place of explicit bounds: the buckets are exponential."""
ROOM = 1 << 15
"""Words of the pool that must be free before a cell is merged: more than any can need."""

ROWS_TOP = BLOCKS_FREE + CLASSES
ROWS_FREE = ROWS_TOP + 1
ROWS_USED = ROWS_TOP + 2
ROWS_OPEN = ROWS_TOP + 3
META = ROWS_TOP + 4
"""Places in ``meta``: rows ever used, list of free ones, rows in use, and of these the ones of open
windows; and how many places there are."""

_VALUES = [
    ("count", "<u8"), ("errors", "<u8"), ("sum", "<f8"), ("min", "<f8"), ("max", "<f8"),
    ("zero", "<u8"), ("last_time", "<u8"), ("last", "<f8"), ("exemplar_value", "<f8"),
    ("exemplar_time", "<u8"), ("exemplar_trace_high", "<u8"), ("exemplar_trace_low", "<u8"),
    ("exemplar_span", "<u8"), ("scale", "<i4"), ("bounds", "<i4"),
]  # fmt: skip

ACCUMULATOR = np.dtype(
    [("start", "<i8"), *_VALUES, ("group", "<i4"), ("next", "<i4"), ("slot", "<i4"), ("pad", "<i4")]
)
"""``slot`` says which rule and length it is of (negative: no window), ``start`` where its window
begins (Unix milliseconds), ``next`` which is the next of its group and slot."""
CELL = np.dtype([("time", "<i8"), *_VALUES, ("group", "<i4"), ("buckets_stop", "<i4")])
"""A part: of the pane that begins at ``time``; its buckets lie in columns of their own."""


@inner
def has_room(accumulators, pool, meta, rows):
    """Whether a cell can be merged into ``rows`` new accumulators."""
    free = accumulators.size - meta[ROWS_USED]
    return free >= rows and pool.size - meta[POOL_TOP] >= ROOM


@inner
def new_row(accumulators, runs, meta, slot, start, group):
    """An accumulator with nothing in it."""
    row = meta[ROWS_FREE]
    if row >= 0:
        meta[ROWS_FREE] = accumulators[row].next
    else:
        row = meta[ROWS_TOP]
        meta[ROWS_TOP] = row + 1
    meta[ROWS_USED] += 1
    meta[ROWS_OPEN] += slot >= 0
    a = accumulators[row]
    a.start = start
    a.slot = slot
    a.group = group
    a.next = -1
    a.count = 0
    a.errors = 0
    a.sum = 0.0
    a.min = np.nan
    a.max = np.nan
    a.zero = 0
    a.last_time = 0
    a.last = np.nan
    a.exemplar_value = np.nan
    a.exemplar_time = 0
    a.exemplar_trace_high = 0
    a.exemplar_trace_low = 0
    a.exemplar_span = 0
    a.scale = SCALE_MAX
    a.bounds = -2
    for run in range(2 * row, 2 * row + 2):
        runs[run, AT] = -1
        runs[run, BASE] = 0
        runs[run, LENGTH] = 0
    return row


@inner
def free_row(accumulators, runs, pool, meta, row):
    """Give an accumulator back; its group's list must not lead to it any more."""
    release(pool, meta, runs, 2 * row)
    release(pool, meta, runs, 2 * row + 1)
    meta[ROWS_OPEN] -= accumulators[row].slot >= 0
    accumulators[row].slot = -128
    accumulators[row].next = meta[ROWS_FREE]
    meta[ROWS_FREE] = row
    meta[ROWS_USED] -= 1


@inner
def unknown_meeting(meetings, left, right):
    """Whether nobody has said yet which bounds two sets of explicit ones have in common."""
    return left >= 0 and right >= 0 and left != right and meetings[left, right] < 0


@inner
def _fold(place, bounds_stop, bound, old, new):
    """Place among the bounds ``new`` of what is at ``place`` among ``old``, which has them all."""
    first = bounds_stop[new - 1] if new > 0 else 0
    stop = bounds_stop[new]
    old_first = bounds_stop[old - 1] if old > 0 else 0
    if old_first + place >= bounds_stop[old]:
        return stop - first
    upper = bound[old_first + place]
    at = first
    while at < stop and bound[at] < upper:
        at += 1
    return at - first


@inner
def _to_bounds(a, pool, runs, row, bounds_stop, bound, new):
    """Merge explicit buckets on fewer bounds."""
    run = 2 * row
    at = np.int64(runs[run, AT])
    for i in range(np.int64(runs[run, LENGTH])):
        to = _fold(i, bounds_stop, bound, np.int64(a.bounds), new)
        if to != i:
            count = pool[at + i]
            pool[at + i] = 0
            pool[at + to] += count
    if runs[run, LENGTH] > 0:
        runs[run, LENGTH] = bounds_stop[new] - (bounds_stop[new - 1] if new > 0 else 0) + 1
    a.bounds = new


@inner
def _merge_explicit(a, pool, meta, runs, row, cell, index, count, start, stop, registry):
    bounds_stop, bound, meetings = registry
    theirs = np.int64(cell.bounds)
    if a.bounds == -2:
        a.bounds = theirs
    elif a.bounds != theirs:
        common = np.int64(meetings[a.bounds, theirs])
        if common != a.bounds:
            _to_bounds(a, pool, runs, row, bounds_stop, bound, common)
    ours = np.int64(a.bounds)
    if stop > start:
        size = bounds_stop[ours] - (bounds_stop[ours - 1] if ours > 0 else 0) + 1
        cover(pool, meta, runs, 2 * row, np.int64(0), size - 1)
        at = np.int64(runs[2 * row, AT])
        for i in range(start, stop):
            place = np.int64(index[i])
            if ours != theirs:
                place = _fold(place, bounds_stop, bound, theirs, ours)
            pool[at + place] += count[i]


@inner
def _extent(index, negative, start, stop, side, steps):
    """Least and greatest index of one sign at a scale so many steps lower; 1 and 0: none is."""
    low, high = np.int64(1), np.int64(0)
    for i in range(start, stop):
        if negative[i] == side:
            at = np.int64(index[i]) >> steps
            if low > high:
                low, high = at, at
            else:
                low, high = min(low, at), max(high, at)
    return low, high


@inner
def _merge_exponential(a, pool, meta, runs, row, cell, index, negative, count, start, stop):
    if start == stop:
        return
    scale = min(np.int64(a.scale), np.int64(cell.scale))
    for side in range(2):
        low, high = _extent(index, negative, start, stop, side, np.int64(cell.scale) - scale)
        while span(runs, 2 * row + side, a.scale - scale, low, high) > BUCKETS_MAX:
            scale -= 1
            low, high = (low >> 1, high >> 1) if low <= high else (low, high)
    for side in range(2):
        downscale(pool, runs, 2 * row + side, a.scale - scale)
    a.scale = scale
    steps = np.int64(cell.scale) - scale
    for side in range(2):
        low, high = _extent(index, negative, start, stop, side, steps)
        if low <= high:
            cover(pool, meta, runs, 2 * row + side, low, high)
    for i in range(start, stop):
        run = 2 * row + np.int64(negative[i])
        at = (np.int64(index[i]) >> steps) - np.int64(runs[run, BASE])
        pool[np.int64(runs[run, AT]) + at] += count[i]


@inner
def merge(a, pool, meta, runs, row, cell, index, negative, count, start, stop, registry):
    """Add a part, with the buckets from ``start`` to before ``stop``; there must be room.

    ``a`` is the accumulator in ``row``.
    """
    if cell.count > 0:
        # One that is not known makes the whole not known: it would be wrong, not only rough.
        if a.count == 0:
            a.min = cell.min
            a.max = cell.max
        else:
            if not cell.min >= a.min:
                a.min = cell.min if not np.isnan(a.min) else a.min
            if not cell.max <= a.max:
                a.max = cell.max if not np.isnan(a.max) else a.max
    a.count += cell.count
    a.errors += cell.errors
    a.sum += cell.sum
    a.zero += cell.zero
    if cell.last_time > a.last_time or (
        cell.last_time == a.last_time and not cell.last <= a.last and not np.isnan(cell.last)
    ):
        a.last_time = cell.last_time
        a.last = cell.last
    if _greater_exemplar(cell, a):
        a.exemplar_value = cell.exemplar_value
        a.exemplar_time = cell.exemplar_time
        a.exemplar_trace_high = cell.exemplar_trace_high
        a.exemplar_trace_low = cell.exemplar_trace_low
        a.exemplar_span = cell.exemplar_span
    if cell.bounds >= 0:
        _merge_explicit(a, pool, meta, runs, row, cell, index, count, start, stop, registry)
    else:
        _merge_exponential(
            a, pool, meta, runs, row, cell, index, negative, count, start, stop
        )  # fmt: skip


@inner
def _greater_exemplar(cell, a):
    """The greatest value; of equal ones the first, then the least ids: the same in any order."""
    if np.isnan(cell.exemplar_value):
        return False
    if np.isnan(a.exemplar_value) or cell.exemplar_value != a.exemplar_value:
        return not cell.exemplar_value <= a.exemplar_value
    if cell.exemplar_time != a.exemplar_time:
        return cell.exemplar_time < a.exemplar_time
    if cell.exemplar_trace_high != a.exemplar_trace_high:
        return cell.exemplar_trace_high < a.exemplar_trace_high
    if cell.exemplar_trace_low != a.exemplar_trace_low:
        return cell.exemplar_trace_low < a.exemplar_trace_low
    return cell.exemplar_span < a.exemplar_span

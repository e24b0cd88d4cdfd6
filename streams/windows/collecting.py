"""The kernels that turn the table of buckets into columns, and that check such columns."""

from __future__ import annotations

import numpy as np

from streams.windows import cells as t
from streams.windows.exponential import BUCKETS_MAX, SCALE_MAX, SCALE_MIN, fitting_shift
from streams.wire.compiling import kernel

__all__ = ["check_buckets", "collect_buckets"]

_NONE = np.uint64(0)
_DENSE = 1024
"""More than BUCKETS_MAX, and than windows.buckets_max can be."""
_INDEX_MAX = 1 << 14


@kernel
def collect_buckets(pairs, bounds, starts, keys, counts, stops, scales, index, negative, count):
    """Buckets of cells, in order: those of a cell at one scale, positive ones first.

    ``bounds``: of each cell the row of bounds, -1: exponential. ``starts``, ``keys``, ``counts``:
    work areas of cells + 1, and of as many rows as there are buckets. Fills ``stops`` and
    ``scales`` of each cell and the columns of buckets; returns how many there are.
    """
    cells = len(bounds)
    starts[:] = 0
    for i in range(len(pairs)):
        if pairs[i, 0] != _NONE:
            starts[np.int64(pairs[i, 0] >> np.uint64(t.KEY_CELL))] += 1
    at = 0
    for cell in range(cells + 1):
        size = starts[cell]
        starts[cell] = at
        at += size
    for i in range(len(pairs)):
        if pairs[i, 0] != _NONE:
            cell = np.int64(pairs[i, 0] >> np.uint64(t.KEY_CELL))
            keys[starts[cell]] = np.int64(pairs[i, 0]) & ((1 << t.KEY_CELL) - 1)
            counts[starts[cell]] = pairs[i, 1]
            starts[cell] += 1
    # Now ``starts[cell + 1]`` is where the buckets of that cell stop.
    dense = np.zeros((2, _DENSE), np.uint64)
    first = np.zeros(2, np.int64)
    last = np.zeros(2, np.int64)
    made = 0
    for cell in range(cells):
        start = starts[cell]
        stop = starts[cell + 1]
        coarsest = 0
        for k in range(start, stop):
            coarsest = max(coarsest, (keys[k] >> t.KEY_COARSER) & 15)
        first[:] = _INDEX_MAX
        last[:] = -_INDEX_MAX
        for k in range(start, stop):
            sign = (keys[k] >> t.KEY_NEGATIVE) & 1
            shift = coarsest - ((keys[k] >> t.KEY_COARSER) & 15)
            at = ((keys[k] & (2 * t.KEY_INDEX - 1)) - t.KEY_INDEX) >> shift
            first[sign] = min(first[sign], at)
            last[sign] = max(last[sign], at)
        halved = 0
        if bounds[cell] < 0:
            for sign in range(2):
                if first[sign] <= last[sign]:
                    halved = max(halved, fitting_shift(first[sign], last[sign]))
        for k in range(start, stop):
            sign = (keys[k] >> t.KEY_NEGATIVE) & 1
            shift = coarsest - ((keys[k] >> t.KEY_COARSER) & 15)
            at = ((keys[k] & (2 * t.KEY_INDEX - 1)) - t.KEY_INDEX) >> (shift + halved)
            dense[sign, at - (first[sign] >> halved)] += counts[k]
        for sign in range(2):
            low = first[sign] >> halved
            for k in range((last[sign] >> halved) - low + 1):
                if dense[sign, k] != _NONE:
                    index[made] = low + k
                    negative[made] = sign
                    count[made] = dense[sign, k]
                    dense[sign, k] = _NONE
                    made += 1
        stops[cell] = made
        scales[cell] = SCALE_MAX - coarsest - halved
    return made


@kernel
def check_buckets(stops, scales, bounds, bounds_stop, index, negative, count, begin):
    """Whether the buckets of rows that begin at ``begin`` are as they must be.

    Positive ones first, each sign in order of indices without one twice, none empty; explicit ones
    within their bounds, exponential ones not more than BUCKETS_MAX.
    """
    for row in range(len(stops)):
        explicit = bounds[row] >= 0
        most = _INDEX_MAX
        if explicit:
            before = bounds_stop[bounds[row] - 1] if bounds[row] > 0 else 0
            most = bounds_stop[bounds[row]] - before
        if not SCALE_MIN <= scales[row] <= SCALE_MAX:
            return False
        for k in range(begin, stops[row]):
            if count[k] == _NONE or index[k] > most or index[k] < (0 if explicit else -_INDEX_MAX):
                return False
            if negative[k] > (0 if explicit else 1):
                return False
            new = k == begin or negative[k] != negative[k - 1]
            if new:
                lowest = index[k]
                if k > begin and negative[k] < negative[k - 1]:
                    return False
            elif index[k] <= index[k - 1]:
                return False
            if not explicit and index[k] - lowest >= BUCKETS_MAX:
                return False
        begin = stops[row]
    return True

"""Counts of buckets, in blocks of one pool of memory; compiled.

A distribution has two runs of dense counts, of positive and of negative values. Each run lies in a
block of 8, 16, 32 ... words of the pool, chosen by its length; a block that is given back is used
again by the next run of its class. ``runs[2 * row]`` is a row's positive run and the next one its
negative: where the block begins (-1: there is none), the index of the first count, how many counts
there are, and the class. Words of a block behind its counts are zero.
"""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner

__all__ = [
    "AT", "BASE", "BLOCKS_FREE", "CLASS", "CLASSES", "LENGTH", "POOL_TOP", "RUN", "copy_run",
    "cover", "downscale", "release", "span",
]  # fmt: skip

AT, BASE, LENGTH, CLASS, RUN = range(5)
CLASSES = 9
"""The greatest block has 2,048 words."""
POOL_TOP, BLOCKS_FREE = 0, 1
"""Places in ``meta``: words of the pool in use, and a list of free blocks for each class."""
_LEAST = 8


@inner
def _allocate(pool, meta, kind):
    """A block of zeros; there is room, the caller has seen to it."""
    at = meta[BLOCKS_FREE + kind]
    if at >= 0:
        meta[BLOCKS_FREE + kind] = np.int64(pool[at]) - 1
    else:
        at = meta[POOL_TOP]
        meta[POOL_TOP] = at + (_LEAST << kind)
    pool[at : at + (_LEAST << kind)] = 0
    return at


@inner
def _give_back(pool, meta, at, kind):
    pool[at] = np.uint64(meta[BLOCKS_FREE + kind] + 1)
    meta[BLOCKS_FREE + kind] = at


@inner
def release(pool, meta, runs, run):
    """Make a run empty."""
    if runs[run, AT] >= 0:
        _give_back(pool, meta, np.int64(runs[run, AT]), np.int64(runs[run, CLASS]))
    runs[run, AT] = -1
    runs[run, LENGTH] = 0


@inner
def _class_of(length):
    kind = 0
    while (_LEAST << kind) < length:
        kind += 1
    return kind


@inner
def cover(pool, meta, runs, run, low, high):
    """See to it that a run has counts from index ``low`` to ``high``."""
    length = np.int64(runs[run, LENGTH])
    base = np.int64(runs[run, BASE])
    if length == 0:
        base = low
        length = 1
    first = min(base, low)
    size = max(base + length - 1, high) - first + 1
    at = np.int64(runs[run, AT])
    shift = base - first
    if at >= 0 and size <= (_LEAST << runs[run, CLASS]):
        if shift > 0:
            for i in range(length - 1, -1, -1):
                pool[at + shift + i] = pool[at + i]
            pool[at : at + shift] = 0
    else:
        kind = _class_of(size)
        new = _allocate(pool, meta, kind)
        if at >= 0:
            pool[new + shift : new + shift + length] = pool[at : at + length]
            _give_back(pool, meta, at, np.int64(runs[run, CLASS]))
        runs[run, AT] = new
        runs[run, CLASS] = kind
    runs[run, BASE] = first
    runs[run, LENGTH] = size


@inner
def downscale(pool, runs, run, steps):
    """Halve the resolution ``steps`` times; index i becomes i >> steps (OTLP's convention)."""
    length = np.int64(runs[run, LENGTH])
    if length == 0 or steps == 0:
        return
    base, at = np.int64(runs[run, BASE]), np.int64(runs[run, AT])
    first = base >> steps
    for i in range(length):
        to = at + ((base + i) >> steps) - first
        if to != at + i:
            count = pool[at + i]
            pool[at + i] = 0
            pool[to] += count
    runs[run, BASE] = first
    runs[run, LENGTH] = ((base + length - 1) >> steps) - first + 1


@inner
def span(runs, run, steps, low, high):
    """Counts that a run and ``[low, high]`` (low > high: nothing) need together.

    At a scale so many steps lower than the run's; ``low`` and ``high`` are at it.
    """
    length = np.int64(runs[run, LENGTH])
    if length > 0:
        base = np.int64(runs[run, BASE])
        first, last = base >> steps, (base + length - 1) >> steps
        if low > high:
            return last - first + 1
        return max(last, high) - min(first, low) + 1
    return max(0, high - low + 1)


@inner
def copy_run(pool, runs, run, negative, index, sign, count, at):
    """Append what is not zero of a run to three columns; gives where the next goes."""
    base, start = np.int64(runs[run, BASE]), np.int64(runs[run, AT])
    for i in range(np.int64(runs[run, LENGTH])):
        value = pool[start + i]
        if value != 0:
            index[at] = base + i
            sign[at] = negative
            count[at] = value
            at += 1
    return at

"""The memory that accumulators lie in, and how they are written down."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .accumulators import ACCUMULATOR, META, ROOM, ROWS_FREE, ROWS_OPEN, ROWS_TOP, ROWS_USED
from .blocks import AT, BLOCKS_FREE, CLASSES, LENGTH, POOL_TOP
from .index import grown
from .merging import bucket_count, free_rows, gather, refill

__all__ = ["Buckets", "Store"]

_FREED = -128
_ROWS_MIN = 256


class Buckets(NamedTuple):
    """Buckets of rows, one after the other; none is empty."""

    stops: NDArray[np.int64]
    """Where those of each row end."""
    indices: NDArray[np.int32]
    negative: NDArray[np.uint8]
    counts: NDArray[np.uint64]


class Store:
    """Accumulators of all windows, groups and streams of a partition."""

    def __init__(self) -> None:
        self.reset(_ROWS_MIN, 2 * ROOM)

    def reset(self, rows: int, words: int) -> None:
        """Empty, with room for so many rows, and words of buckets."""
        self.accumulators = np.zeros(rows, ACCUMULATOR)
        self.runs = np.zeros((2 * rows, 5), np.int32)
        self.pool = np.zeros(words, np.uint64)
        self.meta = np.zeros(META, np.int64)
        self.meta[BLOCKS_FREE : BLOCKS_FREE + CLASSES] = -1
        self.meta[ROWS_FREE] = -1

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What kernels take: accumulators, runs, pool, meta."""
        return self.accumulators, self.runs, self.pool, self.meta

    @property
    def used(self) -> int:
        """Rows in use."""
        return int(self.meta[ROWS_USED])

    @property
    def open(self) -> int:
        """Rows of open windows."""
        return int(self.meta[ROWS_OPEN])

    @property
    def bytes(self) -> int:
        """What is reserved."""
        return self.accumulators.nbytes + self.runs.nbytes + self.pool.nbytes

    def grow(self) -> None:
        """Make room for more rows and more buckets."""
        if self.used > len(self.accumulators) - 64:
            rows = len(self.accumulators) * 5 // 4 + 1024
            self.accumulators = grown(self.accumulators, rows)
            self.runs = grown(self.runs, 2 * rows)
        if self.meta[POOL_TOP] > len(self.pool) - 2 * ROOM:
            self.pool = grown(self.pool, len(self.pool) * 5 // 4 + 2 * ROOM)

    @property
    def used_rows(self) -> NDArray[Any]:
        """Rows that are or were in use."""
        return self.accumulators[: int(self.meta[ROWS_TOP])]

    def rows(self) -> NDArray[np.int64]:
        """All rows in use, in ascending order."""
        return np.flatnonzero(self.used_rows["slot"] != _FREED)

    def of_window(self, slot: int, start: int) -> NDArray[np.int64]:
        """Rows of one window."""
        used = self.used_rows
        return np.flatnonzero((used["slot"] == slot) & (used["start"] == start))

    def buckets(self, rows: NDArray[np.int64]) -> Buckets:
        """Buckets of these rows."""
        most = int(bucket_count(rows, self.runs))
        stops = np.zeros(len(rows), np.int64)
        index = np.empty(most, np.int32)
        negative, count = np.empty(most, np.uint8), np.empty(most, np.uint64)
        gather(rows, self.accumulators, self.runs, self.pool, stops, index, negative, count)
        size = int(stops[-1]) if len(stops) else 0
        return Buckets(stops, index[:size], negative[:size], count[:size])

    def free(self, rows: NDArray[np.int64]) -> None:
        """Give rows back that are in no list."""
        free_rows(rows, *self.arrays)

    def dump(self) -> tuple[NDArray[np.int64], NDArray[Any], Buckets]:
        """Rows in use, what is in them, and their buckets."""
        rows = self.rows()
        return rows, self.accumulators[rows], self.buckets(rows)

    def load(self, found: NDArray[Any], buckets: Buckets, bounds_stop: NDArray[np.int64]) -> None:
        """Take over what ``dump`` gave, into rows from 0 on. Lists have to be made anew."""
        count = len(found)
        self.reset(count * 9 // 8 + _ROWS_MIN, 2 * ROOM)
        self.accumulators[:count] = found
        self.meta[ROWS_TOP] = self.meta[ROWS_USED] = count
        self.meta[ROWS_OPEN] = int((found["slot"] >= 0).sum())
        self.runs[:, AT] = -1
        self.runs[:, LENGTH] = 0
        self.accumulators["next"] = -1
        first = 0
        columns = tuple(np.ascontiguousarray(column) for column in buckets)
        while first < count:
            first = refill(first, count, *columns, *self.arrays, bounds_stop)
            self.grow()

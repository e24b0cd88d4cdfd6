"""What is remembered of each key, for as many keys as there is room for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.sampling.grouping import EMPTY, fill, index_of, look_up

__all__ = ["KeyTable"]

_FIRST_ROWS = 256
_FORGET_SHARE = 8
"""One in so many is forgotten at once, so that room is made rarely."""


class KeyTable:
    """Columns of numbers by key. Those not seen for longest make room when it is full.

    What is in it depends on the calls of ``place`` alone, not on where the rows happen to lie.

    Args:
        most: keys at most.
        columns: numpy dtypes by name; a new key's numbers are 0.
    """

    def __init__(self, most: int, columns: Mapping[str, str]) -> None:
        self._most = most
        self._count = 0
        self._keys = np.zeros(min(most, _FIRST_ROWS), np.uint64)
        self._seen = np.zeros(len(self._keys), np.int64)
        self._columns = {name: np.zeros(len(self._keys), kind) for name, kind in columns.items()}
        self._index = index_of(len(self._keys))
        self.forgotten = 0
        """Keys that made room for others, and new ones that found none."""

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, column: str) -> NDArray[Any]:
        """A column; rows are what ``find`` and ``place`` give."""
        return self._columns[column]

    @property
    def keys(self) -> NDArray[np.uint64]:
        """All keys, one a row."""
        return self._keys[: self._count]

    @property
    def seen_ms(self) -> NDArray[np.int64]:
        """When each row was last placed."""
        return self._seen

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Row of each key, EMPTY (-1) where there is none. Changes nothing."""
        rows = np.empty(len(keys), np.int32)
        look_up(np.ascontiguousarray(keys), self._keys, self._index, rows)
        return rows

    def place(self, keys: NDArray[np.uint64], now_ms: int) -> NDArray[np.int32]:
        """Row of each of these different keys, made where there is none; seen at ``now_ms``.

        EMPTY only where more keys are given than there is room for in all.
        """
        rows = self.find(keys)
        missing = np.flatnonzero(rows == EMPTY)
        self._seen[rows[rows != EMPTY]] = now_ms
        if not len(missing):
            return rows
        if self._count + len(missing) > self._most:
            self._make_room(len(missing), len(keys) - len(missing), now_ms)
        added = missing[: self._most - self._count]
        self.forgotten += len(missing) - len(added)
        start, stop = self._count, self._count + len(added)
        if stop > len(self._keys):
            self._grow(stop)
        self._keys[start:stop] = keys[added]
        self._seen[start:stop] = now_ms
        for column in self._columns.values():
            column[start:stop] = 0
        self._count = stop
        fill(self._keys, start, stop, self._index)
        return self.find(keys)

    def _make_room(self, wanted: int, in_use: int, now_ms: int) -> None:
        least = self._count + wanted - self._most
        count = min(self._count - in_use, max(least, self._most // _FORGET_SHARE))
        seen = self._seen[: self._count].copy()
        keep = _newest(seen, self.keys, count)
        keep |= seen == now_ms
        self.forgotten += self._count - int(keep.sum())
        self._keep(np.flatnonzero(keep))

    def _keep(self, rows: NDArray[np.intp]) -> None:
        count = len(rows)
        for array in (self._keys, self._seen, *self._columns.values()):
            array[:count] = array[rows]
        self._count = count
        self._index[:] = EMPTY
        fill(self._keys, 0, count, self._index)

    def _grow(self, least: int) -> None:
        size = min(self._most, max(2 * len(self._keys), least))
        more = size - len(self._keys)
        self._keys = np.pad(self._keys, (0, more))
        self._seen = np.pad(self._seen, (0, more))
        self._columns = {name: np.pad(c, (0, more)) for name, c in self._columns.items()}
        self._index = index_of(size)
        fill(self._keys, 0, self._count, self._index)

    def dump(self) -> dict[str, NDArray[Any]]:
        """Everything in it, by key; equal contents give equal arrays."""
        order = np.argsort(self.keys)
        rows: dict[str, NDArray[Any]] = {
            "key": self.keys[order],
            "seen_ms": self._seen[order],
        }
        rows |= {name: column[order] for name, column in self._columns.items()}
        return rows

    def load(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``dump`` gave; the keys seen last if those are too many.

        Columns that are not there are 0.
        """
        keys, seen = rows["key"], rows["seen_ms"]
        newest = np.lexsort((keys, seen))[::-1][: self._most]
        self._count = 0
        if len(newest) > len(self._keys):
            self._grow(len(newest))
        count = len(newest)
        self._keys[:count], self._seen[:count] = keys[newest], seen[newest]
        for name, column in self._columns.items():
            column[:count] = rows[name][newest] if name in rows else 0
        self._count = count
        self._index[:] = EMPTY
        fill(self._keys, 0, count, self._index)


def _newest(seen: NDArray[np.int64], keys: NDArray[np.uint64], count: int) -> NDArray[np.bool_]:
    """Which rows are not among the ``count`` seen longest ago, of equal times the least keys."""
    if count <= 0:
        return np.ones(len(seen), np.bool_)
    last = np.partition(seen, count - 1)[count - 1]
    keep: NDArray[np.bool_] = seen >= last
    tied = np.flatnonzero(seen == last)
    # Some of these go: without sorting the others.
    among = count - (len(seen) - int(keep.sum()))
    keep[tied[np.argpartition(keys[tied], among - 1)[:among]]] = False
    return keep

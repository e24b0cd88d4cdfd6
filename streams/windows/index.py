"""Rows found by a 64-bit hash: open addressing beside a column of the hashes; compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.wire.compiling import inner, kernel

__all__ = ["HashIndex", "grown", "place_of"]

_ODD = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_ROWS_MIN = 64


@inner
def place_of(key: Any, keys: Any, places: Any) -> Any:
    """Place of a hash's row in ``places``, or the empty one (-1) where it would go."""
    mask = places.size - 1
    at = np.int64((key * _ODD) >> _SHIFT) & mask
    while places[at] >= 0 and keys[places[at]] != key:
        at = (at + 1) & mask
    return at


@kernel
def _find(wanted: Any, keys: Any, places: Any, rows: Any) -> None:
    for i in range(wanted.size):
        rows[i] = places[place_of(wanted[i], keys, places)]


@kernel
def _fill(keys: Any, start: Any, stop: Any, places: Any) -> None:
    for row in range(start, stop):
        places[place_of(keys[row], keys, places)] = row


def grown(rows: NDArray[Any], size: int) -> NDArray[Any]:
    """``rows`` and zeros behind them, ``size`` in all; memory is taken when it is written to."""
    found = np.zeros((size, *rows.shape[1:]), rows.dtype)
    found[: len(rows)] = rows
    return found


class HashIndex:
    """Rows 0 to before ``count``, each with a hash of its own; rows are only ever added."""

    def __init__(self, keys: NDArray[np.uint64] | None = None) -> None:
        self.count = 0
        self.keys = np.zeros(_ROWS_MIN, np.uint64)
        self.places = np.full(4 * _ROWS_MIN, -1, np.int32)
        if keys is not None:
            self.add(keys)

    def find(self, wanted: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Row of each hash; -1: it has none."""
        rows = np.empty(len(wanted), np.int32)
        _find(np.array(wanted, np.uint64), self.keys, self.places, rows)
        return rows

    def add(self, keys: NDArray[np.uint64]) -> None:
        """The next rows, with hashes that are not there yet."""
        start, stop = self.count, self.count + len(keys)
        self.reserve(stop)
        self.keys[start:stop] = keys
        self.count = stop
        _fill(self.keys, start, stop, self.places)

    def reserve(self, count: int) -> None:
        """Make room for so many rows in all."""
        if count <= len(self.keys):
            return
        size = max(count, len(self.keys) * 3 // 2)
        self.keys = grown(self.keys, size)
        # Between a half and a quarter full.
        self.places = np.full(1 << (2 * size - 1).bit_length(), -1, np.int32)
        _fill(self.keys, 0, self.count, self.places)

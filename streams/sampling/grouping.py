"""Rows that have a hash in common, and the place of a hash in a table; compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.wire.compiling import kernel

__all__ = ["EMPTY", "distinct", "fill", "index_of", "look_up", "mixed"]

EMPTY = -1
_ODD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)


def mixed(a: NDArray[np.uint64], b: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """One hash of two, in this order."""
    h = (a ^ (a >> _SHIFT)) * _MIX
    h ^= b
    h *= _ODD
    h ^= h >> _SHIFT
    h *= _MIX
    h ^= h >> _SHIFT
    return h


def index_of(count: int) -> NDArray[np.int32]:
    """An empty index for ``count`` hashes; a third full at most."""
    return np.full(1 << max(3 * count, 15).bit_length(), EMPTY, np.int32)


@kernel
def _group(values: Any, index: Any, inverse: Any, first: Any) -> Any:
    mask = index.size - 1
    count = 0
    for i in range(values.size):
        value = values[i]
        at = np.int64((value * _ODD) >> _SHIFT) & mask
        while True:
            group = index[at]
            if group < 0:
                index[at] = count
                first[count] = i
                inverse[i] = count
                count += 1
                break
            if values[first[group]] == value:
                inverse[i] = group
                break
            at = (at + 1) & mask
    return count


def distinct(values: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Which group each row is of, and the first row of each; groups in order of appearance."""
    inverse = np.empty(len(values), np.int32)
    first = np.empty(len(values), np.int64)
    if not (values.flags.writeable and values.flags.c_contiguous):
        values = values.copy()  # for numba another type, and another compilation
    count = _group(values, index_of(len(values)), inverse, first)
    return inverse, first[:count].copy()


@kernel
def look_up(hashes: Any, keys: Any, index: Any, rows: Any) -> None:
    """Row of each hash in ``keys``, EMPTY for those that are not there."""
    mask = index.size - 1
    for i in range(hashes.size):
        value = hashes[i]
        at = np.int64((value * _ODD) >> _SHIFT) & mask
        row = index[at]
        while row >= 0 and keys[row] != value:
            at = (at + 1) & mask
            row = index[at]
        rows[i] = row


@kernel
def fill(keys: Any, start: Any, stop: Any, index: Any) -> None:
    """Put the rows from ``start`` to before ``stop``, which are not there yet, into the index."""
    mask = index.size - 1
    for row in range(start, stop):
        at = np.int64((keys[row] * _ODD) >> _SHIFT) & mask
        while index[at] >= 0:
            at = (at + 1) & mask
        index[at] = row

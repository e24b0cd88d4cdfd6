"""State of many series as arrays: a row per series, all of them zero at first.

Zero is the state of a series of which nothing is known, so memory that no series has used yet
costs nothing, and to forget a series is to clear its row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Blocks"]


class Blocks:
    """Arrays of ``capacity`` rows; ``widths`` says each one's dtype and numbers per row."""

    def __init__(self, capacity: int, widths: Mapping[str, tuple[str, int]]) -> None:
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.zeros((capacity, width), dtype) for name, (dtype, width) in widths.items()
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[tuple[str, NDArray[Any]]]:
        return iter(self._arrays.items())

    def __len__(self) -> int:
        """Rows that there are."""
        return len(next(iter(self._arrays.values())))

    @property
    def row_bytes(self) -> int:
        """Bytes of a series."""
        return sum(array.itemsize * array.shape[1] for array in self._arrays.values())

    def grow(self, capacity: int) -> None:
        """Room for ``capacity`` rows; what is there stays."""
        for name, array in self._arrays.items():
            if capacity > len(array):
                larger = np.zeros((capacity, array.shape[1]), array.dtype)
                larger[: len(array)] = array
                self._arrays[name] = larger

    def forget(self, rows: NDArray[np.int32]) -> None:
        """Clear these rows."""
        for array in self._arrays.values():
            array[rows] = 0

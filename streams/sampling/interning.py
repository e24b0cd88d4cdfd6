"""Readable texts of hashes, as many as there is room for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interned"]


class Interned:
    """Hash to text for at most ``most`` hashes; the first to come stay."""

    overflowed: int
    """Hashes that found no room, each counted once a call."""

    def __init__(self, most: int) -> None:
        raise NotImplementedError

    def unknown(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Indices of the first occurrences of hashes that are not known, ascending.

        0 is no hash. Call ``add`` for each: a hash is reported again until it has a text. When
        there is no room left, what is not known is counted and not reported.
        """
        raise NotImplementedError

    def add(self, hashed: int, text: str) -> None:
        """Give a hash its text; a known one keeps what it has."""
        raise NotImplementedError

    def text(self, hashed: int) -> str:
        """Text of a hash: the hash as 16 hex digits if it is not known, '' for 0."""
        raise NotImplementedError

    def items(self) -> Iterator[tuple[int, str]]:
        """All hashes and their texts, by hash."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

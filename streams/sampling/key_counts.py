"""Decided traces by sampling key, for as many keys as metrics are to tell apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.sampling.grouping import EMPTY, fill, index_of, look_up

__all__ = ["OTHER", "KeyCount", "KeyCounts", "Texts"]

OTHER = "(other)"
"""What keys beyond the bound are counted as."""

Texts = Callable[[NDArray[np.intp]], Sequence[str]]
"""Readable keys of the groups with these numbers."""


class KeyCount(NamedTuple):
    """Of one sampling key."""

    kept: int
    dropped: int
    represented: float
    """Sum of the adjusted counts of what was kept: an estimate of ``kept + dropped``."""


class KeyCounts:
    """Counts of the first ``most`` keys to come, and of all others together.

    Texts are asked for once a key, and of no more keys than there is room for.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._hashes = np.zeros(most, np.uint64)
        self._index = index_of(most)
        self._known = 0
        self._line_of = np.zeros(most + 1, np.int32)
        """Of each hash, and last of all others. Two hashes may read the same: they share a line."""
        self._lines = {OTHER: 0}
        self._sums = np.zeros((3, most + 1))

    def add(
        self,
        keys: NDArray[np.uint64],
        kept: NDArray[np.float64],
        dropped: NDArray[np.float64],
        represented: NDArray[np.float64],
        texts: Texts,
    ) -> None:
        """Add a row a group; ``keys`` are hashes, which may come more than once."""
        rows = self._find(keys)
        if self._known < self._most and (rows == EMPTY).any():
            self._name(keys, np.flatnonzero(rows == EMPTY), texts)
            rows = self._find(keys)
        lines = self._line_of[rows]  # EMPTY is the last
        for sums, values in zip(self._sums, (kept, dropped, represented), strict=True):
            np.add.at(sums, lines, values)

    def _find(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        rows = np.empty(len(keys), np.int32)
        look_up(np.ascontiguousarray(keys), self._hashes, self._index, rows)
        return rows

    def _name(self, keys: NDArray[np.uint64], new: NDArray[np.intp], texts: Texts) -> None:
        _, first = np.unique(keys[new], return_index=True)
        new = new[np.sort(first)][: self._most - self._known]
        start, self._known = self._known, self._known + len(new)
        self._hashes[start : self._known] = keys[new]
        fill(self._hashes, start, self._known, self._index)
        for row, text in enumerate(texts(new), start):
            self._line_of[row] = self._lines.setdefault(text, len(self._lines))

    def items(self) -> Iterator[tuple[str, KeyCount]]:
        """Readable keys and their counts, in the order in which they came; ``OTHER`` is last."""
        for text, line in [*self._lines.items()][1:]:
            yield text, self._count(line)
        if self._sums[:, 0].any():
            yield OTHER, self._count(0)

    def __getitem__(self, text: str) -> KeyCount:
        """Of a readable key. Raises KeyError."""
        return self._count(self._lines[text])

    def _count(self, line: int) -> KeyCount:
        kept, dropped, represented = self._sums[:, line].tolist()
        return KeyCount(round(kept), round(dropped), represented)

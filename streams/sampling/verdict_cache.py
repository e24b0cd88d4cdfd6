"""What was found out about texts, by their hash, so that each distinct one is looked at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streams.sampling.grouping import EMPTY, distinct, fill, index_of, look_up

__all__ = ["VerdictCache"]


class VerdictCache:
    """Bits by hash, for ``most`` hashes; when they are more it begins anew.

    It changes nothing but speed. Two texts of one 64-bit hash share their verdict: that takes some
    2^32 different texts, and who makes them on purpose could as well send the other text.
    """

    def __init__(self, judge: Callable[[str], int], most: int = 10_000) -> None:
        self._judge = judge
        self._most = most
        self._keys = np.zeros(most, np.uint64)
        self._bits = np.zeros(most, np.uint64)
        self._index = index_of(most)
        self._count = 0
        self.judged = 0
        """Texts that were looked at."""

    def of(self, hashes: NDArray[np.uint64], text: Callable[[int], str]) -> NDArray[np.uint64]:
        """Bits of each hash; ``text`` gives the text of a row."""
        rows = np.empty(len(hashes), np.int32)
        look_up(hashes, self._keys, self._index, rows)
        missing = np.flatnonzero(rows == EMPTY)
        if not len(missing):
            return self._bits[rows]
        result = self._bits[rows]  # -1 is any row; those are replaced
        inverse, first = distinct(hashes[missing])
        found = [self._judge(text(row)) for row in missing[first].tolist()]
        self.judged += len(found)
        verdicts = np.array(found, np.uint64)
        result[missing] = verdicts[inverse]
        self._remember(hashes[missing[first]], verdicts)
        return result

    def _remember(self, keys: NDArray[np.uint64], verdicts: NDArray[np.uint64]) -> None:
        if self._count + len(keys) > self._most:
            self._index[:] = EMPTY
            self._count = 0
            keys, verdicts = keys[: self._most], verdicts[: self._most]
        start, stop = self._count, self._count + len(keys)
        self._keys[start:stop], self._bits[start:stop] = keys, verdicts
        self._count = stop
        fill(self._keys, start, stop, self._index)

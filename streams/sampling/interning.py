"""Readable texts of hashes, as many as there is room for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from streams.sampling.memory import plain
from streams.sampling.slots import find_slot, slot_of, table_size
from streams.wire.compiling import kernel
from streams.wire.memory import load_u64

__all__ = ["Interned"]


@kernel
def _unknown(keys, mask, hashes, found):
    """Indices of hashes that are not in a table; how many. 0 is known."""
    n = 0
    last = np.uint64(0)
    for i in range(len(hashes)):
        hashed = hashes[i]
        if hashed != last and hashed != np.uint64(0):
            if load_u64(keys, 8 * slot_of(keys, mask, hashed)) == np.uint64(0):
                found[n] = i
                n += 1
            last = hashed
    return n


_TEXT_MAX = 200
"""Characters of a text that are held; a span's name may be a megabyte."""


class Interned:
    """Hash to text for at most ``most`` hashes; the first to come stay.

    Of a text of more than 200 characters the first are held, and the hash, so that texts differ.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"most must be at least 1, not {most}")
        self._most = most
        self._keys = np.zeros(table_size(most), np.uint64)
        self._texts: dict[int, str] = {}
        self.overflowed = 0
        """Hashes that found no room, each counted once a call."""

    def unknown(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Indices of the first occurrences of hashes that are not known, ascending.

        0 is no hash. Call ``add`` for each: a hash is reported again until it has a text. What
        there is no room for is counted and not reported.
        """
        found = np.empty(len(hashes), np.int64)
        place = self._keys.ctypes.data
        count = _unknown(place, len(self._keys) - 1, plain(hashes, np.uint64), found)
        if not count:
            return found[:0]
        found = found[:count]
        _, once = np.unique(hashes[found], return_index=True)
        found = found[np.sort(once)]
        room = self._most - len(self._texts)
        self.overflowed += max(0, len(found) - room)
        return found[:room]

    def add(self, hashed: int, text: str) -> None:
        """Give a hash its text; a known one keeps what it has, one without room is counted."""
        if not hashed or hashed in self._texts:
            return
        if len(self._texts) == self._most:
            self.overflowed += 1
            return
        if len(text) > _TEXT_MAX:
            text = f"{text[: _TEXT_MAX - 17]}…{hashed:016x}"
        self._texts[hashed] = text
        slot = find_slot(self._keys.ctypes.data, len(self._keys) - 1, np.uint64(hashed))
        self._keys[slot] = hashed

    def text(self, hashed: int) -> str:
        """Text of a hash: the hash as 16 hex digits if it is not known, '' for 0."""
        return self._texts.get(hashed, f"{hashed:016x}") if hashed else ""

    def texts(self, hashes: NDArray[np.uint64]) -> list[str]:
        """``text`` of each."""
        known = self._texts.get
        return [
            found if (found := known(each)) is not None else f"{each:016x}" if each else ""
            for each in hashes.tolist()
        ]

    def items(self) -> Iterator[tuple[int, str]]:
        """All hashes and their texts, by hash."""
        return iter(sorted(self._texts.items()))

    def __len__(self) -> int:
        return len(self._texts)

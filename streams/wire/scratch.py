"""Working memory of the kernels: one set a thread, kept between calls, grown as needed."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.wire.tree import LEVEL_SLOTS, NODE_COLUMNS
from streams.wire.walk import WORK_WORDS

__all__ = ["Scratch", "scratch"]

_NODES, _LEAVES = 1 << 10, 1 << 12
_KEEP_LEAVES = 1 << 16
_KEEP_BYTES = 1 << 25


class Scratch(threading.local):
    """Arrays that a thread's calls share; what outlives a call is copied out of them."""

    def __init__(self) -> None:
        self.area = np.zeros(WORK_WORDS, np.int64)
        self.levels = np.zeros(LEVEL_SLOTS, np.int64)
        self._arrays: dict[str, NDArray[Any]] = {}
        self.reserve_tree(_NODES, _LEAVES)

    def release(self) -> None:
        """Give back what only a huge request needed: it must not hold memory for ever."""
        if len(self.leaves) > _KEEP_LEAVES:
            self.reserve_tree(_NODES, _LEAVES)

    def reserve_tree(self, nodes: int, leaves: int) -> None:
        """Room for so many nodes and leaves."""
        self.nodes = np.empty((nodes, NODE_COLUMNS), np.int32)
        self.hashes = np.empty(nodes, np.uint64)
        self.leaves = np.empty((leaves, 4), np.int32)
        self.gaps = np.empty((nodes * 2, 2), np.int32)

    def take(self, name: str, size: int, dtype: type[np.generic]) -> NDArray[Any]:
        """An array of at least ``size`` undefined elements; large ones are not kept."""
        array = self._arrays.get(name)
        if array is None or len(array) < size:
            array = np.empty(max(size + size // 2, 1024), dtype)
            if array.nbytes <= _KEEP_BYTES:
                self._arrays[name] = array
        return array


scratch = Scratch()

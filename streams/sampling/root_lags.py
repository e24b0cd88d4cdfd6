"""How long traces go on after their root arrived, by root operation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.sampling.memory import plain, store_u64
from streams.sampling.slots import find_slot, slot_of, table_size
from streams.wire.compiling import inner, kernel
from streams.wire.memory import load_i64, load_u64, store_i64

__all__ = ["RootLags", "lag_of"]

_KEYS, _LAGS, _MASK, _COUNT, _MOST = range(5)


@inner
def lag_of(state, operation):
    """Milliseconds of a root operation, 0: not known."""
    slot = slot_of(load_i64(state, _KEYS), load_i64(state, _MASK), operation)
    return load_i64(load_i64(state, _LAGS), slot)


@kernel
def set_all(state, operations, lags):
    """Set lags of operations; how many found no room."""
    keys, values = load_i64(state, _KEYS), load_i64(state, _LAGS)
    count, refused = load_i64(state, _COUNT), 0
    for i in range(len(operations)):
        if operations[i] == np.uint64(0):
            continue
        slot = slot_of(keys, load_i64(state, _MASK), operations[i])
        if load_u64(keys, 8 * slot) == np.uint64(0):
            if count == load_i64(state, _MOST):
                refused += 1
                continue
            count += 1
            store_u64(keys, 8 * slot, operations[i])
        store_i64(values, slot, max(lags[i], 0))
    store_i64(state, _COUNT, count)
    return refused


class RootLags:
    """Hash of a root operation's name to milliseconds, for at most ``most`` operations.

    ``OpenTraces.absorb`` looks here when a root arrives: the trace is due that much later, or
    ``root_wait_ms`` later, whichever is more; the latter alone for operations not in here.
    """

    def __init__(self, most: int = 4096) -> None:
        if most < 1:
            raise ValueError(f"most must be at least 1, not {most}")
        size = table_size(most)
        self.refused = 0
        """Operations that found no room, each counted once a call."""
        self._keys = np.zeros(size, np.uint64)
        self._lags = np.zeros(size, np.int64)
        places = [self._keys.ctypes.data, self._lags.ctypes.data, size - 1, 0, most]
        self._state = np.array(places, np.int64)
        self.address = self._state.ctypes.data

    def set(self, operations: NDArray[np.uint64], lag_ms: NDArray[np.int64]) -> None:
        """Set the lag of operations; new ones beyond ``most`` are counted and left out.

        0 is no operation; a lag below 0 counts as 0.
        """
        if len(operations) != len(lag_ms):
            raise ValueError(f"{len(lag_ms)} lags of {len(operations)} operations")
        known, lags = plain(operations, np.uint64), plain(lag_ms, np.int64)
        self.refused += set_all(self.address, known, lags)

    def get(self, operation: int) -> int | None:
        """Lag of an operation in milliseconds, None: not known."""
        keys = self._keys
        slot = find_slot(keys.ctypes.data, len(keys) - 1, np.uint64(operation))
        return int(self._lags[slot]) if keys[slot] else None

    def clear(self) -> None:
        """Forget all."""
        self._keys.fill(0)
        self._lags.fill(0)
        self._state[_COUNT] = 0

    def __len__(self) -> int:
        return int(self._state[_COUNT])

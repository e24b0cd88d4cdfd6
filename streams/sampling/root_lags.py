"""How long traces go on after their root arrived, by root operation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.sampling.slots import find_slot, slot_of, table_size
from streams.wire.compiling import inner
from streams.wire.memory import load_i64

__all__ = ["RootLags", "lag_of"]

_KEYS, _LAGS, _MASK = range(3)


@inner
def lag_of(state, operation):
    """Milliseconds of a root operation, 0: not known."""
    slot = slot_of(load_i64(state, _KEYS), load_i64(state, _MASK), operation)
    return load_i64(load_i64(state, _LAGS), slot)


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
        self._most = most
        self._count = 0
        self._keys = np.zeros(size, np.uint64)
        self._lags = np.zeros(size, np.int64)
        places = [self._keys.ctypes.data, self._lags.ctypes.data, size - 1]
        self._state = np.array(places, np.int64)
        self.address = self._state.ctypes.data

    def _slot(self, operation: int) -> int:
        return int(find_slot(self._keys.ctypes.data, len(self._keys) - 1, np.uint64(operation)))

    def set(self, operations: NDArray[np.uint64], lag_ms: NDArray[np.int64]) -> None:
        """Set the lag of operations; new ones beyond ``most`` are counted and left out.

        0 is no operation; a lag below 0 counts as 0.
        """
        for operation, lag in zip(operations.tolist(), lag_ms.tolist(), strict=True):
            slot = self._slot(operation)
            if not operation:
                continue
            if not self._keys[slot]:
                if self._count == self._most:
                    self.refused += 1
                    continue
                self._count += 1
                self._keys[slot] = operation
            self._lags[slot] = max(lag, 0)

    def get(self, operation: int) -> int | None:
        """Lag of an operation in milliseconds, None: not known."""
        slot = self._slot(operation)
        return int(self._lags[slot]) if self._keys[slot] else None

    def clear(self) -> None:
        """Forget all."""
        self._keys.fill(0)
        self._lags.fill(0)
        self._count = 0

    def __len__(self) -> int:
        return self._count

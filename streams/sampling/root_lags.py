"""How long traces go on after their root arrived, by root operation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["RootLags"]


class RootLags:
    """Hash of a root operation's name to milliseconds, for at most ``most`` operations.

    ``OpenTraces.absorb`` looks here when a root arrives: the trace is due that much later, or
    ``root_wait_ms`` later, whichever is more; the latter alone for operations not in here.
    """

    refused: int
    """Operations that found no room."""

    def __init__(self, most: int = 4096) -> None:
        raise NotImplementedError

    def set(self, operations: NDArray[np.uint64], lag_ms: NDArray[np.int64]) -> None:
        """Set the lag of operations; new ones beyond ``most`` are counted and left out."""
        raise NotImplementedError

    def get(self, operation: int) -> int | None:
        """Lag of an operation in milliseconds, None: not known."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget all."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

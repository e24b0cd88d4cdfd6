"""Traces that were decided and dropped: a filter of fingerprints in generations."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["DroppedTraces"]


class DroppedTraces:
    """Which traces were dropped in the last ``memory_ms``, with few false positives.

    A generation is a cuckoo filter with 15-bit fingerprints that takes 2 bytes a trace when
    full; there are about 4 to 8. A full one is followed by one whose size goes by the rate, and
    goes ``memory_ms`` after it was full. Together they hold at most ``most`` traces: where that
    would be exceeded, the oldest generation goes early (``forgotten`` counts its traces).
    """

    forgotten: int
    """Traces forgotten before their time because there were more than ``most``."""
    rotated_early: int
    """Generations that went before their time."""

    def __init__(self, most: int, memory_ms: int) -> None:
        raise NotImplementedError

    def add(
        self, trace_id_high: NDArray[np.uint64], trace_id_low: NDArray[np.uint64], now_ms: int
    ) -> None:
        """Remember traces; then forget what is older than ``memory_ms``."""
        raise NotImplementedError

    def contains(
        self, trace_id_high: NDArray[np.uint64], trace_id_low: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        """Which of the traces were dropped; rarely True for one that was not."""
        raise NotImplementedError

    def expire(self, now_ms: int) -> int:
        """Forget generations that are over; how many traces that were."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """Memory of all generations."""
        raise NotImplementedError

    def chunks(self) -> list[bytes]:
        """The state as bytes, the same bytes for the same state."""
        raise NotImplementedError

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over a state that ``chunks`` gave. Raises MalformedMessage if it is none."""
        raise NotImplementedError

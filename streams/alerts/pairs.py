"""Pairs of a series and a statistic of it, as rows of a detection; and what was unusual lately."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.detection import Detection, Observed

from .series import grown

if TYPE_CHECKING:
    from streams.anomaly.services import ServiceDetection

__all__ = ["UNUSUAL_PER_DAY", "Pairs", "Unusual"]

UNUSUAL_PER_DAY = 24.0
"""A value that is expected no more often than that is remembered for `moved with`."""

_ROOM_MIN = 64
_DTYPES = {
    "number": np.int32,
    "statistic": np.int8,
    "at_ms": np.int64,
    "score": np.float32,
    "value": np.float64,
    "low": np.float64,
    "high": np.float64,
}


class Unusual(NamedTuple):
    """A value that was."""

    number: int
    """Of its series."""
    statistic: int
    """Its place in ``statistics.STATISTICS``."""
    at_ms: int
    """End of its window."""
    score: float
    value: float
    low: float
    """Least value that was expected; NaN: not known."""
    high: float


class Pairs:
    """Pairs in windows of one length. Of each there is a row in every column.

    ``number`` is its series, -1 where the row is free; ``at_ms`` when it was unusual last, 0 if it
    never was; ``score``, ``value``, ``low`` and ``high`` are of then.
    """

    number: NDArray[np.int32]
    statistic: NDArray[np.int8]
    at_ms: NDArray[np.int64]
    score: NDArray[np.float32]
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def __init__(self, length_ms: int, detection: Detection | ServiceDetection) -> None:
        self.length_ms = length_ms
        self.detection = detection
        self.used = 0
        """Rows in use or free."""
        self._free: list[int] = []
        for name, dtype in _DTYPES.items():
            setattr(self, name, np.zeros(_ROOM_MIN, dtype))

    def __len__(self) -> int:
        return self.used - len(self._free)

    def add(self, number: int, statistic: int) -> int:
        """A row for a pair, the least that is free."""
        if self._free:
            pair = heapq.heappop(self._free)
        else:
            pair = self.used
            self.used += 1
            self._reserve()
        self.number[pair], self.statistic[pair] = number, statistic
        self.at_ms[pair] = 0
        if isinstance(self.detection, Detection):
            # Series of one statistic and length are alike.
            self.detection.describe(np.array([pair], np.int32), self.length_ms, statistic)
        return pair

    def _reserve(self) -> None:
        room = len(self.number)
        while room < self.used:
            room *= 2
        if room > len(self.number):
            for name in _DTYPES:
                setattr(self, name, grown(getattr(self, name), room))
        self.detection.grow(self.used, self.length_ms)

    def remove(self, pairs: list[int]) -> None:
        """Free rows."""
        if pairs:
            self.detection.forget(np.array(pairs, np.int32))
            self.number[pairs] = -1
            for pair in pairs:
                heapq.heappush(self._free, pair)

    def remember(
        self, end_ms: int, pairs: NDArray[np.int32], values: NDArray[np.float64], found: Observed
    ) -> None:
        """Note what of a window is unusual."""
        unusual = found.rate_per_day <= UNUSUAL_PER_DAY
        if unusual.any():
            at = pairs[unusual]
            self.at_ms[at] = end_ms
            self.score[at] = found.score[unusual]
            self.value[at] = values[unusual]
            self.low[at], self.high[at] = found.low[unusual], found.high[unusual]

    def since(self, time_ms: int) -> NDArray[np.int64]:
        """Rows of what was unusual in a window that ended later."""
        live = self.number[: self.used] >= 0
        return np.flatnonzero(live & (self.at_ms[: self.used] > time_ms))

    def unusual(self, pair: int) -> Unusual:
        """What is in a row."""
        return Unusual(*(getattr(self, name)[pair].item() for name in _DTYPES))

    # --- snapshots

    def columns(self) -> dict[str, NDArray[Any]]:
        """All but the state of detection."""
        return {name: getattr(self, name)[: self.used] for name in _DTYPES}

    def restore(self, columns: Mapping[str, NDArray[Any]], chunks: Iterable[bytes]) -> None:
        """Take over what ``columns`` and ``detection.snapshot`` gave."""
        self.used = len(columns["number"])
        self._reserve()
        self.detection.restore(chunks)
        for name in _DTYPES:
            getattr(self, name)[: self.used] = columns[name]
        self._free = np.flatnonzero(self.number[: self.used] < 0).tolist()

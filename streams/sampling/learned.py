"""The running 99th percentile of a duration, by key."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.sampling.grouping import EMPTY
from streams.sampling.key_table import KeyTable

__all__ = ["OBSERVED_MIN", "RunningP99"]

OBSERVED_MIN = 30
"""Observations of a key before its percentile is believed."""
_MEMORY = 2000.0
"""Observations that mean and variance go back to."""
_ABOVE = 0.01
_STEP = 0.05
"""Of the multiplier: an observation above moves it up by this times 0.99."""
_Z_FIRST, _Z_LEAST, _Z_MOST = 2.326, 1.0, 12.0
_LEAST_SPREAD = 0.02
"""Of the logarithm to base 2: what always takes equally long has no outliers within 3 %."""
_LEAST_MS = 1e-3
_COLUMNS = {"count": "f4", "mean": "f4", "variance": "f4", "z": "f4"}


class RunningP99:
    """Estimates per key: mean + z · spread of the logarithm.

    A normal distribution of logarithms gives z = 2.33 to begin with; from then on z rises with
    each observation above the estimate and falls with each one below, so that one in a hundred
    is above whatever the distribution is (Robbins and Monro 1951; as "adaptive conformal
    inference" in Gibbs and Candès 2021). 16 bytes a key.
    """

    def __init__(self, most: int) -> None:
        self.table = KeyTable(most, _COLUMNS)

    def of(self, keys: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Estimate in milliseconds by key; infinite where too little is known."""
        rows = self.table.find(keys)
        result = np.full(len(keys), np.inf, np.float32)
        known = np.flatnonzero(rows != EMPTY)
        rows = rows[known]
        believed = self.table["count"][rows] >= OBSERVED_MIN
        known, rows = known[believed], rows[believed]
        result[known] = np.exp2(self._level(rows))
        return result

    def _level(self, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        spread = np.maximum(np.sqrt(self.table["variance"][rows]), np.float32(_LEAST_SPREAD))
        level: NDArray[np.float32] = self.table["mean"][rows] + self.table["z"][rows] * spread
        return level

    def learn(
        self,
        keys: NDArray[np.uint64],
        group: NDArray[np.int32],
        duration_ms: NDArray[np.float32],
        now_ms: int,
    ) -> None:
        """Observe durations; ``keys`` are different, ``group`` says which key each is of."""
        if not len(duration_ms):
            return
        rows = self.table.place(keys, now_ms)
        value = np.log2(np.maximum(duration_ms, np.float32(_LEAST_MS)))
        count = np.bincount(group, minlength=len(keys))
        placed = np.flatnonzero((rows != EMPTY) & (count > 0))
        rows, size = rows[placed], count[placed].astype(np.float64)
        total = np.bincount(group, value, len(keys))
        mean_by_key = total / np.maximum(count, 1)
        variance = np.bincount(group, (value - mean_by_key[group]) ** 2, len(keys))[placed] / size
        mean = mean_by_key[placed]
        table = self.table
        before = table["count"][rows].astype(np.float64)
        level = np.full(len(keys), np.inf)
        level[placed] = self._level(rows)
        above = np.bincount(group, value > level[group], len(keys))[placed]
        known = np.minimum(before, _MEMORY)
        part = size / (known + size)
        shift = mean - table["mean"][rows]
        table["mean"][rows] += part * shift
        old = table["variance"][rows]
        table["variance"][rows] = (1 - part) * (old + part * shift**2) + part * variance
        moved = table["z"][rows] + np.clip(_STEP * (above - _ABOVE * size), -1.0, 1.0)
        z = np.where(before < OBSERVED_MIN, _Z_FIRST, moved)
        table["z"][rows] = np.clip(z, _Z_LEAST, _Z_MOST)
        table["count"][rows] = np.minimum(before + size, _MEMORY)

"""Robust z: how far a value is from the median of the last ones, in units of their spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.blocks import Blocks
from streams.anomaly.detectors import Scores
from streams.wire.compiling import inner, kernel

__all__ = ["Level"]

SCORE_MAX = 1000.0
_F4_MAX = 1e30
_NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
_EXPECTED = 3.0
"""Expected are values within so many standard deviations."""


@inner
def insert_sorted(ordered, count, value):
    """Put ``value`` into the first ``count`` numbers, which are in order."""
    at = count
    while at > 0 and ordered[at - 1] > value:
        ordered[at] = ordered[at - 1]
        at -= 1
    ordered[at] = value


@inner
def remove_sorted(ordered, count, value):
    """Take ``value``, which is among them, out of ``count`` numbers in order."""
    low, high = 0, count
    while low < high:
        middle = (low + high) >> 1
        if ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    for at in range(low, count - 1):
        ordered[at] = ordered[at + 1]


@inner
def median_deviation(ordered, count):
    """Median and median absolute deviation of ``count`` numbers in order."""
    half = count >> 1
    median = ordered[half] if count & 1 else 0.5 * (ordered[half - 1] + ordered[half])
    left, right, deviation = half - 1, half, 0.0
    for _ in range(half + 1):
        below = median - ordered[left] if left >= 0 else np.inf
        above = ordered[right] - median if right < count else np.inf
        if below <= above:
            deviation, left = below, left - 1
        else:
            deviation, right = above, right + 1
    return median, deviation


@kernel
def score_level(ring, ordered, place, spread, series, values, warmup, score, low, high):
    """Score and learn; ``place`` is count and next index, ``spread`` a slow mean deviation."""
    window = ring.shape[1]
    for row in range(len(series)):
        i, value = series[row], values[row]
        score[row] = low[row] = high[row] = np.nan
        if np.isnan(value):
            continue
        value = min(max(value, -_F4_MAX), _F4_MAX)
        count, at = place[i, 0], place[i, 1]
        if count > 0:
            median, deviation = median_deviation(ordered[i], count)
            sigma = max(_NORMAL * deviation, 0.25 * spread[i, 0])
            distance = abs(value - median)
            if count >= warmup:
                far = distance / sigma if sigma > 0.0 else (SCORE_MAX if distance > 0.0 else 0.0)
                score[row] = min(far, SCORE_MAX)
                low[row], high[row] = median - _EXPECTED * sigma, median + _EXPECTED * sigma
            weight = 1.0 / min(count, 8 * window)
            spread[i, 0] += weight * (min(distance, 10.0 * sigma + spread[i, 0]) - spread[i, 0])
            if spread[i, 0] == 0.0:
                spread[i, 0] = weight * distance
        stored = np.float32(value)
        if count == window:
            remove_sorted(ordered[i], count, ring[i, at])
            count -= 1
        insert_sorted(ordered[i], count, stored)
        ring[i, at] = stored
        place[i, 0], place[i, 1] = count + 1, (at + 1) % window


class Level:
    """The last ``window`` values of each series."""

    name = "level"

    def __init__(self, capacity: int, *, window: int = 64, warmup: int = 30) -> None:
        self._warmup = min(warmup, window)
        self.blocks = Blocks(
            capacity,
            {
                "ring": ("<f4", window),
                "ordered": ("<f4", window),
                "place": ("<i4", 2),
                "spread": ("<f8", 1),
            },
        )

    def observe(
        self, series: NDArray[np.int32], time_ms: NDArray[np.int64], values: NDArray[np.float64]
    ) -> Scores:
        """See ``Detector``."""
        found = Scores(*(np.empty(len(series)) for _ in range(3)))
        state = self.blocks
        score_level(
            *(state["ring"], state["ordered"], state["place"], state["spread"]),
            *(series, values, self._warmup, *found),
        )
        return found

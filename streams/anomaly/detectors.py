"""The interface of every detector of series."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.blocks import Blocks

__all__ = ["Detector", "Scores", "empty_scores"]


class Scores(NamedTuple):
    """What a detector says of a block of n points on each of its s scales."""

    score: NDArray[np.float64]
    """(s, n): strangeness, 0 or more, in a unit of the scale's own; NaN: the series is too young
    for it, or the value was missing."""
    low: NDArray[np.float64]
    """(n): least value that was expected before the point was seen; NaN: it does not say."""
    high: NDArray[np.float64]
    """(n): greatest value that was expected."""


class Detector(Protocol):
    """State of many series, and scores of their next points.

    A score depends on the point and on the series' earlier points alone. A block may hold several
    points of a series, in order of time.
    """

    @property
    def name(self) -> str:
        """As in the configuration."""

    @property
    def families(self) -> tuple[tuple[int, float], ...]:
        """How many of its scales, in order, have one voice together, and that voice's weight."""

    @property
    def blocks(self) -> Blocks:
        """All of its state."""

    def observe(
        self, series: NDArray[np.int32], time_ms: NDArray[np.int64], values: NDArray[np.float64]
    ) -> Scores:
        """Score each point and learn from it. NaN: missing; infinite values must not come."""


def empty_scores(scales: int, points: int) -> Scores:
    """Nothing said."""
    return Scores(
        np.full((scales, points), np.nan), np.full(points, np.nan), np.full(points, np.nan)
    )

"""The interface of every detector of series."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.blocks import Blocks

__all__ = ["Detector", "Scores"]


class Scores(NamedTuple):
    """What a detector says of a block of points, one of each per point."""

    score: NDArray[np.float64]
    """Strangeness, 0 or more, on a scale of the detector's own; NaN: it is not ready, or the
    value was missing."""
    low: NDArray[np.float64]
    """Least value that it expected before it saw the point; NaN: it does not say."""
    high: NDArray[np.float64]
    """Greatest value that it expected."""


class Detector(Protocol):
    """State of many series, and scores of their next points.

    A score depends on the series' earlier points alone. Points of a series are in order of time;
    a block may hold several of one series.
    """

    @property
    def name(self) -> str:
        """As in the configuration."""

    @property
    def blocks(self) -> Blocks:
        """All of its state."""

    def observe(
        self, series: NDArray[np.int32], time_ms: NDArray[np.int64], values: NDArray[np.float64]
    ) -> Scores:
        """Score each point, then learn from it. NaN: missing; infinite values must not come."""

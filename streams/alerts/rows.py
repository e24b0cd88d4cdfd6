"""What rules are evaluated on: one window of every series of a window rule and length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Block", "Judged", "Judgement"]

Values = NDArray[np.float64]


class Judged(Protocol):
    """What rules read of ``streams.anomaly.detection.Observed``; arrays of one length."""

    @property
    def rate_per_day(self) -> Values:
        """Expected false alarms per series and day of an alarm at this; NaN: nothing is said."""

    @property
    def least_per_day(self) -> Values:
        """The least ``rate_per_day`` that the history can tell."""

    @property
    def direction(self) -> NDArray[np.int8]:
        """1: above what was expected, -1: below, 0: neither."""

    @property
    def low(self) -> Values:
        """Least value that was expected; NaN: not known."""

    @property
    def high(self) -> Values:
        """Greatest value that was expected; NaN: not known."""

    @property
    def score(self) -> Values:
        """Strangeness, 0 to 1."""

    @property
    def detector(self) -> NDArray[np.int8]:
        """Place of the detector that found it strangest; -1: none."""


class Judgement(NamedTuple):
    """A ``Judged`` that nobody detected."""

    rate_per_day: Values
    least_per_day: Values
    direction: NDArray[np.int8]
    low: Values
    high: Values
    score: Values
    detector: NDArray[np.int8]


class Block(NamedTuple):
    """One window of every live series of a window rule and length, n of them."""

    window: str
    """Name of the window rule."""
    length_ms: int
    end_ms: int
    """The window's end, Unix milliseconds; blocks of a rule and length come in its order."""
    ids: NDArray[np.int32]
    """(n) numbers of the series, ascending."""
    seen: NDArray[np.bool_]
    """(n) whether the window had items of it."""
    known: bool
    """False: sources are silent, so what did not come may exist."""
    values: NDArray[np.float64]
    """(statistics.STATISTICS, n); NaN: not known."""
    observed: Mapping[str, tuple[NDArray[np.int64], Judged]]
    """By statistic: which of the n rows detection looked at, and what it says of them."""

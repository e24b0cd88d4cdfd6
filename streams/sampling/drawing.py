"""From probabilities to thresholds, and from thresholds to who is kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.sampling.columns import Traces
from streams.sampling.consistent import MAX, threshold

__all__ = ["Drawn", "draw"]


class Drawn(NamedTuple):
    """What follows from probabilities."""

    limits: NDArray[np.uint64]
    """Threshold of each group; MAX where nothing is to be kept."""
    of_trace: NDArray[np.uint64]
    """Of each trace: that, or the one it came with, if that is greater."""
    kept: NDArray[np.bool_]
    """One row a trace."""


def draw(
    traces: Traces,
    came_with: NDArray[np.uint64],
    group: NDArray[np.int32],
    odds: NDArray[np.float64],
) -> Drawn:
    """Who is kept, where ``odds`` are the groups' probabilities.

    Thresholds are rounded first, so that what will be written is what was used.
    """
    limits = np.full(len(odds), MAX, np.uint64)
    some = odds > 0
    limits[some] = threshold(np.minimum(odds[some], 1.0))
    of_trace = np.maximum(limits[group], came_with)
    return Drawn(limits, of_trace, traces.randomness >= of_trace)

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
    first: NDArray[np.int64],
    odds: NDArray[np.float64],
    incoming: NDArray[np.float64],
) -> Drawn:
    """Who is kept, where ``odds`` are the groups' probabilities for traces that have come.

    Thresholds are rounded first, so that what will be written is what was used. Where all are
    kept that is what they came with, to the last digit: rounded up it would cut some.

    Args:
        traces: of the step.
        came_with: threshold of each trace.
        group: of each trace.
        first: a trace of each group; all of a group came with the same threshold.
        odds: of each group.
        incoming: of each group, the probability that its traces came with.
    """
    limits = np.full(len(odds), MAX, np.uint64)
    some, whole = odds > 0, odds >= 1
    limits[some] = threshold(np.minimum(odds[some] * incoming[some], 1.0))
    limits[whole] = came_with[first[whole]]
    of_trace = np.maximum(limits[group], came_with)
    return Drawn(limits, of_trace, traces.randomness >= of_trace)

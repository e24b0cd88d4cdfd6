"""One number of several detectors' surprises."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.detectors import Detector
from streams.wire.compiling import kernel

__all__ = ["Families", "combine", "families_of"]


class Families(NamedTuple):
    """Scales that say the same of a point, and so have one voice together."""

    firsts: NDArray[np.int64]
    """First scale of each, of all detectors' in order; then the number of scales."""
    weights: NDArray[np.float64]
    owners: NDArray[np.int8]
    """Number of the detector that each belongs to."""


def families_of(detectors: list[Detector]) -> Families:
    """Of these detectors."""
    named = [(n, *each) for n, detector in enumerate(detectors) for each in detector.families]
    scales = [scales for _, scales, _ in named]
    return Families(
        np.cumsum([0, *scales]),
        np.array([weight for _, _, weight in named]),
        np.array([number for number, _, _ in named], np.int8),
    )


@kernel
def combine(surprises, families, combined, detector):
    """Weighted mean over families of the mean over their scales, and whose is the greatest.

    That is Fisher's combination (1932). ``surprises`` is (scales, n); NaN, a scale that is not
    ready, is no surprise; where none is ready the result is NaN.
    """
    firsts, weights, owners = families
    whole = weights.sum()
    for row in range(surprises.shape[1]):
        total, ready, most, which = 0.0, 0, -1.0, -1
        for family in range(len(weights)):
            own = 0.0
            for at in range(firsts[family], firsts[family + 1]):
                if not np.isnan(surprises[at, row]):
                    own += surprises[at, row]
                    ready += 1
            own /= firsts[family + 1] - firsts[family]
            total += weights[family] * own
            if own > most:
                most, which = own, owners[family]
        combined[row] = total / whole if ready else np.nan
        detector[row] = which if ready else -1

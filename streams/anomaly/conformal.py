"""Conformal p-values: the share of a series' past scores that are as great as the new one.

Past scores are kept as a histogram that fades. Beyond the 98th percentile, where few have been,
the tail is a generalised Pareto distribution, fitted by probability-weighted moments (Hosking and
Wallis, "Parameter and Quantile Estimation for the Generalized Pareto Distribution", 1987) and
drawn towards that of all series while a series' own history is short.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.blocks import Blocks
from streams.wire.compiling import inner, kernel

__all__ = ["BINS", "Calibration"]

BINS = 64
_PER_OCTAVE = 6.0
TAIL = 0.02
"""Share of the scores that the tail is fitted to."""
_SHAPE, _SHAPE_WEIGHT = 0.1, 20.0
"""Prior of the tail's shape, and how many excesses it counts as."""
_WEIGHT_MAX = 1e20


@inner
def position_of(score):
    """Place of a score among the bins, a fraction."""
    return min(np.log2(1.0 + score) * _PER_OCTAVE, BINS - 1e-6)


@inner
def score_at(position):
    """The inverse of ``position_of``."""
    return 2.0 ** (position / _PER_OCTAVE) - 1.0


@inner
def tail_probability(histogram, total, unit, score):
    """Probability of a score as great as this one or greater; ``unit`` is a new point's weight."""
    place = position_of(score)
    bin_ = int(place)
    above, wanted = 0.0, TAIL * total
    tail_bin, beyond = -1, 0.0
    for at in range(BINS - 1, -1, -1):
        if tail_bin < 0 and above + histogram[at] >= wanted:
            tail_bin, beyond = at, above
        if at == bin_:
            own = above + histogram[at] * (1.0 - (place - bin_))
        above += histogram[at]
        if tail_bin >= 0 and at <= bin_:
            break
    empirical = (own + unit) / (total + unit)
    inside = histogram[tail_bin]
    share = (wanted - beyond) / inside if inside > 0.0 else 1.0
    threshold = score_at(tail_bin + 1.0 - share)
    if score <= threshold:
        return empirical
    # Probability-weighted moments of the excesses, from the bins' middles.
    above, mean, weighted = 0.0, 0.0, 0.0
    for at in range(BINS - 1, tail_bin - 1, -1):
        mass = histogram[at] if at > tail_bin else wanted - beyond
        if mass > 0.0:
            start = at if at > tail_bin else at + 1.0 - share
            excess = score_at(0.5 * (start + at + 1.0)) - threshold
            mean += mass * excess
            weighted += mass * excess * (above + 0.5 * mass)
            above += mass
    if above <= 0.0 or mean <= 0.0:
        return empirical
    mean /= above
    weighted /= above * above
    spread = mean - 2.0 * weighted
    shape = 2.0 - mean / spread if spread > 1e-9 * mean else 0.5
    excesses = above / unit
    shape = (excesses * shape + _SHAPE_WEIGHT * _SHAPE) / (excesses + _SHAPE_WEIGHT)
    shape = min(max(shape, -0.2), 0.6)
    scale = mean * (1.0 - shape)
    if abs(shape) < 1e-6:
        tail = np.exp(-(score - threshold) / scale)
    else:
        tail = max(1.0 + shape * (score - threshold) / scale, 1e-12) ** (-1.0 / shape)
    return (wanted * tail + unit * TAIL) / (total + unit)


@kernel
def calibrate(histogram, mass, series, score, fade, extrapolation, warmup, p_value, least):
    """p-values against the past, which then holds the scores; ``mass`` is total, unit and count."""
    for row in range(len(series)):
        i, found = series[row], score[row]
        p_value[row] = np.nan
        least[row] = np.nan
        if np.isnan(found):
            continue
        total, unit, count = mass[i, 0], mass[i, 1], mass[i, 2]
        if unit == 0.0:
            unit = 1.0
        if count >= warmup:
            least[row] = unit / ((total + unit) * extrapolation)
            p_value[row] = max(tail_probability(histogram[i], total, unit, found), least[row])
        unit *= fade
        histogram[i, int(position_of(found))] += unit
        mass[i, 0], mass[i, 1], mass[i, 2] = total + unit, unit, count + 1.0
        if unit > _WEIGHT_MAX:
            for at in range(BINS):
                histogram[i, at] /= unit
            mass[i, 0], mass[i, 1] = mass[i, 0] / unit, 1.0


class Calibration:
    """Past scores of one kind, per series."""

    def __init__(
        self, capacity: int, *, memory: int, extrapolation: float, warmup: int = 20
    ) -> None:
        self._fade = 1.0 + 1.0 / memory
        self._extrapolation, self._warmup = extrapolation, warmup
        self.blocks = Blocks(capacity, {"histogram": ("<f4", BINS), "mass": ("<f8", 3)})

    def observe(
        self, series: NDArray[np.int32], score: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """p-values, and the least that each series' history can tell; NaN: not yet."""
        p_value, least = np.empty(len(series)), np.empty(len(series))
        state = self.blocks
        calibrate(
            *(state["histogram"], state["mass"], series, score),
            *(self._fade, self._extrapolation, self._warmup, p_value, least),
        )
        return p_value, least

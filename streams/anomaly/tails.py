"""Probability of a score from a histogram of earlier ones, its tail extrapolated.

Within the histogram a score's probability is the share of those in its bin and above, which is a
conformal p-value (Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005): of
exchangeable scores at most a share p has a p-value of p or less. Where only a few have been, it is
extrapolated: beyond the bin above which only ``share`` of the scores lie, the excesses over that
bin's edge follow a generalised Pareto distribution (Pickands, "Statistical Inference Using Extreme
Order Statistics", 1975), fitted by probability-weighted moments (Hosking and Wallis, "Parameter and
Quantile Estimation for the Generalized Pareto Distribution", 1987) of the bins' middles. The shape
is drawn towards one given from outside, by as much as that one is worth in excesses.
"""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner

__all__ = ["EXCESSES_MIN", "fit_tail", "log_probability"]

EXCESSES_MIN = 3.0
"""Excesses below which nothing is extrapolated."""
COUNTED_MIN = 10.0
"""Scores as great from which on they are counted and nothing is extrapolated."""
_SHAPE_LEAST, _SHAPE_MOST = -0.5, 0.9
"""Of an estimate: beyond are accidents of few excesses."""


@inner
def tail_bin(histogram, limit):
    """First bin of the tail, and what the tail holds: at most ``limit``."""
    at, held = len(histogram), 0.0
    while at > 0 and held + histogram[at - 1] <= limit:
        at -= 1
        held += histogram[at]
    return at, held


@inner
def fit_tail(histogram, edges, first, held, unit, shape, worth):
    """Shape and scale of the excesses over the lower edge of bin ``first``.

    ``unit`` is what a score adds to the histogram, ``held`` what lies in the tail.
    """
    threshold, mean, weighted, above = edges[first], 0.0, 0.0, 0.0
    for at in range(len(histogram) - 1, first - 1, -1):
        mass = float(histogram[at])
        if mass > 0.0:
            excess = 0.5 * (edges[at] + edges[at + 1]) - threshold
            mean += mass * excess
            weighted += mass * excess * (above + 0.5 * mass)
            above += mass
    mean /= held
    weighted /= held * held
    spread = mean - 2.0 * weighted
    if spread > 1e-9 * mean:
        found = min(max(2.0 - mean / spread, _SHAPE_LEAST), _SHAPE_MOST)
        excesses = held / unit
        shape = (excesses * found + worth * shape) / (excesses + worth)
    return shape, mean * (1.0 - shape)


@inner
def log_probability(histogram, edges, total, unit, place, value, share, shape, worth, least_shape):
    """Ln of the probability of a score of at least ``value``, which is in bin ``place``."""
    above = 0.0
    for at in range(place, len(histogram)):
        above += histogram[at]
    counted = np.log((above + unit) / (total + unit))
    first, held = tail_bin(histogram, share * total)
    if place < first or above >= COUNTED_MIN * unit or held < EXCESSES_MIN * unit:
        return counted
    shape, scale = fit_tail(histogram, edges, first, held, unit, shape, worth)
    shape = max(shape, least_shape)
    # A tail of equal scores has no scale of its own.
    scale = max(scale, 1e-3 * edges[first])
    far = max(value - edges[first], 0.0) / scale
    start = np.log((held + unit) / (total + unit))
    if abs(shape) < 1e-6:
        return min(start - far, counted)
    return min(start - np.log(max(1.0 + shape * far, 1e-12)) / shape, counted)

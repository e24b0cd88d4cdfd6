"""Conformal p-values: the share of a series' past scores that are as great as the new one.

Past scores of each scale are counted in a histogram of logarithmic bins. It holds the last
``memory`` to twice as many points: then all counts are halved. ``tails`` has the rest. Shapes of
tails are drawn towards that of all series of a class while a series' own history is short.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.blocks import Blocks
from streams.anomaly.tails import EXCESSES_MIN, fit_tail, log_probability, tail_bin
from streams.wire.compiling import inner, kernel

__all__ = ["BINS", "SURPRISE_MAX", "Calibration"]

BINS = 64
_PER_OCTAVE, _ZERO = 4.0, 32.0
"""Bins an octave, and the place of a score of 1: 2^-8 to 2^8; beyond are the outermost bins."""
_TAIL = 0.05
"""Share of the scores that a tail is fitted to."""
_SHAPE, _WORTH = 0.2, 20.0
"""Shape of a tail before anything is known, and how many excesses it is worth."""
SURPRISE_MAX = 4.0
"""Greatest -log10 p: no detector is believed beyond, so that none decides alone."""
_HALVED = 65_000
_REFIT = 512
_LN10 = 2.302585092994046


def _edges() -> NDArray[np.float64]:
    edges = 2.0 ** ((np.arange(BINS + 1) - _ZERO) / _PER_OCTAVE)
    edges[0] = 0.0
    return np.asarray(edges, np.float64)


@inner
def bin_of(score):
    """The bin of a score."""
    if score <= 0.0:
        return 0
    return int(min(max(np.log2(score) * _PER_OCTAVE + _ZERO, 0.0), BINS - 1.0))


@inner
def learn_pool(pool, known, at, score_bin, edges):
    """Count a score of any series of the class; ``known`` is total, adds and the shape."""
    pool[at * BINS + score_bin] += 1.0
    known[at, 0] += 1.0
    known[at, 1] += 1.0
    if known[at, 1] >= _REFIT:
        known[at, 1] = 0.0
        own = pool[at * BINS : (at + 1) * BINS]
        first, held = tail_bin(own, _TAIL * known[at, 0])
        if held > EXCESSES_MIN:
            known[at, 2], _ = fit_tail(own, edges, first, held, 1.0, _SHAPE, _WORTH)
            known[at, 2] -= _SHAPE  # zero is the state of a class that nothing is known of
        if known[at, 0] > 1e6:
            own *= 0.5
            known[at, 0] *= 0.5


@kernel
def calibrate(state, shared, kinds, series, score, edges, limits, out):
    """-log10 p of scores (scales, n) against the past, which then holds them."""
    histogram, totals = state
    pool, known = shared
    unit, limit, warmup = limits
    scales = score.shape[0]
    for row in range(len(series)):
        i, kind = series[row], kinds[series[row], 0]
        shapes = known[kind].reshape((scales, 3))
        for at in range(scales):
            found = score[at, row]
            out[at, row] = np.nan
            if np.isnan(found):
                continue
            own = histogram[i, at * BINS : (at + 1) * BINS]
            total, place = totals[i, at], bin_of(found)
            if total >= warmup * unit:
                shape = _SHAPE + shapes[at, 2]
                ln = log_probability(
                    own, edges, total, unit, place, found, _TAIL, shape, _WORTH, 0.0
                )
                out[at, row] = min(-ln / _LN10, SURPRISE_MAX)
                learn_pool(pool[kind], shapes, at, place, edges)
            own[place] += unit
            totals[i, at] = total + unit
            if total + unit >= limit or own[place] >= _HALVED:
                total = 0.0
                for other in range(BINS):
                    own[other] >>= 1
                    total += own[other]
                totals[i, at] = total


class Calibration:
    """Past scores of a detector's scales, per series."""

    def __init__(self, capacity: int, scales: int, *, memory: int, warmup: int, kinds: int) -> None:
        # As many units as fit into 16 bits, so that a score is not forgotten at the first halving.
        unit = max(1, min(32, _HALVED // (2 * memory)))
        self._limits = (unit, 2.0 * memory * unit, float(warmup))
        self._edges = _edges()
        self.blocks = Blocks(
            capacity, {"histogram": ("<u2", scales * BINS), "totals": ("<f4", scales)}
        )
        self.shared = Blocks(kinds, {"pool": ("<f8", scales * BINS), "known": ("<f8", 3 * scales)})

    def observe(
        self, kinds: NDArray[np.uint8], series: NDArray[np.int32], score: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """-log10 p, (scales, n), 0 to ``SURPRISE_MAX``; NaN: nothing can be said."""
        out, state, shared = np.empty_like(score), self.blocks, self.shared
        calibrate(
            *((state["histogram"], state["totals"]), (shared["pool"], shared["known"])),
            *(kinds, series, score, self._edges, self._limits, out),
        )
        return out

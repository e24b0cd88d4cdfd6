"""Conformal p-values: the share of a series' past scores that are as great as the new one.

Past scores of each scale are counted in a histogram of logarithmic bins, whose unit follows the
scores. It holds the last ``memory`` to twice as many points: then all counts are halved. ``tails``
has the rest. Shapes of tails are drawn towards those of all series of the class while a series'
own history is short.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.blocks import Blocks
from streams.anomaly.tails import fit_tail, log_probability, tail_bin
from streams.wire.compiling import inner, kernel

__all__ = ["BINS", "SURPRISE_MAX", "Calibration"]

BINS = 40
_PER_OCTAVE = 5.0
_FIRST = 24
"""Bin of a series' first score above 0: nearly 5 octaves have room below, 3 above."""
_SHIFT = 8
_TOP = 0.002
"""Share of the scores in the last bin from which on all move down by ``_SHIFT`` bins."""
_TAIL = 0.05
"""Share of the scores that a tail is fitted to."""
_SHAPE, _WORTH = 0.2, 20.0
"""Shape of a tail before anything is known, and how many excesses it is worth."""
SURPRISE_MAX = 3.0
"""Greatest -log10 p: no detector is believed beyond, so that none decides alone."""
_HALVED = 65_000
_REFIT = 256
"""A series tells its class the shape of its tail once in so many scores, ..."""
_EXCESSES_MIN = 10.0
"""... when so many excesses have made it."""
_POOL_MAX = 1e5
_LN10 = 2.302585092994046


def _edges() -> NDArray[np.float64]:
    edges = 2.0 ** (np.arange(BINS + 1) / _PER_OCTAVE)
    edges[0] = 0.0
    return np.asarray(edges, np.float64)


@inner
def bin_of(value):
    """The bin of a score in units of its histogram: 0 is for 0, the last for all above."""
    if value <= 0.0:
        return 0
    return int(min(max(np.log2(value) * _PER_OCTAVE, 1.0), BINS - 1.0))


@inner
def move_down(own, bins):
    """All scores into lower bins, for room above; what falls out stays in bin 1."""
    lost = 0
    for at in range(1, bins + 1):
        lost += own[at]
    for at in range(1, BINS):
        own[at] = own[at + bins] if at + bins < BINS else 0
    own[1] = min(own[1] + lost, _HALVED)


@inner
def move_up(own):
    """All scores into higher bins if there is much room; by how many bins."""
    top = BINS - 1
    while top > 0 and own[top] == 0:
        top -= 1
    if top == 0 or top >= _FIRST:
        return 0
    bins = _FIRST + _SHIFT - top
    for at in range(BINS - 1, bins, -1):
        own[at] = own[at - bins]
    for at in range(1, bins + 1):
        own[at] = 0
    return bins


@inner
def halve(own):
    """Half of all counts; their sum."""
    total = 0.0
    for at in range(BINS):
        own[at] >>= 1
        total += own[at]
    return total


@inner
def tell_class(known, own, edges, total, unit):
    """Add the shape of a series' tail to those of its class: sum and weight."""
    first, held = tail_bin(own, _TAIL * total)
    if held >= _EXCESSES_MIN * unit:
        shape, _ = fit_tail(own, edges, first, held, unit, 0.0, 0.0)
        if known[1] > _POOL_MAX:
            known[0] *= 0.5
            known[1] *= 0.5
        known[0] += held / unit * shape
        known[1] += held / unit


@kernel
def calibrate(state, known, kinds, series, score, edges, limits, out):
    """-log10 p of scores (scales, n) against the past, which then holds them.

    ``state`` is the histograms, their totals, log2 of their units, and scores until the next word
    to the class.
    """
    histogram, totals, units, waits = state
    unit, limit, warmup = limits
    for row in range(len(series)):
        i, kind = series[row], kinds[series[row], 0]
        for at in range(score.shape[0]):
            found = score[at, row]
            out[at, row] = np.nan
            if np.isnan(found):
                continue
            own, total = histogram[i, at * BINS : (at + 1) * BINS], totals[i, at]
            if found > 0.0 and total - own[0] <= 0.0:
                units[i, at] = np.log2(found) - _FIRST / _PER_OCTAVE
            value = found * 2.0 ** -units[i, at]
            place = bin_of(value)
            if total >= warmup * unit:
                pooled = known[kind, 2 * at : 2 * at + 2]
                shape = (_SHAPE * _WORTH + pooled[0]) / (_WORTH + pooled[1])
                ln = log_probability(
                    own, edges, total, unit, place, value, _TAIL, shape, _WORTH, 0.0
                )
                out[at, row] = min(-ln / _LN10, SURPRISE_MAX)
                waits[i, at] += 1
                if waits[i, at] == _REFIT:
                    waits[i, at] = 0
                    tell_class(pooled, own, edges, total, unit)
            own[place] += unit
            totals[i, at] = total + unit
            if own[BINS - 1] > max(_TOP * total, 3.0 * unit):
                move_down(own, _SHIFT)
                units[i, at] += _SHIFT / _PER_OCTAVE
            if total + unit >= limit or own[place] >= _HALVED:
                totals[i, at] = halve(own)
                units[i, at] -= move_up(own) / _PER_OCTAVE


class Calibration:
    """Past scores of a detector's scales, per series."""

    def __init__(self, capacity: int, scales: int, *, memory: int, warmup: int, kinds: int) -> None:
        # As many units as fit into 16 bits, so that a score is not forgotten at the first halving.
        unit = max(1, min(32, _HALVED // (2 * memory)))
        self._limits = (unit, 2.0 * memory * unit, float(warmup))
        self._edges = _edges()
        self.blocks = Blocks(
            capacity,
            {
                "histogram": ("<u2", scales * BINS),
                "totals": ("<f4", scales),
                "units": ("<f4", scales),
                "waits": ("<i2", scales),
            },
        )
        self.shared = Blocks(kinds, {"known": ("<f8", 2 * scales)})

    def observe(
        self, kinds: NDArray[np.uint8], series: NDArray[np.int32], score: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """-log10 p, (scales, n), 0 to ``SURPRISE_MAX``; NaN: nothing can be said."""
        out, state, shared = np.empty_like(score), self.blocks, self.shared
        calibrate(
            (state["histogram"], state["totals"], state["units"], state["waits"]),
            *(shared["known"], kinds, series, score, self._edges, self._limits, out),
        )
        return out

"""Range and rate change: the spread of the last points, more or less of it than usual."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.blocks import Blocks
from streams.anomaly.detectors import Scores, empty_scores
from streams.anomaly.standard import STANDARD, standardise
from streams.wire.compiling import kernel

__all__ = ["Change"]

_CALM = 1e-6
"""Spread, in units of the series' magnitude, below which everything is equally calm."""
_CALM_UNIT = 1e-4


@kernel
def score_change(ring, place, standard, series, values, lengths, calms, memory, out):
    """Score and learn; ``calms`` are the lengths over which too little spread counts."""
    score = out[0]
    room = ring.shape[1]
    for row in range(len(series)):
        i = series[row]
        if np.isnan(values[row]):
            continue
        value = standardise(standard[i], values[row], memory)
        at = place[i, 0] % room
        ring[i, at] = value
        place[i, 0] += 1
        if place[i, 0] <= room:
            continue
        origin, number, calm = ring[i, at], 0, 0
        total, squares = 0.0, 0.0
        for taken in range(1, room + 1):
            difference = float(ring[i, at] - origin)
            total += difference
            squares += difference * difference
            at = at - 1 if at > 0 else room - 1
            wide = number < len(lengths) and taken == lengths[number]
            narrow = calm < len(calms) and taken == calms[calm]
            if wide or narrow:
                mean = total / taken
                spread = np.sqrt(max(squares / taken - mean * mean, 0.0))
                if wide:
                    score[number, row] = spread
                    number += 1
                if narrow:
                    score[len(lengths) + calm, row] = _CALM_UNIT / max(spread, _CALM)
                    calm += 1


class Change:
    """Spread over ``lengths`` points and calm over ``calms`` points, both ascending."""

    name = "change"

    def __init__(
        self,
        capacity: int,
        *,
        lengths: Sequence[int] = (12, 24, 36),
        calms: Sequence[int] = (24, 36, 48),
        memory: float = 4000.0,
    ) -> None:
        self._lengths = np.array(lengths, np.int64)
        self._calms = np.array(calms, np.int64)
        self._memory = memory
        self.families = ((len(lengths), 1.0), (len(calms), 1.5))
        self._scales = len(lengths) + len(calms)
        self.blocks = Blocks(
            capacity,
            {
                "ring": ("<f4", max(*lengths, *calms)),
                "place": ("<i8", 1),
                "standard": ("<f8", STANDARD),
            },
        )

    def observe(
        self, series: NDArray[np.int32], time_ms: NDArray[np.int64], values: NDArray[np.float64]
    ) -> Scores:
        """See ``Detector``."""
        found, state = empty_scores(self._scales, len(series)), self.blocks
        score_change(
            *(state["ring"], state["place"], state["standard"]),
            *(series, values, self._lengths, self._calms, self._memory, found),
        )
        return found

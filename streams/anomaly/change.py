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

_CALM = 0.01
"""Spread, in units of the series', below which everything is equally calm."""
_UNIT_MAX = 1e6


@kernel
def score_change(ring, place, standard, series, values, lengths, calm, memory, out):
    """Score and learn; ``calm`` is the length over which too little spread counts, 0: none."""
    score = out[0]
    room = ring.shape[1]
    for row in range(len(series)):
        i = series[row]
        if np.isnan(values[row]):
            continue
        value = standardise(standard[i], values[row], memory)
        at = place[i, 0] % room
        ring[i, at] = min(max(value, -_UNIT_MAX), _UNIT_MAX)
        place[i, 0] += 1
        if place[i, 0] <= room:
            continue
        origin, number = ring[i, at], 0
        total, squares = 0.0, 0.0
        for taken in range(1, room + 1):
            difference = float(ring[i, at] - origin)
            total += difference
            squares += difference * difference
            at = at - 1 if at > 0 else room - 1
            if taken == calm or (number < len(lengths) and taken == lengths[number]):
                mean = total / taken
                spread = np.sqrt(max(squares / taken - mean * mean, 0.0))
                if number < len(lengths) and taken == lengths[number]:
                    score[number, row] = spread
                    number += 1
                if taken == calm:
                    score[len(lengths), row] = _CALM / max(spread, _CALM)


class Change:
    """Spread over ``lengths`` points, ascending, and calm over ``calm`` points."""

    name = "change"

    def __init__(
        self,
        capacity: int,
        *,
        lengths: Sequence[int] = (12, 24, 48),
        calm: int = 12,
        memory: float = 4000.0,
    ) -> None:
        self._lengths = np.array(lengths, np.int64)
        self._calm, self._memory = calm, memory
        self.scales = len(lengths) + (1 if calm else 0)
        self.blocks = Blocks(
            capacity,
            {
                "ring": ("<f4", max(*lengths, calm)),
                "place": ("<i8", 1),
                "standard": ("<f8", STANDARD),
            },
        )

    def observe(
        self, series: NDArray[np.int32], time_ms: NDArray[np.int64], values: NDArray[np.float64]
    ) -> Scores:
        """See ``Detector``."""
        found, state = empty_scores(self.scales, len(series)), self.blocks
        score_change(
            *(state["ring"], state["place"], state["standard"]),
            *(series, values, self._lengths, self._calm, self._memory, found),
        )
        return found

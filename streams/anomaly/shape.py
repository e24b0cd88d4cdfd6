"""Delay-embedding nearest neighbours: how unlike anything in its history the last stretch is.

The history is a bounded number of means over ``_GRAIN`` points. A query is the last stretch of a
length in the same grain; its distance to the nearest stretch of the history that does not overlap
it is the score. Lengths are nested, so that one pass over the history serves all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.blocks import Blocks
from streams.anomaly.detectors import Scores, empty_scores
from streams.anomaly.standard import STANDARD, standardise
from streams.wire.compiling import inner, kernel

__all__ = ["Shape"]

_GRAIN = 2
_SLACK = 32
"""The history moves to the front of its room once in so many grains."""
_COUNT, _GRAINS, _START = range(3)


@inner
def nearest(grains, last, query, squares, counts, row, score):
    """Root mean square distances to the nearest stretches that end at ``last`` or before.

    ``counts`` are the lengths in grains, ascending; all stretches have room for the greatest.
    """
    first = counts[-1] - 1
    many = last - first + 1
    for at in range(many):
        squares[at] = 0.0
    number = 0
    for step in range(counts[-1]):
        wanted = query[step]
        for at in range(many):
            difference = grains[first + at - step] - wanted
            squares[at] += difference * difference
        if step + 1 == counts[number]:
            best = squares[0]
            for at in range(1, many):
                best = min(best, squares[at])
            score[number, row] = np.sqrt(best / (step + 1))
            number += 1


@kernel
def score_shape(grains, recent, place, standard, series, values, counts, memory, least, out):
    """Score and learn; ``place`` is points, grains in the room, and grains that left it."""
    score = out[0]
    room, longest = grains.shape[1], counts[-1] * _GRAIN
    query = np.empty(counts[-1], np.float32)
    squares = np.empty(room, np.float32)
    for row in range(len(series)):
        i = series[row]
        if np.isnan(values[row]):
            continue
        value = np.float32(standardise(standard[i], values[row], memory))
        own = place[i]
        at = own[_COUNT] % longest
        recent[i, at] = value
        own[_COUNT] += 1
        # Grains up to `last` end before the query begins.
        last = (own[_COUNT] - longest) // _GRAIN - 1 - own[_START]
        if last - counts[-1] + 2 >= least:
            for step in range(counts[-1]):
                total = np.float32(0.0)
                for _ in range(_GRAIN):
                    total += recent[i, at]
                    at = at - 1 if at > 0 else longest - 1
                query[step] = total * np.float32(1.0 / _GRAIN)
            nearest(grains[i], last, query, squares, counts, row, score)
        if own[_COUNT] % _GRAIN == 0:
            if own[_GRAINS] == room:
                for to in range(room - _SLACK):
                    grains[i, to] = grains[i, to + _SLACK]
                own[_GRAINS] -= _SLACK
                own[_START] += _SLACK
            total, at = np.float32(0.0), (own[_COUNT] - 1) % longest
            for _ in range(_GRAIN):
                total += recent[i, at]
                at = at - 1 if at > 0 else longest - 1
            grains[i, own[_GRAINS]] = total * np.float32(1.0 / _GRAIN)
            own[_GRAINS] += 1


class Shape:
    """Stretches of ``lengths`` points (even numbers, ascending) in a history of ``history``."""

    name = "shape"

    def __init__(
        self,
        capacity: int,
        *,
        lengths: Sequence[int] = (12, 16, 24),
        history: int = 400,
        memory: float = 4000.0,
    ) -> None:
        self._counts = np.array([length // _GRAIN for length in lengths], np.int64)
        self._memory = memory
        self.families = ((len(lengths), 1.0),)
        self._scales = len(lengths)
        self.blocks = Blocks(
            capacity,
            {
                "grains": ("<f4", history // _GRAIN),
                "recent": ("<f4", max(lengths)),
                "place": ("<i8", 3),
                "standard": ("<f8", STANDARD),
            },
        )

    def observe(
        self, series: NDArray[np.int32], time_ms: NDArray[np.int64], values: NDArray[np.float64]
    ) -> Scores:
        """See ``Detector``."""
        found, state = empty_scores(self._scales, len(series)), self.blocks
        score_shape(
            *(state["grains"], state["recent"], state["place"], state["standard"]),
            *(series, values, self._counts, self._memory, 20, found),
        )
        return found

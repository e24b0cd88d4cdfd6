"""Robust z on level: how far the mean of the last points is from what the hour usually has.

Over several lengths, so that a short and a long shift are found. The centre of a slot of the day
follows its values' clipped mean, in units of the series' magnitude and compressed by asinh, so
that single extremes do not hide a level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.blocks import Blocks
from streams.anomaly.detectors import Scores, empty_scores
from streams.anomaly.standard import STANDARD, standardise, value_of
from streams.wire.compiling import kernel

__all__ = ["Level"]

_DAY_MS = 86_400_000
_SLOTS = 24
_DAYS = 7.0
"""Days over which a slot's centre adapts."""
_CLIP = 6.0
_EXPECTED = 4.0
"""Expected are values within so many mean distances of the centre."""
_NEEDED = 1.5
"""Days that must be over before slots are believed; until then there is one centre."""
_MEAN, _DISTANCE, _VISITS = range(3)
_FIRST, _LAST, _STEP, _POINTS = range(4)


@kernel
def score_level(centres, ring, clock, standard, series, time_ms, values, lengths, memory, out):
    """Score and learn; ``clock`` is first and last time, the usual step, and points."""
    score, low, high = out
    room = ring.shape[1]
    for row in range(len(series)):
        i, now = series[row], time_ms[row]
        if np.isnan(values[row]):
            continue
        units, own = standard[i], clock[i]
        value = standardise(units, values[row], memory)
        if own[_POINTS] == 0.0:
            own[_FIRST] = now
        else:
            step = now - own[_LAST]
            if own[_POINTS] > 1.0:
                step = min(step, 2.0 * own[_STEP])
            own[_STEP] += (step - own[_STEP]) / min(own[_POINTS], 20.0)
        own[_LAST] = now
        slots = centres[i].reshape((3, _SLOTS + 1))
        phase = (now % _DAY_MS) * _SLOTS / _DAY_MS
        slot = int(phase)
        # Between the middles of two slots, so that no step is in the centre.
        share = phase - slot - 0.5
        other = (slot + 1) % _SLOTS if share > 0.0 else (slot + _SLOTS - 1) % _SLOTS
        if now - own[_FIRST] < _NEEDED * _DAY_MS or slots[_VISITS, slot] == 0.0:
            centre, usual = slots[_MEAN, _SLOTS], slots[_DISTANCE, _SLOTS]
        else:
            centre, usual = slots[_MEAN, slot], slots[_DISTANCE, slot]
            if slots[_VISITS, other] > 0.0:
                centre += abs(share) * (slots[_MEAN, other] - centre)
        if own[_POINTS] > lengths[-1]:
            reach = _EXPECTED * usual
            low[row], high[row] = value_of(units, centre - reach), value_of(units, centre + reach)
        place = int(own[_POINTS]) % room
        ring[i, place] = value - centre
        own[_POINTS] += 1.0
        if own[_POINTS] > lengths[-1]:
            total, at, number = 0.0, place, 0
            for taken in range(1, lengths[-1] + 1):
                total += ring[i, at]
                at = at - 1 if at > 0 else room - 1
                if taken == lengths[number]:
                    score[number, row] = abs(total) / taken
                    number += 1
        visits = max(1.0, _DAY_MS / _SLOTS / own[_STEP]) if own[_STEP] > 0.0 else 1.0
        for number in range(2):
            which = slot if number == 0 else _SLOTS
            many = slots[_VISITS, which]
            weight = 1.0 / min(many + 1.0, _DAYS * visits if number == 0 else memory)
            difference = value - slots[_MEAN, which]
            bound = np.inf
            if many > 3.0 and slots[_DISTANCE, which] > 0.0:
                bound = _CLIP * slots[_DISTANCE, which]
            slots[_MEAN, which] += weight * min(max(difference, -bound), bound)
            distance = min(abs(difference), bound)
            slots[_DISTANCE, which] += weight * (distance - slots[_DISTANCE, which])
            slots[_VISITS, which] = min(many + 1.0, 1e6)


class Level:
    """Means over ``lengths`` points, in ascending order."""

    name = "level"

    def __init__(
        self, capacity: int, *, lengths: Sequence[int] = (24, 36, 48), memory: float = 4000.0
    ) -> None:
        self._lengths = np.array(lengths, np.int64)
        self._memory = memory
        self.families = ((len(lengths), 1.5),)
        self._scales = len(lengths)
        self.blocks = Blocks(
            capacity,
            {
                "centres": ("<f4", 3 * (_SLOTS + 1)),
                "ring": ("<f4", max(lengths)),
                "clock": ("<f8", 4),
                "standard": ("<f8", STANDARD),
            },
        )

    def observe(
        self, series: NDArray[np.int32], time_ms: NDArray[np.int64], values: NDArray[np.float64]
    ) -> Scores:
        """See ``Detector``."""
        found, state = empty_scores(self._scales, len(series)), self.blocks
        score_level(
            *(state["centres"], state["ring"], state["clock"], state["standard"]),
            *(series, time_ms, values, self._lengths, self._memory, found),
        )
        return found

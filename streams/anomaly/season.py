"""Seasonal envelope: how far a value is outside of what its phase of the period has seen.

The period is given, or a day until autocorrelation finds a shorter one (``periods``). It is divided
into slots. Each keeps the least and the greatest value of this turn, and an envelope of earlier
turns, which grows at once and shrinks by a share of the difference each turn. Expected is what the
slot and its two neighbours have seen, so that a season may be early or late by a slot (daylight
saving time).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.blocks import Blocks
from streams.anomaly.detectors import Scores, empty_scores
from streams.anomaly.periods import FOUND, NOTES, ROOM, look
from streams.anomaly.standard import COUNT, ORIGIN, STANDARD, UNIT, standardise
from streams.wire.compiling import inner, kernel

__all__ = ["DAY", "SLOTS", "WEEK", "Season"]

SLOTS = 24
"""Of a period, by default."""
DAY, WEEK = (86_400_000, SLOTS), (604_800_000, 56)
"""Periods in milliseconds, and how many slots they have."""
_SHRINK = 0.15
"""Share of the difference by which an envelope shrinks each turn."""
_TURNS = 2
"""Turns that must be over before an envelope is believed."""
_EXCESS = STANDARD
"""Of what ``standard`` holds: how far values are outside of the envelope on average, ..."""
_REACH = 6.0
"""... and how many times that the expected range goes beyond it."""
_EXCESS_MOST = 1.0
"""Units that a value is outside at most for that average."""
HIGH, LOW, NOW_HIGH, NOW_LOW = range(4)


@inner
def seen_near(envelope, turns, start, slots, slot):
    """Least and greatest value that a slot and its neighbours have seen; NaN: not all have."""
    least, most = np.inf, -np.inf
    for step in range(-1, 2):
        at = start + (slot + step) % slots
        if turns[at] == 0:
            return np.nan, np.nan
        most, least = max(most, envelope[NOW_HIGH, at]), min(least, envelope[NOW_LOW, at])
        if turns[at] > 1:
            most, least = max(most, envelope[HIGH, at]), min(least, envelope[LOW, at])
    return least, most


@inner
def turn(envelope, turns, at):
    """A slot begins anew: what it saw last turn goes into the envelope."""
    high, low = envelope[NOW_HIGH, at], envelope[NOW_LOW, at]
    if turns[at] == 1:
        envelope[HIGH, at], envelope[LOW, at] = high, low
    elif turns[at] > 1:
        was_high, was_low = envelope[HIGH, at], envelope[LOW, at]
        envelope[HIGH, at] = max(high, was_high + _SHRINK * (high - was_high))
        envelope[LOW, at] = min(low, was_low + _SHRINK * (low - was_low))
    envelope[NOW_HIGH, at], envelope[NOW_LOW, at] = -np.inf, np.inf
    turns[at] = min(turns[at] + 1, 200)


@kernel
def score_season(state, search, series, time_ms, values, periods, slots, memory, out):
    """Score and learn; ``clock`` is the first time, the last, and the last slot of each period.

    ``search`` is what ``look`` keeps; it has no room if the periods are given.
    """
    envelopes, turns, clock, standard = state
    coarse, notes = search
    score, low, high = out
    for row in range(len(series)):
        i, now = series[row], time_ms[row]
        if np.isnan(values[row]):
            continue
        origin = standard[i, ORIGIN] if standard[i, COUNT] > 0.0 else values[row]
        value = np.float32(values[row] - origin)
        unit = standard[i, UNIT]
        envelope = envelopes[i].reshape((4, turns.shape[1]))
        first = clock[i, 0] == 0
        if first:
            clock[i, 0] = now
        start = 0
        for number in range(len(periods)):
            period, count = periods[number], slots[number]
            if number == 0 and notes.shape[1] > 0 and notes[i, FOUND] > 0.0:
                period = int(notes[i, FOUND])
            slot = (now % period) * count // period
            if now - clock[i, 0] >= _TURNS * period:
                least, most = seen_near(envelope, turns[i], start, count, slot)
                if not np.isnan(least):
                    far = max(value - most, least - value, 0.0)
                    score[number, row] = far / unit if unit > 0.0 else 0.0
                    if number == 0:
                        reach = _REACH * standard[i, _EXCESS]
                        low[row], high[row] = least - reach + origin, most + reach + origin
                        usual = min(far, _EXCESS_MOST * unit)
                        weight = 1.0 / min(standard[i, COUNT], memory)
                        standard[i, _EXCESS] += weight * (usual - standard[i, _EXCESS])
            if first or slot != clock[i, 2 + number] or now - clock[i, 1] > period // 2:
                turn(envelope, turns[i], start + slot)
                clock[i, 2 + number] = slot
            envelope[NOW_HIGH, start + slot] = max(envelope[NOW_HIGH, start + slot], value)
            envelope[NOW_LOW, start + slot] = min(envelope[NOW_LOW, start + slot], value)
            start += count
        clock[i, 1] = now
        standardised = standardise(standard[i], values[row], memory)
        if notes.shape[1] > 0 and look(coarse[i], notes[i], standardised, now, periods[0]):
            turns[i, : slots[0]] = 0
            clock[i, 0] = now


class Season:
    """Envelopes over periods in slots; ``search``: the first one until a shorter one is found."""

    name = "season"

    def __init__(
        self,
        capacity: int,
        *,
        periods: Sequence[tuple[int, int]] = (DAY,),
        search: bool = True,
        memory: float = 4000.0,
    ) -> None:
        self._periods = np.array([period for period, _ in periods], np.int64)
        self._slots = np.array([slots for _, slots in periods], np.int64)
        self._memory = memory
        self.families = ((len(periods), 1.0),)
        self._scales = len(periods)
        width = int(self._slots.sum())
        self.blocks = Blocks(
            capacity,
            {
                "envelopes": ("<f4", 4 * width),
                "turns": ("<u1", width),
                "clock": ("<i8", 2 + len(periods)),
                "standard": ("<f8", STANDARD + 1),
                "coarse": ("<f4", ROOM if search else 0),
                "notes": ("<f8", NOTES if search else 0),
            },
        )

    def observe(
        self, series: NDArray[np.int32], time_ms: NDArray[np.int64], values: NDArray[np.float64]
    ) -> Scores:
        """See ``Detector``."""
        found, state = empty_scores(self._scales, len(series)), self.blocks
        score_season(
            (state["envelopes"], state["turns"], state["clock"], state["standard"]),
            (state["coarse"], state["notes"]),
            *(series, time_ms, values, self._periods, self._slots, self._memory, found),
        )
        return found

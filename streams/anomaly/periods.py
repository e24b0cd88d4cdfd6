"""The period of a series, found by the autocorrelation of its history.

The history is kept in a bounded number of means of ever more points: when the room is full, its
autocorrelation is looked at, then two means become one each. So periods of a few points are looked
for early, those of a day after some days, and all of it costs next to nothing.
"""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner

__all__ = ["FOUND", "NOTES", "ROOM", "look"]

ROOM = 64
"""Means that are kept."""
_LAG_LEAST, _LAG_MOST = 5, 24
"""Lags that are looked at: a shorter one has no shape, a longer one comes too seldom."""
_MULTIPLES = _LAG_MOST // _LAG_LEAST
"""Multiples of the least lag that there are."""
_STRONG = 0.7
"""Autocorrelation that a period needs, ..."""
_STRONGER = 0.1
"""... and by how much more another needs to take its place."""
_ALIKE = 0.1
"""Relative difference within which a period is the usual one."""
_USUALS_MOST = 28.0
"""The search ends when the history has so many of the usual periods."""
_DIVISORS = np.array([1, 2, 3, 4, 6, 8, 12, 24, 48, 72, 96, 144, 288, 720, 1440])
"""Of the usual period: what people and machines repeat things by."""
_NEAR = 0.04
"""Relative difference within which such a one is meant."""
_FILLED, _GRAIN, _SUM, _SUMMED, _SINCE, FOUND, _STRENGTH = range(7)
NOTES = 7


@inner
def correlation(coarse, lag):
    """Autocorrelation of the whole history at a lag, without its trend of first order."""
    size = ROOM - lag
    one, other = 0.0, 0.0
    for at in range(size):
        one += coarse[at]
        other += coarse[at + lag]
    one, other = one / size, other / size
    both, first, second = 0.0, 0.0, 0.0
    for at in range(size):
        a, b = coarse[at] - one, coarse[at + lag] - other
        both += a * b
        first += a * a
        second += b * b
    return both / np.sqrt(first * second) if first > 0.0 and second > 0.0 else 0.0


@inner
def top(values, lag):
    """How far beyond a lag the top of a parabola through it and its neighbours is."""
    left, right = values[lag - 1], values[min(lag + 1, len(values) - 1)]
    bend = left - 2.0 * values[lag] + right
    return min(max(0.5 * (left - right) / bend, -0.5), 0.5) if bend < 0.0 else 0.0


@inner
def best_lag(coarse):
    """The lag of the first peak that is nearly the highest, a fraction, and its correlation."""
    values = np.zeros(_LAG_MOST + 2)
    for lag in range(_LAG_LEAST - 1, _LAG_MOST + 2):
        values[lag] = correlation(coarse, lag)
    most = -1.0
    for lag in range(_LAG_LEAST, _LAG_MOST + 1):
        if values[lag] >= values[lag - 1] and values[lag] > values[lag + 1]:
            most = max(most, values[lag])
    for lag in range(_LAG_LEAST, _LAG_MOST + 1):
        peak = values[lag] >= values[lag - 1] and values[lag] > values[lag + 1]
        if peak and values[lag] >= most - 0.5 * _STRONGER:
            period, times = lag + top(values, lag), 1
            # Multiples of it tell it more exactly. Their number is bounded: where the correlation
            # falls with every lag the period would shrink as fast as the multiples grow.
            while times < _MULTIPLES and (times + 1) * period + 1.0 <= _LAG_MOST:
                times += 1
                near = int(times * period + 0.5)
                if values[near] < values[near - 1]:
                    near -= 1
                elif values[near] < values[near + 1]:
                    near += 1
                period = (near + top(values, near)) / times
            return period, values[lag]
    return 0.0, 0.0


@inner
def rounded(period, usual):
    """A whole part of the usual period that is near, else the period."""
    for divisor in _DIVISORS:
        if abs(period * divisor / usual - 1.0) < _NEAR:
            return float(usual // divisor)
    return np.floor(period)


@inner
def look(coarse, notes, value, now, usual):
    """Note a value; whether the period, ``notes[FOUND]`` in milliseconds, is another one now.

    0 is the usual one, longer than which none is taken.
    """
    if notes[_GRAIN] < 0.0:
        return False
    if notes[_GRAIN] == 0.0:
        notes[_GRAIN], notes[_SINCE] = 1.0, now
    notes[_SUM] += value
    notes[_SUMMED] += 1.0
    if notes[_SUMMED] < notes[_GRAIN]:
        return False
    coarse[int(notes[_FILLED])] = notes[_SUM] / notes[_SUMMED]
    notes[_FILLED] += 1.0
    notes[_SUM] = notes[_SUMMED] = 0.0
    if notes[_FILLED] < ROOM:
        return False
    changed, span = False, now - notes[_SINCE]
    lag, strength = best_lag(coarse)
    points = ROOM * notes[_GRAIN]
    period = lag * span / ROOM * points / (points - 1.0)
    if strength >= _STRONG and strength > notes[_STRENGTH] + _STRONGER:
        ratio = period / usual
        if ratio < 1.0 + _ALIKE:
            found = 0.0 if ratio > 1.0 - _ALIKE else rounded(period, usual)
            changed = found != notes[FOUND]
            notes[FOUND], notes[_STRENGTH] = found, strength
    for at in range(ROOM // 2):
        coarse[at] = 0.5 * (coarse[2 * at] + coarse[2 * at + 1])
    notes[_FILLED] = ROOM // 2
    # The usual one has been seen often: nothing shorter would be seen any more.
    notes[_GRAIN] = -1.0 if span > _USUALS_MOST * usual else 2.0 * notes[_GRAIN]
    return changed

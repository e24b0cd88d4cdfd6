"""What a combined score means: how many false alarms a day a threshold there would have.

Detectors depend on each other, and points on those before them, so the mean of the detectors'
surprises is calibrated once more, and alarms are counted as a person would: one that comes within
``dead_time`` points after another belongs to it. The rate of alarms is the probability of a point
(``tails``) times the share of such points that begin an episode, the extremal index (Leadbetter,
"Extremes and Local Dependence in Stationary Sequences", 1983), which is counted beyond a high
quantile. Combined scores of different series are alike, being made of p-values: the tail is mixed
with that of all series of the class, which has seen much more.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.config.anomaly import Anomaly
from streams.anomaly.blocks import Blocks
from streams.anomaly.conformal import SURPRISE_MAX
from streams.anomaly.tails import log_probability, tail_bin
from streams.wire.compiling import inner, kernel

__all__ = ["Rates"]

_BINS = 64
_PER_UNIT = _BINS / SURPRISE_MAX
_TAIL = 0.02
"""Share of the points that the tail is fitted to."""
_SHAPE, _WORTH, _SHAPE_LEAST = 0.0, 100.0, -0.1
_CLASS_WORTH = 5000.0
"""Points of a series that the class counts as, ..."""
_CLASS_MIN = 2000.0
"""... once it has seen so many."""
_CLASS_MEMORY = 4e6
"""Points that a class remembers at least: single precision still counts in ones."""
_EPISODE_TAIL = 0.003
_EPISODES, _EPISODE_SHARE = 3.0, 0.4
"""What is assumed of the share of points that begin an episode, and how many episodes it counts."""
_YOUNG = 1000
"""Age at which what was learnt first is halved; then at every doubling: it is the least true."""
_DAY_MS = 86_400_000.0
_TOTAL, _STARTED, _EXPECTED, _AGE, _SINCE, _ONSET, _AGO, _PEAK, _RARER = range(9)
_MARGIN, _ENOUGH = 0.25, 1.0
"""By how much a score must surpass the onset of an episode to be one itself, unless that one was
so great that nobody would overlook it, ..."""
_WAIT_LEAST, _WAIT_SHARE, _WAIT_MOST = 10.0, 0.03, 500.0
"""... within a share of the series' age, in points within these bounds."""
_RARE, _USUAL, _USUAL_WORTH = 0.01, 0.85, 300.0
"""The rarest share of points, the surprise that usually begins it, and the points which that is
worth against a series' own."""
_RARE_LEAST, _RARE_MEMORY = 0.1, 20_000.0
"""Least value of it, and points over which it follows."""
_OWN = 0.3
"""How much of a series' own habit of surprising is taken from its scores: all of it would hide
series that are often in trouble, nothing lets the restless ones drown the others."""


@inner
def begins(counts, pooled, dead_time):
    """Share of the points beyond a high quantile that begin an episode (the extremal index)."""
    usual = (pooled[_STARTED] + _EPISODES) / (pooled[_EXPECTED] + _EPISODES / _EPISODE_SHARE)
    share = (counts[_STARTED] + _EPISODES) / (counts[_EXPECTED] + _EPISODES / usual)
    return min(max(share, 1.0 / max(dead_time, 1.0)), 1.0)


@inner
def temper(counts, found):
    """Factor for the scores of a series, below 1 if it surprises more often than others.

    Then learns the score: the rare quantile is approached in steps that get smaller (Robbins and
    Monro, "A Stochastic Approximation Method", 1951), for an exponential tail.
    """
    start = _USUAL + counts[_RARER]
    factor = (_USUAL / max(start, _RARE_LEAST)) ** _OWN
    gain = _USUAL / -np.log(_RARE) / (min(counts[_AGE], _RARE_MEMORY) + _USUAL_WORTH)
    over = 1.0 if found > start else 0.0
    counts[_RARER] = max(start + gain * (over / _RARE - 1.0), _RARE_LEAST) - _USUAL
    return factor


@inner
def fade(histogram, counts, limit):
    """Halve what was learnt, if it is time to."""
    age = int(counts[_AGE])
    doubled = age // _YOUNG
    young = doubled > 0 and age % _YOUNG == 0 and doubled & (doubled - 1) == 0
    if counts[_TOTAL] >= limit or young:
        for at in range(_BINS):
            histogram[at] *= np.float32(0.5)
        counts[_TOTAL] *= 0.5
        counts[_STARTED] *= 0.5
        counts[_EXPECTED] *= 0.5


@inner
def learn(histogram, counts, place, share, begun):
    """Count a point; ``share`` of the points would begin an episode if they were independent."""
    histogram[place] += np.float32(1.0)
    counts[_TOTAL] += 1.0
    counts[_AGE] += 1.0
    counts[_EXPECTED] += share
    counts[_STARTED] += begun


@inner
def rise(histogram, peak, place):
    """An episode's greatest score is another: that one is counted instead."""
    taken = min(histogram[peak], np.float32(1.0))
    histogram[peak] -= taken
    histogram[place] += taken


@inner
def seen_rate(rate, dead_time):
    """Episodes a point that are seen when each hides what begins within ``dead_time``."""
    return rate / (1.0 + rate * dead_time)


@kernel
def judge(state, shared, kinds, interval, series, surprise, edges, limits, settings, out):
    """Rates of alarms, and which scores begin an episode; ``out`` has an array per result."""
    histogram, counters = state
    pool, pools = shared
    rate, least, p_value, score, onset = out
    limit, pool_limit, warmup = limits
    dead_time, extrapolation = settings
    for row in range(len(series)):
        i, kind, found = series[row], kinds[series[row], 0], surprise[row]
        rate[row], least[row], p_value[row] = np.inf, np.inf, 1.0
        score[row], onset[row] = 0.0, 0.0
        if np.isnan(found):
            continue
        own, counts, pooled = histogram[i], counters[i], pools[kind]
        place = min(int(found * _PER_UNIT), _BINS - 1)
        points, step = counts[_TOTAL], abs(interval[i, 0])
        ready = counts[_AGE] >= warmup
        if ready and step > 0.0:
            ln = log_probability(
                own, edges, points, 1.0, place, found, _TAIL, _SHAPE, _WORTH, _SHAPE_LEAST
            )
            p = np.exp(ln)
            if pooled[_TOTAL] >= _CLASS_MIN:
                ln = log_probability(
                    *(pool[kind], edges, pooled[_TOTAL], 1.0, place, found),
                    *(_TAIL, _SHAPE, _WORTH, _SHAPE_LEAST),
                )
                p = (points * p + _CLASS_WORTH * np.exp(ln)) / (points + _CLASS_WORTH)
            floor = 1.0 / ((points + 1.0) * extrapolation)
            share, day = begins(counts, pooled, dead_time), _DAY_MS / step
            p_value[row] = max(p, floor)
            rate[row] = seen_rate(p_value[row] * share, dead_time) * day
            least[row] = seen_rate(floor * share, dead_time) * day
        tempered = min(found * temper(counts, found), SURPRISE_MAX)
        score[row] = found / SURPRISE_MAX
        # An onset is a score that no greater one was shortly before.
        wait = min(max(_WAIT_SHARE * counts[_AGE], _WAIT_LEAST), _WAIT_MOST)
        counts[_AGO] += 1.0
        if counts[_AGO] > wait:
            counts[_ONSET] = 0.0
        before = counts[_ONSET]
        if before == 0.0 or (before < _ENOUGH and tempered > before + _MARGIN):
            onset[row] = tempered / SURPRISE_MAX
            counts[_ONSET], counts[_AGO] = tempered, 0.0
        # Learn.
        counts[_SINCE] += 1.0
        begun, share = 0.0, 0.0
        if ready:
            first, held = tail_bin(own, _EPISODE_TAIL * points)
            if counts[_SINCE] <= dead_time:
                # What comes of an episode is one event with its begin: it would make the rest of
                # itself, and the next one, usual.
                if place >= first:
                    peak = int(counts[_PEAK])
                    if place > peak:
                        rise(own, peak, place)
                        rise(pool[kind], peak, place)
                        counts[_PEAK] = place
                    counts[_AGE] += 1.0
                    continue
            elif held > 0.0:
                share = held / points
                if place >= first:
                    begun, counts[_SINCE], counts[_PEAK] = 1.0, 0.0, place
        learn(own, counts, place, share, begun)
        fade(own, counts, limit)
        if ready:
            learn(pool[kind], pooled, place, share, begun)
            fade(pool[kind], pooled, pool_limit)


class Judged(NamedTuple):
    """Per point; see ``Observed``."""

    rate_per_day: NDArray[np.float64]
    least_per_day: NDArray[np.float64]
    p_value: NDArray[np.float64]
    score: NDArray[np.float64]
    onset: NDArray[np.float64]


class Rates:
    """Past combined scores, per series and per class."""

    def __init__(self, capacity: int, settings: Anomaly, *, kinds: int) -> None:
        self._limits = (2.0 * settings.rate_memory, 2.0 * _CLASS_MEMORY, float(settings.warmup))
        self._settings = (float(settings.dead_time), settings.extrapolation)
        self._edges = np.arange(_BINS + 1) / _PER_UNIT
        arrays = {"histogram": ("<f4", _BINS), "counters": ("<f8", 9)}
        self.blocks = Blocks(capacity, arrays)
        self.shared = Blocks(kinds, arrays)

    def observe(
        self,
        kinds: NDArray[np.uint8],
        interval: NDArray[np.float64],
        series: NDArray[np.int32],
        surprise: NDArray[np.float64],
    ) -> Judged:
        """Judge combined surprises, 0 to ``SURPRISE_MAX``; NaN: nothing was said."""
        out = Judged(*(np.empty(len(series)) for _ in Judged._fields))
        state, shared = self.blocks, self.shared
        judge(
            *((state["histogram"], state["counters"]), (shared["histogram"], shared["counters"])),
            *(kinds, interval, series, surprise, self._edges),
            *(self._limits, self._settings, out),
        )
        return out

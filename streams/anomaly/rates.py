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
_CLASS_WORTH = 500.0
"""Points of a series that the class counts as, ..."""
_CLASS_MIN = 2000.0
"""... once it has seen so many."""
_EPISODE_TAIL = 0.003
_EPISODES, _EPISODE_SHARE = 3.0, 0.4
"""What is assumed of the share of points that begin an episode, and how many episodes it counts."""
_DAY_MS = 86_400_000.0
_TOTAL, _STARTED, _SINCE, _ONSET, _AGO, _POINTS = range(6)
_POOL_MAX = 1e7
_MARGIN = 0.25
"""By how much a score must surpass the onset of an episode to be one itself, ..."""
_WAIT_LEAST, _WAIT_SHARE, _WAIT_MOST = 10.0, 0.03, 300.0
"""... within a share of the series' age, in points within these bounds."""


@inner
def begins(histogram, own, unit, dead_time):
    """Share of the points beyond a high quantile that begin an episode."""
    _, held = tail_bin(histogram, _EPISODE_TAIL * own[_TOTAL])
    points, beyond, started = own[_TOTAL] / unit, held / unit, own[_STARTED] / unit
    alive = max(points - started * dead_time, 0.1 * points)
    expected = alive * beyond / points if points > 0.0 else 0.0
    share = (started + _EPISODES) / (expected + _EPISODES / _EPISODE_SHARE)
    return min(max(share, 1.0 / max(dead_time, 1.0)), 1.0)


@inner
def seen_rate(rate, dead_time):
    """Episodes a point that are seen when each hides what begins within ``dead_time``."""
    return rate / (1.0 + rate * dead_time)


@kernel
def judge(state, shared, kinds, interval, series, surprise, edges, limits, settings, out):
    """Rates of alarms, and which scores begin an episode; ``out`` has an array per result."""
    histogram, counters = state
    pool, pooled = shared
    rate, least, p_value, score, onset = out
    unit, limit, warmup = limits
    dead_time, extrapolation = settings
    for row in range(len(series)):
        i, kind, found = series[row], kinds[series[row], 0], surprise[row]
        rate[row], least[row], p_value[row] = np.inf, np.inf, 1.0
        score[row], onset[row] = 0.0, 0.0
        if np.isnan(found):
            continue
        own, counts = histogram[i], counters[i]
        place = min(int(found * _PER_UNIT), _BINS - 1)
        score[row] = found / SURPRISE_MAX
        total = counts[_TOTAL]
        step = abs(interval[i, 0])
        if total >= warmup * unit and step > 0.0:
            points = total / unit
            ln = log_probability(
                own, edges, total, unit, place, found, _TAIL, _SHAPE, _WORTH, _SHAPE_LEAST
            )
            p = np.exp(ln)
            if pooled[kind, 0] >= _CLASS_MIN:
                ln = log_probability(
                    *(pool[kind], edges, pooled[kind, 0], 1.0, place, found),
                    *(_TAIL, _SHAPE, _WORTH, _SHAPE_LEAST),
                )
                p = (points * p + _CLASS_WORTH * np.exp(ln)) / (points + _CLASS_WORTH)
            floor = 1.0 / ((points + 1.0) * extrapolation)
            share, day = begins(own, counts, unit, dead_time), _DAY_MS / step
            p_value[row] = max(p, floor)
            rate[row] = seen_rate(p_value[row] * share, dead_time) * day
            least[row] = seen_rate(floor * share, dead_time) * day
        # An onset is a score that no greater one was shortly before.
        counts[_POINTS] += 1.0
        wait = min(max(_WAIT_SHARE * counts[_POINTS], _WAIT_LEAST), _WAIT_MOST)
        counts[_AGO] += 1.0
        if counts[_AGO] > wait:
            counts[_ONSET] = 0.0
        if counts[_ONSET] == 0.0 or found > counts[_ONSET] + _MARGIN:
            onset[row] = score[row]
            counts[_ONSET], counts[_AGO] = found, 0.0
        # Learn.
        counts[_SINCE] += 1.0
        first, _ = tail_bin(own, _EPISODE_TAIL * total)
        if total > 0.0 and place >= first and counts[_SINCE] > dead_time:
            counts[_STARTED] += unit
            counts[_SINCE] = 0.0
        own[place] += unit
        counts[_TOTAL] = total + unit
        if total >= warmup * unit:
            pool[kind, place] += 1.0
            pooled[kind, 0] += 1.0
            if pooled[kind, 0] > _POOL_MAX:
                pool[kind] *= 0.5
                pooled[kind, 0] *= 0.5
        if counts[_TOTAL] >= limit or own[place] >= 65_000:
            total = 0.0
            for at in range(_BINS):
                own[at] >>= 1
                total += own[at]
            counts[_STARTED] *= total / counts[_TOTAL]
            counts[_TOTAL] = total


class Judged(NamedTuple):
    """Per point; see ``Observed``."""

    rate_per_day: NDArray[np.float64]
    least_per_day: NDArray[np.float64]
    p_value: NDArray[np.float64]
    score: NDArray[np.float64]
    onset: NDArray[np.float64]


class Rates:
    """Past combined scores, per series and per class."""

    def __init__(
        self,
        capacity: int,
        *,
        memory: int,
        warmup: int,
        dead_time: int,
        extrapolation: float,
        kinds: int,
    ) -> None:
        unit = max(1, min(32, 65_000 // (2 * memory)))
        self._limits = (float(unit), 2.0 * memory * unit, float(warmup))
        self._settings = (float(dead_time), extrapolation)
        self._edges = np.arange(_BINS + 1) / _PER_UNIT
        self.blocks = Blocks(capacity, {"histogram": ("<u2", _BINS), "counters": ("<f8", 6)})
        self.shared = Blocks(kinds, {"pool": ("<f8", _BINS), "pooled": ("<f8", 1)})

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
            *((state["histogram"], state["counters"]), (shared["pool"], shared["pooled"])),
            *(kinds, interval, series, surprise, self._edges, self._limits, self._settings, out),
        )
        return out

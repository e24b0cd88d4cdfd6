"""Input series of a test of alert rules, as windows.

A series is there from its first window with a value on, until it is stale. Windows after its last
value have nothing. What was not given follows from what was, as in ``detect``: a rate from the
count, shares from sums. Without a count, a window with any value has as many items as any
``min_count`` asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from schemas.config.alert_tests import STALE, AlertTest, InputSeries, SeriesName

from .rows import Block, Judgement
from .series import Series
from .statistics import RAW, STATISTICS, Kind, derive

__all__ = ["Channel", "channels"]

_DAY_MS = 86_400_000
_COUNT = STATISTICS.index("count")


class Channel:
    """All input series of one window rule and length.

    Args:
        window: name of the rule.
        length_ms: of the windows.
        first: number of its first series.
    """

    def __init__(self, window: str, length_ms: int, first: int) -> None:
        self.window = window
        self.length_ms = length_ms
        self.first = first
        self.series: list[Series] = []
        """By number, from ``first`` on."""
        self._inputs: list[dict[str, InputSeries]] = []
        self._numbers: dict[Series, int] = {}

    def add(self, given: InputSeries) -> None:
        """One statistic more, of a series that is known or not."""
        series = _series(given.series, self.length_ms)
        number = self._numbers.setdefault(series, len(self.series))
        if number == len(self.series):
            self.series.append(series)
            self._inputs.append({})
        self._inputs[number][given.series.statistic] = given

    @cached_property
    def _life(self) -> NDArray[np.int64]:
        """(2, series) the first window with a value, and the first in which it is gone."""
        life = np.full((2, len(self.series)), np.iinfo(np.int64).max)
        for i, inputs in enumerate(self._inputs):
            for given in inputs.values():
                for window, value in enumerate(given.values):
                    if value is not None:
                        side = 1 if value == STALE else 0
                        life[side, i] = min(life[side, i], window)
        return life

    def new(self, window: int) -> NDArray[np.int32]:
        """Numbers of series that begin with this window."""
        return self._numbered(self._life[0] == window)

    def gone(self, window: int) -> NDArray[np.int32]:
        """Numbers of series that are gone from this window on."""
        return self._numbered(self._life[1] == window)

    def _numbered(self, which: NDArray[np.bool_]) -> NDArray[np.int32]:
        return (np.flatnonzero(which) + self.first).astype(np.int32)

    def block(self, window: int, end_ms: int) -> Block:
        """The window, for all series that there are."""
        there = (self._life[0] <= window) & (window < self._life[1])
        live = np.flatnonzero(there)
        given = np.full((len(STATISTICS), len(live)), np.nan)
        for row, number in enumerate(live.tolist()):
            for name, each in self._inputs[number].items():
                value = each.values[window] if window < len(each.values) else None
                if isinstance(value, float):
                    given[STATISTICS.index(name), row] = value
        counted = np.array(["count" in self._inputs[number] for number in live.tolist()], bool)
        seen = np.where(counted, given[_COUNT] > 0, ~np.isnan(given).all(axis=0))
        kinds = np.array(
            [Kind.MEASURED if self.series[n].metric else Kind.COUNTED for n in live.tolist()],
            np.uint8,
        )
        rows = given[: len(RAW)].T.copy()
        rows[seen & ~counted, _COUNT] = np.inf
        values = derive(rows, seen, kinds, self.length_ms)
        values = np.where(np.isnan(given), values, given)
        ids = (live + self.first).astype(np.int32)
        return Block(
            self.window, self.length_ms, end_ms, ids, seen, True, values,
            self._observed(live, values),
        )  # fmt: skip

    def _observed(
        self, live: NDArray[np.int64], values: NDArray[np.float64]
    ) -> dict[str, tuple[NDArray[np.int64], Judgement]]:
        found: dict[str, tuple[NDArray[np.int64], Judgement]] = {}
        for place, name in enumerate(STATISTICS):
            rows = [
                (row, given.expected.low, given.expected.high)
                for row, number in enumerate(live.tolist())
                if (given := self._inputs[number].get(name)) is not None and given.expected
            ]
            if rows:
                at = np.array([row for row, _, _ in rows], np.int64)
                low = np.array([low for _, low, _ in rows])
                high = np.array([high for _, _, high in rows])
                found[name] = (at, self._judged(values[place][at], low, high))
        return found

    def _judged(
        self, values: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
    ) -> Judgement:
        outside = (values < low) | (values > high)
        return Judgement(
            score=outside.astype(np.float64),
            rate_per_day=np.where(outside, 0.0, _DAY_MS / self.length_ms),
            least_per_day=np.zeros(len(values)),
            detector=np.full(len(values), -1, np.int8),
            direction=np.sign(2 * values - low - high).astype(np.int8),
            low=low,
            high=high,
        )


def _series(name: SeriesName, length_ms: int) -> Series:
    labels = dict(name.labels)
    return Series(
        window=name.window,
        length_ms=length_ms,
        tenant=labels.pop("tenant", ""),
        service=labels.pop("service", ""),
        metric=labels.pop("metric", ""),
        attributes=tuple(sorted(labels.items())),
    )


def channels(test: AlertTest) -> Sequence[Channel]:
    """The input series of a test, by window rule and length; numbers go on from one to the next."""
    grouped: dict[tuple[str, int], list[InputSeries]] = {}
    for given in test.input_series:
        length_ms = round((given.length or test.interval) * 1000)
        grouped.setdefault((given.series.window, length_ms), []).append(given)
    found: list[Channel] = []
    first = 0
    for (window, length_ms), inputs in grouped.items():
        channel = Channel(window, length_ms, first)
        for given in inputs:
            channel.add(given)
        first += len(channel.series)
        found.append(channel)
    return found

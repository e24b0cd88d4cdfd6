"""Blocks of windows for tests of rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streams.alerts.rows import Block, Judged, Judgement
from streams.alerts.series import Series
from streams.alerts.statistics import STATISTICS

LENGTH_MS = 10_000


def series(number: int, window: str = "services", **attributes: Any) -> Series:
    return Series(window, LENGTH_MS, "", f"s{number}", "", tuple(sorted(attributes.items())))


def block(
    end_ms: int,
    ids: Sequence[int],
    values: Mapping[str, Sequence[float]],
    *,
    seen: Sequence[bool] | None = None,
    known: bool = True,
    observed: Mapping[str, tuple[Sequence[int], Judged]] | None = None,
    window: str = "services",
) -> Block:
    table = np.full((len(STATISTICS), len(ids)), np.nan)
    for name, column in values.items():
        table[STATISTICS.index(name)] = column
    there = np.ones(len(ids), np.bool_) if seen is None else np.array(seen, np.bool_)
    looked = {
        name: (np.array(rows, np.int64), found) for name, (rows, found) in (observed or {}).items()
    }
    return Block(window, LENGTH_MS, end_ms, np.array(ids, np.int32), there, known, table, looked)


def observed(
    rate_per_day: Sequence[float],
    *,
    least: Sequence[float] | None = None,
    low: Sequence[float] | None = None,
    high: Sequence[float] | None = None,
    direction: Sequence[int] | None = None,
) -> Judged:
    n = len(rate_per_day)
    rates = np.array(rate_per_day, np.float64)
    nan = np.full(n, np.nan)
    return Judgement(
        score=1 / (1 + rates),
        rate_per_day=rates,
        least_per_day=np.zeros(n) if least is None else np.array(least, np.float64),
        detector=np.zeros(n, np.int8),
        direction=np.ones(n, np.int8) if direction is None else np.array(direction, np.int8),
        low=nan if low is None else np.array(low, np.float64),
        high=nan if high is None else np.array(high, np.float64),
    )

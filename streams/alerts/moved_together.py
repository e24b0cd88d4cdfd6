"""What else of a service was unusual when an alert fired."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from schemas.records.alerts import MovedWith

from .pairs import Unusual
from .series import Attributes, Series, SeriesTable
from .statistics import STATISTICS
from .watching import Watching

__all__ = ["moved_together"]


def moved_together(
    table: SeriesTable,
    watching: Watching,
    channels: list[tuple[str, int]],
    *,
    number: int,
    statistic: str,
    end_ms: int,
    windows: int,
    most: int,
) -> list[MovedWith]:
    """The strangest values of a series' service within the last windows, but for itself.

    Of a statistic that is watched in windows of several lengths the strangest is named.

    Args:
        table: all series.
        watching: what is known of them.
        channels: window rules and lengths by place.
        number: the series that is meant, and its ``statistic``.
        statistic: what is alarming.
        end_ms: end of the window in which it is.
        windows: how many windows of each length.
        most: how many are named.
    """
    if not most or number >= table.used:
        return []
    service = table.service[number]

    def of_service(numbers: NDArray[np.int32]) -> NDArray[np.bool_]:
        ours: NDArray[np.bool_] = table.service[numbers] == service
        return ours

    itself = _key(table.describe(number, channels), statistic)
    seen = {itself}
    result: list[MovedWith] = []
    for each in watching.unusual(end_ms, windows, of_service):
        series = table.describe(each.number, channels)
        key = _key(series, STATISTICS[each.statistic])
        if key in seen:
            continue
        seen.add(key)
        result.append(_named(series, each))
        if len(result) == most:
            break
    return result


def _key(series: Series, statistic: str) -> tuple[str, str, Attributes, str]:
    return series.window, series.metric, series.attributes, statistic


def _named(series: Series, each: Unusual) -> MovedWith:
    return MovedWith(
        window=series.window,
        length_ms=series.length_ms,
        metric=series.metric,
        attributes={key: _shown(value) for key, value in series.attributes},
        statistic=STATISTICS[each.statistic],
        value=_known(each.value),
        low=_known(each.low),
        high=_known(each.high),
        score=each.score,
    )


def _known(value: float) -> float | None:
    """A number for a record; None: it is none."""
    return value if math.isfinite(value) else None


def _shown(value: str | bool | int | float) -> str | bool | int | float:
    """As JSON can say it."""
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)

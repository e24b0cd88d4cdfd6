"""What a window says to a rule: yes, no, nothing, or nothing yet; for all series at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.config.alerts import AnomalyCondition, Threshold

from .absence import Presence
from .rows import Block
from .rules import Rule
from .statistics import STATISTICS

__all__ = ["NO", "NOTHING", "UNCERTAIN", "YES", "Evidence", "Said", "evaluate"]

NO, YES, NOTHING, UNCERTAIN = 0, 1, 2, 3
"""The condition does not hold; it does; the window says nothing; it could not be told."""

Values = NDArray[np.float64]

_COMPARE = {
    ">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal,
    "==": np.equal, "!=": np.not_equal,
}  # fmt: skip
_OF_FEW = ("<", "<=", "==", "!=")
"""Comparisons that hold for a number that is only too small because something is missing."""
_GROWING = ("count", "errors", "sum", "rate")
"""Statistics that are too small where something is missing."""


class Evidence(NamedTuple):
    """Why, of one series; NaN and -1 where there is nothing to say."""

    value: float
    low: float
    high: float
    score: float
    detector: int


class Said(NamedTuple):
    """What a block says to a rule about some of its rows, n of them."""

    verdict: NDArray[np.int8]
    """(n) NO, YES, NOTHING or UNCERTAIN."""
    values: Values
    """(n) of the rule's statistic."""
    detected: tuple[Values, Values, Values, NDArray[np.int8]] | None = None
    """(n) low, high, score and detector, for a rule about anomalies."""

    def evidence(self, row: int) -> Evidence:
        """Of one of the rows."""
        value = float(self.values[row])
        if self.detected is None:
            return Evidence(value, np.nan, np.nan, np.nan, -1)
        low, high, score, detector = self.detected
        return Evidence(
            value, float(low[row]), float(high[row]), float(score[row]), int(detector[row])
        )


def evaluate(rule: Rule, block: Block, rows: NDArray[np.int64], presence: Presence | None) -> Said:
    """What the window says about ``rows`` of the block.

    Args:
        rule: of the block's window rule and length.
        block: the window.
        rows: (n) which of its rows, ascending.
        presence: of a rule about absence: what is known of its series; updated.
    """
    values = block.values[STATISTICS.index(rule.statistic)][rows]
    config = rule.config
    if config.absence is not None:
        assert presence is not None  # noqa: S101 - every rule about absence has one
        if not block.known:
            return Said(np.full(len(rows), UNCERTAIN, np.int8), values)
        return Said(presence.observe(block.ids[rows], block.seen[rows]), values)
    if config.threshold is not None:
        said = _threshold(config.threshold, rule, block, values)
    else:
        assert config.anomaly is not None  # noqa: S101 - there is no fourth kind
        said = _anomaly(config.anomaly, rule, block, rows, values)
    if config.min_count:
        few = ~(block.values[STATISTICS.index("count")][rows] >= config.min_count)
        # Of few items nothing can be told; that there are none at all is for no_data.
        said.verdict[few & block.seen[rows]] = UNCERTAIN
        said.verdict[few & ~block.seen[rows]] = NOTHING
    return said


def _threshold(threshold: Threshold, rule: Rule, block: Block, values: Values) -> Said:
    holds = _COMPARE[threshold.op](values, threshold.value)
    verdict = holds.astype(np.int8)
    if not block.known and threshold.op in _OF_FEW and rule.statistic in _GROWING:
        verdict[holds] = UNCERTAIN
    verdict[np.isnan(values)] = NOTHING
    return Said(verdict, values)


def _anomaly(
    anomaly: AnomalyCondition, rule: Rule, block: Block, rows: NDArray[np.int64], values: Values
) -> Said:
    n = len(rows)
    verdict = np.full(n, UNCERTAIN, np.int8)
    low, high, score = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    detector = np.full(n, -1, np.int8)
    if rule.statistic in block.observed:
        looked_at, observed = block.observed[rule.statistic]
        places = np.searchsorted(rows, looked_at)
        ours = places < n
        ours[ours] = rows[places[ours]] == looked_at[ours]
        at = places[ours]
        low[at], high[at] = observed.low[ours], observed.high[ours]
        score[at], detector[at] = observed.score[ours], observed.detector[ours]
        told = ~(observed.least_per_day[ours] > anomaly.sensitivity)
        alarm = observed.rate_per_day[ours] <= anomaly.sensitivity
        alarm &= _far_enough(anomaly, values[at], low[at], high[at])
        below = observed.direction[ours] < 0
        if anomaly.direction != "both":
            alarm &= observed.direction[ours] * (1 if anomaly.direction == "up" else -1) > 0
        told &= ~np.isnan(observed.rate_per_day[ours])
        if not block.known and rule.statistic in _GROWING:
            told &= ~(alarm & below)
        if not block.known and rule.statistic == "strangeness":
            told &= ~alarm  # the rate is part of it
        verdict[at[told]] = alarm[told]
    verdict[np.isnan(values)] = NOTHING
    return Said(verdict, values, (low, high, score, detector))


def _far_enough(
    anomaly: AnomalyCondition, values: Values, low: Values, high: Values
) -> NDArray[np.bool_]:
    if not anomaly.min_change and not anomaly.min_difference:
        return np.ones(len(values), np.bool_)
    above, below = values - high, low - values
    outside = np.fmax(above, below)
    end = np.where(above >= below, high, low)
    least = np.maximum(anomaly.min_change * np.abs(end), anomaly.min_difference)
    # A range that is not known cannot excuse a value.
    return ~(outside < least)

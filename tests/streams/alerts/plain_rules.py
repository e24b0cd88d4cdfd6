"""One rule and one series at a time, with numbers and lists: what the vectorised states must equal.

Written from the description of the settings, not from the code that it judges.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas.config.alerts import AlertRule

COMPARE: Mapping[str, Any] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


@dataclass
class Told:
    """What comes out."""

    state: str
    reason: str
    at_ms: int
    starts_ms: int
    fired_ms: int | None
    value: float


@dataclass
class PlainAbsence:
    sensitivity: float | None
    history: int
    per_day: float
    age: int = 0
    run: int = 0
    empty: Any = field(default_factory=lambda: np.float32(0))
    total: Any = field(default_factory=lambda: np.float32(0))
    longest: Any = field(default_factory=lambda: np.float32(0))

    def needed(self) -> float:
        if self.sensitivity is None:
            return 1
        share = (self.empty + np.float32(1)) / (self.total + np.float32(2))
        by_chance = math.ceil(min(math.log(self.sensitivity / self.per_day), 0) / np.log(share))
        return max(by_chance, 1, math.floor(np.float32(2) * self.longest) + 1)

    def window(self, seen: bool) -> str:
        self.age = min(self.age + 1, self.history)
        needed = self.needed()
        if seen:
            gap = min(self.run, needed)
            keep = 0.5 ** (1 / self.per_day) ** 1
            keep = keep ** (gap + 1)
            self.empty = np.float32(np.float64(self.empty) * keep + gap)
            self.total = np.float32(np.float64(self.total) * keep + gap + 1)
            self.longest = np.float32(max(np.float64(self.longest) * keep, gap))
            self.run = 0
            return "no"
        self.run += 1
        if self.age < self.history:
            return "uncertain"
        return "yes" if self.run >= needed else "no"


class PlainSeries:
    """A series and a rule."""

    def __init__(self, rule: AlertRule) -> None:
        self.rule = rule
        self.length_ms = round(rule.on.length * 1000)
        self.state = "inactive"
        self.starts = self.fired = self.not_since = self.known_at = None
        self.value = math.nan
        self.last: list[bool] = []
        self.absence = None
        if rule.absence is not None:
            per_day = 86_400_000 / self.length_ms
            self.absence = PlainAbsence(rule.absence.sensitivity, rule.absence.history, per_day)

    # --- the condition

    def _says(self, value: float, count: float, seen: bool, known: bool) -> str:
        rule = self.rule
        if self.absence is not None:
            return self.absence.window(seen) if known else "uncertain"
        assert rule.threshold is not None
        if rule.min_count and not count >= rule.min_count:
            return "uncertain" if seen else "nothing"
        if math.isnan(value):
            return "nothing"
        holds = COMPARE[rule.threshold.op](value, rule.threshold.value)
        of_what_is_missing = rule.on.statistic in ("count", "errors", "sum", "rate")
        if holds and not known and of_what_is_missing and rule.threshold.op not in (">", ">="):
            return "uncertain"
        return "yes" if holds else "no"

    def _holds(self, said: str) -> bool | None:
        if said == "nothing":
            said = {"keep": "uncertain", "resolve": "no", "fire": "yes"}[self.rule.no_data]
        if said == "uncertain":
            return None
        if self.rule.at_least is None:
            return said == "yes"
        self.last = [*self.last, said == "yes"][-self.rule.at_least.of :]
        return sum(self.last) >= self.rule.at_least.windows

    # --- the state

    def window(self, end: int, value: float, count: float, seen: bool, known: bool) -> list[Told]:
        return self._move(end, self._holds(self._says(value, count, seen, known)), value)

    def nothing(self, end: int) -> list[Told]:
        """The series is not in the block."""
        return self._move(end, None, math.nan)

    def gone(self, end: int) -> list[Told]:
        """The series is forgotten."""
        return self._over("series_gone", end) if self.state != "inactive" else []

    def _over(self, reason: str, end: int) -> list[Told]:
        state = "inactive" if self.state == "pending" else "resolved"
        told = [Told(state, reason, end, self.starts, self.fired, self.value)]
        self.state = "inactive"
        self.starts = self.fired = self.not_since = self.known_at = None
        return told

    def _to(self, state: str, reason: str, end: int) -> list[Told]:
        self.state = state
        return [Told(state, reason, end, self.starts, self.fired, self.value)]

    def _move(self, end: int, holds: bool | None, value: float) -> list[Told]:
        told: list[Told] = []
        rule = self.rule
        if self.state != "inactive":
            since = end if holds is None else end - self.rule.on.length * 1000
            silent = since - self.known_at >= rule.no_data_after * 1000
            if holds is not None:
                self.known_at, self.value = end, value
            if self.state == "pending":
                if holds is False:
                    told += self._over("condition", end)
                elif silent:
                    told += self._over("no_data", end)
                elif holds and end - self.starts >= rule.for_ * 1000:
                    self.fired = end
                    told += self._to("firing", "condition", end)
            elif holds:
                self.not_since = None
                if self.state == "no_data":
                    told += self._to("firing", "condition", end)
            else:
                if holds is False and self.not_since is None:
                    self.not_since = end
                long_enough = rule.keep_firing_for * 1000
                if self.not_since is not None and end - self.not_since >= long_enough:
                    told += self._over("condition", end)
                elif holds is False and self.state == "no_data":
                    told += self._to("firing", "keep_firing_for", end)
                elif holds is None and silent and self.state == "firing":
                    told += self._to("no_data", "no_data", end)
        if self.state == "inactive" and holds:
            self.starts = self.known_at = end
            self.value = value
            if rule.for_:
                told += self._to("pending", "condition", end)
            else:
                self.fired = end
                told += self._to("firing", "condition", end)
        return told

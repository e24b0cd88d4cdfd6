"""``aimd``: keep less of a key while its traces are slow or fail.

Named after additive increase, multiplicative decrease; here both are factors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.config import Aimd
from streams.sampling.grouping import EMPTY, distinct
from streams.sampling.key_table import KeyTable
from streams.sampling.step import Decided

__all__ = ["LEAST", "AimdStrategy"]

LEAST = 0.01
"""Least probability."""
_SLOW, _FAILING, _QUICK = 0.8, 0.9, 1.1
_COLUMNS = {
    "cut": "f4",  # 1 - factor, so that 0 is a new key's
    "since_s": "f8",
    "traces": "f4",
    "timed": "f4",
    "latency_ms": "f8",
    "errors": "f4",
}


class AimdStrategy:
    """Probabilities by key on one partition."""

    def __init__(self, settings: Aimd, keys_max: int) -> None:
        self._settings = settings
        self.values: dict[str, float] = {"base": settings.base}
        self.table = KeyTable(keys_max, _COLUMNS)
        self.memory: tuple[float, ...] = self.after()
        """Base that was in force in the last step."""

    def after(self) -> tuple[float, ...]:
        """``memory`` after a step."""
        return (self.values["base"],)

    def probability(self, shares: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Of each group."""
        rows = self.table.find(shares)
        factor = np.ones(len(shares))
        known = rows != EMPTY
        factor[known] = 1.0 - self.table["cut"][rows[known]]
        base = self.values["base"]
        return np.clip(base * factor, min(LEAST, base), base)

    def learn(self, decided: Decided, rows: NDArray[np.intp]) -> None:
        """Take in the groups ``rows`` of a step."""
        if not len(rows):
            return
        inverse, first = distinct(decided.share[rows])
        shares, count = decided.share[rows][first], len(first)
        of_group = np.full(len(decided.policy), EMPTY, np.int32)
        of_group[rows] = inverse
        of_trace = of_group[decided.group]
        mine = np.flatnonzero(of_trace != EMPTY)
        of_trace = of_trace[mine]
        duration = decided.duration_ms[mine]
        sums = {
            "traces": np.bincount(of_trace, minlength=count),
            "timed": np.bincount(of_trace, duration > 0, count),
            "latency_ms": np.bincount(of_trace, duration, count),
            "errors": np.bincount(of_trace, decided.error[mine], count),
        }
        now_s = decided.decided_ms / 1e3
        at = self.table.place(shares, decided.decided_ms)
        placed = at != EMPTY
        at = at[placed]
        fresh = at[self.table["since_s"][at] == 0]
        self.table["since_s"][fresh] = now_s
        for name, values in sums.items():
            self.table[name][at] += values[placed]
        self._adapt(at[now_s - self.table["since_s"][at] >= self._settings.window], now_s)

    def _adapt(self, rows: NDArray[np.int32], now_s: float) -> None:
        """The windows of these rows are over."""
        table, settings = self.table, self._settings
        factor = 1.0 - table["cut"][rows].astype(np.float64)
        timed = table["timed"][rows]
        if settings.latency is not None:
            average_ms = table["latency_ms"][rows] / np.maximum(timed, 1)
            slow = (timed > 0) & (average_ms > settings.latency * 1e3)
            quick = (timed > 0) & (average_ms < settings.latency * 1e3 / 2)
            factor = np.where(slow, factor * _SLOW, np.where(quick, factor * _QUICK, factor))
        if settings.error_rate is not None:
            failing = table["errors"][rows] > settings.error_rate * table["traces"][rows]
            factor = np.where(failing, factor * _FAILING, factor)
            if settings.latency is None:  # nothing else would ever bring it up again
                factor = np.where(failing, factor, factor * _QUICK)
        # The base that was in force then, whatever it is set to now.
        least = LEAST / max(self.memory[0], LEAST)
        table["cut"][rows] = 1.0 - np.clip(factor, least, 1.0)
        for name in ("traces", "timed", "latency_ms", "errors"):
            table[name][rows] = 0
        table["since_s"][rows] = now_s

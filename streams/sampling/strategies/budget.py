"""``budget``: keep to a target, and let every key have as equal a part of it as can be.

The groups that are being decided are filled to one level (``filling``), so that the target is
met by this very step, with no lag. A group is taken for its traffic of the last minutes, not for
what it happens to have in this step: a rare key's only trace is kept, though in its step it counts
as much as a frequent key's one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.config import Budget
from streams.sampling.grouping import EMPTY, distinct
from streams.sampling.key_table import KeyTable
from streams.sampling.step import Decided
from streams.sampling.strategies.demand import Demand, Unit
from streams.sampling.strategies.filling import fill

__all__ = ["BudgetStrategy", "Division"]

Floats = NDArray[np.float64]

SLOW_S, FAST_S = 120.0, 5.0
"""How far back traffic counts; the fast one notices when a key has become rarer."""
_CERTAIN = 1.65
"""Standard deviations (95 %) by which a count may be more than usual and mean nothing."""
MINIMA_SHARE = 0.5
"""Of the share, that minima can take together."""
_CREDIT_S, _CREDIT_LEAST, _CREDIT_FIRST = 10.0, 2.0, 1.0
"""A minimum that was not used: for how long it is saved, how many traces at least; of a new key."""
_DEBT_S = 10.0
"""What was kept too much (single traces can be large) is saved again, up to this much."""
_FLOOR_SHARE, _FLOOR_PART = 0.25, 0.05
"""In debt there is still so much of the usual share, for so much of the traces: a probability
of 0 would leave a hole in the estimates."""
_LEAST_S = 1e-3


class Division(NamedTuple):
    """What a step's share is divided into."""

    probability: Floats
    """Of each group of the budget."""
    scale: float
    """For the policies that draw on it: 1, or less where they wanted more than there is."""
    expected: float
    """Volume that will be kept on average, theirs included."""
    need: Floats
    """Of each group; see ``filling.fill``."""
    least: Floats
    """Of each group: probability that it has in any case."""


class BudgetStrategy:
    """One budget on one partition.

    Args:
        settings: the policy's.
        interval_s: usual time between steps.
        partitions: each has the same part of the target.
        keys_max: groups whose traffic is remembered.
    """

    def __init__(self, settings: Budget, interval_s: float, partitions: int, keys_max: int) -> None:
        units: dict[Unit, float | None] = {
            "traces": settings.traces_per_second,
            "spans": settings.spans_per_second,
            "bytes": settings.bytes_per_second,
        }
        self.unit: Unit = next(unit for unit, target in units.items() if target is not None)
        self._target = f"{self.unit}_per_second"
        self.values: dict[str, float] = {
            self._target: float(units[self.unit] or 0.0),
            "minimum": settings.minimum,
            "evenness": settings.evenness,
            "errors": settings.errors,
            "outliers": settings.outliers,
        }
        self._burst_s = settings.burst
        self._interval_s = interval_s
        self._partitions = partitions
        self.table = KeyTable(keys_max, {"slow": "f4", "fast": "f4", "credit": "f4"})
        self.memory: tuple[float, ...] = (0.0, self._minimum)
        """What is left of earlier shares, below 0 for debts; minimum a second."""

    @property
    def _rate(self) -> float:
        return self.values[self._target] / self._partitions

    @property
    def _minimum(self) -> float:
        return self.values["minimum"] / self._partitions

    def divide(self, demand: Demand, rows: NDArray[np.intp], drawn: float) -> Division:
        """Divide the share of a step.

        Args:
            demand: the step.
            rows: groups that are this policy's.
            drawn: volume that the policies which draw on it would keep.
        """
        volume = demand.volume(self.unit)[rows]
        available = self._balance + self._rate * demand.elapsed_s
        floor = min(
            _FLOOR_SHARE * self._rate * self._interval_s,
            _FLOOR_PART * (float(volume.sum()) + drawn),
        )
        share = max(available, floor)
        count = demand.traces[rows].astype(np.float64)
        slow, fast, credit = self._remembered(demand.share[rows], demand.now_ms, self._minimum)
        least = np.minimum(1.0, credit / count) if self._minimum > 0 else np.zeros(len(rows))
        minima = float((volume * least).sum())
        if minima > MINIMA_SHARE * share:
            least *= MINIMA_SHARE * share / minima
            minima = MINIMA_SHARE * share
        scale = 1.0
        # What draws on it takes no more than this, so that no probability becomes 0.
        left = share - max(minima, min(_FLOOR_PART * share, float(volume.sum())))
        if drawn > left:
            scale = left / drawn
        weight = demand.weight[rows]
        weight = np.where(demand.error[rows], weight * self.values["errors"], weight)
        weight = np.where(demand.outlier[rows], weight * self.values["outliers"], weight)
        need = self._need(volume, count, slow, fast, demand.elapsed_s)
        need = need ** self.values["evenness"] / weight
        odds = fill(volume, need, least, share - scale * drawn)
        expected = float((volume * odds).sum()) + scale * drawn
        return Division(odds, scale, expected, need, least)

    def after(self, elapsed_s: float, expected: float, used: float) -> tuple[float, ...]:
        """``memory`` after a step that was to keep ``expected``, and has kept ``used``.

        What nobody wanted is lent, up to the burst. What chance has kept too much or too little
        is made good by the next steps in full: to cut that, too, would be a bias.
        """
        unwanted = min(
            self._balance + self._rate * elapsed_s - expected, self._burst_s * self._rate
        )
        most = _DEBT_S * self._rate
        return (min(max(unwanted + expected - used, -most), most), self._minimum)

    def learn(self, decided: Decided, rows: NDArray[np.intp]) -> None:
        """Take in the groups ``rows`` of a step."""
        if not len(rows):
            return
        groups = len(decided.policy)
        size = None if self.unit == "traces" else getattr(decided, self.unit)
        of_groups = np.bincount(decided.group, size, groups)[rows]
        kept_of_groups = np.bincount(decided.group, decided.kept, groups)[rows]
        inverse, first = distinct(decided.share[rows])
        shares, count = decided.share[rows][first], len(first)
        volume = np.bincount(inverse, of_groups, count)
        kept = np.bincount(inverse, kept_of_groups, count)
        # The minimum that was in force then, whatever it is set to now.
        slow, fast, credit = self._remembered(shares, decided.decided_ms, self.memory[1])
        at = self.table.place(shares, decided.decided_ms)
        placed = at != EMPTY
        at = at[placed]
        self.table["slow"][at] = (slow + volume / SLOW_S)[placed]
        self.table["fast"][at] = (fast + volume / FAST_S)[placed]
        self.table["credit"][at] = np.maximum(credit - kept, 0.0)[placed]

    @property
    def _balance(self) -> float:
        return self.memory[0]

    def _remembered(
        self, shares: NDArray[np.uint64], now_ms: int, minimum: float
    ) -> tuple[Floats, Floats, Floats]:
        """Slow and fast rate (volume a second) and credit (traces) of groups, as of now."""
        rows = self.table.find(shares)
        known = rows != EMPTY
        at = rows[known]
        passed_s = np.maximum(now_ms - self.table.seen_ms[at], 0) / 1e3
        slow, fast = np.zeros(len(shares)), np.zeros(len(shares))
        credit = np.full(len(shares), _CREDIT_FIRST)
        slow[known] = self.table["slow"][at] * np.exp(-passed_s / SLOW_S)
        fast[known] = self.table["fast"][at] * np.exp(-passed_s / FAST_S)
        most = max(_CREDIT_LEAST, _CREDIT_S * minimum)
        credit[known] = np.minimum(self.table["credit"][at] + minimum * passed_s, most)
        return slow, fast, credit

    @staticmethod
    def _need(
        volume: Floats, count: Floats, slow: Floats, fast: Floats, elapsed_s: float
    ) -> Floats:
        """What groups are taken for: volume that they usually have in a step as long as this.

        That is their traffic of the last two minutes, unless what comes now is certainly more, or
        what came in the last seconds certainly less.
        """
        elapsed_s = max(elapsed_s, _LEAST_S)
        fast = fast + volume / FAST_S
        recent = np.maximum(fast * FAST_S * count / volume, 1.0)  # traces in its window
        at_most = fast * (1 + 2 / np.sqrt(recent) + 2 / recent)
        usual = np.minimum(slow + volume / SLOW_S, at_most) * elapsed_s
        certain = volume * np.maximum(1 - _CERTAIN / np.sqrt(count), 0.0)
        return np.maximum(usual, certain)

"""``rate_limit``: never more than so much a second.

Kept are the traces of greatest randomness, which others who sample consistently keep, too. With
what probability nobody can say, so that they carry no threshold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.config import RateLimit
from streams.sampling.strategies.demand import Demand, Unit

__all__ = ["RateLimitStrategy"]


class RateLimitStrategy:
    """A token bucket on one partition, which has its part of the rate."""

    def __init__(self, settings: RateLimit, partitions: int) -> None:
        self.unit: Unit = "traces" if settings.traces_per_second is not None else "spans"
        rate = settings.traces_per_second or settings.spans_per_second
        self._name = f"{self.unit}_per_second"
        self.values: dict[str, float] = {self._name: float(rate or 0.0)}
        self._burst_s = settings.burst
        self._partitions = partitions
        self.memory: tuple[float, ...] = (self._most,)
        """Tokens."""

    @property
    def _rate(self) -> float:
        return self.values[self._name] / self._partitions

    @property
    def _most(self) -> float:
        return max(self._rate * self._burst_s, 1.0)

    def _tokens(self, passed_s: float) -> float:
        tokens = self.memory[0]
        return min(tokens + self._rate * passed_s, max(self._most, tokens))

    def choose(
        self,
        demand: Demand,
        rows: NDArray[np.intp],
        passed_s: float,
        at_most: float = float("inf"),
    ) -> NDArray[np.intp]:
        """Which of the traces ``rows`` are kept, for ``at_most`` so many tokens.

        Where spans are limited a trace may take more than there is left; what it took too much
        has to come in again.
        """
        tokens = min(self._tokens(passed_s), at_most)
        order = rows[np.argsort(demand.randomness[rows], kind="stable")[::-1]]
        if self.unit == "traces":
            return order[: max(int(tokens), 0)]
        sizes = demand.size(self.unit)[order]
        before = np.cumsum(sizes) - sizes
        return order[before < tokens]

    def after(self, passed_s: float, used: float) -> tuple[float, ...]:
        """``memory`` after a step that kept ``used``, ``passed_s`` after the one before."""
        return (self._tokens(passed_s) - used,)

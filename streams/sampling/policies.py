"""The configured policies: which takes what, in which groups, and what may be set of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from schemas.config import Sampling
from schemas.config.matching import span_conditions
from schemas.records.base import Value
from streams.sampling.columns import Traces
from streams.sampling.conditions import compile_match
from streams.sampling.grouping import mixed
from streams.sampling.strategies.aimd import AimdStrategy
from streams.sampling.strategies.budget import BudgetStrategy
from streams.sampling.strategies.demand import Demand
from streams.sampling.strategies.rate_limit import RateLimitStrategy
from streams.wire import hash64

__all__ = ["DEFAULT", "Policies"]

DEFAULT = "default"
"""The policy of traces that none took."""
_ERROR, _OUTLIER, _FIRST_WEIGHT = 0, 1, 2
"""Bits of a class; one for each policy with a weight follows."""

Floats = NDArray[np.float64]


class Policies:
    """Policies in their order, by index; the last one is ``DEFAULT``.

    Args:
        settings: the configuration's.
        partitions: each has the same part of budgets and limits.
    """

    def __init__(self, settings: Sampling, partitions: int) -> None:
        self._configured = settings.policies
        self._keeps_rest = settings.default == "keep"
        self.names = (*(policy.name for policy in settings.policies), DEFAULT)
        self.budgets: dict[int, BudgetStrategy] = {}
        self.limits: dict[int, RateLimitStrategy] = {}
        self.aimds: dict[int, AimdStrategy] = {}
        self._weighted: list[int] = []
        self._values: dict[int, dict[str, float]] = {}
        for i, policy in enumerate(settings.policies):
            if policy.budget is not None:
                self.budgets[i] = BudgetStrategy(
                    policy.budget, settings.decision_interval, partitions, settings.keys_max
                )
                self._values[i] = self.budgets[i].values
            elif policy.rate_limit is not None:
                self.limits[i] = RateLimitStrategy(policy.rate_limit, partitions)
                self._values[i] = self.limits[i].values
            elif policy.aimd is not None:
                self.aimds[i] = AimdStrategy(policy.aimd, settings.keys_max)
                self._values[i] = self.aimds[i].values
            elif policy.probability is not None:
                self._values[i] = {"probability": policy.probability}
            elif policy.weight is not None:
                self._values[i] = {"weight": policy.weight}
                self._weighted.append(i)
        self._defaults = {i: dict(values) for i, values in self._values.items()}
        conditions = span_conditions([policy.match for policy in settings.policies])
        self._conditions = [
            None if policy.match is None else compile_match(policy.match, conditions)
            for policy in settings.policies
        ]
        self._name_hashes = np.array([hash64(name.encode()) for name in self.names], np.uint64)
        self._has_budget = np.isin(np.arange(len(self.names)), list(self.budgets))
        self._is_aimd = np.isin(np.arange(len(self.names)), list(self.aimds))
        self.draws_on = self._drawn()
        """Per policy: the budget that what it keeps counts against; -1: none."""

    def _drawn(self) -> NDArray[np.int32]:
        result = np.full(len(self.names), -1, np.int32)
        budgets = sorted(self.budgets)
        for i, policy in enumerate((*self._configured, None)):
            if budgets and i not in self.budgets and not (policy is not None and policy.exempt):
                result[i] = next((b for b in budgets if b > i), budgets[-1])
        return result

    def index(self, name: str) -> int:
        """Of a policy by name; -1: it is not configured."""
        return self.names.index(name) if name in self.names else -1

    def take(self, traces: Traces) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
        """Which policy takes each trace; bit i: the weight of the i-th policy with one applies."""
        count = len(traces.spans)
        result = np.full(count, len(self.names) - 1, np.int32)
        free = np.ones(count, np.bool_)
        weights = np.zeros(count, np.uint64)
        for i, condition in enumerate(self._conditions):
            matched = free if condition is None else free & condition(traces)
            if i in self._weighted:
                bit = np.uint64(self._weighted.index(i))
                weights |= matched.astype(np.uint64) << bit
            else:
                result[matched] = i
                free = free & ~matched
        return result, weights

    def kinds(
        self,
        policy: NDArray[np.int32],
        weights: NDArray[np.uint64],
        error: NDArray[np.bool_],
        outlier: NDArray[np.bool_],
    ) -> NDArray[np.uint64]:
        """Class of each trace: what sets it apart from others of its key in a budget."""
        kind = weights << np.uint64(_FIRST_WEIGHT)
        kind |= error.astype(np.uint64) << np.uint64(_ERROR)
        kind |= outlier.astype(np.uint64) << np.uint64(_OUTLIER)
        return np.where(self._has_budget[policy], kind, np.uint64(0))

    def shares(
        self,
        policy: NDArray[np.int32],
        key: NDArray[np.uint64],
        without_status: Callable[[], NDArray[np.uint64]],
        kind: NDArray[np.uint64],
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Hash of policy, key and class; and one of these and the key, which groups have in common.

        Of the policy's name, so that it outlives its place. ``aimd`` counts errors among others,
        so that there both have a share together.
        """
        names = self._name_hashes[policy]
        share = mixed(mixed(key, names), kind)
        if not self.aimds:
            return share, share
        together = mixed(mixed(without_status(), names), kind)
        return np.where(self._is_aimd[policy], together, share), share

    def weight(
        self, kind: NDArray[np.uint64]
    ) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        """Of each class: the policies' weights multiplied, whether it is errors, or outliers."""
        weight = np.ones(len(kind))
        for bit, i in enumerate(self._weighted, _FIRST_WEIGHT):
            weight[_bit(kind, bit)] *= self._values[i]["weight"]
        return weight, _bit(kind, _ERROR), _bit(kind, _OUTLIER)

    def own_probabilities(self, demand: Demand, incoming: Floats) -> Floats:
        """With which policies without a budget or limit keep the traces of each group.

        ``incoming``: the probability with which a group's traces came to be here. What is returned
        is that of a trace which has come; 0 of other policies' groups.
        """
        keep = np.zeros(len(demand.policy))
        for i, policy in enumerate(self._configured):
            if policy.always:
                keep[demand.policy == i] = 1.0
            elif policy.probability is not None or i in self.aimds:
                mine = demand.policy == i
                wanted: float | Floats
                if policy.probability is not None:
                    wanted = self._values[i]["probability"]
                else:
                    wanted = self.aimds[i].probability(demand.share[mine])
                keep[mine] = np.minimum(wanted / incoming[mine], 1.0)
        if self._keeps_rest:
            keep[demand.policy == len(self.names) - 1] = 1.0
        return keep

    def adjust(self, name: str, value: Value) -> None:
        """Set a value by its name in ``schemas.config.sampling.adjustable``; None: as configured.

        Other names mean nothing here.
        """
        for i, values in self._values.items():
            _, _, setting = name.partition(f"sampling.{self.names[i]}.")
            if setting in values:
                given = isinstance(value, int | float) and not isinstance(value, bool)
                values[setting] = float(value or 0) if given else self._defaults[i][setting]


def _bit(kind: NDArray[np.uint64], bit: int) -> NDArray[np.bool_]:
    return (kind >> np.uint64(bit) & np.uint64(1)).astype(np.bool_)

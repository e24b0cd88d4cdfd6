"""Verdicts about traces whose wait is over.

A step goes through these:

1. the first policy that matches takes a trace; traces of equal policy, key and class form a group
2. policies with a probability of their own say it
3. each budget divides what it has, and says by how much those that draw on it are cut
4. probabilities become thresholds, rounded as they will be written; kept is who has R >= T
5. what was kept is counted against the budgets
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.config import Sampling
from schemas.config.matching import span_conditions
from schemas.records.base import Value
from streams.sampling.columns import Traces, Verdicts
from streams.sampling.conditions import compile_match
from streams.sampling.consistent import MAX, UNKNOWN, probability, threshold
from streams.sampling.grouping import distinct, mixed
from streams.sampling.key_table import KeyTable
from streams.sampling.keys import SamplingKey
from streams.sampling.learned import RunningP99
from streams.sampling.state import State, dump_state, load_state
from streams.sampling.step import Decided, Groups, Memory, Step, durations_ms
from streams.sampling.strategies.aimd import AimdStrategy
from streams.sampling.strategies.budget import BudgetStrategy
from streams.sampling.strategies.demand import Demand
from streams.sampling.strategies.rate_limit import RateLimitStrategy
from streams.wire import hash64

__all__ = ["Decider"]

_LAG_MARGIN = 1.5
"""A trace waits so much longer than 99 % of its root's need: else no longer ones were ever seen."""
_ERROR, _OUTLIER, _FIRST_WEIGHT = 0, 1, 2
"""Bits of a class; one for each policy with a weight follows."""

Floats = NDArray[np.float64]


class _Terms(NamedTuple):
    """Groups of a step and what they are offered, before budgets have their say."""

    demand: Demand
    key: NDArray[np.uint64]
    first: NDArray[np.int64]
    incoming: Floats
    """Probability with which a group's traces came to be here, as their ``th`` says."""


class Decider:
    """Policies over one partition, and what they have learned.

    ``decide`` changes nothing; ``learn`` takes what was decided as the log has it, so that the
    same log gives the same state, live and after a restart.

    Args:
        settings: the configuration's.
        partitions: of the source: each has the same part of budgets and limits.
    """

    def __init__(self, settings: Sampling, partitions: int) -> None:
        policies = settings.policies
        self.policies = (*(policy.name for policy in policies), "default")
        """Names of the policies in order, and last ``default`` for what none of them took."""
        self.key = SamplingKey(settings.key)
        self._settings = settings
        self._interval_s = settings.decision_interval
        conditions = span_conditions([policy.match for policy in policies])
        self._conditions = [
            None if policy.match is None else compile_match(policy.match, conditions)
            for policy in policies
        ]
        self._names = np.array([hash64(name.encode()) for name in self.policies], np.uint64)
        self._values: dict[int, dict[str, float]] = {}
        self._budgets: dict[int, BudgetStrategy] = {}
        self._limits: dict[int, RateLimitStrategy] = {}
        self._aimds: dict[int, AimdStrategy] = {}
        self._weights: list[int] = []
        for i, policy in enumerate(policies):
            if policy.budget is not None:
                budget = BudgetStrategy(
                    policy.budget, self._interval_s, partitions, settings.keys_max
                )
                self._budgets[i], self._values[i] = budget, budget.values
            elif policy.rate_limit is not None:
                limit = RateLimitStrategy(policy.rate_limit, partitions)
                self._limits[i], self._values[i] = limit, limit.values
            elif policy.aimd is not None:
                aimd = AimdStrategy(policy.aimd, settings.keys_max)
                self._aimds[i], self._values[i] = aimd, aimd.values
            elif policy.probability is not None:
                self._values[i] = {"probability": policy.probability}
            elif policy.weight is not None:
                self._values[i] = {"weight": policy.weight}
                self._weights.append(i)
        self._configured = {i: dict(values) for i, values in self._values.items()}
        self._draws_on = self._drawn()
        self._latency = RunningP99(settings.keys_max)
        self._lags = RunningP99(settings.keys_max)
        self._last_ms: int | None = None

    def _drawn(self) -> NDArray[np.int32]:
        """Per policy: the budget that what it keeps counts against, -1: none."""
        result = np.full(len(self.policies), -1, np.int32)
        budgets = sorted(self._budgets)
        for i, policy in enumerate((*self._settings.policies, None)):
            if budgets and i not in self._budgets and not (policy is not None and policy.exempt):
                result[i] = next((b for b in budgets if b > i), budgets[-1])
        return result

    @property
    def keys_forgotten(self) -> int:
        """Sampling keys whose learned state made room for others."""
        budgets = sum(budget.table.forgotten for budget in self._budgets.values())
        aimds = sum(aimd.table.forgotten for aimd in self._aimds.values())
        return self._latency.table.forgotten + budgets + aimds

    # --- deciding ------------------------------------------------------------------------

    def decide(self, traces: Traces, now_ms: int) -> Step:
        """Decide all traces that are due together at ``now_ms`` (Unix milliseconds)."""
        passed_s, elapsed_s = self._elapsed(traces, now_ms)
        # A threshold above the randomness is none that the trace was sampled with.
        consistent = traces.randomness >= traces.threshold
        came_with = np.where(consistent, traces.threshold, np.uint64(0))
        terms = self._terms(traces, came_with, now_ms, elapsed_s)
        demand = terms.demand
        keep = self._own_probabilities(terms)
        chosen = {
            i: limit.choose(demand, _rows(demand, i), passed_s) for i, limit in self._limits.items()
        }
        expected = {
            i: self._divide(i, budget, demand, keep, chosen, passed_s)
            for i, budget in self._budgets.items()
        }
        absolute = keep * terms.incoming
        limits = np.full(len(absolute), MAX, np.uint64)
        some = absolute > 0
        limits[some] = threshold(np.minimum(absolute[some], 1.0))
        of_trace = np.maximum(limits[demand.group], came_with)
        kept = traces.randomness >= of_trace
        for i, rows in chosen.items():
            limits[demand.policy == i] = UNKNOWN
            limited = _rows(demand, i)
            kept[limited], of_trace[limited] = False, UNKNOWN
            kept[rows] = True
        of_trace[~consistent] = UNKNOWN
        groups = Groups(
            demand.policy, terms.key, demand.share, limits, probability(limits), terms.first
        )
        memory = self._memory(demand, kept, passed_s, elapsed_s, expected)
        return Step(now_ms, Verdicts(demand.group, kept, of_trace), groups, memory)

    def _elapsed(self, traces: Traces, now_ms: int) -> tuple[float, float]:
        """Seconds since the last step, and how many of them count as time for a budget.

        No more than the traces that are due took to come: a pause is not saved up, while what
        would have been several steps gets the share of several.
        """
        came = traces.arrived_ms
        span_s = (int(came.max()) - int(came.min())) / 1e3 if len(came) else 0.0
        most_s = self._interval_s + span_s
        if self._last_ms is None:
            return most_s, most_s
        passed_s = max(now_ms - self._last_ms, 0) / 1e3
        return passed_s, min(passed_s, most_s)

    def _terms(
        self, traces: Traces, came_with: NDArray[np.uint64], now_ms: int, elapsed_s: float
    ) -> _Terms:
        policy, weights = self._taken_by(traces)
        key = self.key.hash(traces)
        of_key, first_of_key = distinct(key)
        typical_ms = self._latency.of(key[first_of_key])
        kind = weights << np.uint64(_FIRST_WEIGHT)
        kind |= (traces.errors > 0).astype(np.uint64) << np.uint64(_ERROR)
        kind |= (durations_ms(traces) > typical_ms[of_key]).astype(np.uint64) << np.uint64(_OUTLIER)
        if len(self._budgets) < len(self.policies) - 1:  # classes mean nothing to the others
            has_budget = np.zeros(len(self.policies), np.bool_)
            has_budget[list(self._budgets)] = True
            kind = np.where(has_budget[policy], kind, np.uint64(0))
        share = mixed(mixed(key, self._names[policy]), kind)
        alike = share
        if came_with.any():
            alike = mixed(share, came_with)
        group, first = distinct(alike)
        kind = kind[first]
        demand = Demand(
            now_ms, elapsed_s, group, traces.randomness, traces.spans, traces.bytes,
            policy[first], share[first], self._weight(kind), _bit(kind, _ERROR),
            _bit(kind, _OUTLIER), np.bincount(group, minlength=len(first)),
        )  # fmt: skip
        return _Terms(demand, key[first], first, probability(came_with[first]))

    def _taken_by(self, traces: Traces) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
        """Which policy takes each trace; bit i: the weight of the i-th policy with one applies."""
        count = len(traces.spans)
        result = np.full(count, len(self.policies) - 1, np.int32)
        free = np.ones(count, np.bool_)
        weights = np.zeros(count, np.uint64)
        for i, condition in enumerate(self._conditions):
            matched = free if condition is None else free & condition(traces)
            if i in self._weights:
                bit = np.uint64(self._weights.index(i))
                weights |= matched.astype(np.uint64) << bit
            else:
                result[matched] = i
                free = free & ~matched
        return result, weights

    def _weight(self, kind: NDArray[np.uint64]) -> Floats:
        weight = np.ones(len(kind))
        for bit, i in enumerate(self._weights, _FIRST_WEIGHT):
            weight[_bit(kind, bit)] *= self._values[i]["weight"]
        return weight

    def _own_probabilities(self, terms: _Terms) -> Floats:
        """Probability, of a trace that has come, to be kept; 0 where that is not yet known."""
        demand = terms.demand
        keep = np.zeros(len(demand.policy))
        for i, policy in enumerate(self._settings.policies):
            mine = demand.policy == i
            if policy.always:
                keep[mine] = 1.0
            elif policy.probability is not None:
                wanted = self._values[i]["probability"]
                keep[mine] = np.minimum(wanted / terms.incoming[mine], 1.0)
            elif i in self._aimds:
                rates = self._aimds[i].probability(demand.share[mine])
                keep[mine] = np.minimum(rates / terms.incoming[mine], 1.0)
        if self._settings.default == "keep":
            keep[demand.policy == len(self.policies) - 1] = 1.0
        return keep

    def _divide(
        self,
        index: int,
        budget: BudgetStrategy,
        demand: Demand,
        keep: Floats,
        chosen: dict[int, NDArray[np.intp]],
        passed_s: float,
    ) -> float:
        """Give the groups of a budget their probability, and cut those that draw on it.

        Returns the volume that is to be kept.
        """
        mine = np.flatnonzero(demand.policy == index)
        drawn = self._draws_on[demand.policy] == index
        wanted = 0.0
        if drawn.any():
            wanted = float((demand.volume(budget.unit)[drawn] * keep[drawn]).sum())
        size = demand.size(budget.unit)
        limited = [i for i in chosen if self._draws_on[i] == index]
        wanted += sum(float(size[chosen[i]].sum()) for i in limited)
        division = budget.divide(demand, mine, wanted)
        keep[mine] = division.probability
        if division.scale < 1.0:
            keep[drawn] *= division.scale
            for i in limited:
                used = float(demand.size(self._limits[i].unit)[chosen[i]].sum())
                rows = _rows(demand, i)
                chosen[i] = self._limits[i].choose(demand, rows, passed_s, used * division.scale)
        return division.expected

    def _memory(
        self,
        demand: Demand,
        kept: NDArray[np.bool_],
        passed_s: float,
        elapsed_s: float,
        expected: dict[int, float],
    ) -> Memory:
        policy = demand.policy[demand.group[kept]]
        memory: list[tuple[float, ...]] = [()] * len(self.policies)
        for i, budget in self._budgets.items():
            counted = (policy == i) | (self._draws_on[policy] == i)
            used = float(demand.size(budget.unit)[kept][counted].sum())
            memory[i] = budget.after(elapsed_s, expected[i], used)
        for i, limit in self._limits.items():
            used = float(demand.size(limit.unit)[kept][policy == i].sum())
            memory[i] = limit.after(passed_s, used)
        return tuple(memory)

    # --- learning ------------------------------------------------------------------------

    def learn(self, decided: Decided) -> None:
        """Take in what was decided; a step in several parts is learned part by part, in order."""
        now_ms = decided.decided_ms
        ours = np.array([self._index(name) for name in decided.policies], np.int32)
        mine = decided._replace(policy=ours[decided.policy])
        holders = self._holders()
        for i, memory in zip(ours.tolist(), decided.memory, strict=False):
            if i in holders and memory:
                holders[i].memory = memory
        for i, budget in self._budgets.items():
            budget.learn(mine, np.flatnonzero(mine.policy == i))
        for i, aimd in self._aimds.items():
            aimd.learn(mine, np.flatnonzero(mine.policy == i))
        timed = np.flatnonzero(decided.duration_ms > 0)
        inverse, first = distinct(decided.key)
        of_trace = inverse[decided.group[timed]]
        self._latency.learn(decided.key[first], of_trace, decided.duration_ms[timed], now_ms)
        rooted = np.flatnonzero(decided.root_lag_ms >= 0)
        operations = decided.root_operation[rooted]
        inverse, first = distinct(operations)
        lags = decided.root_lag_ms[rooted].astype(np.float32)
        self._lags.learn(operations[first], inverse, lags, now_ms)
        self._last_ms = now_ms if self._last_ms is None else max(now_ms, self._last_ms)

    def _index(self, name: str) -> int:
        return self.policies.index(name) if name in self.policies else -1

    def root_lags(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """For ``RootLags.set``: root operations whose traces need more than ``root_wait``."""
        operations = self._lags.table.keys
        lag_ms = self._lags.of(operations) * _LAG_MARGIN
        least, most = self._settings.root_wait * 1e3, self._settings.decision_wait * 1e3
        longer = np.flatnonzero(np.isfinite(lag_ms) & (lag_ms > least))
        order = longer[np.argsort(operations[longer])]
        return operations[order], np.minimum(lag_ms[order], most).astype(np.int64)

    def adjust(self, name: str, value: Value) -> None:
        """Set one of ``schemas.config.sampling.adjustable``; None: as configured.

        Other names mean nothing here.
        """
        for i, values in self._values.items():
            setting = name.removeprefix(f"sampling.{self.policies[i]}.")
            if setting in values and setting != name:
                configured = self._configured[i][setting]
                is_number = isinstance(value, int | float) and not isinstance(value, bool)
                values[setting] = float(value) if is_number else configured  # type: ignore[arg-type]

    # --- state ---------------------------------------------------------------------------

    def snapshot(self) -> Sequence[bytes]:
        """What was learned; equal states give equal bytes."""
        memory = {self.policies[i]: holder.memory for i, holder in self._holders().items()}
        tables = {name: table.dump() for name, table in self._tables().items()}
        return [dump_state(State(self._last_ms, memory, tables))]

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over what ``snapshot`` gave, of any settings. Raises MalformedMessage."""
        state = load_state(b"".join(chunks))
        for name, table in self._tables().items():
            if name in state.tables:
                table.load(state.tables[name])
        for i, holder in self._holders().items():
            holder.memory = state.memory.get(self.policies[i], holder.memory)
        self._last_ms = state.last_ms

    def _holders(self) -> dict[int, BudgetStrategy | RateLimitStrategy]:
        """Who has a memory beside its keys."""
        return {**self._budgets, **self._limits}

    def _tables(self) -> dict[str, KeyTable]:
        tables = {"latency": self._latency.table, "lags": self._lags.table}
        tables |= {f"budget.{self.policies[i]}": b.table for i, b in self._budgets.items()}
        tables |= {f"aimd.{self.policies[i]}": a.table for i, a in self._aimds.items()}
        return tables


def _rows(demand: Demand, policy: int) -> NDArray[np.intp]:
    """Traces of a policy."""
    return np.flatnonzero((demand.policy == policy)[demand.group])


def _bit(kind: NDArray[np.uint64], bit: int) -> NDArray[np.bool_]:
    return (kind >> np.uint64(bit) & np.uint64(1)).astype(np.bool_)

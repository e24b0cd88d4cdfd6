"""Verdicts about traces whose wait is over.

A step goes through these:

1. the first policy that matches takes a trace; traces of equal policy, key and class form a group
2. policies with a probability of their own say it, limits choose
3. each budget divides what it has, and says by how much those that draw on it are cut
4. probabilities become thresholds, rounded as they will be written; kept is who has R >= T
5. what chance has done to the budgets is made good by the last of the traces (``correcting``)
6. what was kept is counted against budgets and limits
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.config import Sampling
from schemas.records.base import Value
from streams.sampling.columns import Traces, Verdicts
from streams.sampling.consistent import MAX, UNKNOWN, probability
from streams.sampling.correcting import Counted, correct
from streams.sampling.drawing import draw
from streams.sampling.grouping import distinct, mixed
from streams.sampling.key_table import KeyTable
from streams.sampling.keys import SamplingKey
from streams.sampling.learned import RunningP99
from streams.sampling.policies import Policies
from streams.sampling.state import State, dump_state, load_state
from streams.sampling.step import Decided, Groups, Memory, Step, durations_ms
from streams.sampling.strategies.aimd import AimdStrategy
from streams.sampling.strategies.budget import BudgetStrategy
from streams.sampling.strategies.demand import Demand
from streams.sampling.strategies.rate_limit import RateLimitStrategy

__all__ = ["Decider"]

_LAG_MARGIN = 1.5
"""A trace waits so much longer than 99 % of its root's need: else no longer ones were ever seen."""

Floats = NDArray[np.float64]


class _Time(NamedTuple):
    """Since the last step, in seconds."""

    passed: float
    counted: float
    """What of it counts for a budget: no more than the traces that are due took to come. So a
    pause is not saved up, and what would have been several steps gets the share of several."""


class _Grouped(NamedTuple):
    """Groups of a step."""

    demand: Demand
    key: NDArray[np.uint64]
    first: NDArray[np.int64]
    """A trace of each."""
    incoming: Floats
    """Probability with which its traces came to be here, as their ``th`` says."""

    def parted(self, group: NDArray[np.int32], origin: NDArray[np.intp]) -> _Grouped:
        """The same with new groups, parts of those of ``origin``, behind the others."""
        first = np.concatenate([self.first, np.zeros(len(origin), np.int64)])
        first[group[::-1]] = np.arange(len(group))[::-1]
        key, incoming = (np.concatenate([c, c[origin]]) for c in (self.key, self.incoming))
        return _Grouped(self.demand.parted(group, origin), key, first, incoming)


class Decider:
    """Policies over one partition, and what they have learned.

    ``decide`` changes nothing; ``learn`` takes what was decided as the log has it, so that the
    same log gives the same state, live and after a restart.

    Args:
        settings: the configuration's.
        partitions: of the source: each has the same part of budgets and limits.
    """

    def __init__(self, settings: Sampling, partitions: int) -> None:
        self._settings = settings
        self._policies = Policies(settings, partitions)
        self._key = SamplingKey(settings.key)
        self._latency = RunningP99(settings.keys_max)
        self._lags = RunningP99(settings.keys_max)
        self._last_ms: int | None = None

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of the policies in order, and last ``default`` for what none of them took."""
        return self._policies.names

    @property
    def keys_forgotten(self) -> int:
        """Keys whose learned state made room for others, counted where it was forgotten."""
        return sum(table.forgotten for table in self._tables().values())

    # --- deciding ------------------------------------------------------------------------

    def decide(self, traces: Traces, now_ms: int) -> Step:
        """Decide all traces that are due together at ``now_ms`` (Unix milliseconds)."""
        time = self._time(traces, now_ms)
        # A threshold above the randomness is none that the trace was sampled with.
        consistent = traces.randomness >= traces.threshold
        came_with = np.where(consistent, traces.threshold, np.uint64(0))
        grouped = self._group(traces, came_with, now_ms, time)
        demand = grouped.demand
        keep = self._policies.own_probabilities(demand, grouped.incoming)
        chosen = {
            i: limit.choose(demand, _traces_of(demand, i), time.passed)
            for i, limit in self._policies.limits.items()
        }
        budgets = {i: self._divide(i, demand, keep, chosen, time) for i in self._policies.budgets}
        drawn = draw(traces, came_with, demand.group, grouped.first, keep, grouped.incoming)
        if any((budget.division.probability < 1.0).any() for budget in budgets.values()):
            better = correct(demand, grouped.first, budgets.values(), keep, drawn.kept)
            grouped = grouped.parted(better.group, better.origin)
            demand = grouped.demand
            drawn = draw(
                traces, came_with, demand.group, grouped.first, better.keep, grouped.incoming
            )
        limits, of_trace, kept = drawn
        for i, rows in chosen.items():
            limited = _traces_of(demand, i)
            limits[demand.policy == i] = UNKNOWN
            of_trace[limited], kept[limited] = UNKNOWN, False
            kept[rows] = True
        of_trace[~consistent] = UNKNOWN
        odds = probability(limits)
        odds[limits == MAX] = 0.0
        groups = Groups(demand.policy, grouped.key, demand.share, limits, odds, grouped.first)
        memory = self._memory(demand, kept, time, budgets)
        return Step(now_ms, Verdicts(demand.group, kept, of_trace), groups, memory)

    def _time(self, traces: Traces, now_ms: int) -> _Time:
        came = traces.arrived_ms
        span_s = (int(came.max()) - int(came.min())) / 1e3 if len(came) else 0.0
        most_s = self._settings.decision_interval + span_s
        if self._last_ms is None:
            return _Time(most_s, most_s)
        passed_s = max(now_ms - self._last_ms, 0) / 1e3
        return _Time(passed_s, min(passed_s, most_s))

    def _group(
        self, traces: Traces, came_with: NDArray[np.uint64], now_ms: int, time: _Time
    ) -> _Grouped:
        policies = self._policies
        policy, weights = policies.take(traces)
        key = self._key.hash(traces)
        of_key, first_of_key = distinct(key)
        usual_ms = self._latency.of(key[first_of_key])[of_key]
        outlier = durations_ms(traces) > usual_ms
        kind = policies.kinds(policy, weights, traces.errors > 0, outlier)
        share, alike = policies.shares(
            policy, key, lambda: self._key.hash(traces, status=False), kind
        )
        group, first = distinct(mixed(alike, came_with) if came_with.any() else alike)
        demand = Demand(
            now_ms, time.counted, group, traces.randomness, traces.spans, traces.bytes,
            policy[first], share[first], *policies.weight(kind[first]),
            np.bincount(group, minlength=len(first)),
        )  # fmt: skip
        return _Grouped(demand, key[first], first, probability(came_with[first]))

    def _divide(
        self,
        index: int,
        demand: Demand,
        keep: Floats,
        chosen: dict[int, NDArray[np.intp]],
        time: _Time,
    ) -> Counted:
        """Give the groups of a budget their probability, and cut those that draw on it."""
        budget, draws_on = self._policies.budgets[index], self._policies.draws_on
        mine = np.flatnonzero(demand.policy == index)
        drawn = draws_on[demand.policy] == index
        wanted = 0.0
        if drawn.any():
            wanted = float((demand.volume(budget.unit)[drawn] * keep[drawn]).sum())
        limited = [i for i in chosen if draws_on[i] == index]
        if limited:
            size = demand.size(budget.unit)
            wanted += sum(float(size[chosen[i]].sum()) for i in limited)
        division = budget.divide(demand, mine, wanted)
        keep[mine] = division.probability
        if division.scale < 1.0:
            keep[drawn] *= division.scale
            for i in limited:
                limit = self._policies.limits[i]
                used = float(demand.size(limit.unit)[chosen[i]].sum())
                rows = _traces_of(demand, i)
                chosen[i] = limit.choose(demand, rows, time.passed, used * division.scale)
        return Counted(budget.unit, mine, drawn, division)

    def _memory(
        self, demand: Demand, kept: NDArray[np.bool_], time: _Time, budgets: dict[int, Counted]
    ) -> Memory:
        policies = self._policies
        policy = demand.policy[demand.group[kept]]
        memory: list[tuple[float, ...]] = [()] * len(policies.names)
        for i, budget in policies.budgets.items():
            counted = (policy == i) | (policies.draws_on[policy] == i)
            used = float(demand.size(budget.unit)[kept][counted].sum())
            memory[i] = budget.after(time.counted, budgets[i].division.expected, used)
        for i, limit in policies.limits.items():
            used = float(demand.size(limit.unit)[kept][policy == i].sum())
            memory[i] = limit.after(time.passed, used)
        for i, aimd in policies.aimds.items():
            memory[i] = aimd.after()
        return tuple(memory)

    # --- learning ------------------------------------------------------------------------

    def learn(self, decided: Decided) -> None:
        """Take in what was decided; a step in several parts is learned part by part, in order."""
        now_ms, policies, holders = decided.decided_ms, self._policies, self._holders()
        index = [policies.index(name) for name in decided.policies]
        mine = decided._replace(policy=np.array(index, np.int32)[decided.policy])
        for i, memory in zip(index, decided.memory, strict=False):
            # A policy may have been of another kind when that was written.
            if i in holders and len(memory) == len(holders[i].memory):
                holders[i].memory = memory
        for i, budget in policies.budgets.items():
            budget.learn(mine, np.flatnonzero(mine.policy == i))
        for i, aimd in policies.aimds.items():
            aimd.learn(mine, np.flatnonzero(mine.policy == i))
        timed = np.flatnonzero(decided.duration_ms > 0)
        of_group, first = distinct(decided.key)
        of_trace = of_group[decided.group[timed]]
        self._latency.learn(decided.key[first], of_trace, decided.duration_ms[timed], now_ms)
        rooted = np.flatnonzero(decided.root_lag_ms >= 0)
        of_trace, first = distinct(decided.root_operation[rooted])
        lags = decided.root_lag_ms[rooted].astype(np.float32)
        self._lags.learn(decided.root_operation[rooted][first], of_trace, lags, now_ms)
        self._last_ms = now_ms if self._last_ms is None else max(now_ms, self._last_ms)

    def root_lags(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """For ``RootLags.set``: root operations whose traces need more than ``root_wait``."""
        operations = self._lags.table.keys
        lag_ms = self._lags.of(operations) * _LAG_MARGIN
        least, most = self._settings.root_wait * 1e3, self._settings.decision_wait * 1e3
        longer = np.flatnonzero(np.isfinite(lag_ms) & (lag_ms > least))
        order = longer[np.argsort(operations[longer])]
        return operations[order], np.minimum(lag_ms[order], most).astype(np.int64)

    # --- state ---------------------------------------------------------------------------

    def adjust(self, name: str, value: Value) -> None:
        """Set one of ``schemas.config.sampling.adjustable``; None: as configured.

        Other names mean nothing here.
        """
        self._policies.adjust(name, value)

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
            memory = state.memory.get(self.policies[i], ())
            if len(memory) == len(holder.memory):
                holder.memory = memory
        self._last_ms = state.last_ms

    def _holders(self) -> dict[int, BudgetStrategy | RateLimitStrategy | AimdStrategy]:
        """Who has a memory beside its keys."""
        return {**self._policies.budgets, **self._policies.limits, **self._policies.aimds}

    def _tables(self) -> dict[str, KeyTable]:
        policies = self._policies
        tables = {"latency": self._latency.table, "lags": self._lags.table}
        tables |= {f"budget.{policies.names[i]}": b.table for i, b in policies.budgets.items()}
        tables |= {f"aimd.{policies.names[i]}": a.table for i, a in policies.aimds.items()}
        return tables


def _traces_of(demand: Demand, policy: int) -> NDArray[np.intp]:
    """Traces of a policy."""
    return np.flatnonzero((demand.policy == policy)[demand.group])

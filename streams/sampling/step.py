"""What a decision step decides, and what is learned from it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.sampling.columns import Traces, Verdicts

__all__ = ["Decided", "Groups", "Memory", "Step", "decided", "durations_ms"]

Memory = tuple[tuple[float, ...], ...]
"""What each policy has to remember beside its keys, such as what is left of a budget; finite."""


class Groups(NamedTuple):
    """Traces of a step that were decided alike; one row a group, in order of first appearance."""

    policy: NDArray[np.int32]
    """Index into ``Decider.policies``."""
    key: NDArray[np.uint64]
    """Hash of the sampling key."""
    share: NDArray[np.uint64]
    """Hash of policy, key and class: whose part of a budget, or whose rate, it is."""
    threshold: NDArray[np.uint64]
    """Kept iff randomness >= threshold, 56 bits; MAX: none is; UNKNOWN: by other means. A trace
    that came with a greater threshold than its group's keeps that."""
    probability: NDArray[np.float64]
    """That ``threshold`` stands for; NaN where it is UNKNOWN."""
    first: NDArray[np.int64]
    """Index of a trace of it."""


class Step(NamedTuple):
    """The outcome of ``Decider.decide``."""

    now_ms: int
    """Time of the decision, Unix milliseconds."""
    verdicts: Verdicts
    groups: Groups
    memory: Memory
    """One entry a policy, after this step."""


class Decided(NamedTuple):
    """What ``Decider.learn`` takes: a step, or a part of one, as the decisions log has it."""

    decided_ms: int
    policies: tuple[str, ...]
    """Names that ``policy`` refers to; those that are not configured any more teach nothing."""
    memory: Memory
    """``Step.memory``; one entry for each of ``policies``, or empty."""
    policy: NDArray[np.int32]
    """One row a group, like ``key`` and ``share``; see Groups."""
    key: NDArray[np.uint64]
    share: NDArray[np.uint64]
    group: NDArray[np.int32]
    """One row a trace, like all that follow: its row of the groups."""
    kept: NDArray[np.bool_]
    error: NDArray[np.bool_]
    duration_ms: NDArray[np.float32]
    """``durations_ms`` of the traces."""
    spans: NDArray[np.int64]
    bytes: NDArray[np.int64]
    root_operation: NDArray[np.uint64]
    """0: no root was seen."""
    root_lag_ms: NDArray[np.int64]
    """-1: no root was seen."""


def durations_ms(traces: Traces) -> NDArray[np.float32]:
    """From first start to last end in milliseconds; 0 where one is missing or they are reversed."""
    known = (traces.start > 0) & (traces.end > traces.start)
    return (np.where(known, traces.end - traces.start, np.uint64(0)) / 1e6).astype(np.float32)


def decided(step: Step, traces: Traces, policies: tuple[str, ...]) -> Decided:
    """What ``step`` teaches, without the way over the log."""
    groups, verdicts = step.groups, step.verdicts
    return Decided(
        step.now_ms, policies, step.memory, groups.policy, groups.key, groups.share,
        verdicts.group, verdicts.kept, traces.errors > 0, durations_ms(traces), traces.spans,
        traces.bytes, traces.root_operation, traces.root_lag_ms,
    )  # fmt: skip

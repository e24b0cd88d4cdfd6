"""Traces made up for simulations of sampling: keys of Zipf frequencies, errors, slow ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.sampling.columns import Traces

__all__ = ["STEP_MS", "Step", "Traffic", "traces"]

STEP_MS = 500
_START_MS = 1_700_000_000_000
_WAIT_MS = 10_000


class Step(NamedTuple):
    """Traces that are decided together, one row a trace."""

    now_ms: int
    operation: NDArray[np.int64]
    """0 is the most frequent one."""
    error: NDArray[np.bool_]
    slow: NDArray[np.bool_]
    duration_ms: NDArray[np.float64]
    trace_id_low: NDArray[np.uint64]
    partition: NDArray[np.int64]

    @property
    def key(self) -> NDArray[np.int64]:
        """Operation and status in one number."""
        return self.operation * 2 + self.error


class Traffic:
    """Steps of half a second; equal arguments give equal traces.

    Args:
        seed: of everything.
        operations: how many there are; a key is an operation and whether there is an error.
        exponent: the k-th operation's traffic is in proportion to k to the minus this.
        partitions: traces are on that of their random id.
        skew: share of the traces that are instead on a partition that their operation prefers.
    """

    def __init__(
        self,
        seed: int,
        operations: int,
        *,
        exponent: float = 1.1,
        partitions: int = 1,
        skew: float = 0.0,
    ) -> None:
        self._rng = rng = np.random.default_rng(seed)
        weight = np.arange(1, operations + 1) ** -exponent
        self._until = np.cumsum(weight) / weight.sum()
        self._median_ms = np.exp(rng.uniform(np.log(5), np.log(500), operations))
        self._error_rate = np.clip(rng.lognormal(np.log(0.01), 1, operations), 0, 0.5)
        self._partitions, self._skew = partitions, skew
        self._home = rng.integers(0, partitions, operations)

    def steps(self, seconds: int, rate: Callable[[int], float]) -> Iterator[Step]:
        """``rate`` gives the traces a second of each second."""
        rng = self._rng
        for number in range(2 * seconds):
            count = int(rng.poisson(rate(number // 2) / 2))
            operation = np.searchsorted(self._until, rng.random(count))
            slow = rng.random(count) < 0.005
            duration = self._median_ms[operation] * rng.lognormal(0, 0.5, count)
            partition = rng.integers(0, self._partitions, count)
            if self._skew:
                homely = rng.random(count) < self._skew
                partition = np.where(homely, self._home[operation], partition)
            yield Step(
                _START_MS + STEP_MS * number,
                operation,
                rng.random(count) < self._error_rate[operation],
                slow,
                np.where(slow, duration * 20, duration),
                rng.integers(0, 2**64, count, np.uint64),
                partition,
            )


def traces(step: Step, rows: NDArray[np.intp] | slice = slice(None)) -> Traces:
    """Some traces of a step, as a decider gets them."""
    low, operation = step.trace_id_low[rows], step.operation[rows].astype(np.uint64)
    count = len(low)
    none, zeros = np.zeros(count, np.uint64), np.zeros(count, np.int64)
    start = np.full(count, step.now_ms * 10**6, np.uint64)
    name = (operation + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    arrived = step.now_ms - _WAIT_MS - (low % np.uint64(STEP_MS)).astype(np.int64)
    return Traces(
        none, low, low & np.uint64(2**56 - 1), none, zeros, zeros, arrived, start,
        start + (step.duration_ms[rows] * 1e6).astype(np.uint64), zeros + 5, zeros + 2500,
        step.error[rows].astype(np.int64), np.zeros(count, np.uint32), none,
        name >> np.uint64(40), name, name, np.zeros((0, count), np.uint64), zeros,
        np.zeros(count, np.bool_),
    )  # fmt: skip

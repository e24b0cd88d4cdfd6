"""Samplers that are compared: ours, the exponential moving average of the field, and uniform."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.config import Budget, Policy, Sampling
from streams.sampling.consistent import probability
from streams.sampling.decider import Decider
from streams.sampling.step import decided

from .sampling_traffic import Step, traces

__all__ = ["Ema", "Ours", "Sampler", "Uniform"]

Floats = NDArray[np.float64]


class Sampler(Protocol):
    """Decides step after step."""

    def decide(self, step: Step) -> tuple[NDArray[np.bool_], Floats]:
        """Of each trace: whether it is kept, and the probability with which it was to be."""
        ...


class Ours:
    """A decider a partition."""

    def __init__(self, target: float, partitions: int = 1, keys_max: int = 10_000) -> None:
        policy = Policy(name="budget", budget=Budget(traces_per_second=target))
        settings = Sampling(enabled=True, policies=(policy,), keys_max=keys_max)
        self._deciders = [Decider(settings, partitions) for _ in range(partitions)]

    def decide(self, step: Step) -> tuple[NDArray[np.bool_], Floats]:
        """As each partition does it."""
        kept = np.zeros(len(step.operation), np.bool_)
        odds = np.zeros(len(step.operation))
        for partition, decider in enumerate(self._deciders):
            rows = np.flatnonzero(step.partition == partition)
            if not len(rows):
                continue
            some = traces(step, rows)
            outcome = decider.decide(some, step.now_ms)
            decider.learn(decided(outcome, some, decider.policies))
            kept[rows] = outcome.verdicts.kept
            odds[rows] = probability(outcome.groups.threshold)[outcome.verdicts.group]
        return kept, np.nan_to_num(odds)


class Uniform:
    """The same probability for all, that which gives the target on average."""

    def __init__(self, seed: int, odds: float) -> None:
        self._rng, self._odds = np.random.default_rng(seed), odds

    def decide(self, step: Step) -> tuple[NDArray[np.bool_], Floats]:
        """Like any head sampler."""
        count = len(step.operation)
        return self._rng.random(count) < self._odds, np.full(count, self._odds)


class Ema:
    """One in N per key, from a moving average of counts per interval, in proportion to log10.

    As its documentation describes Honeycomb's EMASampleRate (dynsampler-go, Refinery's
    EMADynamicSampler): averages over intervals of 15 s with weight 0.5; of all events one in
    ``goal`` is to be kept, each key's part being in proportion to the logarithm of its count;
    keys that are not known are all kept; twice the usual traffic within an interval makes it
    calculate at once. It sees all partitions.
    """

    INTERVAL_MS, WEIGHT, BURST = 15_000, 0.5, 2.0

    def __init__(self, seed: int, goal: int, keys: int) -> None:
        self._rng, self._goal = np.random.default_rng(seed), goal
        self._average = np.zeros(keys)
        self._counts = np.zeros(keys)
        self._rates: NDArray[np.float64] | None = None
        self._next_ms: int | None = None
        self._burst = np.inf
        self._intervals = 0

    def decide(self, step: Step) -> tuple[NDArray[np.bool_], Floats]:
        """Count, perhaps calculate anew, and draw."""
        if self._next_ms is None:
            self._next_ms = step.now_ms + self.INTERVAL_MS
        if step.now_ms >= self._next_ms or self._counts.sum() >= self._burst:
            self._calculate()
            self._next_ms = step.now_ms + self.INTERVAL_MS
        self._counts += np.bincount(step.key, minlength=len(self._counts))
        if self._rates is None:
            rate = np.full(len(step.key), float(self._goal))
        else:
            rate = self._rates[step.key]
        return self._rng.random(len(rate)) < 1 / rate, 1 / rate

    def _calculate(self) -> None:
        average = self.WEIGHT * self._counts + (1 - self.WEIGHT) * self._average
        average[average < self.WEIGHT] = 0
        self._average, self._counts = average, np.zeros(len(average))
        known = np.flatnonzero(average)
        count = np.maximum(average[known], 1)
        self._intervals += 1
        self._burst = count.sum() * self.BURST if self._intervals > 3 else np.inf
        ratio = count.sum() / self._goal / max(np.log10(count).sum(), 1e-9)
        rates = np.ones(len(average))
        extra, left = 0.0, len(known)
        for key, number in zip(known.tolist(), count.tolist(), strict=True):
            goal = max(1.0, np.log10(number) * ratio) + extra / left
            extra -= extra / left
            left -= 1
            rates[key] = max(np.ceil(number / goal), 1.0) if number > goal else 1.0
            extra += goal - number / rates[key]
        self._rates = rates

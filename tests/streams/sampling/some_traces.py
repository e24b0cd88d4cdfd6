"""Traces from a few words, and a decider that is fed with them, for tests of decisions."""

from __future__ import annotations

from typing import Any

import numpy as np

from schemas.config import Sampling
from streams.sampling.columns import Traces
from streams.sampling.consistent import MAX
from streams.sampling.decider import Decider
from streams.sampling.step import Decided, Step, decided

__all__ = ["NOW_MS", "STEP_MS", "Lane", "budget", "random_traces", "sampling", "some_traces"]

NOW_MS = 1_700_000_000_000
STEP_MS = 500
_DTYPES: dict[str, Any] = {
    "trace_id_high": np.uint64, "trace_id_low": np.uint64, "randomness": np.uint64,
    "threshold": np.uint64, "first": np.int64, "last": np.int64, "arrived_ms": np.int64,
    "start": np.uint64, "end": np.uint64, "spans": np.int64, "bytes": np.int64,
    "errors": np.int64, "matched": np.uint32, "tenant": np.uint64, "service": np.uint64,
    "operation": np.uint64, "root_operation": np.uint64, "root_lag_ms": np.int64,
    "early": np.bool_,
}  # fmt: skip
_DEFAULTS = {"spans": 3, "bytes": 1500, "service": 7, "root_lag_ms": -1}


def some_traces(count: int, *, took_ms: Any = 10.0, now_ms: int = NOW_MS, **given: Any) -> Traces:
    """``count`` traces that came 10 s before ``now_ms``; scalars stand for all rows."""
    columns = {
        name: np.full(count, _DEFAULTS.get(name, 0), dtype) for name, dtype in _DTYPES.items()
    }
    start = (now_ms - 10_000) * 10**6
    columns["arrived_ms"][:] = now_ms - 10_000
    columns["start"][:] = start
    columns["end"][:] = start + (np.broadcast_to(took_ms, count) * 1e6).astype(np.int64)
    extra = given.pop("extra", np.zeros((0, count), np.uint64))
    for name, value in given.items():
        columns[name][:] = value
    return Traces(extra=np.asarray(extra, np.uint64), **columns)


def sampling(*policies: dict[str, Any], **others: Any) -> Sampling:
    named = [{"name": f"p{i}"} | policy for i, policy in enumerate(policies)]
    return Sampling.model_validate({"policies": named, **others})


def budget(rate: float, **others: Any) -> dict[str, Any]:
    return {"budget": {"traces_per_second": rate, **others}}


def random_traces(
    rng: np.random.Generator, count: int, keys: int = 20, now_ms: int = NOW_MS, **given: Any
) -> Traces:
    """Of keys with Zipf frequencies."""
    weight = 1 / np.arange(1, keys + 1)
    operation = rng.choice(keys, count, p=weight / weight.sum()).astype(np.uint64)
    return some_traces(
        count,
        now_ms=now_ms,
        **{
            "took_ms": rng.lognormal(3, 1, count),
            "trace_id_low": rng.integers(0, 2**64, count, np.uint64),
            "randomness": rng.integers(0, MAX, count, np.uint64),
            "operation": operation + np.uint64(1),
            "errors": rng.random(count) < 0.05,
            "spans": rng.integers(1, 30, count),
            "bytes": rng.integers(200, 9000, count),
            **given,
        },
    )


class Lane:
    """A decider, fed step by step."""

    def __init__(self, settings: Sampling, partitions: int = 1) -> None:
        self.decider = Decider(settings, partitions)
        self.now_ms = NOW_MS
        self.log: list[Decided] = []

    def step(self, traces: Traces) -> Step:
        step = self.decider.decide(traces, self.now_ms)
        self.log.append(decided(step, traces, self.decider.policies))
        self.decider.learn(self.log[-1])
        self.now_ms += STEP_MS
        return step

"""Adjusted counts of the kept traces."""

from __future__ import annotations

import numpy as np
import pytest

from streams.sampling.columns import Traces
from streams.sampling.consistent import MAX, UNKNOWN, adjusted_count, probability
from streams.sampling.decider import Decider

from .some_traces import NOW_MS, Lane, budget, random_traces, sampling


def test_adjusted_counts_add_up_to_what_there_was() -> None:
    """In all and per key, over policies of every kind that has a probability."""
    settings = sampling(
        {"match": {"span_count": {"max": 5}}, "probability": 0.07},
        {"match": {"span_count": {"max": 8}}, "aimd": {"base": 0.5, "latency": 0.025}},
        {"match": {"span_count": {"max": 10}}, "always": True},
        budget(600),
    )
    lane, rng = Lane(settings), np.random.default_rng(7)
    sent, estimated, variance = (np.zeros(21) for _ in range(3))
    for _ in range(200):
        threshold = np.where(rng.random(2000) < 0.3, np.uint64(MAX // 4), np.uint64(0))
        traces = random_traces(rng, 2000, now_ms=lane.now_ms, threshold=threshold)
        here = traces.randomness >= threshold  # the others were dropped before they came
        traces = Traces(*(column[..., here] for column in traces))
        step = lane.step(traces)
        kept, operation = step.verdicts.kept, traces.operation.astype(int)
        odds = probability(step.verdicts.threshold)
        before = probability(traces.threshold)
        # Everything that was sent is what came, each standing for what was dropped before it.
        sent += np.bincount(operation, 1 / before, 21)
        count = adjusted_count(step.verdicts.threshold[kept])
        estimated += np.bincount(operation[kept], count, 21)
        variance += np.bincount(operation, (1 / odds - 1 / before) / before, 21)
    off = (estimated - sent)[1:] / np.sqrt(variance[1:])
    assert np.abs(off).max() < 4.5
    assert abs((estimated - sent).sum()) < 4 * np.sqrt(variance.sum())


def test_a_limited_trace_stands_for_nothing_known() -> None:
    lane = Lane(sampling({"rate_limit": {"traces_per_second": 10, "burst": "1s"}}))
    rng = np.random.default_rng(1)
    kept = [
        int(lane.step(random_traces(rng, 100, now_ms=lane.now_ms)).verdicts.kept.sum())
        for _ in range(20)
    ]
    assert kept[0] == 10
    assert sum(kept[1:]) <= 10 * 10
    assert sum(kept[1:]) >= 10 * 9
    step = lane.step(random_traces(rng, 100, now_ms=lane.now_ms))
    assert (step.verdicts.threshold == UNKNOWN).all()
    assert np.isnan(step.groups.probability).all()


@pytest.mark.parametrize("unit", ["traces", "spans"])
def test_a_limit_keeps_those_of_greatest_randomness(unit: str) -> None:
    settings = sampling({"rate_limit": {f"{unit}_per_second": 200}})
    traces = random_traces(np.random.default_rng(1), 500)
    kept = Decider(settings, 1).decide(traces, NOW_MS).verdicts.kept
    assert 0 < kept.sum() < 500
    assert traces.randomness[kept].min() > traces.randomness[~kept].max()


def test_chance_is_made_good_within_the_step() -> None:
    """Half of the noise of independent draws is left, for the last quarter is drawn again."""
    lane, rng, off = Lane(sampling(budget(1000, burst="0s"))), np.random.default_rng(3), []
    for number in range(80):
        step = lane.step(random_traces(rng, 3000, now_ms=lane.now_ms))
        odds = step.groups.probability[step.verdicts.group]
        wanted = 500 + (lane.log[-2].memory[0][0] if number else 0.0)
        sigma = np.sqrt((odds * (1 - odds)).sum())
        off.append((step.verdicts.kept.sum() - wanted) / sigma)
    assert 0.35 < np.std(off[10:]) < 0.7
    assert abs(np.mean(off[10:])) < 4 * 0.5 / np.sqrt(70)

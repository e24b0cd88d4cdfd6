"""Decisions: who decides, and with which threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streams.sampling.consistent import MAX, UNKNOWN, probability
from streams.sampling.decider import Decider
from streams.sampling.interning import Interned
from streams.sampling.keys import SamplingKey
from streams.sampling.step import Step

from .some_traces import NOW_MS, Lane, budget, random_traces, sampling, some_traces


def by_policy(step: Step) -> NDArray[np.int32]:
    return step.groups.policy[step.verdicts.group]


def test_the_first_policy_that_matches_decides() -> None:
    settings = sampling(
        {"match": {"span_count": {"min": 20}}, "never": True},
        {"match": {"status": "error"}, "always": True},
        {"match": {"latency": {"min": 1.0}}, "always": True},
    )
    traces = some_traces(4, spans=[30, 3, 3, 3], errors=[1, 1, 0, 0], took_ms=[1, 1, 2000, 1])
    step = Decider(settings, 1).decide(traces, NOW_MS)
    assert by_policy(step).tolist() == [0, 1, 2, 3]
    assert Decider(settings, 1).policies == ("p0", "p1", "p2", "default")
    assert step.verdicts.kept.tolist() == [False, True, True, False]
    assert step.verdicts.threshold.tolist() == [MAX, 0, 0, MAX]


@pytest.mark.parametrize(("default", "kept"), [("drop", False), ("keep", True)])
def test_what_no_policy_takes_has_the_default(default: str, kept: bool) -> None:
    settings = sampling({"match": {"status": "error"}, "always": True}, default=default)
    assert Decider(settings, 1).decide(some_traces(3), NOW_MS).verdicts.kept.tolist() == [kept] * 3


def test_what_is_kept_always_is_kept_whatever_digits_its_threshold_has() -> None:
    came_with = 0x7FFFF800000001
    traces = some_traces(2, threshold=came_with, randomness=[came_with, MAX - 1])
    step = Decider(sampling({"always": True}), 1).decide(traces, NOW_MS)
    assert step.verdicts.kept.tolist() == [True, True]
    assert step.verdicts.threshold.tolist() == [came_with] * 2
    assert step.groups.threshold.tolist() == [came_with]


def test_no_traces_are_no_trouble() -> None:
    lane = Lane(sampling({"match": {"status": "error"}, "probability": 0.1}, budget(10)))
    assert len(lane.step(some_traces(0)).verdicts.kept) == 0
    assert len(lane.step(some_traces(3)).verdicts.kept) == 3


def test_equal_keys_of_two_tenants_are_two_keys() -> None:
    step = Decider(sampling(budget(10)), 1).decide(some_traces(2, tenant=[1, 2]), NOW_MS)
    assert len(set(step.groups.key.tolist())) == 2


def test_a_key_can_be_read_as_far_as_its_texts_are_known() -> None:
    texts = Interned(10)
    for hashed, text in ((7, "cart"), (8, "GET /cart"), (9, "eu")):
        texts.add(hashed, text)
    key = SamplingKey(("service", "operation", "status", "resource.zone"))
    traces = some_traces(2, operation=[8, 255], errors=[1, 0], extra=[[9, 0]], tenant=[0, 9])
    assert key.fields == ("tenant", "service", "operation", "status", "resource.zone")
    first = np.array([1, 0])
    assert key.texts(traces, first, texts, np.array([1, 0])) == [
        "service=cart operation=GET /cart status=error resource.zone=eu",
        "tenant=eu service=cart operation=00000000000000ff status=ok resource.zone=",
    ]
    assert key.texts(traces, first, texts, np.array([], np.int64)) == []
    only_tenant = SamplingKey(()).texts(traces, first, texts, np.array([0, 1]))
    assert only_tenant == ["tenant=eu", ""]
    percent = SamplingKey(("service", "span.a%sb"))
    assert percent.texts(traces, first, texts, np.array([1])) == ["service=cart span.a%sb=eu"]


PROBABILITIES = st.floats(0.001, 1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), PROBABILITIES, PROBABILITIES)
def test_who_keeps_more_keeps_at_least_the_same(seed: int, one: float, other: float) -> None:
    traces = random_traces(np.random.default_rng(seed), 200)
    little, much = (
        Decider(sampling({"probability": p}), 1).decide(traces, NOW_MS).verdicts
        for p in sorted((one, other))
    )
    assert (much.kept | ~little.kept).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.sampled_from(["probability", "budget", "always", "aimd", "limit"]))
def test_a_threshold_is_never_lowered(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    policy = {
        "probability": {"probability": 0.3},
        "budget": budget(100),
        "always": {"always": True},
        "aimd": {"aimd": {"base": 0.3, "latency": 1.0}},
        "limit": {"rate_limit": {"traces_per_second": 100}},
    }[kind]
    incoming = rng.choice(np.array([0, MAX // 2, MAX // 3, MAX // 7 * 6 + 5], np.uint64), 300)
    traces = random_traces(rng, 300, threshold=incoming)
    verdicts = Decider(sampling(policy), 1).decide(traces, NOW_MS).verdicts
    consistent = traces.randomness >= incoming
    known = verdicts.threshold[verdicts.kept & consistent]
    assert (known >= incoming[verdicts.kept & consistent]).all()
    if kind != "limit":
        assert (known < MAX).all()
        kept_by_threshold = traces.randomness >= verdicts.threshold
        assert (kept_by_threshold == verdicts.kept)[consistent].all()
    # What it came with cannot be true: nobody knows what the trace stands for.
    assert (verdicts.threshold[~consistent] == UNKNOWN).all()


def test_an_error_with_an_impossible_threshold_is_still_kept() -> None:
    settings = sampling({"match": {"status": "error"}, "always": True})
    traces = some_traces(1, errors=1, threshold=MAX // 2, randomness=5)
    verdicts = Decider(settings, 1).decide(traces, NOW_MS).verdicts
    assert verdicts.kept.tolist() == [True]
    assert verdicts.threshold.tolist() == [UNKNOWN]


def test_a_budget_counts_what_came_sampled_as_what_it_is() -> None:
    """Half was dropped before: 2,000/s come, 1,000/s may stay, so of all 4,000/s a quarter."""
    lane, kept, rng = Lane(sampling(budget(1000))), 0, np.random.default_rng(1)
    for _ in range(20):
        randomness = rng.integers(MAX // 2, MAX, 1000, np.uint64)
        traces = some_traces(1000, randomness=randomness, threshold=MAX // 2)
        step = lane.step(traces)
        kept += int(step.verdicts.kept.sum())
    assert abs(kept / 10 - 1000) < 4 * np.sqrt(1000 / 10)
    assert abs(probability(int(step.groups.threshold[0])) - 0.25) < 0.03

"""Budgets: what is kept, of what, and what counts against them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schemas.config import Sampling
from streams.sampling.columns import Traces
from streams.sampling.consistent import MAX

from .some_traces import Lane, budget, random_traces, sampling, some_traces


@pytest.mark.parametrize("unit", ["traces", "spans", "bytes"])
@pytest.mark.parametrize(("keys", "partitions"), [(5, 1), (500, 1), (100, 4)])
def test_a_budget_is_kept_to(unit: str, keys: int, partitions: int) -> None:
    rng, seconds, per_step = np.random.default_rng(5), 20, 1500
    target = {"traces": 400, "spans": 6000, "bytes": 2_000_000}[unit]
    settings = sampling({"budget": {f"{unit}_per_second": target}})
    lanes = [Lane(settings, partitions) for _ in range(partitions)]
    used, variance = 0.0, 0.0
    for number in range(2 * seconds):
        for lane in lanes:
            traces = random_traces(rng, per_step // partitions, keys, now_ms=lane.now_ms)
            size = {"traces": traces.spans > 0, "spans": traces.spans, "bytes": traces.bytes}[unit]
            step = lane.step(traces)
            if number >= 10:
                odds = step.groups.probability[step.verdicts.group]
                used += float(size[step.verdicts.kept].sum())
                variance += float((size.astype(float) ** 2 * odds * (1 - odds)).sum())
    wanted = target * (seconds - 5)
    assert abs(used - wanted) < 4 * np.sqrt(variance) + 0.002 * wanted


def test_less_than_the_budget_is_kept_whole() -> None:
    lane, rng = Lane(sampling(budget(1000))), np.random.default_rng(1)
    for _ in range(10):
        step = lane.step(random_traces(rng, 300, now_ms=lane.now_ms))
        assert step.verdicts.kept.all()
        assert (step.verdicts.threshold == 0).all()


def test_a_pause_is_not_saved_up() -> None:
    lane, rng = Lane(sampling(budget(1000, burst="200ms"))), np.random.default_rng(1)
    lane.step(random_traces(rng, 5000, now_ms=lane.now_ms))
    lane.now_ms += 3_600_000
    kept = lane.step(random_traces(rng, 5000, now_ms=lane.now_ms)).verdicts.kept.sum()
    # Half a second's share, and what chance had left.
    assert kept < 500 + 200 + 4 * np.sqrt(500)


def test_several_steps_in_one_have_the_share_of_several() -> None:
    lane, rng = Lane(sampling(budget(1000))), np.random.default_rng(1)
    lane.step(random_traces(rng, 5000, now_ms=lane.now_ms))
    lane.now_ms += 1000  # three steps' traces come due together
    traces = random_traces(rng, 15_000, now_ms=lane.now_ms)
    arrived = lane.now_ms - 10_000 - rng.integers(0, 1500, 15_000)
    kept = lane.step(traces._replace(arrived_ms=arrived)).verdicts.kept.sum()
    assert abs(kept - 1500) < 5 * np.sqrt(1500) + 100


def test_unused_share_is_lent_up_to_the_burst() -> None:
    lane, rng = Lane(sampling(budget(1000, burst="200ms"))), np.random.default_rng(1)
    for _ in range(10):
        lane.step(random_traces(rng, 100, now_ms=lane.now_ms))
    kept = lane.step(random_traces(rng, 10_000, now_ms=lane.now_ms)).verdicts.kept.sum()
    assert abs(kept - 700) < 4 * np.sqrt(700)


def test_what_a_huge_trace_took_too_much_is_saved_again() -> None:
    settings = sampling({"budget": {"spans_per_second": 1000}})
    lane, rng = Lane(settings), np.random.default_rng(1)
    huge = some_traces(1, spans=8000, randomness=MAX - 1, operation=99)
    kept = float((lane.step(huge).verdicts.kept * 8000).sum())
    assert kept == 8000, "a new key's first trace: half of the share would not take it all"
    for _ in range(40):
        traces = random_traces(rng, 500, now_ms=lane.now_ms)
        kept += float(traces.spans[lane.step(traces).verdicts.kept].sum())
    assert kept < 1.15 * 1000 * 20.5


def test_every_key_has_its_minimum() -> None:
    """One key sends 2,000 traces a second, twenty send one each."""
    lane, rng = Lane(sampling(budget(100, minimum=1, evenness=0, burst="0s"))), 0
    rng = np.random.default_rng(2)
    kept, sent = np.zeros(21), np.zeros(21)
    for number in range(80):
        rare = np.flatnonzero(np.arange(20) % 2 == number % 2) + 1  # each every second step
        operation = np.concatenate([np.zeros(1000, np.int64), rare])
        traces = some_traces(
            len(operation),
            now_ms=lane.now_ms,
            operation=operation,
            randomness=rng.integers(0, MAX, len(operation), np.uint64),
        )
        verdicts = lane.step(traces).verdicts
        sent += np.bincount(operation, minlength=21)
        kept += np.bincount(operation[verdicts.kept], minlength=21)
    assert (kept[1:] == sent[1:]).all()
    assert abs(kept.sum() - 100 * 40) < 4 * np.sqrt(100 * 40)


def test_minima_shrink_alike_to_half_of_the_share() -> None:
    lane, rng = Lane(sampling(budget(100, minimum=10, evenness=0, burst="0s"))), None
    rng = np.random.default_rng(3)
    kept = np.zeros(101)
    for _ in range(60):
        operation = np.concatenate([np.zeros(5000, np.int64), np.repeat(np.arange(1, 101), 5)])
        traces = some_traces(
            len(operation),
            now_ms=lane.now_ms,
            operation=operation,
            randomness=rng.integers(0, MAX, len(operation), np.uint64),
        )
        kept += np.bincount(operation[lane.step(traces).verdicts.kept], minlength=101)
    # 100 keys want 10 a second each, and get half of 100 together; the rest goes by traffic.
    rare = kept[1:].sum() / 30
    assert 50 - 5 < rare < 50 + 10
    assert abs(kept.sum() / 30 - 100) < 4 * np.sqrt(100 / 30)


def test_errors_and_outliers_weigh_more() -> None:
    rng, kept, all_of = np.random.default_rng(4), np.zeros(3), np.zeros(3)
    lane = Lane(sampling(budget(200, errors=5, outliers=5)))
    for number in range(60):
        count = 3000
        slow, error = rng.random(count) < 0.004, rng.random(count) < 0.02
        took = rng.lognormal(3, 0.3, count) * np.where(slow, 30, 1)
        traces = random_traces(rng, count, 4, now_ms=lane.now_ms, took_ms=took, errors=error)
        verdicts = lane.step(traces).verdicts
        if number > 20:
            kind = np.where(error, 1, np.where(slow, 2, 0))
            kept += np.bincount(kind[verdicts.kept], minlength=3)
            all_of += np.bincount(kind, minlength=3)
    usual, errors, outliers = kept / all_of
    assert errors > 5 * usual
    assert outliers > 5 * usual


def _odds(settings: Sampling, every: int, **special: tuple[Any, Any]) -> float:
    """How much likelier special traces, one of so many, are kept than the others.

    ``special``: columns as they have them, and as the others have.
    """
    lane, rng, kept, sent = Lane(settings), np.random.default_rng(4), np.zeros(2), np.zeros(2)
    is_special = np.arange(3000) % every == 0
    given = {"errors": 0, "took_ms": 10, "spans": 3}
    given |= {name: np.where(is_special, *values) for name, values in special.items()}
    for step in range(80):
        traces = random_traces(rng, 3000, 4, now_ms=lane.now_ms, **given)
        verdicts = lane.step(traces).verdicts
        if step > 20:
            kept += np.bincount(is_special[verdicts.kept], minlength=2)
            sent += np.bincount(is_special, minlength=2)
    few, many = kept / sent
    return float(many / few)


EVEN = {"evenness": 0, "minimum": 0}


@pytest.mark.parametrize("weight", [1, 4])
def test_weights_multiply_probabilities_where_shares_go_by_traffic(weight: float) -> None:
    match = {"match": {"span_count": {"min": 10}}, "weight": weight}
    by_policy = sampling(match, budget(200, **EVEN))
    assert _odds(by_policy, 10, spans=(20, 5)) == pytest.approx(weight, rel=0.2)
    errors = sampling(budget(200, errors=weight, **EVEN))
    assert _odds(errors, 10, errors=(1, 0)) == pytest.approx(weight, rel=0.2)
    outliers = sampling(budget(200, outliers=weight, **EVEN))
    assert _odds(outliers, 200, took_ms=(1000, 10)) == pytest.approx(weight, rel=0.3)


# --- what a key is taken for ---------------------------------------------------------------


def _probability(lane: Lane, operations: list[int], wanted: int) -> float:
    """Of the wanted operation in a step with these."""
    traces = some_traces(len(operations), now_ms=lane.now_ms, operation=operations)
    step = lane.decider.decide(traces, lane.now_ms)
    rows = [i for i, operation in enumerate(operations) if operation == wanted]
    return float(step.groups.probability[step.verdicts.group[rows[0]]])


STRICT = {"evenness": 1, "minimum": 0, "burst": "0s"}


def test_a_burst_is_seen_at_once() -> None:
    lane = Lane(sampling(budget(200, **STRICT)))
    usual = [key for key in range(1, 21) for _ in range(50)]
    for _ in range(40):
        lane.step(_spread(usual, lane))
    # A fair part is 100 / 21 of 2,000 traces.
    assert _probability(lane, [*usual, *[99] * 2000], 99) * 2000 < 2.5 * 100 / 21


def test_a_key_that_became_rare_is_soon_taken_for_rare() -> None:
    lane = Lane(sampling(budget(200, **STRICT)))
    usual = [key for key in range(1, 21) for _ in range(50)]
    for _ in range(100):
        lane.step(_spread([*usual, *[99] * 1000], lane))
    for _ in range(60):
        lane.step(_spread([*usual, 99], lane))
    assert _probability(lane, [*usual, 99], 99) == 1.0


def test_traffic_of_long_ago_is_forgotten() -> None:
    lane = Lane(sampling(budget(20, **STRICT)))
    lane.step(_spread([999] * 500, lane))
    lane.now_ms += 3_600_000
    some = [key for key in range(1, 200) for _ in range(5)]
    lane.step(_spread(some, lane))
    once, again = (_probability(lane, [*some, 999, 998], key) for key in (998, 999))
    assert again == pytest.approx(once, rel=0.01)


def _spread(operations: list[int], lane: Lane) -> Traces:
    rng = np.random.default_rng(lane.now_ms)
    randomness = rng.integers(0, MAX, len(operations), np.uint64)
    return some_traces(
        len(operations), now_ms=lane.now_ms, operation=operations, randomness=randomness
    )


ERRORS_FIRST = {"match": {"status": "error"}, "always": True}


def _rates(settings: Sampling, error_share: float, steps: int = 30) -> tuple[float, float]:
    """Kept errors and others a second, of 4,000 traces a second."""
    lane, rng, kept = Lane(settings), np.random.default_rng(6), np.zeros(2)
    for _ in range(steps):
        error = rng.random(2000) < error_share
        verdicts = lane.step(random_traces(rng, 2000, now_ms=lane.now_ms, errors=error)).verdicts
        kept += np.bincount(error[verdicts.kept], minlength=2)
    return kept[1] / (steps / 2), kept[0] / (steps / 2)


def test_what_others_keep_counts_against_the_budget() -> None:
    errors, others = _rates(sampling(ERRORS_FIRST, budget(500)), 0.05)
    assert abs(errors - 200) < 4 * np.sqrt(200 / 15)
    assert abs(errors + others - 500) < 4 * np.sqrt(500 / 15)


def test_others_are_cut_where_they_want_more_than_there_is() -> None:
    errors, others = _rates(sampling(ERRORS_FIRST, budget(500, minimum=0)), 0.5)
    assert abs(errors + others - 500) < 4 * np.sqrt(500 / 15)
    assert 15 < others < 40, "a twentieth, and what chance leaves over of the budget"
    step = Lane(sampling(ERRORS_FIRST, budget(5, minimum=0))).step(
        random_traces(np.random.default_rng(6), 2000, errors=np.arange(2000) < 1900)
    )
    assert (step.groups.probability > 0).all(), "no hole in the estimates of the others"


def test_an_exempt_policy_is_no_concern_of_the_budget() -> None:
    errors, others = _rates(sampling(ERRORS_FIRST | {"exempt": True}, budget(500)), 0.5)
    assert abs(errors - 2000) < 4 * np.sqrt(2000 / 15)
    assert abs(others - 500) < 4 * np.sqrt(500 / 15)


@pytest.mark.parametrize(
    "policy",
    [
        {"probability": 0.9},
        {"rate_limit": {"traces_per_second": 3000}},
        {"aimd": {"base": 1.0, "latency": 10.0}},
    ],
)
def test_every_kind_of_policy_is_cut(policy: dict[str, Any]) -> None:
    first = {"match": {"status": "error"}} | policy
    errors, others = _rates(sampling(first, budget(300, minimum=0)), 0.5)
    assert abs(errors + others - 300) < 4 * np.sqrt(300 / 15)


def test_the_next_budget_below_is_drawn_on() -> None:
    first, second = {"match": {"status": "error"}} | budget(100), budget(400)
    always = {"match": {"span_count": {"min": 15}}, "always": True}  # half of all, errors too
    settings = sampling(always, first, second)
    errors, others = _rates(settings, 0.5)
    # The first policy is cut to what the errors' budget has, and the others have their own.
    assert abs(errors + others - 500) < 4 * np.sqrt(500 / 15)
    lane = Lane(settings)
    traces = random_traces(np.random.default_rng(1), 2000, errors=0, spans=20)
    kept = np.mean([lane.step(traces).verdicts.kept.sum() for _ in range(10)])
    assert kept < 100, "half a second's share is 50"


def test_two_budgets_do_not_share() -> None:
    settings = sampling({"match": {"status": "error"}} | budget(100), budget(400))
    errors, others = _rates(settings, 0.5)
    assert abs(errors - 100) < 4 * np.sqrt(100 / 15)
    assert abs(others - 400) < 4 * np.sqrt(400 / 15)

"""What is learned follows from the log, and is bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config import Sampling
from schemas.errors import MalformedMessage
from streams.sampling.decider import Decider
from streams.sampling.step import Decided, decided

from .some_traces import NOW_MS, STEP_MS, Lane, budget, random_traces, sampling, some_traces

MANY = sampling(
    {"match": {"span_count": {"min": 25}}, "weight": 3},
    {"match": {"span_count": {"max": 3}}, "rate_limit": {"spans_per_second": 50}},
    {
        "match": {"span_count": {"max": 6}},
        "aimd": {"latency": 0.02, "error_rate": 0.1, "window": 1},
    },
    {"match": {"status": "error"}} | budget(30),
    {"budget": {"bytes_per_second": 500_000}},
    keys_max=40,
)  # fmt: skip


def _lived(settings: Sampling, seed: int, steps: int, keys: int = 60) -> Lane:
    lane, rng = Lane(settings), np.random.default_rng(seed)
    for _ in range(steps):
        count = int(rng.integers(0, 300))
        lag = rng.integers(-1, 5000, count)
        operation = rng.integers(1, 9, count).astype(np.uint64) * (lag >= 0)
        lane.step(
            random_traces(
                rng, count, keys, now_ms=lane.now_ms, root_lag_ms=lag, root_operation=operation
            )
        )
        lane.now_ms += int(rng.integers(0, 2)) * 700
    return lane


def _parts(whole: Decided, count: int) -> list[Decided]:
    """As records of limited size have it."""
    rows = np.array_split(np.arange(len(whole.group)), count)
    names = ("group", "kept", "error", "duration_ms", "spans", "bytes", "root_operation",
             "root_lag_ms")  # fmt: skip
    return [whole._replace(**{name: getattr(whole, name)[some] for name in names}) for some in rows]


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(1, 25), st.integers(0, 25))
def test_the_log_alone_makes_the_state(seed: int, steps: int, cut: int) -> None:
    """Live, recalled, and from a snapshot on: the same bytes, and the same next decision."""
    lane = _lived(MANY, seed, steps)
    live = lane.decider.snapshot()
    recalled, restored = Decider(MANY, 1), Decider(MANY, 1)
    for number, record in enumerate(lane.log):
        if number == cut:
            restored.restore(recalled.snapshot())
        recalled.learn(record)
        if number >= cut:
            restored.learn(record)
    if cut >= len(lane.log):
        restored.restore(recalled.snapshot())
    assert recalled.snapshot() == live
    assert restored.snapshot() == live
    traces = random_traces(np.random.default_rng(seed + 1), 200, now_ms=lane.now_ms)
    outcomes = [each.decide(traces, lane.now_ms) for each in (lane.decider, recalled, restored)]
    for outcome in outcomes[1:]:
        for one, other in zip(outcomes[0].verdicts, outcome.verdicts, strict=True):
            assert (one == other).all()
        assert outcome.memory == outcomes[0].memory


def test_a_step_in_parts_teaches_the_same_live_and_later() -> None:
    rng, live, later = np.random.default_rng(8), Decider(MANY, 1), Decider(MANY, 1)
    log, now_ms = [], NOW_MS
    for _ in range(10):
        traces = random_traces(rng, 200, now_ms=now_ms)
        step = live.decide(traces, now_ms)
        for part in _parts(decided(step, traces, live.policies), 3):
            live.learn(part)
            log.append(part)
        now_ms += STEP_MS
    for part in log:
        later.learn(part)
    assert later.snapshot() == live.snapshot()


def test_to_decide_changes_nothing() -> None:
    lane, rng = _lived(MANY, 1, 10), np.random.default_rng(9)
    before = lane.decider.snapshot()
    for _ in range(3):
        lane.decider.decide(random_traces(rng, 300, now_ms=lane.now_ms), lane.now_ms)
    assert lane.decider.snapshot() == before


def test_a_log_of_other_policies_can_be_learned() -> None:
    """A policy was renamed, another taken out, a third became one of another kind."""
    lane = _lived(MANY, 2, 10)
    others = sampling(
        {"match": {"span_count": {"max": 3}}} | budget(5) | {"name": "p1"},
        budget(100) | {"name": "new"},
    )
    recalled, restored = Decider(others, 1), Decider(others, 1)
    for record in lane.log:
        recalled.learn(record)
    restored.restore(lane.decider.snapshot())
    for decider in (recalled, restored):
        traces = random_traces(np.random.default_rng(1), 500, now_ms=lane.now_ms)
        kept = decider.decide(traces, lane.now_ms).verdicts.kept.sum()
        assert 0 < kept < 200


@pytest.mark.parametrize("damage", [0, 5, 40, -1])
def test_a_damaged_snapshot_is_refused(damage: int) -> None:
    snapshot = bytearray(b"".join(_lived(MANY, 3, 5).decider.snapshot()))
    snapshot[damage] ^= 1
    with pytest.raises(MalformedMessage):
        Decider(MANY, 1).restore([bytes(snapshot)])
    with pytest.raises(MalformedMessage):
        Decider(MANY, 1).restore([])


def test_state_is_bounded_and_says_when_it_forgets() -> None:
    lane = _lived(MANY, 4, 40, keys=5000)
    assert lane.decider.keys_forgotten > 0
    # 40 rows of at most 40 bytes in each of six tables, and a header.
    assert len(b"".join(lane.decider.snapshot())) < 6 * 40 * 60 + 5000


def test_roots_that_need_longer_are_told() -> None:
    lane, rng = Lane(sampling(budget(100), root_wait="1s", decision_wait="5s")), None
    rng = np.random.default_rng(1)
    for _ in range(20):
        operation = np.repeat(np.array([1, 2, 3, 0], np.uint64), 50)
        lag = np.repeat([100, 2000, 60_000, -1], 50) + rng.integers(0, 50, 200)
        traces = some_traces(200, now_ms=lane.now_ms, root_operation=operation)
        lane.step(traces._replace(root_lag_ms=np.where(operation > 0, lag, -1)))
    operations, lag_ms = lane.decider.root_lags()
    assert operations.tolist() == [2, 3]
    assert 2000 * 1.4 < lag_ms[0] < 2050 * 1.7
    assert lag_ms[1] == 5000, "never longer than decision_wait"


def test_a_target_is_set_and_set_back() -> None:
    lane, rng = Lane(sampling(budget(100), keys_max=100)), np.random.default_rng(1)

    def rate(steps: int = 20) -> float:
        kept = 0
        for _ in range(steps):
            kept += int(lane.step(random_traces(rng, 2000, now_ms=lane.now_ms)).verdicts.kept.sum())
        return kept / steps * 2

    assert abs(rate() - 100) < 4 * np.sqrt(100 / 10)
    lane.decider.adjust("sampling.p0.traces_per_second", 500)
    assert abs(rate() - 500) < 4 * np.sqrt(500 / 10) + 10
    lane.decider.adjust("sampling.p0.traces_per_second", None)
    assert abs(rate() - 100) < 4 * np.sqrt(100 / 10) + 10
    for other in ("log.level", "sampling.p1.traces_per_second", "sampling.p0.nothing"):
        lane.decider.adjust(other, 3)


def test_what_is_set_now_does_not_change_what_the_log_says() -> None:
    lane = _lived(MANY, 6, 10)
    later = Decider(MANY, 1)
    later.adjust("sampling.p3.minimum", 100)
    later.adjust("sampling.p2.base", 0.02)
    for record in lane.log:
        later.learn(record)
    assert later.snapshot() == lane.decider.snapshot()

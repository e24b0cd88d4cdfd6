"""Rates that fall while traces are slow or fail."""

from __future__ import annotations

import numpy as np
import pytest

from ..some_traces import Lane, sampling, some_traces


@pytest.mark.parametrize(
    ("took_ms", "errors", "after"),
    [
        (400, 0.0, [0.8, 0.64, 0.512]),  # slow
        (200, 0.5, [0.9, 0.81, 0.729]),  # failing
        (400, 0.5, [0.72, 0.5184, 0.3732]),  # both
        (200, 0.0, [1.0, 1.0, 1.0]),  # neither quick nor slow
    ],
)
def test_aimd_follows_its_rules(took_ms: float, errors: float, after: list[float]) -> None:
    settings = sampling({"aimd": {"latency": 0.3, "error_rate": 0.1, "window": "10s"}})
    lane, found = Lane(settings), []
    for window in range(3):
        for _ in range(21 if window == 0 else 20):
            error = np.arange(10) < errors * 10
            lane.step(some_traces(10, took_ms=took_ms, errors=error))
        step = lane.decider.decide(some_traces(1), lane.now_ms)
        found.append(float(step.groups.probability[0]))
    assert found == pytest.approx(after, abs=2e-3)


def test_aimd_has_one_rate_for_errors_and_others_of_a_key() -> None:
    settings = sampling({"aimd": {"latency": 0.3, "error_rate": 0.1, "window": "1s"}})
    lane = Lane(settings)
    for _ in range(5):
        lane.step(some_traces(10, took_ms=200, errors=np.arange(10) < 2))
    step = lane.decider.decide(some_traces(2, errors=[0, 1]), lane.now_ms)
    assert len(set(step.groups.key.tolist())) == 2, "they are two keys"
    assert len(set(step.groups.share.tolist())) == 1
    assert step.groups.probability[0] == step.groups.probability[1] < 1


def test_aimd_stays_within_its_bounds_and_recovers() -> None:
    settings = sampling({"aimd": {"base": 0.5, "latency": 0.3, "window": "1s"}}, key=["service"])
    lane, rates = Lane(settings), []
    for number in range(400):
        lane.step(some_traces(10, took_ms=1000 if number < 200 else 1))
        step = lane.decider.decide(some_traces(1), lane.now_ms)
        rates.append(float(step.groups.probability[0]))
    assert rates[0] == pytest.approx(0.5, abs=1e-3)
    assert min(rates) == pytest.approx(0.01, rel=1e-2)
    assert rates[-1] == pytest.approx(0.5, abs=1e-3)


def test_aimd_keeps_to_its_bounds_from_a_base_that_was_set() -> None:
    settings = sampling({"aimd": {"base": 0.1, "latency": 0.3, "window": "1s"}}, key=["service"])
    lane = Lane(settings)

    def after(steps: int, took_ms: float) -> float:
        for _ in range(steps):
            lane.step(some_traces(10, took_ms=took_ms))
        return float(lane.decider.decide(some_traces(1), lane.now_ms).groups.probability[0])

    lane.decider.adjust("sampling.p0.base", 1.0)
    assert after(120, 1000) == pytest.approx(0.01, rel=1e-2), "as low as from any base"
    lane.decider.adjust("sampling.p0.base", 0.02)
    # From half of it: eight windows, and not forty from what was half of a greater one.
    assert after(20, 1) == pytest.approx(0.02, rel=1e-2)

    # After a restart values are set again only when the log is learned.
    again = Lane(settings)
    for decided in lane.log:
        again.decider.learn(decided)
    assert again.decider.snapshot() == lane.decider.snapshot()

"""Sampling tried out: what a simulation says is what the operators do."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.config.sampling import Sampling
from schemas.errors import MalformedMessage
from streams.sampling.accounts import Quantiles
from streams.sampling.simulation import Simulation
from tests.streams.sampling.traffic import START_MS, Told, request


def simulated(policies: list[dict[str, object]], partitions: int = 3, **more: object) -> Simulation:
    settings = Sampling.model_validate({"policies": policies, **more})
    return Simulation(settings, partitions=partitions, max_bytes=20_000)


def feed(simulation: Simulation, traces: int = 2000, seconds: float = 40.0) -> None:
    """Traces of three spans in two requests, of ten keys in Zipf's proportions, 5 % errors."""
    rng = np.random.default_rng(5)
    keys = np.minimum(rng.zipf(1.5, traces), 10)
    step = 20
    for first in range(0, traces, step):
        now_ms = START_MS + round(first / traces * seconds * 1000)
        numbers = range(first + 1, first + step + 1)
        both: list[list[Told]] = [[], []]
        for number in numbers:
            error, name = number % 20 == 0, f"op{keys[number - 1]}"
            took = 1000 if number % 50 == 0 else 10
            both[0].append(Told(number, span=2, parent=1, error=error, name="x", took_ms=took))
            both[0].append(Told(number, span=3, parent=1, name="x"))
            both[1].append(Told(number, span=1, name=name))
        simulation.take(now_ms, request(both[0], now_ms))
        simulation.take(now_ms + 30, request(both[1], now_ms + 30))


def test_everything_is_decided_once_and_what_is_kept_is_sent_whole() -> None:
    done = simulated(
        [
            {"name": "errors", "match": {"status": "error"}, "always": True, "exempt": True},
            {"name": "rest", "probability": 0.25},
        ]
    )
    feed(done)
    done.finish()
    total, went = done.accounts.total, done.went
    assert (total.traces, total.spans, done.came.spans) == (2000, 6000, 6000)
    assert (went.spans, went.spans) == (3 * total.kept, total.kept_spans)
    assert (total.errors, total.kept_errors) == (100, 100)
    errors, rest = done.accounts.policies["errors"], done.accounts.policies["rest"]
    assert (errors.traces, errors.kept, errors.estimate) == (100, 100, 100.0)
    assert rest.traces == 1900
    assert rest.estimate == pytest.approx(4 * rest.kept)
    assert abs(rest.error) < 4 * (3 / 1900) ** 0.5
    assert sum(line.traces for _, line in done.accounts.lines()) == 2000
    assert done.accounts.lines()[0][0] == "service=cart operation=op1 status=ok"
    assert sum(seconds[""] for seconds in done.accounts.seconds.values()) == 2000
    assert done.accounts.coverage == 1.0
    assert done.accounts.latency.at(0.5) == pytest.approx(40, rel=0.02)


def test_a_budget_is_kept_to_whatever_the_partitions() -> None:
    kept = []
    for partitions in (1, 4):
        done = simulated([{"name": "rest", "budget": {"traces_per_second": 10}}], partitions)
        feed(done)
        done.finish()
        kept.append(done.accounts.total.kept)
        assert done.accounts.coverage >= 0.8, "rare keys have their share"
    assert all(abs(each - 400) < 80 for each in kept)


def test_it_says_the_same_each_time() -> None:
    runs = []
    for _ in range(2):
        done = simulated([{"name": "rest", "budget": {"traces_per_second": 5}}])
        feed(done, traces=400, seconds=10)
        done.finish()
        runs.append((done.went, done.accounts.lines(), dict(done.accounts.seconds)))
    assert runs[0] == runs[1]


def test_what_says_no_probability_is_not_estimated() -> None:
    limit = {"name": "few", "rate_limit": {"traces_per_second": 6}}
    done = simulated([limit])
    feed(done)
    done.finish()
    total = done.accounts.total
    assert 0 < total.kept < 500
    assert (total.unknown, total.estimate) == (total.kept, total.kept)


def test_what_ingest_refuses_is_counted() -> None:
    done = simulated([{"name": "all", "always": True}])
    done.take(START_MS, request([Told(0), Told(1), Told(2, fill=30_000)]))
    done.finish()
    assert done.refused == 2
    assert done.accounts.total.traces == 1
    with pytest.raises(MalformedMessage):
        done.take(START_MS, b"\xff")


def test_nothing_came() -> None:
    done = simulated([{"name": "all", "always": True}])
    done.finish()
    accounts = done.accounts
    assert (accounts.coverage, accounts.count_error, accounts.total.error) == (0.0, 0.0, 0.0)
    assert np.isnan(accounts.latency.at(0.5))


def test_keys_beyond_what_is_held_share_a_line() -> None:
    done = simulated([{"name": "all", "always": True}])
    done.accounts.keys_max = 3
    feed(done, traces=400, seconds=10)
    done.finish()
    assert len(done.accounts.keys) == 4
    assert dict(done.accounts.lines())["(other)"].traces > 0
    assert sum(line.traces for _, line in done.accounts.lines()) == 400


def test_quantiles_with_weights() -> None:
    found = Quantiles()
    found.add(np.array([0, 1, 10, 100, 1000], np.float32), np.array([1.0, 1, 1, 1, 96]))
    assert found.at(0.005) < 0.002
    assert found.at(0.025) == pytest.approx(10, rel=0.012)
    assert found.at(0.5) == pytest.approx(1000, rel=0.012)

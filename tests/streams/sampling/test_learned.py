"""Running percentiles, on distributions whose percentiles are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streams.sampling.learned import OBSERVED_MIN, RunningP99

KEY = np.array([5], np.uint64)


def feed(estimate: RunningP99, values: NDArray[np.float64], now_ms: int = 0) -> None:
    estimate.learn(KEY, np.zeros(len(values), np.int32), values.astype(np.float32), now_ms)


@pytest.mark.parametrize("name", ["lognormal", "two humps", "heavy tail", "shift"])
def test_one_in_a_hundred_is_above(name: str) -> None:
    rng = np.random.default_rng(3)
    estimate, above, count = RunningP99(10), 0, 0
    for step in range(300):
        values = {
            "lognormal": lambda: rng.lognormal(3, 1, 100),
            "two humps": lambda: (
                np.where(rng.random(100) < 0.03, 1000, 10) * rng.lognormal(0, 0.2, 100)
            ),
            "heavy tail": lambda: (rng.pareto(1.5, 100) + 1) * 10,
            "shift": lambda step=step: rng.lognormal(3 if step < 150 else 5, 1, 100),
        }[name]()  # fmt: skip
        if step >= 50:
            above += int((values > estimate.of(KEY)[0]).sum())
            count += 100
        feed(estimate, values, step)
    # 25,000 draws at 1 % have a standard deviation of 0.063 %; adapting adds some of its own.
    assert 0.007 < above / count < 0.014


def test_a_few_observations_are_not_believed() -> None:
    estimate = RunningP99(10)
    feed(estimate, np.full(OBSERVED_MIN - 1, 10.0))
    assert np.isinf(estimate.of(KEY))
    feed(estimate, np.full(1, 10.0))
    assert np.isfinite(estimate.of(KEY))
    assert np.isinf(estimate.of(np.array([6], np.uint64)))


def test_what_never_varies_has_no_outliers_close_by() -> None:
    estimate = RunningP99(10)
    for step in range(20):
        feed(estimate, np.full(50, 10.0), step)
    assert 10.0 < estimate.of(KEY)[0] < 11.0


def test_zero_and_enormous_durations_are_taken() -> None:
    estimate = RunningP99(10)
    feed(estimate, np.array([0.0] * 50 + [3e38] * 50))
    assert np.isfinite(estimate.table["mean"]).all()
    assert np.isfinite(estimate.table["variance"]).all()


def test_keys_do_not_learn_from_each_other() -> None:
    keys, rng = np.array([1, 2, 3], np.uint64), np.random.default_rng(1)
    together, apart = RunningP99(10), RunningP99(10)
    for step in range(10):
        group = rng.integers(0, 3, 200).astype(np.int32)
        values = rng.lognormal(group, 1).astype(np.float32)
        together.learn(keys, group, values, step)
        for number in range(3):
            mine = values[group == number]
            apart.learn(keys[number : number + 1], np.zeros(len(mine), np.int32), mine, step)
    np.testing.assert_allclose(together.of(keys), apart.of(keys), rtol=1e-5)


def test_what_has_changed_is_learned_anew() -> None:
    rng, estimate = np.random.default_rng(5), RunningP99(10)
    for step in range(300):
        feed(estimate, rng.lognormal(3, 0.5, 100), step)
    for step in range(60):
        feed(estimate, rng.lognormal(7, 0.5, 100), step)
    mean, truth = float(estimate.table["mean"][0]), 7 / np.log(2)
    assert abs(mean - truth) < 0.4, "6,000 observations ago is three times its memory"

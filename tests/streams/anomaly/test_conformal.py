"""p-values of exchangeable scores are what they should be: super-uniform."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streams.anomaly.conformal import SURPRISE_MAX, Calibration

KINDS = np.zeros((1000, 1), np.uint8)
RNG = np.random.default_rng(1)
DRAWS = {
    "exponential": lambda rng, n: rng.exponential(size=n),
    "uniform": lambda rng, n: rng.random(n),
    "heavy": lambda rng, n: np.abs(rng.standard_t(2, n)),
    "tiny": lambda rng, n: 1e-9 * rng.exponential(size=n),
    "huge": lambda rng, n: 1e12 * rng.lognormal(sigma=1, size=n),
    "mostly nothing": lambda rng, n: np.maximum(rng.normal(size=n) - 1, 0),
    "counts": lambda rng, n: rng.poisson(1.0, n).astype(float),
    "constant": lambda rng, n: np.full(n, 3.3),
}


def surprises(
    calibration: Calibration, draws: NDArray[np.float64], *, one_by_one: bool = False
) -> NDArray[np.float64]:
    """Of points (steps, series), one scale."""
    steps, series = draws.shape
    rows = np.tile(np.arange(series, dtype=np.int32), steps)
    if one_by_one:
        found = [
            calibration.observe(KINDS, rows[:series], each[None].copy()).copy() for each in draws
        ]
        return np.concatenate(found)
    return calibration.observe(KINDS, rows, draws.reshape(1, -1)).reshape(steps, series)


@pytest.mark.parametrize("name", DRAWS)
def test_p_values_of_exchangeable_scores_are_super_uniform(name: str) -> None:
    """At most a share p of them is p or less, from common to rare."""
    rng = np.random.default_rng(7)
    draws = DRAWS[name](rng, 40 * 3000).reshape(3000, 40)
    calibration = Calibration(40, 1, memory=1000, warmup=100, kinds=1)
    found = surprises(calibration, draws)[500:]
    for p in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01):
        share = float(np.mean(found >= -np.log10(p)))
        assert share <= p * 1.1 + 1e-3, (p, share)
    share = float(np.mean(found >= -np.log10(0.002)))  # here they are extrapolated
    assert share <= 1.6 * 0.002 + 2e-4


@pytest.mark.parametrize("name", ["exponential", "heavy", "huge"])
def test_and_not_much_more_cautious_than_that(name: str) -> None:
    rng = np.random.default_rng(8)
    draws = DRAWS[name](rng, 40 * 3000).reshape(3000, 40)
    found = surprises(Calibration(40, 1, memory=1000, warmup=100, kinds=1), draws)[500:]
    for p in (0.1, 0.02, 0.002):
        assert float(np.mean(found >= -np.log10(p))) > 0.4 * p


def test_nothing_is_said_before_the_warmup() -> None:
    found = surprises(
        Calibration(1, 1, memory=1000, warmup=100, kinds=1), RNG.exponential(size=(150, 1))
    )
    assert np.isnan(found[:100]).all()
    assert np.isfinite(found[100:]).all()


def test_missing_scores_are_passed_over() -> None:
    draws = RNG.exponential(size=(400, 1))
    holes = np.insert(draws, [50, 200, 201], np.nan, axis=0)
    one, other = (Calibration(1, 1, memory=1000, warmup=100, kinds=1) for _ in range(2))
    whole, found = surprises(one, draws), surprises(other, holes)
    np.testing.assert_array_equal(found[~np.isnan(holes)], whole[:, 0])
    assert np.isnan(found[np.isnan(holes)]).all()


def test_a_new_extreme_is_a_surprise_but_bounded() -> None:
    draws = RNG.exponential(size=(1000, 1))
    draws[900] = 1e6
    found = surprises(Calibration(1, 1, memory=1000, warmup=100, kinds=1), draws)
    assert found[900, 0] == SURPRISE_MAX
    assert found[901:, 0].max() <= SURPRISE_MAX


def test_the_unit_follows_scores_that_grow_or_shrink() -> None:
    """A thousand times greater, or smaller, for good: after a while they are usual again."""
    for factor in (1e3, 1e-3, 1e9):
        draws = RNG.exponential(size=(12_000, 1))
        draws[1000:] *= factor
        found = surprises(Calibration(1, 1, memory=500, warmup=100, kinds=1), draws)[-3000:]
        assert 0.05 < np.mean(found >= 1.0) < 0.13, factor
        assert np.mean(found >= 2.0) < 0.02


def test_blocks_do_not_matter() -> None:
    draws = RNG.exponential(size=(600, 5))
    one, other = (Calibration(5, 1, memory=200, warmup=20, kinds=1) for _ in range(2))
    np.testing.assert_array_equal(surprises(one, draws), surprises(other, draws, one_by_one=True))


def test_a_class_tells_young_series_the_shape_of_their_tail() -> None:
    """With a heavy-tailed class behind it, a young series' extremes surprise less."""
    rng = np.random.default_rng(11)
    old = np.abs(rng.standard_t(1.5, (4000, 20)))
    young = rng.exponential(size=(200, 1))
    young[-1] = 1.3 * young[:-1].max()
    alone = Calibration(21, 1, memory=2000, warmup=100, kinds=1)
    among = Calibration(21, 1, memory=2000, warmup=100, kinds=1)
    surprises(among, old)
    last = np.full(200, 20, np.int32)
    one, other = (each.observe(KINDS, last, young.T.copy())[0, -1] for each in (alone, among))
    assert other < one

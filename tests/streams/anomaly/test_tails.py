"""The tail of a histogram against distributions that are known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from streams.anomaly.tails import fit_tail, log_probability, tail_bin

EDGES = np.linspace(0.0, 40.0, 801)
SHARE = 0.02

KNOWN = {
    "exponential": (stats.expon(), 0.0),
    "pareto, shape 0.25": (stats.genpareto(0.25), 0.25),
    "bounded, shape -0.3": (stats.genpareto(-0.3), -0.3),
    "normal": (stats.halfnorm(), None),
}


def histogram_of(scores: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.histogram(np.minimum(scores, 39.99), EDGES)[0].astype(np.float32)


def probability(histogram: NDArray[np.float32], value: float, worth: float = 0.0) -> float:
    place = min(int(value / 0.05), len(histogram) - 1)
    total = float(histogram.sum())
    ln = log_probability(histogram, EDGES, total, 1.0, place, value, SHARE, 0.0, worth, -1.0)
    return float(np.exp(ln))


@pytest.mark.parametrize("name", KNOWN)
def test_rare_scores_have_their_probability(name: str) -> None:
    """Ten and a thousand times rarer than the tail begins, from 100,000 scores."""
    distribution, _ = KNOWN[name]
    rng = np.random.default_rng(1)
    histogram = histogram_of(distribution.rvs(100_000, random_state=rng))
    # Near the end of a bounded one the smallest error of its place is a great one of probability.
    rare = () if name.startswith("bounded") else ((2e-5, 2.5),)
    for p, within in ((2e-3, 1.3), *rare):
        found = probability(histogram, float(distribution.isf(p)))
        assert p / within < found < p * within, (name, p, found)


@pytest.mark.parametrize("name", [name for name, (_, shape) in KNOWN.items() if shape is not None])
def test_the_shape_is_found(name: str) -> None:
    distribution, shape = KNOWN[name]
    histogram = histogram_of(distribution.rvs(200_000, random_state=np.random.default_rng(2)))
    first, held = tail_bin(histogram, SHARE * histogram.sum())
    found, scale = fit_tail(histogram, EDGES, first, held, 1.0, 0.0, 0.0)
    threshold = EDGES[first]
    assert found == pytest.approx(shape, abs=0.08)
    assert scale == pytest.approx(1.0 + shape * threshold, rel=0.1)


def test_few_excesses_leave_the_shape_that_was_given() -> None:
    rng = np.random.default_rng(3)
    histogram = histogram_of(stats.genpareto(0.4).rvs(500, random_state=rng))
    first, held = tail_bin(histogram, SHARE * histogram.sum())
    found, _ = fit_tail(histogram, EDGES, first, held, 1.0, 0.1, 1e6)
    assert found == pytest.approx(0.1, abs=1e-3)


def test_within_the_histogram_it_is_counting() -> None:
    """Share of scores in the bin and above, the new one included."""
    histogram = histogram_of(np.repeat([0.5, 1.5, 2.5], 10))
    for value, above in ((0.5, 30), (1.5, 20), (2.5, 10)):
        assert probability(histogram, value) == pytest.approx((above + 1) / 31)


def test_it_falls_with_the_score() -> None:
    histogram = histogram_of(stats.expon().rvs(3000, random_state=np.random.default_rng(4)))
    found = [probability(histogram, value) for value in np.arange(0.0, 39.0, 0.1)]
    assert all(a >= b for a, b in pairwise(found))
    assert found[-1] < 1e-8


@pytest.mark.parametrize("make", [np.zeros, np.ones], ids=["zeros", "constants"])
def test_equal_scores_are_no_surprise(make: Callable[[int], NDArray[np.float64]]) -> None:
    histogram = histogram_of(make(1000))
    assert probability(histogram, float(make(1)[0])) == pytest.approx(1.0)
    assert probability(histogram, 5.0) < 2e-3

"""VUS-PR on cases whose value is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from . import vus


def test_soft_labels_fall_as_a_square_root() -> None:
    labels = vus.soft_labels(20, [(8, 10)], 4)
    assert labels[8:11].tolist() == [1, 1, 1]
    assert labels[[6, 7, 11, 12]] == pytest.approx(
        [math.sqrt(1 / 2), math.sqrt(3 / 4), math.sqrt(3 / 4), math.sqrt(1 / 2)]
    )
    assert labels.sum() == pytest.approx(3 + 2 * (math.sqrt(1 / 2) + math.sqrt(3 / 4)))
    assert vus.soft_labels(20, [(8, 10)], 0).sum() == 3
    assert vus.soft_labels(20, [(0, 1), (18, 19)], 8).max() == 1  # the ends cut the slopes off


def test_without_buffer_it_is_average_precision() -> None:
    scores = np.array([0.9, 0.1, 0.8, 0.2, 0.7, 0.3])
    # The ranks of the range's two points (0.8 and 0.3) are 2 and 4; both are one range.
    assert vus.range_pr(scores, [(2, 2), (5, 5)], 0) == pytest.approx(
        (1 / 2) * (1 / 2) * (1 / 2) + (1 - 1 / 4) * (2 / 4)
    )
    assert vus.range_pr(np.array([0.0, 1.0, 1.0, 0.0]), [(1, 2)], 0) == pytest.approx(1)


def test_what_knows_all_beats_what_knows_nothing() -> None:
    rng = np.random.default_rng(7)
    ranges = [(400, 449), (800, 849)]
    truth = vus.soft_labels(1_000, ranges, 0)
    perfect = vus.vus_pr(truth + rng.normal(0, 0.01, 1_000), ranges)
    late = vus.vus_pr(np.roll(truth, 20) + rng.normal(0, 0.01, 1_000), ranges)
    chance = vus.vus_pr(rng.normal(0, 1, 1_000), ranges)
    assert perfect > 0.8  # not 1: the slopes are beyond the labels
    assert 0.5 < late < perfect
    assert chance < 0.3
    constant = vus.vus_pr(np.zeros(1_000), ranges)  # all points at once: the share of the labels
    assert 0.1 <= constant < 0.25


def test_one_point_in_a_range_is_not_adjusted_to_the_whole() -> None:
    scores = np.zeros(1_000)
    scores[420] = 1.0
    assert vus.vus_pr(scores, [(400, 499)]) < 0.3


def test_something_must_be_labelled() -> None:
    with pytest.raises(ValueError, match="labelled range"):
        vus.vus_pr(np.zeros(10), [])

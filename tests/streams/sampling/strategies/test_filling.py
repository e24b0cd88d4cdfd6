"""Water-filling, against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.sampling.strategies.filling import fill
from tests.streams.sampling.some_traces import Lane, budget, sampling, some_traces

SIZES = st.floats(1e-3, 1e6)
GROUPS = st.lists(st.tuples(SIZES, SIZES, st.floats(0, 1)), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(GROUPS, st.floats(0, 1.2))
def test_the_share_is_met_at_one_level(
    groups: list[tuple[float, float, float]], part: float
) -> None:
    volume, need, least = (np.array(column) for column in zip(*groups, strict=True))
    floor = (volume * least).sum()
    share = floor + part * (volume.sum() - floor)
    odds = fill(volume, need, least, share)
    assert ((odds >= least - 1e-12) & (odds <= 1)).all()
    assert abs((volume * odds).sum() - min(share, volume.sum())) <= 1e-6 * volume.sum()
    between = (odds > least + 1e-9) & (odds < 1 - 1e-9)
    if between.any():  # who is neither at the least nor at all has the same level
        level = (odds * need)[between]
        assert np.ptp(level) <= 1e-6 * level.max()
        whole = (odds >= 1 - 1e-9) & (least < 1 - 1e-6)
        assert (need[whole] <= level.max() * (1 + 1e-6)).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(GROUPS, st.floats(0, 1), st.floats(0, 1))
def test_more_to_share_is_less_for_nobody(
    groups: list[tuple[float, float, float]], part: float, more: float
) -> None:
    volume, need, least = (np.array(column) for column in zip(*groups, strict=True))
    floor, top = (volume * least).sum(), volume.sum()
    little = fill(volume, need, least, floor + min(part, more) * (top - floor))
    much = fill(volume, need, least, floor + max(part, more) * (top - floor))
    assert (much >= little - 1e-9).all()


def test_it_is_the_quota_of_the_textbook() -> None:
    """q with sum(min(n, q)) = share, p = min(1, q / n)."""
    count = np.array([1000.0, 100.0, 10.0, 5.0])
    odds = fill(count, count, np.zeros(4), 115.0)
    np.testing.assert_allclose(odds * count, [50.0, 50.0, 10.0, 5.0])


def test_without_groups_there_is_nothing_to_fill() -> None:
    nothing = np.zeros(0)
    for share in (1.0, 0.0, -1e-17):
        assert fill(nothing, nothing, nothing, share).shape == (0,)


@pytest.mark.parametrize(("rate", "count"), [(1.74, 26), (1.79, 31), (1.9, 25), (2.9, 23)])
def test_a_step_in_which_only_others_draw_on_the_budget(rate: float, count: int) -> None:
    """What is left for the budget's own is 0 then, or a rounding error less (as in these)."""
    others = {"match": {"span_count": {"min": 1}}, "probability": 0.9}
    lane = Lane(sampling(others, budget(rate, minimum=0)))
    step = lane.step(some_traces(count, randomness=np.arange(count, dtype=np.uint64) << 50))
    assert 0 < step.groups.probability[0] < 0.9

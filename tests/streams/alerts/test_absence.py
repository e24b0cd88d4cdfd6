"""Silence of a series, against what the series is like."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config.alerts import Absence
from streams.alerts.absence import Presence
from tests.streams.alerts.plain_rules import PlainAbsence
from tests.streams.alerts.windows import LENGTH_MS

PER_DAY = 86_400_000 / LENGTH_MS
WORDS = {0: "no", 1: "yes", 3: "uncertain"}


def presence(size: int = 1, **said: float) -> Presence:
    found = Presence(Absence.model_validate(said), LENGTH_MS)
    found.grow(size)
    return found


def window(of: Presence, *seen: bool) -> list[str]:
    ids = np.arange(len(seen), dtype=np.int32)
    return [WORDS[each] for each in of.observe(ids, np.array(seen)).tolist()]


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    st.sampled_from([None, 0.01, 1.0, 100.0]),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 40)), min_size=1, max_size=12),
)
def test_it_is_as_by_hand(
    sensitivity: float | None, history: int, stretches: list[tuple[int, int]]
) -> None:
    columns = presence(sensitivity=sensitivity, history=history)
    plain = PlainAbsence(sensitivity, history, PER_DAY)
    for some, none in stretches:
        for seen in [True] * some + [False] * none:
            assert window(columns, seen) == [plain.window(seen)]


def test_without_a_sensitivity_the_first_empty_window_counts() -> None:
    one = presence(history=3)
    assert [window(one, True)[0] for _ in range(3)] == ["no"] * 3
    assert [window(one, False)[0] for _ in range(2)] == ["yes"] * 2
    assert window(one, True) == ["no"]


def test_nothing_is_said_before_there_is_a_history() -> None:
    one = presence(history=5)
    window(one, True)
    assert [window(one, False)[0] for _ in range(4)] == ["uncertain"] * 3 + ["yes"]


def test_a_busy_series_is_missed_soon_and_a_rare_one_late() -> None:
    both = presence(2, sensitivity=0.1, history=30)
    for i in range(600):
        window(both, True, i % 4 == 0)
    told = [window(both, False, False) for _ in range(200)]
    busy, rare = (next(i for i, each in enumerate(told, 1) if each[k] == "yes") for k in (0, 1))
    assert busy == 2
    assert 20 < rare < 60


def test_pauses_that_there_were_are_no_news() -> None:
    """A job that works for ten minutes of every thirty: its first pauses are told of, no more."""
    job = presence(sensitivity=0.1, history=30)
    told = []
    for _ in range(12):
        for seen in [True] * 60 + [False] * 120:
            told.append((window(job, seen)[0], seen))
    rounds = [any(word == "yes" for word, _ in told[i : i + 180]) for i in range(0, len(told), 180)]
    assert rounds[0]
    assert not any(rounds[6:])


def test_an_outage_that_was_told_of_is_not_what_the_series_is_like() -> None:
    def missed_after(outage: int) -> int:
        one = presence(sensitivity=0.1, history=30)
        for _ in range(300):
            window(one, True)
        for _ in range(outage):
            window(one, False)
        for _ in range(300):
            window(one, True)
        return next(i for i in range(1, 100) if window(one, False) == ["yes"])

    assert missed_after(2000) == missed_after(20) <= 8


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_false_alarms_are_no_more_than_asked_for(share: float) -> None:
    """Windows that are empty by chance, independently of each other."""
    series, sensitivity = 400, 1.0
    many = presence(series, sensitivity=sensitivity, history=30)
    ids = np.arange(series, dtype=np.int32)
    rng = np.random.default_rng(7)
    before, alarms = np.zeros(series, np.bool_), 0
    for _ in range(int(PER_DAY)):
        now = many.observe(ids, rng.random(series) < share) == 1
        alarms += int((now & ~before).sum())
        before = now
    assert alarms <= 2 * sensitivity * series


def test_a_number_that_is_given_again_begins_anew() -> None:
    both = presence(2, history=3)
    for _ in range(5):
        window(both, True, True)
    both.forget(np.array([1], np.int32))
    assert window(both, False, False) == ["yes", "uncertain"]

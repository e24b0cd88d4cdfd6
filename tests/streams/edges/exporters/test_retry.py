"""The backoff alone, by properties, with time and chance in hand."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from schemas.config import Retry
from streams.edges.exporters.retry import Backoff

seconds = st.floats(0.001, 100)
retries = st.builds(
    Retry,
    initial=seconds,
    multiplier=st.floats(1, 10),
    maximum=seconds,
    max_elapsed=st.none() | seconds,
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Highest(random.Random):
    """Chance that always takes the upper end."""

    def uniform(self, a: float, b: float) -> float:
        return b


@given(retries, st.integers(0, 2**32), st.lists(st.none() | st.floats(-10, 1e9), max_size=40))
def test_no_pause_is_negative_or_exceeds_the_maximum(retry, seed, wishes) -> None:
    clock = Clock()
    backoff = Backoff(retry, random.Random(seed), clock)
    for wish_s in wishes:
        pause_s = backoff.pause(wish_s)
        if pause_s is None:
            assert retry.max_elapsed is not None
            break
        assert 0 <= pause_s <= retry.maximum
        clock.now_s += pause_s


@given(retries, st.integers(0, 2**32), st.floats(0, 1e6))
def test_a_wish_is_kept_up_to_the_maximum_whatever_chance_says(retry, seed, wish_s) -> None:
    retry = retry.model_copy(update={"max_elapsed": None})
    backoff = Backoff(retry, random.Random(seed), Clock())
    assert backoff.pause(wish_s) == min(wish_s, retry.maximum)


@given(retries)
def test_ceilings_grow_by_the_multiplier_up_to_the_maximum_and_stay(retry) -> None:
    retry = retry.model_copy(update={"max_elapsed": None})
    backoff = Backoff(retry, Highest(), Clock())
    pauses = [backoff.pause() for _ in range(2000)]
    assert pauses[0] == min(retry.initial, retry.maximum)
    for before, after in itertools.pairwise(pauses):
        assert after == min(before * retry.multiplier, retry.maximum)


def test_jitter_is_full() -> None:
    rng = random.Random(7)
    firsts = [Backoff(Retry(initial=1.0), rng, Clock()).pause() or 0.0 for _ in range(4000)]
    assert min(firsts) < 0.01
    assert max(firsts) > 0.99
    assert abs(sum(firsts) / len(firsts) - 0.5) < 0.02


@given(retries, st.integers(0, 2**32), st.floats(0, 50))
def test_no_try_begins_after_max_elapsed_and_none_is_given_up_before(retry, seed, each_s) -> None:
    if retry.max_elapsed is None:
        retry = retry.model_copy(update={"max_elapsed": 20.0})
    clock = Clock()
    backoff = Backoff(retry, random.Random(seed), clock)
    shadow = Backoff(retry.model_copy(update={"max_elapsed": None}), random.Random(seed), clock)
    for _ in range(1000):
        clock.now_s += each_s  # how long the try took
        would_s = shadow.pause()
        assert would_s is not None
        pause_s = backoff.pause()
        begins_s = clock.now_s + would_s - 1000.0
        if pause_s is None:
            assert begins_s > retry.max_elapsed - 1e-6
            return
        assert begins_s <= retry.max_elapsed + 1e-6
        clock.now_s += pause_s


def test_a_start_in_the_past_counts() -> None:
    clock = Clock()
    retry = Retry(initial=1.0, max_elapsed=60.0)
    assert Backoff(retry, random.Random(1), clock, started_s=clock() - 59).pause(0.5) == 0.5
    assert Backoff(retry, random.Random(1), clock, started_s=clock() - 61).pause(0.0) is None

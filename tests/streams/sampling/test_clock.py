"""Sampling's time: it follows the batches', never goes back, and waits for no wrong clock."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.sampling.clock import BACK_MS, Clock

HOUR_MS = 3_600_000
gaps = st.lists(st.integers(-2 * HOUR_MS, 2 * HOUR_MS), max_size=30)


def after(*times_ms: int) -> Clock:
    clock = Clock()
    for each in times_ms:
        clock = clock.after(each)
    return clock


def test_it_is_the_greatest_time_of_a_batch() -> None:
    assert after(10**9, 10**9 + 500, 10**9 + 300) == (10**9 + 500, 0, 10**9 + 500)
    assert after(10**9, 10**9 - BACK_MS) == (10**9, 0, 10**9)


def test_a_clock_is_set_back() -> None:
    clock = after(10**9 + HOUR_MS, 10**9)
    assert clock == (10**9 + HOUR_MS, HOUR_MS, 10**9 + HOUR_MS)
    clock = clock.after(10**9 + 700)
    assert clock.time_ms == 10**9 + HOUR_MS + 700
    assert clock.at(clock.highest_ms + 400) == clock.time_ms + 400
    # A gap is one, though the time is still ahead.
    assert clock.after(10**9 + 60_000).time_ms == 10**9 + HOUR_MS + 60_000
    # And when it is that late again, the two are the same.
    assert clock.after(10**9 + HOUR_MS + 900) == (10**9 + HOUR_MS + 900, 0, 10**9 + HOUR_MS + 900)


@settings(derandomize=True)
@given(gaps)
def test_whatever_comes_it_goes_on(some: list[int]) -> None:
    now_ms, clock = 10**12, after(10**12)
    for gap in some:
        before, now_ms = clock, now_ms + gap
        clock = clock.after(now_ms)
        assert clock.time_ms >= max(before.time_ms, now_ms)
        assert clock.highest_ms == max(before.highest_ms, now_ms)
        later = clock
        for second in range(1, 101):
            later = later.after(now_ms + 1000 * second)
        assert later.time_ms >= clock.time_ms + 100_000 - BACK_MS

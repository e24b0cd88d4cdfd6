"""What the bench measures is what it says: causal, counted right, and true on a small run."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from . import detection, sensitivity
from .series import Series

STEP_MS = 300_000


def series(points: int = 3_000) -> Series:
    chance = np.random.default_rng(3)
    time_ms = sensitivity.START_MS + np.arange(points, dtype=np.int64) * STEP_MS
    values = 100 + 30 * np.sin(2 * np.pi * time_ms / 86_400_000) + chance.normal(0, 3, points)
    values[2_500:2_540] += 150
    return Series(name="made__one", time_ms=time_ms, values=values, windows=((2_450, 2_600),))


def test_what_is_said_of_a_point_does_not_depend_on_later_ones() -> None:
    whole = detection.detect(series())
    for upto in (700, 2_510):
        part = detection.detect(series().upto(upto))
        for known, then in zip(whole, part, strict=True):
            np.testing.assert_array_equal(known[:upto], then)


def test_a_plain_anomaly_is_found_at_once_and_reported() -> None:
    one = series()
    said = detection.detect(one)
    figures = detection.figures([one], [said.onset])
    assert figures[0].everything > 90
    starts = detection.episodes(said.rate_per_day, 0.05, 150)
    hit, outside = detection.caught(one, starts)
    assert hit == 1
    assert outside <= 2
    assert any(2_500 <= start < 2_503 for start in starts)
    assert detection.vus_pr(one, said.score) > 0.3
    text = io.StringIO()
    detection.report([one], [said], [0.05], Console(file=text, width=120), each=True)
    assert "made__one" in text.getvalue()
    assert "1/1" in text.getvalue()


def test_episodes_are_counted_once() -> None:
    rate = np.full(100, np.inf)
    rate[[10, 11, 20, 31, 60]] = 0.05
    assert detection.episodes(rate, 0.1, 20) == [10, 31, 60]
    assert detection.episodes(rate, 0.01, 20) == []
    hit, outside = detection.caught(
        Series(
            name="x__y",
            time_ms=np.arange(100, dtype=np.int64),
            values=np.zeros(100),
            windows=((30, 40),),
        ),
        [10, 31, 60],
    )
    assert (hit, outside) == (1, 1)  # 10 is in the probationary period


@pytest.mark.parametrize("kind", ["white", "daily", "rare"])
def test_a_sensitivity_is_false_alarms_per_day(kind: str) -> None:
    """The bench shows a factor of two with many days; this small run can tell a factor of three."""
    found = sensitivity.tally(sensitivity.KINDS[kind], [1.0], series=12, days=18)[1.0]
    assert found.days > 100
    assert 1 / 3 < found.per_day < 3


def test_made_series_are_the_same_for_the_same_seed() -> None:
    for generator in sensitivity.KINDS.values():
        first, again = (list(sensitivity.blocks(generator, 5, 2, 3, STEP_MS)) for _ in range(2))
        assert len(first) == 3
        for (rows, time_ms, values), other in zip(first, again, strict=True):
            assert len(rows) == len(time_ms) == len(values) == 2 * 288
            np.testing.assert_array_equal(values, other[2])
            assert np.all(np.isfinite(values))

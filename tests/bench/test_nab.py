"""The scoring function against values worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from . import nab, series

EARLIEST = 2 / (1 + math.exp(-5)) - 1


def scored(
    points: int, windows: list[tuple[int, int]], found: list[int], profile: nab.Profile
) -> float:
    scores = np.zeros(points)
    scores[found] = 1.0
    marked = nab.mark(points, windows)
    return nab.normalised(nab.sweep(marked, scores, profile).at(1.0), [marked], profile)


def test_probation_is_15_percent_and_at_most_750() -> None:
    assert [nab.probation(n) for n in (100, 101, 5_000, 22_695)] == [15, 15, 750, 750]


def test_sigma_is_that_of_the_paper() -> None:
    at = nab.sigma(np.array([-1.0, -0.5, 0.0, 1.0, 3.01]))
    assert at == pytest.approx([EARLIEST, 0.84828, 0.0, -EARLIEST, -1.0], abs=1e-5)


def test_perfect_null_and_late_detections() -> None:
    windows = [(40, 49), (70, 79)]
    for profile in nab.PROFILES:
        assert scored(100, windows, [40, 70], profile) == pytest.approx(100)
        assert scored(100, windows, [], profile) == 0
    # The sixth of ten points is half a window before the right edge: position -(49 - 45 + 1) / 10.
    half = 0.8482836 / EARLIEST
    assert scored(100, windows, [45, 70], nab.STANDARD) == pytest.approx(
        100 * (half + 1 + 2) / 4, abs=1e-4
    )
    # A missed window costs 1, or 2 where misses are dear.
    assert scored(100, windows, [40], nab.STANDARD) == pytest.approx(50)
    assert scored(100, windows, [40], nab.LOW_FN) == pytest.approx(100 * (1 - 2 + 4) / 6)


def test_only_the_earliest_detection_of_a_window_counts() -> None:
    windows = [(40, 49)]
    assert scored(100, windows, [40, 41, 44, 49], nab.STANDARD) == pytest.approx(100)


def test_false_alarms_cost_by_distance_from_the_preceding_window() -> None:
    windows = [(40, 49)]
    before = scored(100, windows, [30, 40], nab.STANDARD)  # none precedes: full price
    assert before == pytest.approx(100 * (1 - 0.11 + 1) / 2)
    after = scored(100, windows, [40, 51], nab.STANDARD)  # 2 points after a window 9 steps wide
    price = 0.11 * (2 / (1 + math.exp(5 * 2 / 9)) - 1)
    assert after == pytest.approx(100 * (1 + price + 1) / 2)
    far = scored(100, windows, [40, 90], nab.LOW_FP)
    assert far == pytest.approx(100 * (1 - 0.22 + 1) / 2)


def test_the_probationary_period_is_not_scored() -> None:
    assert scored(100, [(40, 49)], [0, 14, 40], nab.STANDARD) == pytest.approx(100)
    assert scored(100, [(40, 49)], [15, 40], nab.STANDARD) < 100
    # A window that lies in it cannot be found, but the perfect detector would have.
    assert scored(100, [(5, 9), (40, 49)], [40], nab.STANDARD) == pytest.approx(100 * 2 / 3)


def test_the_threshold_is_the_best_for_all_series_together() -> None:
    marked = [nab.mark(100, [(40, 49)]), nab.mark(100, [(60, 69)])]
    scores = [np.zeros(100), np.zeros(100)]
    scores[0][[40, 80]] = 0.9, 0.5
    scores[1][[60, 20]] = 0.6, 0.7
    threshold, score = nab.optimised(marked, scores, nab.STANDARD)
    assert threshold == 0.6
    assert score == pytest.approx(100 * (2 - 0.11 + 2) / 4)
    # Alone, the first would say 0.9 and miss the second's window; the second 0.6, which finds it.
    held_out = nab.held_out(marked, scores, nab.STANDARD, [0, 1])
    assert held_out == pytest.approx(100 * (1 + -1 + 2) / 4)
    assert math.isnan(nab.held_out(marked, scores, nab.STANDARD, [0, 0]))


def test_equal_scores_become_detections_together() -> None:
    marked = nab.mark(100, [(40, 49)])
    scores = np.zeros(100)
    scores[[30, 45, 40]] = 0.5
    sweep = nab.sweep(marked, scores, nab.STANDARD)
    assert sweep.thresholds.tolist() == [np.inf, 0.5, 0.0]
    assert sweep.totals[1] == pytest.approx(1 - 0.11)
    assert sweep.at(0.51) == -1
    assert sweep.at(0.4) == sweep.totals[1]


def test_scores_that_cannot_be_ordered_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        nab.sweep(nab.mark(100, []), np.full(100, np.nan), nab.STANDARD)
    with pytest.raises(ValueError, match="84 scores for 85"):
        nab.sweep(nab.mark(100, []), np.zeros(99), nab.STANDARD)


def test_series_are_read_with_their_windows(tmp_path: Path) -> None:
    lines = [f"2014-04-01 0{hour}:00:00,{hour}.5" for hour in (0, 1, 1, 2, 3)]
    (tmp_path / "real__a.csv").write_text("timestamp,value\n" + "\n".join(lines) + "\n")
    pair = '["2014-04-01 01:00:00.000000", "2014-04-01 03:00:00.000000"]'
    (tmp_path / "windows.json").write_text(f'{{"real__a.csv": [{pair}]}}')
    (one,) = series.load(series.directory(str(tmp_path)))
    assert (one.category, len(one), one.windows, one.interval_ms) == (
        "real",
        5,
        ((1, 4),),
        3600_000,
    )
    assert one.upto(2).values.tolist() == [0.5, 1.5]
    (tmp_path / "windows.json").write_text(
        '{"real__a.csv": [["2014-04-01 01:30:00", "2014-04-01 03:00:00"]]}'
    )
    with pytest.raises(ValueError, match="no point at the end of a window"):
        series.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=series.DIRECTORY):
        series.directory(str(tmp_path / "nowhere"))

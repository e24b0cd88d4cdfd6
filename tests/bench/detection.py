"""``python -m tests.bench.detection [DIRECTORY]``: detection on labelled series, as tables.

    python -m tests.bench.detection /path/to/series [--each] [--sensitivity 1 0.1 0.01]

One configuration for all series; each is fed by itself, point by point in order of time, to a
detector that knows nothing else. Shown are the scores of the Numenta benchmark (`nab`) with the
threshold that is best for all series, with thresholds chosen on other series only (leave one series
out, leave one category out), VUS-PR (`vus`), and alarms at given sensitivities.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from schemas.config.anomaly import Anomaly
from streams.anomaly.detection import Detection

from . import nab, vus
from .series import Series, directory, load


class Found(NamedTuple):
    """What a detector said of a series, one element per point."""

    score: NDArray[np.float64]
    """0 to 1."""
    onset: NDArray[np.float64]
    """The same where an episode begins, else 0: what an alarm is made of."""
    rate_per_day: NDArray[np.float64]
    """False alarms per day that a threshold at this point would have."""
    least_per_day: NDArray[np.float64]
    """The least of these that can be told yet; below a sensitivity it is "learning"."""


DAY_MS = 86_400_000


def detect(series: Series, settings: Anomaly | None = None) -> Found:
    """The detector of the `detect` worker on one series, with the defaults."""
    detection = Detection(settings, 1)
    detection.grow(1)
    rows = np.zeros(len(series), np.int32)
    seen = detection.observe(rows, series.time_ms, series.values)
    return Found(seen.score, seen.onset, seen.rate_per_day, seen.least_per_day)


class Figures(NamedTuple):
    """Of one profile: thresholds chosen on all series, on all others, on other categories."""

    profile: str
    threshold: float
    everything: float
    leave_one_out: float
    leave_category_out: float


def figures(series: Sequence[Series], onsets: Sequence[NDArray[np.float64]]) -> list[Figures]:
    """Normalised scores of the three profiles."""
    marked = [nab.mark_series(each) for each in series]
    names = sorted({each.category for each in series})
    categories = [names.index(each.category) for each in series]
    rows = []
    for profile in nab.PROFILES:
        threshold, everything = nab.optimised(marked, onsets, profile)
        alone = nab.held_out(marked, onsets, profile, range(len(series)))
        category = nab.held_out(marked, onsets, profile, categories)
        rows.append(Figures(profile.name, threshold, everything, alone, category))
    return rows


def vus_pr(series: Series, score: NDArray[np.float64]) -> float:
    """VUS-PR of the points after the probationary period; NaN: nothing is labelled there."""
    first = nab.probation(len(series))
    ranges = [(a - first, b - first) for a, b in series.windows if a >= first]
    return vus.vus_pr(score[first:], ranges) if ranges else float("nan")


def episodes(rate_per_day: NDArray[np.float64], sensitivity: float, dead_time: int) -> list[int]:
    """Points at which an alarm begins: none within ``dead_time`` points before it."""
    starts: list[int] = []
    for place in np.flatnonzero(rate_per_day <= sensitivity).tolist():
        if not starts or place - starts[-1] > dead_time:
            starts.append(place)
    return starts


def unlabelled(series: Series) -> NDArray[np.bool_]:
    """Points after the probationary period that are in no window."""
    free = np.arange(len(series)) >= nab.probation(len(series))
    for left, right in series.windows:
        free[left : right + 1] = False
    return free


def caught(series: Series, starts: Sequence[int]) -> tuple[int, int]:
    """Windows with an alarm, and alarms outside all windows, after the probationary period."""
    first = nab.probation(len(series))
    starts = [start for start in starts if start >= first]
    windows = [(a, b) for a, b in series.windows if b >= first]
    hit = sum(any(a <= start <= b for start in starts) for a, b in windows)
    free = unlabelled(series)
    return hit, sum(bool(free[start]) for start in starts)


def _rows(
    table: Table,
    series: Sequence[Series],
    onsets: Sequence[NDArray[np.float64]],
    threshold: float,
    key: Callable[[Series], str],
    scores: Sequence[NDArray[np.float64]] = (),
) -> Table:
    for name in sorted({key(each) for each in series}):
        chosen = [number for number, each in enumerate(series) if key(each) == name]
        marked = [nab.mark_series(series[number]) for number in chosen]
        total = sum(
            nab.sweep(mark, onsets[number], nab.STANDARD).at(threshold)
            for mark, number in zip(marked, chosen, strict=True)
        )
        hits = [
            caught(series[number], np.flatnonzero(onsets[number] >= threshold).tolist())
            for number in chosen
        ]
        windows = sum(mark.windows for mark in marked)
        score = f"{nab.normalised(total, marked, nab.STANDARD):.1f}" if windows else "-"
        areas = [vus_pr(series[number], (scores or onsets)[number]) for number in chosen]
        known = [area for area in areas if not np.isnan(area)]
        table.add_row(
            *(name, str(len(chosen)), score),
            f"{sum(hit for hit, _ in hits)}/{windows}",
            f"{sum(false for _, false in hits)}",
            f"{np.mean(known):.3f}" if known else "-",
        )
    return table


def report(
    series: Sequence[Series],
    found: Sequence[Found],
    sensitivities: Sequence[float],
    console: Console,
    each: bool = False,
) -> None:
    """Print the tables."""
    onsets = [one.onset for one in found]
    scores = [one.score for one in found]
    table = Table("profile", "threshold", "all", "leave one out", "leave category out")
    profiles = figures(series, onsets)
    for row in profiles:
        table.add_row(row.profile, f"{row.threshold:.3f}", *(f"{value:.1f}" for value in row[2:]))
    console.print(table)
    columns = ("series", "score", "windows found", "false alarms", "VUS-PR")
    threshold = profiles[0].threshold
    console.print(
        _rows(Table("category", *columns), series, onsets, threshold, lambda s: s.category, scores)
    )
    if each:
        console.print(
            _rows(Table("name", *columns), series, onsets, threshold, lambda s: s.name, scores)
        )
    areas = [vus_pr(one, score) for one, score in zip(series, scores, strict=True)]
    console.print(f"VUS-PR, mean of {np.sum(~np.isnan(areas))} series: {np.nanmean(areas):.3f}")
    dead_time = Anomaly().dead_time
    alarms = Table("sensitivity", "windows found", "alarms outside", "days", "per series and day")
    for sensitivity in sensitivities:
        hit, outside, days = 0, 0, 0.0
        for one, said in zip(series, found, strict=True):
            own = caught(one, episodes(said.rate_per_day, sensitivity, dead_time))
            told = unlabelled(one) & (said.least_per_day <= sensitivity)
            hit, outside = hit + own[0], outside + own[1]
            days += float(np.sum(told)) * one.interval_ms / DAY_MS
        windows = sum(len(one.windows) for one in series)
        rate = f"{outside / days:.3f}" if days else "-"
        alarms.add_row(f"{sensitivity:g}", f"{hit}/{windows}", str(outside), f"{days:.0f}", rate)
    console.print(alarms)


def main() -> None:
    """Entry point of the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("directory", nargs="?", help="of the series; else $OTLP_STREAMS_SERIES")
    parser.add_argument("--each", action="store_true", help="a row per series, too")
    parser.add_argument("--sensitivity", type=float, nargs="*", default=[1.0, 0.1, 0.01])
    options = parser.parse_args()
    series = load(directory(options.directory))
    report(series, [detect(one) for one in series], options.sensitivity, Console(), options.each)


if __name__ == "__main__":
    main()

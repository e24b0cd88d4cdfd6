"""``python -m tests.bench.detection_pictures DIRECTORY [OUT]``: the pictures of docs/detection.md.

DIRECTORY holds labelled series (see `series`), OUT is docs/pictures by default.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import NDArray

from schemas.config.anomaly import Anomaly
from streams.anomaly.detection import Detection, Observed

from . import nab
from .detection import episodes
from .sensitivity import DAY_MS, KINDS, START_MS, tally
from .series import Series, directory, load

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SERIES = (
    "realKnownCause__nyc_taxi",
    "artificialWithAnomaly__art_daily_nojump",
    "realAWSCloudwatch__rds_cpu_utilization_cc0c53",
    "realTweets__Twitter_volume_CRM",
)
SENSITIVITY = 0.1
LINE, EXPECTED, LABEL, ALARM = "#20507a", "#9ec5e8", "#f2c14e", "#c0392b"


def observe(values: NDArray[np.float64], time_ms: NDArray[np.int64]) -> Observed:
    """One series through a detector of its own."""
    detection = Detection(None, 1)
    detection.grow(1)
    return detection.observe(np.zeros(len(values), np.int32), time_ms, values)


def label(axes: Axes, series: Series, day: NDArray[np.float64]) -> None:
    """Grey: probationary period; yellow: labelled windows."""
    axes.axvspan(day[0], day[nab.probation(len(series))], color="0.92", lw=0)
    for left, right in series.windows:
        axes.axvspan(day[left], day[right], color=LABEL, alpha=0.35, lw=0)


def labelled(series: list[Series], out: Path) -> None:
    """Four series with their labelled windows, scores and alarms."""
    chosen = [one for name in SERIES for one in series if one.name == name]
    figure, grid = plt.subplots(2 * len(chosen), 1, figsize=(9, 2.1 * len(chosen)), squeeze=False)
    for number, one in enumerate(chosen):
        seen = observe(one.values, one.time_ms)
        day = (one.time_ms - one.time_ms[0]) / DAY_MS
        above, below = grid[2 * number, 0], grid[2 * number + 1, 0]
        above.plot(day, one.values, color=LINE, lw=0.5)
        above.set_title(one.name.partition("__")[2], loc="left", fontsize=8)
        below.plot(day, seen.score, color=LINE, lw=0.5)
        for start in episodes(seen.rate_per_day, SENSITIVITY, Anomaly().dead_time):
            if start >= nab.probation(len(one)):
                above.axvline(day[start], color=ALARM, lw=0.9)
        below.set_ylim(0, 1)
        below.set_ylabel("score", fontsize=7)
        for axes in (above, below):
            label(axes, one, day)
            axes.set_xlim(0, day[-1])
            axes.tick_params(labelsize=7)
        above.set_xticklabels([])
    grid[-1, 0].set_xlabel("days", fontsize=8)
    figure.tight_layout(h_pad=0.3)
    figure.savefig(out / "detection_labelled.png", dpi=80)
    plt.close(figure)


def steps(out: Path) -> None:
    """A made series: what is expected, score and rate while a night's load stays away."""
    points = DAY_MS // 300_000
    time_ms = START_MS + np.arange(14 * points, dtype=np.int64) * 300_000
    day = (time_ms - START_MS) / DAY_MS
    chance = np.random.default_rng(4)
    values = 100 + 40 * np.sin(2 * np.pi * day) + chance.normal(0, 5, len(day))
    quiet = (day > 11.1) & (day < 11.45)
    values[quiet] = 100 + chance.normal(0, 5, int(quiet.sum()))
    values[(day > 12.60) & (day < 12.63)] += 60
    seen = observe(values, time_ms)
    view = day > 9.5
    figure, (above, middle, below) = plt.subplots(3, 1, figsize=(9, 5), sharex=True)
    above.fill_between(
        *(day[view], seen.low[view], seen.high[view]), color=EXPECTED, lw=0, label="expected"
    )
    above.plot(day[view], values[view], color=LINE, lw=0.6, label="value")
    above.legend(fontsize=7, loc="upper left")
    middle.plot(day[view], seen.score[view], color=LINE, lw=0.6)
    middle.set_ylim(0, 1)
    middle.set_ylabel("score", fontsize=8)
    below.plot(day[view], seen.rate_per_day[view], color=LINE, lw=0.6)
    below.axhline(SENSITIVITY, color=ALARM, lw=0.8)
    below.set_yscale("log")
    below.set_ylabel("false alarms a day", fontsize=8)
    below.set_xlabel("days", fontsize=8)
    for start in episodes(seen.rate_per_day, SENSITIVITY, Anomaly().dead_time):
        if view[start]:
            above.axvline(day[start], color=ALARM, lw=1)
    for axes in (above, middle, below):
        axes.tick_params(labelsize=7)
    figure.tight_layout(h_pad=0.3)
    figure.savefig(out / "detection_steps.png", dpi=80)
    plt.close(figure)


def truth(out: Path, series: int = 40, days: int = 50) -> None:
    """Alarms observed without anomalies, by the sensitivity asked for."""
    asked = [1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01]
    figure, axes = plt.subplots(figsize=(5.5, 4.2))
    for name, generator in KINDS.items():
        found = tally(generator, asked, series=series, days=days, seed=2)
        axes.plot(asked, [max(found[one].per_day, 1e-4) for one in asked], marker=".", label=name)
    line = np.array([0.008, 1.3])
    axes.plot(line, line, color="0.3", lw=1)
    axes.fill_between(line, line / 2, line * 2, color="0.9", lw=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(0.002, 3)
    axes.set_xlabel("sensitivity asked for, per series and day", fontsize=8)
    axes.set_ylabel("alarms observed without anomalies", fontsize=8)
    axes.legend(fontsize=7)
    axes.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(out / "detection_sensitivity.png", dpi=80)
    plt.close(figure)


def main() -> None:
    """Entry point of the module."""
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else PICTURES
    out.mkdir(parents=True, exist_ok=True)
    labelled(load(directory(sys.argv[1] if len(sys.argv) > 1 else None)), out)
    steps(out)
    truth(out)


if __name__ == "__main__":
    main()

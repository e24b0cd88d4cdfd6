"""The scoring function of the Numenta Anomaly Benchmark, from its published definition.

Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms: the Numenta Anomaly
Benchmark" (2015), section III, and the benchmark's whitepaper:

- a detection in a labelled window is worth ``sigma(y)`` of its relative position, scaled so that
  the window's first point gives 1; only a window's earliest detection counts; a window without
  one costs ``fn``;
- a detection outside costs ``fp`` times ``sigma(y)``, little right after a window, 1 far from any
  preceding one;
- the first 15 % of a series, at most 750 points, are not scored;
- one threshold for all series is chosen for each profile, the one with the greatest score;
- 0 is a detector that says nothing, 100 one that finds the first point of every window only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .series import Series

OUTSIDE = -1
"""Window number of a point that lies in none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one application gains from a detection, and loses by a false or a missed one."""

    name: str
    tp: float = 1.0
    fp: float
    fn: float


STANDARD = Profile(name="standard", fp=0.11, fn=1.0)
LOW_FP = Profile(name="reward_low_FP_rate", fp=0.22, fn=1.0)
LOW_FN = Profile(name="reward_low_FN_rate", fp=0.11, fn=2.0)
PROFILES = (STANDARD, LOW_FP, LOW_FN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """The scored points of one series: everything that does not depend on the detector."""

    first: int
    """Points before this one are the probationary period."""
    window: NDArray[np.int64]
    """Per scored point: number of its window, or `OUTSIDE`."""
    worth: NDArray[np.float64]
    """Per scored point: scaled sigmoid, (0, 1] in a window and [-1, 0) outside."""
    windows: int
    """Labelled windows, also those that end in the probationary period."""
    scored_windows: int
    """Windows with at least one scored point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Score for every threshold that makes a difference, falling; the first finds nothing."""

    thresholds: NDArray[np.float64]
    totals: NDArray[np.float64]

    def best(self) -> tuple[float, float]:
        """The threshold with the greatest score (the highest of equals), and that score."""
        place = int(np.argmax(self.totals))
        return float(self.thresholds[place]), float(self.totals[place])

    def at(self, threshold: float) -> float:
        """Score when every point with a score of at least ``threshold`` is a detection."""
        place = int(np.searchsorted(-self.thresholds, -threshold, side="right")) - 1
        return float(self.totals[max(place, 0)])


def probation(points: int) -> int:
    """Points at the beginning of a series that are not scored."""
    return min(points * 15 // 100, 750)


def sigma(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scaled sigmoid of a relative position: -1 is a window's left edge, 0 its right one."""
    return np.where(position > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * position)) - 1.0)


def mark(points: int, windows: Sequence[tuple[int, int]]) -> Marked:
    """What detections in a series of ``points`` points are worth.

    Args:
        points: length of the series.
        windows: index of the first and last point of each window, in order, disjoint.
    """
    window = np.full(points, OUTSIDE, np.int64)
    worth = np.full(points, -1.0)
    greatest = sigma(np.array(-1.0))
    for number, (left, right) in enumerate(windows):
        width = right - left + 1
        window[left : right + 1] = number
        inside = np.arange(left, right + 1)
        worth[left : right + 1] = sigma(-(right - inside + 1) / width) / greatest
        # Until the next window begins, what follows is measured from this one's right edge.
        end = windows[number + 1][0] if number + 1 < len(windows) else points
        after = np.arange(right + 1, end)
        worth[right + 1 : end] = sigma((after - right) / max(width - 1, 1))
    first = probation(points)
    window, worth = window[first:], worth[first:]
    return Marked(
        first=first,
        window=window,
        worth=worth,
        windows=len(windows),
        scored_windows=len(np.unique(window[window != OUTSIDE])),
    )


def mark_series(series: Series) -> Marked:
    """`mark` of a loaded series."""
    return mark(len(series), series.windows)


def sweep(marked: Marked, scores: NDArray[np.float64], profile: Profile) -> Sweep:
    """Score of one series for all thresholds.

    Args:
        marked: of this series.
        scores: one for every point of the series, probationary ones included; finite.
        profile: costs.
    """
    scores = np.asarray(scores, np.float64)[marked.first :]
    if len(scores) != len(marked.worth):
        raise ValueError(f"{len(scores)} scores for {len(marked.worth)} scored points")
    if not np.all(np.isfinite(scores)):
        raise ValueError("scores must be finite")
    # From the highest score down; in equal scores the better point first, since all of them
    # become detections together.
    order = np.lexsort((-marked.worth, -scores))
    window, worth = marked.window[order], marked.worth[order]
    gain = np.where(window == OUTSIDE, worth * profile.fp, 0.0)
    for number in np.unique(window[window != OUTSIDE]):
        places = np.flatnonzero(window == number)
        best = np.maximum.accumulate(worth[places] * profile.tp)
        gain[places] = np.diff(best, prepend=-profile.fn)
    null = -profile.fn * marked.scored_windows
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else []
    totals = null + np.cumsum(gain)
    return Sweep(
        thresholds=np.concatenate(([np.inf], ordered[last])),
        totals=np.concatenate(([null], totals[last])),
    )


def add(sweeps: Sequence[Sweep]) -> Sweep:
    """Score of several series together, for all thresholds."""
    steps = [np.diff(each.totals) for each in sweeps]
    thresholds = np.concatenate([each.thresholds[1:] for each in sweeps])
    order = np.argsort(-thresholds, kind="stable")
    ordered = thresholds[order]
    start = sum(float(each.totals[0]) for each in sweeps)
    totals = start + np.cumsum(np.concatenate(steps)[order])
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else []
    return Sweep(
        thresholds=np.concatenate(([np.inf], ordered[last])),
        totals=np.concatenate(([start], totals[last])),
    )


def normalised(total: float, marked: Sequence[Marked], profile: Profile) -> float:
    """A score as published: 0 for the detector that says nothing, 100 for the perfect one."""
    null = -profile.fn * sum(each.scored_windows for each in marked)
    perfect = profile.tp * sum(each.windows for each in marked)
    return 100.0 * (total - null) / (perfect - null)


def optimised(
    marked: Sequence[Marked], scores: Sequence[NDArray[np.float64]], profile: Profile
) -> tuple[float, float]:
    """The benchmark's figure: (threshold, normalised score) with the best threshold for all."""
    sweeps = [sweep(*each, profile) for each in zip(marked, scores, strict=True)]
    threshold, total = add(sweeps).best()
    return threshold, normalised(total, marked, profile)


def held_out(
    marked: Sequence[Marked],
    scores: Sequence[NDArray[np.float64]],
    profile: Profile,
    folds: Sequence[int],
) -> float:
    """Normalised score when each fold is scored with the threshold that is best for the others.

    Args:
        marked: per series.
        scores: per series.
        profile: costs.
        folds: per series, the fold that it belongs to. With one fold only there are no others:
            NaN.
    """
    if len(set(folds)) < 2:
        return float("nan")
    sweeps = [sweep(*each, profile) for each in zip(marked, scores, strict=True)]
    total = 0.0
    for fold in set(folds):
        others = [each for each, its in zip(sweeps, folds, strict=True) if its != fold]
        threshold, _ = add(others).best()
        total += sum(
            each.at(threshold) for each, its in zip(sweeps, folds, strict=True) if its == fold
        )
    return normalised(total, marked, profile)

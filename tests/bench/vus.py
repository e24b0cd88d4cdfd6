"""VUS-PR: volume under the surface of range precision and recall, without point adjustment.

Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin, "Volume Under the Surface: A New Accuracy
Evaluation Measure for Time-Series Anomaly Detection" (PVLDB 15, 2022), sections 4 and 5. Labels
get a slope of up to ``buffer / 2`` points at either side, so that a detector that is a little early
or late is not punished as if it had missed; the area under the precision-recall curve is averaged
over all buffers up to a greatest one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BUFFER = 100
"""Greatest buffer, in points."""

THRESHOLDS = 250
"""Thresholds tried at most, evenly over the ranks of the scores, as in the authors' own code."""


def soft_labels(points: int, ranges: Sequence[tuple[int, int]], buffer: int) -> NDArray[np.float64]:
    """Labels in [0, 1]: 1 in the ranges (ends inclusive), falling as a square root beside them."""
    labels = np.zeros(points)
    for left, right in ranges:
        labels[left : right + 1] = 1.0
    if buffer == 0:
        return labels
    for left, right in ranges:
        before = np.arange(max(left - buffer // 2, 0), left)
        labels[before] += np.sqrt(1.0 - (left - before) / buffer)
        after = np.arange(right + 1, min(right + 1 + buffer // 2, points))
        labels[after] += np.sqrt(1.0 - (after - right) / buffer)
    return np.minimum(labels, 1.0)


def range_pr(scores: NDArray[np.float64], ranges: Sequence[tuple[int, int]], buffer: int) -> float:
    """Area under precision and recall for one buffer.

    Recall is of the soft labels, times the share of ranges that were touched at all (existence).
    """
    points = len(scores)
    labels = soft_labels(points, ranges, buffer)
    hard = soft_labels(points, ranges, 0)
    positives = float((labels + hard).sum()) / 2.0
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    if len(last) > THRESHOLDS:
        wanted = np.linspace(0, points - 1, THRESHOLDS).astype(np.int64)
        last = np.unique(last[np.searchsorted(last, wanted)])
    found = np.cumsum(labels[order])[last]
    predicted = (last + 1).astype(np.float64)
    # The highest score within a range's reach says from which threshold on it exists.
    reach = [
        scores[max(a - buffer // 2, 0) : min(b + 1 + buffer // 2, points)].max() for a, b in ranges
    ]
    existing = (np.array(reach)[:, None] >= ordered[last][None, :]).mean(axis=0)
    recall = np.minimum(found / positives, 1.0) * existing
    precision = found / predicted
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def vus_pr(
    scores: NDArray[np.float64],
    ranges: Sequence[tuple[int, int]],
    greatest: int = BUFFER,
    step: int = 5,
) -> float:
    """Mean of `range_pr` over buffers 0, ``step``, ... ``greatest``, in [0, 1].

    Args:
        scores: one a point, higher is more anomalous.
        ranges: first and last index of each labelled range, at least one.
        greatest: greatest buffer in points.
        step: distance of two buffers; the surface is smooth, 1 differs in the third digit.
    """
    if not ranges:
        raise ValueError("without a labelled range there is no recall")
    areas = [range_pr(scores, ranges, buffer) for buffer in range(0, greatest + 1, step)]
    return float(np.mean(areas))

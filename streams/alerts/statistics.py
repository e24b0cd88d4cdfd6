"""What is known of a series and window: the columns of a row, by name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["DERIVED", "RAW", "STATISTICS", "STRANGENESS", "VECTOR", "Kind", "derive"]

RAW = ("count", "errors", "sum", "min", "max", "p50", "p90", "p99", "last")
"""Read from messages."""
DERIVED = ("average", "rate", "error_ratio")
"""Computed from these: sum / count; count per second, or the sum's increase per second where a
metric is a sum; errors / count."""
STATISTICS = (*RAW, *DERIVED, "strangeness")
"""The last one is not of a window: how strange its VECTOR is for the series, 0 to 1."""
STRANGENESS = STATISTICS.index("strangeness")
VECTOR = ("rate", "error_ratio", "p50", "p90", "p99")

_COUNT, _ERRORS, _SUM = range(3)


class Kind:
    """What an empty window means for a series."""

    COUNTED = 0
    """Spans and log records: there were none, so count, errors and rate are 0."""
    MEASURED = 1
    """Gauges and distributions of metrics: no values, so count and rate are 0."""
    SUMMED = 2
    """Sums of metrics: nobody has said by how much they grew."""


def derive(
    rows: NDArray[np.float64],
    seen: NDArray[np.bool_],
    kinds: NDArray[np.uint8],
    length_ms: int,
) -> NDArray[np.float64]:
    """All statistics of one window.

    Args:
        rows: (n, RAW), NaN where nothing is known.
        seen: (n), which had items; the others' rows do not matter.
        kinds: (n), their ``Kind``.
        length_ms: of the window.

    Returns:
        (STATISTICS, n): a column after the other, each contiguous.
    """
    found = np.full((len(STATISTICS), len(rows)), np.nan)
    found[: len(RAW), seen] = rows[seen].T
    empty = ~seen
    counted = kinds == Kind.COUNTED
    found[_COUNT, empty & (kinds != Kind.SUMMED)] = 0.0
    found[_ERRORS, empty & counted] = 0.0
    count, errors, total = found[_COUNT], found[_ERRORS], found[_SUM]
    average, rate, error_ratio = found[len(RAW) : STRANGENESS]
    some = count > 0
    np.divide(total, count, out=average, where=some)
    np.divide(errors, count, out=error_ratio, where=some)
    rate[:] = np.where(kinds == Kind.SUMMED, total, count) * (1000.0 / length_ms)
    return found

"""What a series needs before any detector sees a point: order in time, and its interval."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streams.anomaly.blocks import Blocks
from streams.wire.compiling import kernel

__all__ = ["PLAIN", "REASONS", "VALUE_MAX", "Intake", "admit", "rows_of"]

PLAIN: tuple[Literal["C"], Literal["W"]] = ("C", "W")
"""Kernels are compiled for arrays in order that may be written to; others are copied."""

REASONS = ("missing", "infinite", "backwards")
"""Why a point is left out: no value, one that is infinite or beyond ``VALUE_MAX``, or not later
than the one before."""
VALUE_MAX = 1e30
"""Greatest magnitude of a value: differences must fit into single precision."""
_SETTLED = 20
"""Points from which on the interval follows slowly."""


@kernel
def admit(last_ms, interval, series, time_ms, values, taken, counts):
    """The values, NaN where the point is left out; ``counts`` per reason.

    ``interval`` is milliseconds between points, below 0: given, and stays; 0: not known yet;
    then the number of differences that it was made of.
    """
    for row in range(len(series)):
        i, value, now = series[row], values[row], time_ms[row]
        taken[row] = np.nan
        if np.isnan(value):
            counts[0] += 1
            continue
        if abs(value) > VALUE_MAX:
            counts[1] += 1
            continue
        if last_ms[i, 0] != 0 and now <= last_ms[i, 0]:
            counts[2] += 1
            continue
        if last_ms[i, 0] != 0 and interval[i, 0] >= 0.0:
            step = float(now - last_ms[i, 0])
            n = interval[i, 1] + 1.0
            if n > 1.0:  # a gap must not be taken for the interval
                step = min(step, 2.0 * interval[i, 0])
            interval[i, 0] += (step - interval[i, 0]) / min(n, _SETTLED)
            interval[i, 1] = n
        last_ms[i, 0] = now
        taken[row] = value


class Intake:
    """Intervals and classes of series, which are rows, and the order of their points."""

    def __init__(self, capacity: int) -> None:
        arrays = {"last_ms": ("<i8", 1), "interval": ("<f8", 2), "kind": ("<u1", 1)}
        self.blocks = Blocks(capacity, arrays)
        self._counts = np.zeros(len(REASONS), np.int64)

    @property
    def counts(self) -> dict[str, int]:
        """Points that were left out, by reason."""
        return dict(zip(REASONS, self._counts.tolist(), strict=True))

    @property
    def kind(self) -> NDArray[np.uint8]:
        """Class of each row."""
        return self.blocks["kind"]

    @property
    def interval(self) -> NDArray[np.float64]:
        """Of each row, see :func:`admit`."""
        return self.blocks["interval"]

    def describe(self, rows: NDArray[np.int32], interval_ms: int, kind: int = 0) -> None:
        """Of new rows: milliseconds between points, 0: to be estimated; and their class."""
        self.interval[rows, 0] = -float(interval_ms)
        self.interval[rows, 1] = 0.0
        self.kind[rows, 0] = kind

    def forget(self, rows: NDArray[np.int32]) -> None:
        """They are as new, of the interval that was given and the class that they had."""
        given, kind = np.minimum(self.interval[rows, 0], 0.0), self.kind[rows, 0]
        self.blocks.forget(rows)
        self.interval[rows, 0] = given
        self.kind[rows, 0] = kind

    def take(
        self, rows: NDArray[np.int32], time_ms: ArrayLike, values: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Times, one a row, and the values, NaN where a point is left out."""
        times = np.array(np.broadcast_to(time_ms, rows.shape), np.int64, order="C")
        taken = np.empty(len(rows))
        admit(self.blocks["last_ms"], self.interval, rows, times, values, taken, self._counts)
        return times, taken


def rows_of(given: NDArray[np.int32], count: int, what: str) -> NDArray[np.int32]:
    """Rows as kernels take them. Raises IndexError if one is not among ``count``."""
    rows = np.require(given, np.int32, PLAIN)
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < count:
        raise IndexError(f"{what} {rows.min()} to {rows.max()} of {count}")
    return rows

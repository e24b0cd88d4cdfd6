"""Detection over many series at once: what is strange, and how often that would be said of nothing.

A point goes to every detector; each one's score becomes a conformal p-value (``conformal``), the
p-values one number, and that number again a p-value against the series' own past, because
detectors depend on each other. Times the points of a day it is the rate of false alarms that a
threshold there would have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.config.anomaly import DETECTORS, Anomaly
from streams.anomaly.blocks import Blocks
from streams.anomaly.combination import combine, judge
from streams.anomaly.conformal import Calibration
from streams.anomaly.detectors import Detector
from streams.anomaly.intake import REASONS, admit
from streams.anomaly.level import Level
from streams.anomaly.snapshots import blocks_from, chunks_of

__all__ = ["Detection", "Observed"]


class Observed(NamedTuple):
    """What is said of a block of points; arrays with an element per point.

    A point is an alarm of a rule if ``rate_per_day <= sensitivity``; it is not known yet whether
    it is one ("learning") if ``least_per_day > sensitivity``.
    """

    score: NDArray[np.float64]
    """0 to 1: 1 / (1 + rate_per_day)."""
    p_value: NDArray[np.float64]
    """Share of the past that was as strange; 1 where nothing can be said."""
    rate_per_day: NDArray[np.float64]
    """Expected false alarms per day of this series if all that is as strange were an alarm."""
    least_per_day: NDArray[np.float64]
    """The least ``rate_per_day`` that the series' history can tell; infinite at first."""
    learning: NDArray[np.bool_]
    """``least_per_day`` is above the sensitivity of the settings."""
    detector: NDArray[np.int8]
    """Who found it strangest: index into ``Detection.names``; -1: nobody was ready."""
    direction: NDArray[np.int8]
    """1: the value is above the middle of what was expected, -1: below, 0: neither."""
    low: NDArray[np.float64]
    """Least value that was expected; NaN: not known."""
    high: NDArray[np.float64]
    """Greatest value that was expected."""


class Detection:
    """Detectors and calibration of many series, which are rows 0, 1, … of all arrays."""

    def __init__(self, settings: Anomaly | None = None, capacity: int = 0) -> None:
        self.settings = settings = settings or Anomaly()
        self._detectors: list[Detector] = [
            make(capacity, settings) for name, make in _MAKERS.items() if name in settings.detectors
        ]
        self.names = tuple(detector.name for detector in self._detectors)
        """Of the detectors, by the numbers of ``Observed.detector``."""
        self._calibrations = [
            Calibration(capacity, memory=settings.memory, extrapolation=settings.extrapolation)
            for _ in range(len(self._detectors) + 1)
        ]
        intake = {"origin": ("<f8", 1), "last_ms": ("<i8", 1), "interval": ("<f8", 2)}
        self._intake = Blocks(capacity, intake)
        self._counts = np.zeros(len(REASONS), np.int64)
        self._series, self._capacity = 0, capacity

    def __len__(self) -> int:
        """Series that there is room for."""
        return self._series

    @property
    def counts(self) -> dict[str, int]:
        """Points that were left out, by reason."""
        return dict(zip(REASONS, self._counts.tolist(), strict=True))

    @property
    def row_bytes(self) -> int:
        """Bytes that a series takes."""
        return sum(blocks.row_bytes for blocks in self._parts.values())

    def grow(self, series: int, interval_ms: int = 0) -> None:
        """Be ready for series 0 to ``series`` - 1.

        ``interval_ms`` between points of the new ones, 0: estimated.
        """
        if series > self._capacity:
            self._capacity = max(series, self._capacity + self._capacity // 4, 64)
            for blocks in self._parts.values():
                blocks.grow(self._capacity)
        if series > self._series:
            self._intake["interval"][self._series : series, 0] = -float(interval_ms)
            self._series = series

    def observe(
        self, series: NDArray[np.int32], time_ms: ArrayLike, values: NDArray[np.float64]
    ) -> Observed:
        """Judge each point by what was before it, then learn from it.

        Rows of one series are in order of time. ``time_ms`` is one for all or one per point.
        """
        rows = np.ascontiguousarray(series, np.int32)
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < self._series:
            raise IndexError(f"series {rows.min()} to {rows.max()} of {self._series}")
        times = np.ascontiguousarray(np.broadcast_to(time_ms, rows.shape), np.int64)
        given = np.ascontiguousarray(values, np.float64)
        if len(given) != len(rows):
            raise ValueError(f"{len(given)} values of {len(rows)} series")
        n, intake = len(rows), self._intake
        centred = np.empty(n)
        state = (intake["origin"], intake["last_ms"], intake["interval"])
        admit(*state, rows, times, given, centred, self._counts)
        p_values = np.empty((len(self._detectors), n))
        lows, highs = np.empty_like(p_values), np.empty_like(p_values)
        for number, detector in enumerate(self._detectors):
            found = detector.observe(rows, times, centred)
            p_values[number], _ = self._calibrations[number].observe(rows, found.score)
            lows[number], highs[number] = found.low, found.high
        combined, which = np.empty(n), np.empty(n, np.int8)
        combine(p_values, combined, which)
        p_value, least = self._calibrations[-1].observe(rows, combined)
        rate, least_rate, score = np.empty(n), np.empty(n), np.empty(n)
        learning = np.empty(n, np.bool_)
        judge(
            *(intake["interval"], rows, p_value, least, self.settings.sensitivity),
            *(rate, least_rate, score, learning),
        )
        points = np.arange(n)
        origin = intake["origin"][rows, 0]
        low, high = lows[which, points] + origin, highs[which, points] + origin
        direction = np.sign(np.nan_to_num(given - 0.5 * (low + high))).astype(np.int8)
        return Observed(*(score, p_value, rate, least_rate, learning, which, direction, low, high))

    def forget(self, series: NDArray[np.int32]) -> None:
        """These series are as new, and may be used for others."""
        given = np.minimum(self._intake["interval"][series, 0], 0.0)
        for blocks in self._parts.values():
            blocks.forget(series)
        self._intake["interval"][series, 0] = given

    def snapshot(self) -> Iterator[bytes]:
        """All state, as chunks of a bounded size."""
        return chunks_of(self._parts, self._series, self._design)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Go on from a snapshot of the same settings; raises MalformedRecord."""
        self._series = blocks_from(chunks, self._parts, self._design)
        self._capacity = max(self._capacity, self._series)

    @property
    def _parts(self) -> dict[str, Blocks]:
        parts = {"intake": self._intake}
        for detector, calibration in zip(self._detectors, self._calibrations, strict=False):
            parts[detector.name] = detector.blocks
            parts[f"{detector.name}.past"] = calibration.blocks
        parts["past"] = self._calibrations[-1].blocks
        return parts

    @property
    def _design(self) -> str:
        shapes = [
            f"{part}.{name}:{array.dtype.str}{array.shape[1]}"
            for part, blocks in self._parts.items()
            for name, array in blocks
        ]
        return hashlib.sha256(" ".join(shapes).encode()).hexdigest()[:16]


def _level(capacity: int, settings: Anomaly) -> Detector:
    return Level(capacity, warmup=settings.warmup)


_MAKERS = {"level": _level}
assert set(_MAKERS) <= set(DETECTORS)  # noqa: S101 -- names are those of the configuration

"""Detection over many series at once: what is strange, and how often that would be said of nothing.

A point goes to every detector. Each of its scores becomes a conformal p-value (``conformal``),
their -log10 one number (``combination``), and that a rate of false alarms (``rates``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.config.anomaly import Anomaly
from streams.anomaly.blocks import Blocks
from streams.anomaly.change import Change
from streams.anomaly.combination import combine, families_of
from streams.anomaly.conformal import Calibration
from streams.anomaly.detectors import Detector
from streams.anomaly.intake import PLAIN, Intake, rows_of
from streams.anomaly.level import Level
from streams.anomaly.rates import Rates
from streams.anomaly.season import DAY, SLOTS, Season
from streams.anomaly.shape import Shape
from streams.anomaly.snapshots import blocks_from, chunks_of

__all__ = ["KINDS_MAX", "Detection", "Observed"]

KINDS_MAX = 64
"""Classes of series."""


class Observed(NamedTuple):
    """What is said of a block of points; arrays with an element per point.

    A point is an alarm of a rule if ``rate_per_day <= sensitivity``; it is not known yet whether
    it is one ("learning") if ``least_per_day > sensitivity``.
    """

    score: NDArray[np.float64]
    """0 to 1: the detectors' mean -log10 p over its greatest; 0 where nothing can be said."""
    p_value: NDArray[np.float64]
    """Probability of a point as strange; 1 where nothing can be said."""
    rate_per_day: NDArray[np.float64]
    """Expected false alarms per day of this series if all that is as strange were an alarm, where
    those within ``dead_time`` of one are counted with it; infinite where nothing can be said."""
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
    onset: NDArray[np.float64]
    """``score`` where an episode begins or becomes much stranger, lower for a series that is often
    strange and higher for a calm one; else 0."""


class Detection:
    """Detectors and calibration of many series, which are rows 0, 1, … of all arrays."""

    def __init__(self, settings: Anomaly | None = None, capacity: int = 0) -> None:
        self.settings = settings = settings or Anomaly()
        makers = _makers(capacity, settings)
        self._detectors = [makers[name]() for name in settings.detectors]
        self.names: tuple[str, ...] = settings.detectors
        """Of the detectors, by the numbers of ``Observed.detector``."""
        self._families = families_of(self._detectors)
        self._scales = int(self._families.firsts[-1])
        self._calibration = Calibration(
            *(capacity, self._scales),
            memory=settings.memory,
            warmup=settings.warmup,
            kinds=KINDS_MAX,
        )
        self._rates = Rates(capacity, settings, kinds=KINDS_MAX)
        self._intake = Intake(capacity)
        self._series, self._capacity = 0, capacity

    def __len__(self) -> int:
        """Series that there is room for."""
        return self._series

    @property
    def counts(self) -> dict[str, int]:
        """Points that were left out, by reason."""
        return self._intake.counts

    @property
    def row_bytes(self) -> int:
        """Bytes that a series takes."""
        return sum(blocks.row_bytes for blocks in self._parts.values())

    def grow(self, series: int, interval_ms: int = 0, kind: int = 0) -> None:
        """Be ready for series 0 to ``series`` - 1.

        Args:
            series: how many there are then; fewer than there are changes nothing.
            interval_ms: between points of the new ones; 0: estimated.
            kind: class of the new ones, below ``KINDS_MAX``: series that are alike, such as error
                ratios by the minute. Tails are shared within it.
        """
        if series > self._capacity:
            self._capacity = max(series, self._capacity + self._capacity // 4, 64)
            for blocks in self._parts.values():
                blocks.grow(self._capacity)
        if series > self._series:
            rows = np.arange(self._series, series, dtype=np.int32)
            self._series = series
            self.describe(rows, interval_ms, kind)

    def describe(self, series: NDArray[np.int32], interval_ms: int = 0, kind: int = 0) -> None:
        """What ``grow`` says of new series, of rows that were forgotten and are used again."""
        if not 0 <= kind < KINDS_MAX:
            raise ValueError(f"class {kind} of {KINDS_MAX}")
        self._intake.describe(series, interval_ms, kind)

    def observe(
        self, series: NDArray[np.int32], time_ms: ArrayLike, values: NDArray[np.float64]
    ) -> Observed:
        """Judge each point by what was before it, then learn from it.

        Rows of one series are in order of time. ``time_ms`` is one for all or one per point.
        """
        rows, n = rows_of(series, self._series, "series"), len(series)
        given = np.require(values, np.float64, PLAIN)
        if len(given) != len(rows):
            raise ValueError(f"{len(given)} values of {len(rows)} series")
        intake = self._intake
        times, taken = intake.take(rows, time_ms, given)
        scores, first = np.empty((self._scales, n)), 0
        lows, highs = np.full((2, len(self._detectors) + 1, n), np.nan)
        for number, detector in enumerate(self._detectors):
            found = detector.observe(rows, times, taken)
            scores[first : first + len(found.score)] = found.score
            first += len(found.score)
            lows[number], highs[number] = found.low, found.high
        surprises = self._calibration.observe(intake.kind, rows, scores)
        combined, which = np.empty(n), np.empty(n, np.int8)
        combine(surprises, self._families, combined, which)
        judged = self._rates.observe(intake.kind, intake.interval, rows, combined)
        low, high = _expected(lows, highs, which)
        return Observed(
            score=judged.score,
            p_value=judged.p_value,
            rate_per_day=judged.rate_per_day,
            least_per_day=judged.least_per_day,
            learning=judged.least_per_day > self.settings.sensitivity,
            detector=which,
            direction=np.sign(np.nan_to_num(given - 0.5 * (low + high))).astype(np.int8),
            low=low,
            high=high,
            onset=judged.onset,
        )

    def forget(self, series: NDArray[np.int32]) -> None:
        """These series are as new, and may be used for others of the same interval and class."""
        self._intake.forget(series)
        for blocks in self._judging.values():
            blocks.forget(series)

    def snapshot(self) -> Iterator[bytes]:
        """All state, as chunks of a bounded size."""
        return chunks_of(self._parts, self._shared, self._series, self._design)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Go on from a snapshot of the same settings; raises MalformedRecord."""
        self._series = blocks_from(chunks, self._parts, self._shared, self._design)
        self._capacity = max(self._capacity, self._series)

    @property
    def _judging(self) -> dict[str, Blocks]:
        parts = {detector.name: detector.blocks for detector in self._detectors}
        return {
            **parts,
            "calibration": self._calibration.blocks,
            "rates": self._rates.blocks,
        }

    @property
    def _parts(self) -> dict[str, Blocks]:
        return {"intake": self._intake.blocks, **self._judging}

    @property
    def _shared(self) -> dict[str, Blocks]:
        return {"calibrations": self._calibration.shared, "rates": self._rates.shared}

    @property
    def _design(self) -> str:
        return design_of(self._parts, self._shared)


def design_of(*parts: Mapping[str, Blocks]) -> str:
    """What a snapshot must have in common with who restores it: the shapes of all arrays."""
    shapes = [
        f"{part}.{name}:{array.dtype.str}{array.shape[1]}"
        for some in parts
        for part, blocks in some.items()
        for name, array in blocks
    ]
    return hashlib.sha256(" ".join(shapes).encode()).hexdigest()[:16]


def _expected(
    lows: NDArray[np.float64],
    highs: NDArray[np.float64],
    which: NDArray[np.int8],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of the detector that found most, else of the first that says one."""
    points = np.arange(len(which))
    first = np.argmax(~np.isnan(lows), axis=0)
    chosen = np.where(np.isnan(lows[which, points]), first, which)
    return lows[chosen, points], highs[chosen, points]


def _makers(capacity: int, settings: Anomaly) -> dict[str, Callable[[], Detector]]:
    adaptation = float(settings.adaptation)
    given = settings.period
    periods = (DAY if given is None else (round(1000 * given), SLOTS),)
    return {
        "level": lambda: Level(capacity, memory=adaptation),
        "season": lambda: Season(
            capacity, periods=periods, search=settings.period is None, memory=adaptation
        ),
        "shape": lambda: Shape(capacity, memory=adaptation),
        "change": lambda: Change(capacity, memory=adaptation),
    }

"""Labelled time series: ``FOLDER__NAME.csv`` (timestamp, value) beside ``windows.json``.

The format is that of the Numenta Anomaly Benchmark with its folders flattened: every window is the
first and the last timestamp of a stretch in which an anomaly should be found.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DIRECTORY = "OTLP_STREAMS_SERIES"
"""Environment variable that says where the series lie, when no argument does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series and what a person said about it."""

    name: str
    time_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    windows: tuple[tuple[int, int], ...] = ()
    """Index of the first and of the last point of each labelled window, in order."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def category(self) -> str:
        """The benchmark's folder: where the series comes from."""
        return self.name.partition("__")[0]

    @property
    def interval_ms(self) -> int:
        """Median distance of two points."""
        return max(1, int(np.median(np.diff(self.time_ms))))

    def upto(self, count: int) -> Series:
        """The first ``count`` points, as a detector sees them at that time."""
        return Series(name=self.name, time_ms=self.time_ms[:count], values=self.values[:count])


def directory(argument: str | None = None) -> Path:
    """Where the series lie: the argument, else the environment.

    Raises:
        FileNotFoundError: neither names a directory with a ``windows.json``.
    """
    path = Path(argument or os.environ.get(DIRECTORY, ""))
    if not (path / "windows.json").is_file():
        raise FileNotFoundError(f"no windows.json in {path}: give a directory or set {DIRECTORY}")
    return path


def load(path: Path) -> list[Series]:
    """All series that ``windows.json`` names, in order of name."""
    labels = json.loads((path / "windows.json").read_text())
    return [read(path / name, windows) for name, windows in sorted(labels.items())]


def read(path: Path, windows: list[list[str]]) -> Series:
    """One file; each window is a pair of timestamps that occur in it.

    Raises:
        ValueError: a window begins or ends at a time at which the series has no point.
    """
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    time_ms = np.array([_time_ms(row["timestamp"]) for row in rows], np.int64)
    values = np.array([float(row["value"]) for row in rows])
    # Clocks that were set back repeat times: the first of equal times is meant.
    places: dict[int, int] = {}
    for place, at in enumerate(time_ms.tolist()):
        places.setdefault(at, place)
    try:
        spans = sorted((places[_time_ms(a)], places[_time_ms(b)]) for a, b in windows)
    except KeyError as error:
        raise ValueError(f"{path.name}: no point at the end of a window: {error}") from error
    return Series(name=path.stem, time_ms=time_ms, values=values, windows=tuple(spans))


def _time_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)

"""Which statistics of which series are watched for anomalies, and what was unusual lately.

Detection knows pairs of series and statistic, by number; one Detection a window length, as its
series have one interval. A pair is observed once a window, however many rules ask for it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.config.anomaly import Anomaly
from streams.anomaly.detection import Detection, Observed

from .series import grown
from .statistics import STATISTICS

__all__ = ["UNUSUAL", "Unusual", "Watching"]

UNUSUAL = 0.1
"""Score from which a value is remembered for `moved with`: expected at most 9 times a day."""

_ROOM_MIN = 64
_COLUMNS = ("number", "statistic", "at_ms", "score", "value", "low", "high")


class Unusual(NamedTuple):
    """A value that was."""

    number: int
    """Of its series."""
    statistic: str
    at_ms: int
    """End of its window."""
    score: float
    value: float
    low: float
    """Least value that was expected; NaN: not known."""
    high: float


@dataclass(slots=True)
class _Length:
    """Pairs of one window length; row n of each array is pair n."""

    detection: Detection
    used: int = 0
    free: list[int] = field(default_factory=list)
    number: NDArray[np.int32] = field(default_factory=lambda: np.full(_ROOM_MIN, -1, np.int32))
    """Series; -1: the pair is free."""
    statistic: NDArray[np.int8] = field(default_factory=lambda: np.zeros(_ROOM_MIN, np.int8))
    at_ms: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_ROOM_MIN, np.int64))
    """When it was unusual last; 0: never."""
    score: NDArray[np.float32] = field(default_factory=lambda: np.zeros(_ROOM_MIN, np.float32))
    value: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_ROOM_MIN))
    low: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_ROOM_MIN))
    high: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_ROOM_MIN))

    def take(self) -> int:
        """A free pair; ``room`` must follow."""
        if self.free:
            return heapq.heappop(self.free)
        self.used += 1
        return self.used - 1

    def room(self, length_ms: int) -> None:
        """For all pairs in use."""
        room = len(self.number)
        while room < self.used:
            room *= 2
        if room > len(self.number):
            for name in _COLUMNS:
                setattr(self, name, grown(getattr(self, name), room))
        self.detection.grow(self.used, length_ms)


class Watching:
    """Detection over pairs."""

    def __init__(self, settings: Anomaly) -> None:
        self._settings = settings
        self._lengths: dict[int, _Length] = {}
        self._pairs = np.full((_ROOM_MIN, len(STATISTICS)), -1, np.int32)
        """By series and statistic: its pair in the series' length; -1: not watched."""

    def __len__(self) -> int:
        return sum(each.used - len(each.free) for each in self._lengths.values())

    @property
    def detectors(self) -> tuple[str, ...]:
        """Names of detectors, by the numbers of ``Observed.detector``."""
        return Detection(self._settings).names

    def left_out(self) -> dict[str, int]:
        """Values that detection could not use, by reason."""
        total: dict[str, int] = {}
        for each in self._lengths.values():
            for reason, count in each.detection.counts.items():
                total[reason] = total.get(reason, 0) + count
        return total

    def watch(
        self, numbers: NDArray[np.int32], length_ms: int, wanted: Callable[[int], Iterable[str]]
    ) -> None:
        """From now on watch what is ``wanted`` of each series, and nothing else of it."""
        if len(numbers) and numbers.max() >= len(self._pairs):
            room = len(self._pairs)
            while room <= numbers.max():
                room *= 2
            pairs = np.full((room, len(STATISTICS)), -1, np.int32)
            pairs[: len(self._pairs)] = self._pairs
            self._pairs = pairs
        dropped: list[int] = []
        length = self._lengths.get(length_ms)
        for number in numbers.tolist():
            names = frozenset(wanted(number))
            row = self._pairs[number]
            for statistic, name in enumerate(STATISTICS):
                if (name in names) == (row[statistic] >= 0):
                    continue
                if length is None:
                    length = self._lengths[length_ms] = _Length(Detection(self._settings))
                if name not in names:
                    dropped.append(int(row[statistic]))
                    row[statistic] = -1
                    continue
                pair = row[statistic] = length.take()
                length.room(length_ms)
                length.number[pair], length.statistic[pair] = number, statistic
                length.at_ms[pair] = 0
        if length is not None:
            self._drop(length, dropped)

    def forget(self, numbers: NDArray[np.int32], length_ms: int) -> None:
        """These series are gone."""
        self.watch(numbers, length_ms, lambda _number: ())

    def _drop(self, length: _Length, pairs: list[int]) -> None:
        if pairs:
            length.detection.forget(np.array(pairs, np.int32))
            length.number[pairs] = -1
            for pair in pairs:
                heapq.heappush(length.free, pair)

    def observe(
        self, length_ms: int, end_ms: int, numbers: NDArray[np.int32], values: NDArray[np.float64]
    ) -> dict[str, tuple[NDArray[np.int64], Observed]]:
        """Judge one window of these series, and learn from it.

        Args:
            length_ms: of the window.
            end_ms: its end.
            numbers: (n) the series.
            values: (STATISTICS, n).

        Returns:
            By statistic: which of the n are watched, and what is said of them.
        """
        length = self._lengths.get(length_ms)
        if length is None:
            return {}
        watched: list[tuple[str, NDArray[np.int64], NDArray[np.int32]]] = []
        rows = self._pairs[numbers]
        for statistic, name in enumerate(STATISTICS):
            there = np.flatnonzero(rows[:, statistic] >= 0)
            if len(there):
                watched.append((name, there, rows[there, statistic]))
        if not watched:
            return {}
        pairs = np.concatenate([each[2] for each in watched])
        given = np.concatenate(
            [values[STATISTICS.index(name)][there] for name, there, _ in watched]
        )
        found = length.detection.observe(pairs, end_ms, given)
        self._remember(length, end_ms, pairs, given, found)
        result, at = {}, 0
        for name, there, _ in watched:
            part = slice(at, at := at + len(there))
            result[name] = there, Observed._make(column[part] for column in found)
        return result

    def _remember(
        self,
        length: _Length,
        end_ms: int,
        pairs: NDArray[np.int32],
        values: NDArray[np.float64],
        found: Observed,
    ) -> None:
        unusual = found.score >= UNUSUAL
        if unusual.any():
            at = pairs[unusual]
            length.at_ms[at] = end_ms
            length.score[at] = found.score[unusual]
            length.value[at] = values[unusual]
            length.low[at], length.high[at] = found.low[unusual], found.high[unusual]

    def unusual(
        self, end_ms: int, windows: int, of: Callable[[NDArray[np.int32]], NDArray[np.bool_]]
    ) -> list[Unusual]:
        """What was unusual within the last ``windows`` windows, the strangest first.

        Args:
            end_ms: end of the last of them.
            windows: how many, of each length.
            of: tells of numbers of series which of them are meant.
        """
        found: list[Unusual] = []
        for length_ms, length in self._lengths.items():
            used = length.used
            at = length.at_ms[:used]
            recent = np.flatnonzero(
                (at > end_ms - windows * length_ms) & (length.number[:used] >= 0)
            )
            if len(recent):
                recent = recent[of(length.number[recent])]
            found += [
                Unusual(
                    int(length.number[pair]),
                    STATISTICS[length.statistic[pair]],
                    int(length.at_ms[pair]),
                    float(length.score[pair]),
                    float(length.value[pair]),
                    float(length.low[pair]),
                    float(length.high[pair]),
                )
                for pair in recent.tolist()
            ]
        return sorted(found, key=lambda each: (-each.score, each.number, each.statistic))

    # --- snapshots

    def columns(self) -> dict[str, NDArray[Any]]:
        """All but the state of detection."""
        columns: dict[str, NDArray[Any]] = {
            "lengths": np.array(list(self._lengths), np.int64),
            "pairs_stop": np.cumsum([each.used for each in self._lengths.values()], dtype=np.int64),
        }
        for name in _COLUMNS:
            parts = [getattr(each, name)[: each.used] for each in self._lengths.values()]
            empty = getattr(_EMPTY, name)[:0]
            columns[f"pair_{name}"] = np.concatenate([empty, *parts])
        return columns

    def snapshots(self) -> list[list[bytes]]:
        """State of detection, a list of chunks a length."""
        return [list(each.detection.snapshot()) for each in self._lengths.values()]

    def restore(
        self,
        columns: Mapping[str, NDArray[Any]],
        snapshots: Iterable[Iterable[bytes]],
        series: int,
    ) -> None:
        """Take over what ``columns`` and ``snapshots`` gave; ``series``: numbers in use.

        Raises KeyError, ValueError, IndexError or MalformedRecord.
        """
        room = _ROOM_MIN
        while room < series:
            room *= 2
        self._pairs = np.full((room, len(STATISTICS)), -1, np.int32)
        self._lengths = {}
        start = 0
        stops = columns["pairs_stop"].tolist()
        for length_ms, stop, chunks in zip(
            columns["lengths"].tolist(), stops, snapshots, strict=True
        ):
            length = self._lengths[length_ms] = _Length(Detection(self._settings))
            length.used = stop - start
            length.room(length_ms)
            length.detection.restore(chunks)
            for name in _COLUMNS:
                getattr(length, name)[: length.used] = columns[f"pair_{name}"][start:stop]
            numbers = length.number[: length.used]
            live = np.flatnonzero(numbers >= 0)
            length.free = np.flatnonzero(numbers < 0).tolist()
            self._pairs[numbers[live], length.statistic[live]] = live
            start = stop


_EMPTY = _Length(Detection(Anomaly(detectors=())))

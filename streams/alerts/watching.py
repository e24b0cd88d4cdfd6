"""Which statistics of which series are watched for anomalies, and what detection says of them.

Detection knows pairs of series and statistic, by number; for each window length there is one, as
its series have one interval, and another for vectors: what `strangeness` is judged by. A pair is
observed once a window, however many rules ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from schemas.config.anomaly import Anomaly
from streams.anomaly.detection import Detection, Observed

from .pairs import Pairs, Unusual
from .statistics import STATISTICS, STRANGENESS, VECTOR

if TYPE_CHECKING:
    from streams.anomaly.services import ServiceDetection

__all__ = ["Watching"]

_ROOM_MIN = 64
_FOREST = "forest:"
"""Before the statistic that made a vector strange, where a detector is named."""

Found = dict[str, tuple[NDArray[np.int64], Observed]]


class Watching:
    """Detection over pairs."""

    def __init__(self, settings: Anomaly) -> None:
        self._settings = settings
        self._lengths: dict[tuple[int, bool], Pairs] = {}
        """By window length, and whether they are vectors."""
        self._pairs = np.full((_ROOM_MIN, len(STATISTICS)), -1, np.int32)
        """By series and statistic: its pair in the series' length; -1: not watched."""

    def __len__(self) -> int:
        return sum(map(len, self._lengths.values()))

    @property
    def detectors(self) -> tuple[str, ...]:
        """Names of detectors, by the numbers of ``Observed.detector`` in what ``observe`` gives."""
        return (*self._settings.detectors, *(f"{_FOREST}{name}" for name in VECTOR))

    def left_out(self) -> dict[str, int]:
        """Values that detection could not use, by reason."""
        total: dict[str, int] = {}
        for each in self._lengths.values():
            for reason, count in each.detection.counts.items():
                total[reason] = total.get(reason, 0) + count
        return total

    def _of(self, length_ms: int, vectors: bool) -> Pairs:
        key = (length_ms, vectors)
        if key not in self._lengths:
            self._lengths[key] = Pairs(length_ms, self._detection(vectors))
        return self._lengths[key]

    def _detection(self, vectors: bool) -> Detection | ServiceDetection:
        if not vectors:
            return Detection(self._settings)
        # It loads scikit-learn, 90 MB: only who asks for strangeness pays for that.
        from streams.anomaly.services import ServiceDetection  # noqa: PLC0415

        return ServiceDetection(self._settings, names=VECTOR)

    def watch(
        self, numbers: NDArray[np.int32], length_ms: int, wanted: Callable[[int], Iterable[str]]
    ) -> None:
        """From now on watch what is ``wanted`` of each series, and nothing else of it."""
        if len(numbers):
            self._reserve(int(numbers.max()) + 1)
        dropped: dict[bool, list[int]] = {False: [], True: []}
        for number in numbers.tolist():
            names = frozenset(wanted(number))
            row = self._pairs[number]
            if not names and row.max() < 0:
                continue
            for statistic, name in enumerate(STATISTICS):
                if (name in names) == (row[statistic] >= 0):
                    continue
                vectors = statistic == STRANGENESS
                if name in names:
                    row[statistic] = self._of(length_ms, vectors).add(number, statistic)
                else:
                    dropped[vectors].append(int(row[statistic]))
                    row[statistic] = -1
        for vectors, pairs in dropped.items():
            if pairs:
                self._of(length_ms, vectors).remove(pairs)

    def _reserve(self, series: int) -> None:
        room = len(self._pairs)
        while room < series:
            room *= 2
        if room > len(self._pairs):
            pairs = np.full((room, len(STATISTICS)), -1, np.int32)
            pairs[: len(self._pairs)] = self._pairs
            self._pairs = pairs

    def forget(self, numbers: NDArray[np.int32], length_ms: int) -> None:
        """These series are gone."""
        self.watch(numbers, length_ms, lambda _number: ())

    def observe(
        self, length_ms: int, end_ms: int, numbers: NDArray[np.int32], values: NDArray[np.float64]
    ) -> Found:
        """Judge one window of these series, and learn from it.

        Args:
            length_ms: of the window.
            end_ms: its end.
            numbers: (n) the series.
            values: (STATISTICS, n); `strangeness` is filled in.

        Returns:
            By statistic: which of the n are watched, and what is said of them.
        """
        rows = self._pairs[numbers]
        found: Found = {}
        if (length_ms, False) in self._lengths:
            self._observe_values(self._of(length_ms, False), end_ms, rows, values, found)
        there = np.flatnonzero(rows[:, STRANGENESS] >= 0)
        if len(there):
            pairs, numbers = self._of(length_ms, True), rows[there, STRANGENESS]
            vectors = values[[STATISTICS.index(name) for name in VECTOR]][:, there].T
            times = np.full(len(numbers), end_ms, np.int64)
            said = pairs.detection.observe(numbers, times, np.ascontiguousarray(vectors))
            values[STRANGENESS, there] = said.score
            first = len(self._settings.detectors)
            detector = np.where(said.detector < 0, -1, said.detector + first).astype(np.int8)
            said = said._replace(detector=detector)
            pairs.remember(end_ms, numbers, said.score, said)
            found[STATISTICS[STRANGENESS]] = there, said
        return found

    def _observe_values(
        self,
        pairs: Pairs,
        end_ms: int,
        rows: NDArray[np.int32],
        values: NDArray[np.float64],
        found: Found,
    ) -> None:
        watched = [
            (statistic, there)
            for statistic in range(len(STATISTICS))
            if statistic != STRANGENESS and len(there := np.flatnonzero(rows[:, statistic] >= 0))
        ]
        if not watched:
            return
        numbers = np.concatenate([rows[there, statistic] for statistic, there in watched])
        given = np.concatenate([values[statistic][there] for statistic, there in watched])
        said = pairs.detection.observe(numbers, np.full(len(numbers), end_ms, np.int64), given)
        pairs.remember(end_ms, numbers, given, said)
        at = 0
        for statistic, there in watched:
            part = slice(at, at := at + len(there))
            found[STATISTICS[statistic]] = (
                there,
                Observed._make(column[part] for column in said),
            )

    def unusual(
        self, end_ms: int, windows: int, of: Callable[[NDArray[np.int32]], NDArray[np.bool_]]
    ) -> list[Unusual]:
        """What was unusual within the last ``windows`` windows, the strangest first.

        Args:
            end_ms: end of the last of them.
            windows: how many, of each length.
            of: tells of numbers of series which of them are meant.
        """
        return sorted(
            self._recent(end_ms, windows, of),
            key=lambda each: (-each.score, each.number, each.statistic),
        )

    def _recent(
        self, end_ms: int, windows: int, of: Callable[[NDArray[np.int32]], NDArray[np.bool_]]
    ) -> Iterator[Unusual]:
        for (length_ms, _), pairs in self._lengths.items():
            recent = pairs.since(end_ms - windows * length_ms)
            if len(recent):
                for pair in recent[of(pairs.number[recent])].tolist():
                    yield pairs.unusual(pair)

    # --- snapshots

    def columns(self) -> dict[str, NDArray[Any]]:
        """All but the state of detection."""
        columns: dict[str, NDArray[Any]] = {
            "lengths": np.array([length for length, _ in self._lengths], np.int64),
            "vectors": np.array([vectors for _, vectors in self._lengths], np.uint8),
        }
        for place, pairs in enumerate(self._lengths.values()):
            of_pairs = pairs.columns()
            columns |= {f"pair_{name}.{place}": column for name, column in of_pairs.items()}
        return columns

    def snapshots(self) -> list[list[bytes]]:
        """State of detection, a list of chunks for each set of ``columns``."""
        return [list(each.detection.snapshot()) for each in self._lengths.values()]

    def restore(
        self,
        columns: Mapping[str, NDArray[Any]],
        snapshots: Sequence[Sequence[bytes]],
        series: int,
    ) -> None:
        """Take over what ``columns`` and ``snapshots`` gave; ``series``: numbers in use.

        Raises KeyError, ValueError, IndexError or MalformedRecord.
        """
        self._pairs = np.full((_ROOM_MIN, len(STATISTICS)), -1, np.int32)
        self._reserve(series)
        self._lengths = {}
        keys = zip(columns["lengths"].tolist(), columns["vectors"].tolist(), strict=True)
        for place, ((length_ms, vectors), chunks) in enumerate(zip(keys, snapshots, strict=True)):
            pairs = self._of(length_ms, bool(vectors))
            prefix, suffix = "pair_", f".{place}"
            given = {
                name.removeprefix(prefix).removesuffix(suffix): column
                for name, column in columns.items()
                if name.startswith(prefix) and name.endswith(suffix)
            }
            pairs.restore(given, chunks)
            live = np.flatnonzero(pairs.number[: pairs.used] >= 0)
            self._pairs[pairs.number[live], pairs.statistic[live]] = live

"""Series in rows: what the open window of each rule and length has said of them so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.config.alerts import Alerts
from schemas.config.anomaly import Anomaly
from schemas.config.windows import WindowRule, Windows
from schemas.records.alerts import MovedWith
from streams.anomaly.detection import Observed

from .counts import DetectCounts, DetectState
from .describing import describe
from .intake import Points
from .moved_together import moved_together
from .series import Series, SeriesTable, grown
from .statistics import RAW, derive
from .transitions import Transition
from .watching import Watching

__all__ = ["Channel", "Panels"]


@dataclass(slots=True)
class Channel:
    """A window rule and one of its lengths."""

    rule: WindowRule
    length_ms: int
    place: int
    closed_ms: int = 0
    """End of the last window that was closed; 0: there was none."""
    open_ms: int = 0
    """End of the window that has rows; 0: none has."""


class Panels:
    """All series of a partition."""

    def __init__(
        self,
        alerts: Alerts,
        windows: Windows,
        anomaly: Anomaly,
        counts: DetectCounts,
        state: DetectState,
    ) -> None:
        self._alerts = alerts
        self._rules = {rule.name: rule for rule in windows.rules}
        self._counts, self._state = counts, state
        self._wanted: frozenset[tuple[str, int]] = frozenset()
        self._channels: dict[tuple[str, int], Channel] = {}
        self._places: list[tuple[str, int]] = []
        self.table = SeriesTable(alerts.series_max)
        self.watching = Watching(anomaly)
        self._rows = np.empty((self.table.room, len(RAW)))
        self._filled = np.zeros(self.table.room, np.uint8)
        self._left_out: dict[str, int] = {}
        self._traces = np.zeros((self.table.room, 2), np.uint64)

    # --- channels

    def want(self, places: Iterable[tuple[str, int]]) -> None:
        """Take windows of these rules and lengths from now on, and of no others."""
        self._wanted = frozenset(places)

    def wants(self, rule: str, length_ms: int) -> bool:
        """Whether some rule looks at these windows."""
        return (rule, length_ms) in self._wanted and rule in self._rules

    def channel(self, rule: str, length_ms: int) -> Channel | None:
        """The channel of a message; None: no rule looks at it."""
        place = (rule, length_ms)
        if not self.wants(rule, length_ms):
            return None
        found = self._channels.get(place)
        if found is None:
            found = Channel(self._rules[rule], length_ms, len(self._places))
            self._channels[place] = found
            self._places.append(place)
        return found

    def passed(self, rule: str) -> None:
        """Count a message that is of no channel."""
        if rule in self._rules:
            self._counts.passed_messages += 1
        else:
            self._counts.unknown_messages += 1

    def unwanted(self, everything: bool = False) -> list[tuple[Channel, NDArray[np.int32]]]:
        """Channels that no rule looks at any more, or ``everything``, with their series."""
        found = []
        for place, channel in self._channels.items():
            if everything or place not in self._wanted:
                numbers = self.table.of_channel(channel.place)
                if len(numbers):
                    found.append((channel, numbers))
        return found

    @property
    def latest_ms(self) -> int:
        """The latest end of a window that was closed."""
        return max((each.closed_ms for each in self._channels.values()), default=0)

    # --- messages

    def open(self, channel: Channel, end_ms: int, live: bool) -> bool:
        """Be ready for a message of the window with this end; False: it comes too late."""
        if end_ms <= channel.closed_ms or end_ms < channel.open_ms:
            self._counts.late_messages += live
            return False
        if channel.open_ms and end_ms != channel.open_ms:
            # What is there of it is a part that nobody can judge.
            self._counts.unclosed_windows += live
            self._filled[self.table.of_channel(channel.place)] = 0
        channel.open_ms = end_ms
        return True

    def take(self, points: Points, channel: Channel, tenant: str, live: bool) -> NDArray[np.int32]:
        """Put points into rows; numbers of series that are new."""
        table = self.table
        counted = points.series != 0
        numbers, unknown = table.find(points.series)
        unknown = unknown[counted[unknown]]
        new = table.add(
            points.series[unknown],
            channel.place,
            lambda index: describe(points, int(unknown[index]), channel.rule, tenant),
        )
        if len(new):
            self._reserve()
            self._filled[new] = 0
            numbers, _ = table.find(points.series)
        points.put(numbers, self._rows, self._filled, self._traces)
        if live:
            counts = self._counts
            counts.messages += 1
            counts.points += int(np.count_nonzero(counted))
            counts.foreign_points += points.foreign
            counts.faulty_points += points.faulty
            counts.new_series += len(new)
            counts.overflowed_points += int(np.count_nonzero((numbers < 0) & counted))
        return new

    def _reserve(self) -> None:
        if len(self._filled) < self.table.room:
            for name in ("_rows", "_filled", "_traces"):
                setattr(self, name, grown(getattr(self, name), self.table.room))

    # --- closing

    def window(
        self, channel: Channel
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.float64]]:
        """All series of a channel: numbers, which had items, and their statistics."""
        ids = self.table.of_channel(channel.place)
        seen = self._filled[ids] != 0
        kinds = self.table.kind[ids]
        return ids, seen, derive(self._rows[ids], seen, kinds, channel.length_ms)

    def close(
        self, channel: Channel, ids: NDArray[np.int32], seen: NDArray[np.bool_], end_ms: int
    ) -> None:
        """The window is over."""
        self.table.last_ms[ids[seen]] = end_ms
        self._filled[ids] = 0
        channel.closed_ms, channel.open_ms = end_ms, 0

    def silent(self, channel: Channel, ids: NDArray[np.int32], memory_ms: int) -> NDArray[np.int32]:
        """Series of these that nothing has come of for so long."""
        return ids[self.table.last_ms[ids] < channel.closed_ms - memory_ms]

    def forget(self, numbers: NDArray[np.int32], channel: Channel, live: bool) -> None:
        """Series of a channel are gone."""
        self._filled[numbers] = 0
        self.watching.forget(numbers, channel.length_ms)
        self.table.forget(numbers)
        if live:
            self._counts.forgotten_series += len(numbers)

    def watch(self, wanted: Callable[[int], Iterable[str]]) -> None:
        """Watch other statistics of the series that there are."""
        for channel in self._channels.values():
            self.watching.watch(self.table.of_channel(channel.place), channel.length_ms, wanted)

    # --- what is told of series

    def describe(self, number: int) -> Series:
        """What a number stands for."""
        return self.table.describe(number, self._places)

    def exemplar(self, number: int) -> str:
        """Trace id of the slowest span of the window that is being closed; '': not known."""
        if number >= self.table.used or not self._filled[number]:
            return ""
        high, low = self._traces[number].tolist()
        return f"{high:016x}{low:016x}" if high or low else ""

    def moved_with(self, each: Transition) -> list[MovedWith]:
        """What else of its service was unusual when an alert fired."""
        return moved_together(
            self.table,
            self.watching,
            self._places,
            number=each.series_id,
            statistic=each.rule.statistic,
            end_ms=each.at_ms,
            windows=self._alerts.moved_with_windows,
            most=self._alerts.moved_with_max,
        )

    def count(
        self,
        channel: Channel,
        observed: Mapping[str, tuple[NDArray[np.int64], Observed]],
        end_ms: int,
        live: bool,
    ) -> None:
        """Note a window that was judged."""
        counts, state = self._counts, self._state
        before, self._left_out = self._left_out, self.watching.left_out()
        if not live:
            return
        for reason, count in self._left_out.items():
            counts.left_out[reason] += count - before.get(reason, 0)
        counts.windows += 1
        counts.values += sum(len(rows) for rows, _ in observed.values())
        state.series, state.watched = len(self.table), len(self.watching)
        state.closed_ms = max(state.closed_ms, end_ms)
        state.learning[channel.place] = sum(
            int(np.count_nonzero(found.learning)) for _, found in observed.values()
        )

    # --- snapshots

    def channels(self) -> list[tuple[str, int, int, int]]:
        """Rule, length, last closed and open end of every channel, by place."""
        return [
            (each.rule.name, each.length_ms, each.closed_ms, each.open_ms)
            for each in sorted(self._channels.values(), key=lambda each: each.place)
        ]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Series, pairs and the rows of open windows."""
        open_rows = np.flatnonzero(self._filled[: self.table.used])
        return {
            **self.table.columns(),
            **self.watching.columns(),
            "row": open_rows,
            "row_values": self._rows[open_rows].reshape(-1),
            "row_traces": self._traces[open_rows].reshape(-1),
        }

    def restore(
        self,
        channels: Iterable[tuple[str, int, int, int]],
        columns: Mapping[str, NDArray[Any]],
        detection: Sequence[Sequence[bytes]],
    ) -> None:
        """Take over what ``channels``, ``columns`` and ``watching.snapshots`` gave.

        Raises KeyError, ValueError, IndexError or MalformedRecord.
        """
        self._channels, self._places = {}, []
        for rule, length_ms, closed_ms, open_ms in channels:
            place = (rule, length_ms)
            # A rule that windows no longer has: nothing comes of it, its series are let go.
            known = self._rules.get(rule) or WindowRule(name=rule, signal="spans")
            self._channels[place] = Channel(known, length_ms, len(self._places), closed_ms, open_ms)
            self._places.append(place)
        self.table.restore(columns)
        self.watching.restore(columns, detection, self.table.used)
        self._reserve()
        self._filled[:] = 0
        rows = columns["row"].astype(np.int64)
        self._filled[rows] = 1
        self._rows[rows] = columns["row_values"].reshape(len(rows), len(RAW))
        self._traces[rows] = columns["row_traces"].reshape(len(rows), 2)

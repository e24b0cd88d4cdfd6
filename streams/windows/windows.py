"""The operator that makes windows of partials, and says each exactly once.

Cells are added to the windows of every length of their rule as they come. A window is closed when
the watermark of its rule's topic is ``allowed_lateness`` beyond its end: its groups become OTLP
metrics on the output, and on the topic for backends (schemas/config/windows.py has the settings).
What is not as it should be has a rule:

- a cell of a closed window: counted (``late``); it still counts in longer windows that are open
- a cumulative point before the end of the last closed window: counted (``late``) and left out; the
  next one of its stream has what it stands for
- groups beyond ``cardinality_limit``: merged into one with otel.metric.overflow=true
- explicit histograms of other bounds in one window: merged on the bounds that they share
- a series that comes with another kind or unit: counted (``type_changes``), and two from then on
- partials of unknown rules, or of rules that were changed: counted (``ignored``), not taken
- a source that says nothing: waited for, then left out (watermarks.py)
- more open cells and waiting points than ``open_cells_max``, for a source is far behind: the oldest
  windows are closed before their time, counted (``forced``)
- a group without anything for ``forget_after`` is forgotten, what is cumulative of it too: comes it
  back, its sums begin anew, with a later start_time, as of a process that was started again

A window's last message has the offset up to which partials are in it. That is the log: after a
crash windows are closed where they were, and never by anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from schemas.batches import Batch, Record
from schemas.config.windows import Windows as Settings
from schemas.operators import Outcome, Scanned, Snapshots
from schemas.records import Value

from .closing import Closed, by_end, ends, read_closing
from .counts_windows import WindowCounts, WindowState
from .emission import Emission
from .intake import take
from .merging import CLOSED, LENGTH
from .open_windows import OpenWindows
from .records import Partial
from .stored import restore, snapshot
from .watermarks import Watermarks

__all__ = ["Windows"]


class Windows:
    """Partials of one partition to windows.

    Args:
        settings: rules, lateness, limits.
        topics: source topic of each signal (spans, logs, metrics).
        output: topic of windows; the partition is the operator's own. Its log as well.
        export: topic for backends; None: they get nothing.
        partition: of ``windows.partials``.
        max_bytes: largest record, headers included; ``kafka.producer.max_message``.
        counts: what it counts.
    """

    name = "windows"
    format_version = 1
    snapshots: Snapshots = "state"

    def __init__(
        self,
        settings: Settings,
        *,
        topics: Mapping[str, str],
        output: str,
        export: str | None,
        partition: int,
        max_bytes: int,
        counts: WindowCounts | None = None,
    ) -> None:
        self.log_topic: str | None = output
        self._settings = settings
        self._topics = [topics[rule.signal] for rule in settings.rules]
        self._counts = WindowCounts() if counts is None else counts
        self._open = OpenWindows(settings, partition)
        self._watermarks = Watermarks(
            int(settings.source_timeout * 1000), int(settings.max_behind * 1000)
        )
        self._emission = Emission(
            settings, self._open, output=output, export=export, partition=partition,
            max_bytes=max_bytes, counts=self._counts,
        )  # fmt: skip
        self._rules = {(rule.name, rule.digest): i for i, rule in enumerate(settings.rules)}
        self._lateness_ms = int(settings.allowed_lateness * 1000)
        self._now_ms = 0
        self._next = 0
        """Offset after the last record that was taken."""
        self._closed: list[Closed] = []
        """Windows that were closed before a restart, and are not yet in what is replayed."""
        self._silent: dict[str, int] = {}
        self.state = WindowState()
        self._counts.partitions[partition] = self.state

    def process(self, scanned: Scanned) -> Outcome:
        """Take a record; ``scan`` is that of ``records.decode``. Raises MalformedRecord."""
        batch, partial = scanned.batch, scanned.scan
        self._catch_up(batch.offset)
        self._take(partial, batch.timestamp_ms, counted=not scanned.replayed)
        self._next = batch.offset + 1
        self._now_ms = max(self._now_ms, batch.timestamp_ms)
        if scanned.replayed:
            self._open.count(None)
            return Outcome()
        self._catch_up(None)
        return Outcome(self._advance())

    def tick(self, now_ms: int) -> Outcome:
        """Close what is due by now: sources may be idle or silent."""
        self._catch_up(None)
        self._now_ms = max(self._now_ms, now_ms)
        return Outcome(self._advance())

    def _take(self, partial: Partial, timestamp_ms: int, *, counted: bool) -> None:
        counts, rules = self._counts, self._settings.rules
        topic = partial.header.topic
        known = topic in self._topics
        taken = take(
            partial,
            self._rules if known else {},
            lambda rule, pane_ms: rules[rule].lengths_ms[0] % pane_ms == 0,
            self._open.groups,
            self._open.bounds,
        )
        # Nothing of a record that is refused, as `take` can do.
        if known:
            self._watermarks.hear(partial.header, timestamp_ms)
        self._open.add(taken.cells, taken.points)
        if not counted:
            return
        counts.records += 1
        for reason, count in taken.ignored.items():
            counts.ignored[reason if known else "topic"] += count
        of_group = self._open.groups.rows["rule"]
        for points in (taken.cells, taken.points):
            rule = of_group[points.cells["group"]]
            found = np.bincount(rule, minlength=len(rules)).tolist()
            items = points.cells["count"] if points is taken.cells else np.ones(len(rule))
            weights = np.bincount(rule, items.astype(np.float64), len(rules)).tolist()
            for i, each in enumerate(rules):
                if found[i]:
                    counts.cells[each.name] += found[i]
                    counts.items[each.name] += int(weights[i])

    # --- closing ---------------------------------------------------------------------------

    def _advance(self) -> Sequence[Record]:
        """Close everything that is due."""
        records: list[Record] = []
        forced, windows = self._open.forced(self._settings.open_cells_max)
        self._counts.forced += windows
        for topic in dict.fromkeys(self._topics):
            watermark = self._watermarks.at(topic, self._now_ms)
            if watermark is not None:
                self.state.watermarks[topic] = max(self.state.watermarks.get(topic, 0), watermark)
            until = None if watermark is None else watermark - self._lateness_ms
            silent = self._watermarks.silent(topic, self._now_ms)
            self._counts.timed_out_sources += max(silent - self._silent.get(topic, 0), 0)
            self._silent[topic] = silent
            for rule, its_topic in enumerate(self._topics):
                if its_topic == topic and (until is not None or forced):
                    self._close_rule(rule, until or 0, forced, silent, records)
        self._note(closed=bool(records))
        return records

    def _close_rule(
        self, rule: int, until_ms: int, forced: Mapping[int, int], silent: int,
        records: list[Record],
    ) -> None:  # fmt: skip
        windows = self._open
        due: list[tuple[int, list[int]]] = []
        for slot in windows.slots_of(rule):
            length, closed = int(windows.slots[slot, LENGTH]), int(windows.slots[slot, CLOSED])
            until = max(until_ms // length * length, forced.get(slot, 0))
            if until > closed and until >= length:
                begins = windows.begins(rule, slot)
                found, skipped = ends(closed, length, until, begins)
                due.append((slot, found))
                if skipped:
                    self._counts.skipped[self._settings.rules[rule].name, length] += skipped
        for end, slots in by_end(due):
            for slot in slots:
                windows.reach(rule, slot, end)
                records += self._emission.emit(rule, slot, end, self._next, silent)
                windows.close(rule, slot, end)

    def _catch_up(self, offset: int | None) -> None:
        """Close what had been closed before ``offset`` was taken (None: at all), saying nothing."""
        while self._closed and (offset is None or self._closed[0].next <= offset):
            self._close_again(self._closed.pop(0))
            self._open.count(None)

    def _close_again(self, closed: Closed) -> None:
        found = self._open.slot(closed.rule, closed.length_ms)
        if found is None:
            return
        rule, slot = found
        if closed.end_ms <= self._open.slots[slot, CLOSED]:
            return
        self._open.reach(rule, slot, closed.end_ms)
        self._emission.export(rule, slot, closed.end_ms)
        self._open.close(rule, slot, closed.end_ms)

    # --- after a crash -----------------------------------------------------------------------

    def flush(self) -> Sequence[Record]:
        """Nothing is gathered."""
        return ()

    def recall(self, record: Batch) -> None:
        """Note which windows have been closed."""
        closed = read_closing(record.headers)
        if closed is not None:
            self._closed.append(closed)

    def snapshot(self) -> Sequence[bytes]:
        """Everything."""
        self._catch_up(None)
        said = {
            "now_ms": self._now_ms,
            "next": self._next,
            "watermarks": self._watermarks.dump(),
            "high": self.state.watermarks,
        }
        return snapshot(self._open, said)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over. Raises MalformedRecord."""
        said, dropped = restore(self._open, chunks)
        self._now_ms, self._next = int(said["now_ms"]), int(said["next"])
        self._watermarks.load(said["watermarks"])
        self.state.watermarks = dict(said["high"])
        self._counts.dropped_groups += dropped
        self._note(closed=True)

    def adjust(self, name: str, value: Value) -> None:
        """There is nothing to set at run time."""

    def _note(self, *, closed: bool) -> None:
        """Put what has changed where it is counted."""
        self._open.count(self._counts)
        windows, state = self._open, self.state
        state.silent_sources = dict(self._silent)
        state.behind_sources = {
            topic: self._watermarks.behind(topic, self._now_ms) for topic in self._silent
        }
        state.groups = {
            rule.name: count
            for rule, count in zip(self._settings.rules, windows.groups.in_rule, strict=True)
        }
        state.open_cells = windows.store.open
        if closed:
            state.open_windows = windows.open_windows()
        state.streams, state.waiting_points = (
            len(windows.streams), windows.streams.count_waiting()
        )  # fmt: skip
        state.bytes = windows.bytes

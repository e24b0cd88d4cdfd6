"""The operator of the detect stage: windows in, changes of alerts out.

A message of ``windows`` says what groups did in one window of one rule; the last one of it, without
groups, closes it. Rows are kept until then. At the close all series of that rule and length are
judged at once, those too that nothing came of: detection on what anomaly rules look at, then the
rules. What is not as it should be has a rule:

- a message that is no telemetry, or whose header says no window: to the dead letters
- telemetry that is not of windows, and points of other scopes: counted, passed over
- a message of a window that has been closed, a window that is never closed because the next one
  comes: windows has been set back; counted, passed over
- more series than ``alerts.series_max``: counted, not watched
- rules that are wrong: counted, the ones before stay in force

Time is that of the windows. Only ``PipelineStalled`` looks at the broker's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from schemas.batches import Batch, Record
from schemas.config.alerts import PIPELINE_STALLED, Alerts
from schemas.config.anomaly import Anomaly
from schemas.config.windows import Windows
from schemas.errors import ConfigurationError
from schemas.operators import Outcome, Scanned, Snapshots
from schemas.records import MalformedRecord, Value
from streams import wire

from . import intake
from .counts import DetectCounts, DetectState
from .detect_state import pack_state, unpack_state
from .panels import Channel, Panels
from .rows import Block
from .rule_text import SETTING, RuleText
from .settling import Settling
from .stalled import Stalled
from .states import RuleStates
from .telling import Telling
from .transitions import Transition

__all__ = ["Detect"]


class Detect:
    """Detection and alert rules over one partition of ``windows``.

    Args:
        alerts: rules and limits.
        windows: what is aggregated.
        anomaly: how detection works.
        alerts_topic: gets what concerns people.
        state_topic: gets every change, key = fingerprint; it needs as many partitions as
            ``windows`` and is the operator's log.
        partition: of ``windows``.
        partitions: how many it has. With another number series go elsewhere, and that is no
            absence: all are forgotten, their alerts resolved.
        counts: what it counts.
        closed: told of every window that was closed, its end in Unix milliseconds: whoever has a
            clock knows how long that took.
    """

    name = "detect"
    format_version = 1
    snapshots: Snapshots = "state"

    def __init__(
        self,
        alerts: Alerts,
        windows: Windows,
        anomaly: Anomaly | None = None,
        *,
        alerts_topic: str,
        state_topic: str,
        partition: int,
        partitions: int = 1,
        counts: DetectCounts | None = None,
        closed: Callable[[int], None] | None = None,
    ) -> None:
        self.log_topic: str | None = state_topic
        self._alerts = alerts
        self._counts = DetectCounts() if counts is None else counts
        self._state = self._counts.partitions[partition] = DetectState()
        self._closed = closed
        self._panels = Panels(alerts, windows, anomaly or Anomaly(), self._counts, self._state)
        self._wanted = RuleText(alerts, windows)
        self._states = RuleStates(
            self._wanted.rules,
            self._panels.describe,
            self._panels.watching.detectors,
            alerts.active_max,
        )
        self._partitions = self._spread = partitions
        self._stalled = Stalled(
            round(alerts.stalled_after * 1000), frozenset(rule.name for rule in windows.rules)
        )
        self._settling = Settling()
        self._unsaid: list[Record] = []
        self._telling = Telling(
            alerts_topic, state_topic, partition, pending=alerts.publish_pending
        )
        self._rules_changed()

    @property
    def series(self) -> int:
        """Groups of rules and lengths that are watched."""
        return len(self._panels.table)

    # --- batches

    def process(self, scanned: Scanned) -> Outcome:
        """Take a message; ``scan`` may be None: it is made here, if anybody looks at the window.

        Raises MalformedMessage.
        """
        batch, live = scanned.batch, not scanned.replayed
        if live:
            self._settle()
        header = intake.window_header(batch.headers)
        if header is None:
            self._counts.foreign_messages += live
            return Outcome()
        changes = self._changed() if live else self._wanted.due(batch.offset)
        scan = scanned.scan
        needed = header.closed or changes or self._panels.wants(header.rule, header.length_ms)
        if scan is None and needed:
            scan = wire.scan_metrics(batch.value)
        # From here on nothing can be wrong with it.
        records = self._change_rules(batch.offset, live) if changes else []
        channel = self._panels.channel(header.rule, header.length_ms)
        if header.closed:
            records += self._close(batch, scan, header, channel, live)
        elif channel is not None:
            self._take(batch.value, scan, header, channel, live)
        elif live:
            self._panels.passed(header.rule)
        return Outcome([*self.flush(), *records] if live else ())

    def _take(
        self,
        value: bytes,
        scan: wire.PointScan,
        header: intake.WindowHeader,
        channel: Channel,
        live: bool,
    ) -> None:
        if not self._panels.open(channel, header.end_ms, live):
            return
        points = intake.read(value, scan, channel.rule, header)
        new = self._panels.take(points, channel, header.tenant, live)
        for number in new.tolist():
            self._states.enter(number, self._panels.describe(number))
        self._panels.watching.watch(new, channel.length_ms, self._states.watched)

    def _close(
        self,
        batch: Batch,
        scan: wire.PointScan,
        header: intake.WindowHeader,
        channel: Channel | None,
        live: bool,
    ) -> list[Record]:
        closing = intake.closing(batch.value, scan)
        self._stalled.closed(
            batch.timestamp_ms, header.rule, header.length_ms, closing.silent_sources
        )
        records: list[Record] = []
        if channel is not None and self._panels.open(channel, header.end_ms, live):
            records += self._evaluate(channel, header.end_ms, closing.silent_sources == 0, live)
        if live:
            records += self._judge_pipeline(batch.timestamp_ms)
        return records

    def _evaluate(self, channel: Channel, end_ms: int, known: bool, live: bool) -> list[Record]:
        panels = self._panels
        ids, seen, values = panels.window(channel)
        observed = panels.watching.observe(channel.length_ms, end_ms, ids, values)
        block = Block(
            channel.rule.name, channel.length_ms, end_ms, ids, seen, known, values, observed
        )
        transitions = self._states.step(block)
        records = self._tell(transitions, live)
        panels.close(channel, ids, seen, end_ms)
        gone = panels.silent(channel, ids, round(self._alerts.series_memory * 1000))
        if len(gone):
            transitions = self._states.forget(gone, end_ms)
            records += self._tell(transitions, live)
            panels.forget(gone, channel, live)
        panels.count(channel, observed, end_ms, live)
        if live:
            self._note_alerts()
            if self._closed is not None:
                self._closed(end_ms)
        return records

    def _tell(self, transitions: Sequence[Transition], live: bool) -> list[Record]:
        if not live:
            self._settling.find(transitions)
            return []
        records: list[Record] = []
        for each in transitions:
            self._counts.transitions[each.rule.name, each.state] += 1
            if each.state == "firing" and each.rule.anomaly:
                self._counts.anomalies[each.rule.name, each.detector] += 1
            moved = self._panels.moved_with(each) if each.state == "firing" else []
            records += self._telling.records(each, moved, self._panels.exemplar(each.series_id))
        return records

    def _note_alerts(self) -> None:
        found = {"pending": 0, "firing": 0, "no_data": 0}
        for _, active in self._states.actives:
            found[active.state] += 1
        self._state.alerts = found
        self._state.suppressed = self._states.suppressed
        self._state.unmatched_rules = self._states.unmatched

    # --- the pipeline itself

    def tick(self, now_ms: int) -> Outcome:
        """See whether windows are still closed."""
        self._settle()
        return Outcome([*self.flush(), *self._judge_pipeline(now_ms)])

    def _judge_pipeline(self, now_ms: int) -> list[Record]:
        change = self._stalled.judge(now_ms)
        self._state.stalled = self._stalled.firing
        self._state.silent_sources = self._stalled.silent_sources(now_ms)
        if change is None:
            return []
        self._counts.transitions[PIPELINE_STALLED, "firing" if change.firing else "resolved"] += 1
        return self._telling.stalled(change)

    # --- rules

    def adjust(self, name: str, value: Value) -> None:
        """``alerts.rules``: rules in YAML; None: those of the configuration.

        What is wrong is counted, and leaves everything as it is.
        """
        if name != SETTING:
            return
        try:
            self._wanted.set(value)
        except ConfigurationError as error:
            self._counts.refused_rules += 1
            self._counts.refusal = str(error)
        else:
            self._counts.refusal = ""

    def _change_rules(self, offset: int, live: bool) -> list[Record]:
        """Bring the rules into force that hold from this message on."""
        spread = self._partitions if live else self._wanted.replay(offset)
        if not self._changed(spread):
            return []
        self._states.replace(self._wanted.rules)
        end_ms = self._panels.latest_ms
        transitions = self._states.forget(np.empty(0, np.int32), end_ms)
        records = self._tell(transitions, live)
        self._rules_changed()
        for channel, numbers in self._panels.unwanted(everything=spread != self._spread):
            records += self._tell(self._states.forget(numbers, end_ms), live)
            self._panels.forget(numbers, channel, live)
        self._spread = spread
        if live:
            self._counts.rule_changes += 1
            value = self._wanted.encode(offset, spread)
            records.append(self._telling.rules(value, end_ms))
        return records

    def _changed(self, spread: int | None = None) -> bool:
        """Whether other rules, or partitions, are wanted than there were."""
        spread = self._partitions if spread is None else spread
        return spread != self._spread or self._wanted.differ(self._states.rules)

    def _rules_changed(self) -> None:
        self._panels.want({(rule.window, rule.length_ms) for rule in self._states.rules})
        self._panels.watch(self._states.watched)

    # --- state

    def _settle(self) -> None:
        """After a restart, before anything is said: alerts are where they were told to be."""
        for event in self._settling.settle(self._states, self._panels.latest_ms):
            self._counts.transitions[event.rule, event.state] += 1
            self._unsaid += self._telling.event(event)

    def flush(self) -> Sequence[Record]:
        """What a restart left to be said, if nothing came since."""
        self._settle()
        records, self._unsaid = self._unsaid, []
        return records

    def recall(self, record: Batch) -> None:
        """What was said of alerts and the pipeline, and which rules held from which message on."""
        if record.key == self._telling.rules_key:
            self._wanted.recall(record.value)
        elif record.key == self._telling.stalled_key:
            self._stalled.recall(*self._telling.of_stalled(record.value))
        elif record.value:
            self._settling.recall(record.value)

    def snapshot(self) -> Sequence[bytes]:
        """Everything: series, open windows, detection, alerts, rules."""
        return pack_state(
            self._panels, self._states, self._stalled, self._wanted.text, self._spread
        )

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over a snapshot. Raises MalformedRecord if it is none."""
        try:
            text, self._spread = unpack_state(chunks, self._panels, self._states, self._stalled)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise MalformedRecord(f"no state of detect: {error}") from None
        self._wanted.restore(text)
        self._panels.want({(rule.window, rule.length_ms) for rule in self._states.rules})

"""Changes of alerts as records: ``alerts`` for people, ``alerts.state`` for all that holds.

Beside alerts ``alerts.state`` has a record for each partition that says which rules are in force
there: the operator's own, of another type (``ce_type``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from schemas.batches import Record
from schemas.config.alerts import PIPELINE_STALLED
from schemas.config.units import format_duration
from schemas.records.alerts import (
    ALERT_SOURCE,
    AlertEvent,
    AlertState,
    Exemplar,
    MovedWith,
)
from schemas.records.cloudevents import CloudEvent, to_headers

from .labels import fingerprint
from .stalled import Change
from .transitions import Transition

__all__ = ["RULES_TYPE", "Telling"]

RULES_TYPE = "io.otlp-streams.rules"
"""``ce_type`` of the record about rules."""
_STALLED_VERSION = hashlib.sha256(b"PipelineStalled/1").hexdigest()[:16]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNTOLD = ("pending", "inactive")


class Telling:
    """Makes records.

    Args:
        alerts_topic: gets what concerns people, in its only partition.
        state_topic: gets everything.
        partition: of the operator, and of ``state_topic``.
        pending: whether people are told of alerts that do not fire yet.
    """

    def __init__(
        self, alerts_topic: str, state_topic: str, partition: int, *, pending: bool = False
    ) -> None:
        self._alerts_topic, self._state_topic = alerts_topic, state_topic
        self._partition = partition
        self._pending = pending
        labels = {
            "alertname": PIPELINE_STALLED,
            "severity": "critical",
            "partition": str(partition),
        }
        self._stalled_labels = labels
        self._stalled_fingerprint = fingerprint(labels)
        self.stalled_key = self._stalled_fingerprint.encode()
        """Key of the records about the pipeline."""
        self.rules_key = f"rules/{partition}".encode()
        """Key of the record about rules."""

    def records(
        self, each: Transition, moved_with: Sequence[MovedWith], trace_id: str
    ) -> list[Record]:
        """What is told of a transition; ``trace_id``: of the exemplar, '' if there is none."""
        exemplars = (Exemplar(trace_id=trace_id),) if trace_id else ()
        return self.event(each.event(moved_with, exemplars))

    def event(self, event: AlertEvent) -> list[Record]:
        """What is told of an alert."""
        value, headers, key = event.encode(), event.headers(), event.fingerprint.encode()
        state = Record(self._state_topic, value, self._partition, key, headers)
        if event.state in _UNTOLD and not self._pending:
            return [state]
        return [Record(self._alerts_topic, value, 0, key, headers), state]

    def stalled(self, change: Change) -> list[Record]:
        """What is told when windows are late, or no longer."""
        starts_at = _time(change.starts_ms)
        state: AlertState = "firing" if change.firing else "resolved"
        return self.event(
            AlertEvent(
                id=f"{self._stalled_fingerprint}.{_STALLED_VERSION}.{change.starts_ms}.{state}",
                fingerprint=self._stalled_fingerprint,
                state=state,
                reason="pipeline",
                rule=PIPELINE_STALLED,
                rule_version=_STALLED_VERSION,
                labels=self._stalled_labels,
                annotations={
                    "summary": self._summary(change),
                    "description": "Alerts of this partition are late, and what is absent may "
                    "only be on its way: see the lag of the stages and /readyz.",
                },
                at=_time(change.at_ms),
                starts_at=starts_at,
                fired_at=starts_at,
                ends_at=None if change.firing else _time(change.at_ms),
            )
        )

    def _summary(self, change: Change) -> str:
        where = f"partition {self._partition}"
        if not change.firing:
            return f"windows of {where} are closed on time again"
        if change.silent_sources:
            return f"nothing is heard of {change.silent_sources} source partitions of {where}"
        late = format_duration(change.late_ms // 1000)
        return f"no window of {where} has been closed for {late} more than one is long"

    def of_stalled(self, value: bytes) -> tuple[bool, int]:
        """Whether the pipeline's alert fires by a record of it, and since when, if it ever has.

        Raises MalformedRecord.
        """
        if not value:
            return False, 0
        event = AlertEvent.decode(value)
        return event.state == "firing", _milliseconds(event.starts_at)

    def rules(self, value: bytes, at_ms: int) -> Record:
        """The record of which rules are in force."""
        digest = hashlib.sha256(value).hexdigest()[:16]
        event = CloudEvent(
            f"rules.{self._partition}.{digest}", ALERT_SOURCE, RULES_TYPE, _time(at_ms), "rules"
        )
        return Record(self._state_topic, value, self._partition, self.rules_key, to_headers(event))


def _time(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def _milliseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(milliseconds=1)

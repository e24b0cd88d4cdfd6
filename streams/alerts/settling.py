"""What was told of alerts before a restart against what the replay has found.

A replay takes the same messages, but not always to the same end: the rules, limits or detection of
the configuration are others, the program is, a snapshot was not understood, retention has removed
what was to be read again. What was told is in the log, and that holds. Before anything new is said
all alerts are brought to where the world believes them to be:

- one that was told to be there and was found, too, is as it was told
- one that was told to be there and was not found is over, and that is told
- one that was found and never told is none: it begins again where its condition holds
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from schemas.records import MalformedRecord
from schemas.records.alerts import AlertEvent, AlertState

from .states import RuleStates
from .transitions import Transition

__all__ = ["Settling"]

_OVER = ("inactive", "resolved")


class Settling:
    """The last that was told and found of each alert since the snapshot, by fingerprint."""

    def __init__(self) -> None:
        self._told: dict[str, AlertEvent] = {}
        self._found: dict[str, str] = {}

    def recall(self, value: bytes) -> None:
        """What was told: a record's value."""
        try:
            event = AlertEvent.decode(value)
        except MalformedRecord:
            return  # of a version that is not known: as if it had never been told
        self._told[event.fingerprint] = event

    def find(self, transitions: Sequence[Transition]) -> None:
        """What the replay finds."""
        for each in transitions:
            self._found[each.fingerprint] = each.id

    def settle(self, states: RuleStates, end_ms: int) -> list[AlertEvent]:
        """Bring alerts to where they were told to be; the ends that are to be told now.

        ``end_ms``: end of the newest window.
        """
        told, found = self._told, self._found
        self._told, self._found = {}, {}
        over = []
        for fingerprint in {**told, **found}:
            event = told.get(fingerprint)
            if event is not None and event.id == found.get(fingerprint):
                continue
            there = event is not None and event.state not in _OVER
            if not states.settle(fingerprint, event if there else None) and there:
                assert event is not None  # noqa: S101 - it is there
                over.append(_end(event, states, end_ms))
        return over


def _end(event: AlertEvent, states: RuleStates, end_ms: int) -> AlertEvent:
    version = {rule.name: rule.digest for rule in states.rules}.get(event.rule)
    reason = "series_gone" if version == event.rule_version else "rule_changed"
    state: AlertState = "inactive" if event.state == "pending" else "resolved"
    fingerprint, digest, starts, _, *lapses = event.id.split(".")
    at = max(event.at, datetime.fromtimestamp(end_ms / 1000, UTC))
    return event.model_copy(
        update={
            "id": ".".join([fingerprint, digest, starts, state, *lapses]),
            "state": state,
            "reason": "rule_removed" if version is None else reason,
            "at": at,
            "ends_at": at,
            "moved_with": (),
            "exemplars": (),
        }
    )

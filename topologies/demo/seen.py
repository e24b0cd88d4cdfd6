"""What windows and alerts made of a demonstration: are the sums right, and what was raised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from schemas.config import Config

from .alarms import Alarms
from .incident import Incident
from .services import Services

__all__ = ["Seen"]

_NOTICED_S = 10.0
"""Beside the windows and what they wait for: commits, and a busy machine."""
_SEEN_BY_ERRORS = "errors"


class Seen(NamedTuple):
    """Of a whole run; None where the configuration has none of it."""

    calls: int | None
    """Spans in windows of services."""
    late: int
    """Spans that came when their window was over."""
    windows: int
    """Windows of a service."""
    length_ms: int
    exported: int
    """Points of windows that arrived at the backend."""
    transitions: Counter[tuple[str, str]] | None
    """(rule, state) of what was on `alerts`."""
    incident: str
    """What was put in, kind and service; empty: nothing, or its time had not come."""
    lasted_s: float
    """From its first begin to the end of sending."""
    noticed: dict[str, float]
    """Rules that fired for its service, and how many seconds after its begin."""

    @classmethod
    def of(
        cls,
        services: Services | None,
        late: int,
        exported: int,
        alarms: Alarms | None,
        incident: Incident | None,
    ) -> Seen:
        """What they have by now."""
        began_s = None if incident is None else incident.began_s
        noticed: dict[str, float] = {}
        what, lasted_s = "", 0.0
        if incident is not None and began_s is not None:
            period = incident.period
            what = f"{period.kind} at {period.service}"
            lasted_s = incident.passed_s - period.start_s
            if alarms is not None:
                fired = alarms.fired_s(period.service).items()
                noticed = {rule: at_s - began_s for rule, at_s in fired if at_s >= began_s}
        transitions = None
        if alarms is not None:
            transitions = Counter[tuple[str, str]]((e.rule, e.state) for e in alarms.events)
        return cls(
            None if services is None else services.calls,
            late,
            0 if services is None else services.windows,
            0 if services is None else services.length_ms,
            exported,
            transitions,
            what,
            lasted_s,
            dict(sorted(noticed.items(), key=lambda one: one[1])),
        )

    def problems(self, config: Config, spans: int, *, may_repeat: bool) -> list[str]:
        """What is not as it should be, a line each.

        Args:
            config: what windows wait for.
            spans: how many were acknowledged.
            may_repeat: some may have come twice, for a reason.
        """
        found = []
        if self.calls is not None:
            counted = self.calls + self.late
            if counted < spans or (counted > spans and not may_repeat):
                found.append(f"windows have {counted:,} spans, {spans:,} were acknowledged")
        windows = config.windows
        due_s = 2 * self.length_ms / 1000 + windows.allowed_lateness + windows.idle_after
        # Errors are what a rule without any history sees.
        expected = self.incident.startswith(_SEEN_BY_ERRORS) and self.lasted_s > due_s + _NOTICED_S
        if self.transitions is not None and expected and not self.noticed:
            found.append(f"no alert has told of {self.incident}")
        return found

    def sentences(self) -> Iterator[str]:
        """For people."""
        if self.calls is not None:
            late = f", {self.late:,} were late" if self.late else ""
            yield (
                f"{self.calls:,} spans are in {self.windows:,} windows of services, "
                f"{self.length_ms / 1000:g} s each{late}; "
                f"the backend got {self.exported:,} points of windows."
            )
        if self.transitions is not None and self.incident:
            told = ", ".join(f"{rule} after {s:.0f} s" for rule, s in self.noticed.items())
            yield f"An incident was put in, {self.incident}: {told or 'no alert'}."
        for (rule, state), number in sorted((self.transitions or {}).items()):
            yield f"  alerts: {rule} {state} {number}"

    def as_dict(self) -> dict[str, Any]:
        """For the JSON summary."""
        found: dict[str, Any] = {}
        if self.calls is not None:
            found["windows"] = {
                "spans": self.calls,
                "late": self.late,
                "windows": self.windows,
                "exported_points": self.exported,
            }
        if self.transitions is not None:
            found["alerts"] = [
                {"rule": rule, "state": state, "number": number}
                for (rule, state), number in sorted(self.transitions.items())
            ]
        if self.incident:
            noticed = {rule: round(s, 1) for rule, s in self.noticed.items()}
            found["incident"] = {"what": self.incident, "noticed_s": noticed}
        return found

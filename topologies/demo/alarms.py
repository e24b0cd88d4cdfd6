"""Alerts of a demonstration: what is told as it comes, and what fires now."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from schemas.records.alerts import AlertEvent

__all__ = ["Alarms", "told"]

_SHOWN = 5


def told(event: AlertEvent) -> str:
    """A transition in a line."""
    summary = event.annotations.get("summary", "")
    severity = event.labels.get("severity", "")
    return f"ALERT {event.state}: {event.rule} ({severity}) {summary}"


class Alarms:
    """Every transition on ``alerts``.

    Args:
        say: told of each, in a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.events: list[AlertEvent] = []
        self._firing: dict[str, AlertEvent] = {}
        self._first_s: dict[tuple[str, str], float] = {}

    def taken(self, record: Any) -> None:
        """A message of ``alerts``. Raises MalformedRecord."""
        event = AlertEvent.of(tuple(record.headers), record.value)
        self.events.append(event)
        if event.state == "firing":
            self._firing[event.fingerprint] = event
            key = (event.rule, event.labels.get("service", ""))
            self._first_s.setdefault(key, time.monotonic())
        elif event.state in ("resolved", "inactive"):
            self._firing.pop(event.fingerprint, None)
        self._say(told(event))

    def fired_s(self, service: str) -> dict[str, float]:
        """Rules that have fired for a service, and when first: monotonic seconds."""
        return {rule: at for (rule, of), at in self._first_s.items() if of == service}

    def __rich__(self) -> RenderableType:
        """What fires now."""
        if not self._firing:
            return Text("no alert", style="dim")
        newest = sorted(self._firing.values(), key=lambda event: event.at, reverse=True)
        lines = [Text(told(event), style="bold red") for event in newest[:_SHOWN]]
        if len(newest) > _SHOWN:
            lines.append(Text(f"and {len(newest) - _SHOWN} more", style="red"))
        return Text("\n").join(lines)

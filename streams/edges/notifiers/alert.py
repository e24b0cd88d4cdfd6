"""An alert as notifiers see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Alert", "Notification"]


class Alert(NamedTuple):
    """The newest that is known of one alert. Times are Unix seconds."""

    fingerprint: str
    """Of rule and labels."""
    id: str
    """Of the transition that led here; another one is news."""
    firing: bool
    """False: it is over."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_s: float
    """Since when it fires, or fired."""
    ends_s: float | None
    """Since when it is over; None while it fires."""
    at_s: float
    """When it came to this."""
    url: str = ""
    """Where to look at it."""


class Notification(NamedTuple):
    """What a target is to be told at a time."""

    key: str
    """Of the group; equal for all notifications about it, also after a restart."""
    labels: Mapping[str, str]
    """That all of the group have."""
    alerts: tuple[Alert, ...]
    """All that is to be told, firing ones first; empty: there is nothing to say after all."""
    settles: tuple[tuple[str, str], ...]
    """Fingerprints and transitions of which nothing remains to be told once this is done."""
    muted: int = 0
    """Alerts that were left out because they are silenced."""
    repeated: bool = False
    """It holds no news: the group still fires."""

    @property
    def firing(self) -> tuple[Alert, ...]:
        """Those that fire."""
        return tuple(alert for alert in self.alerts if alert.firing)

"""An alert as notifiers see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from schemas.records.alerts import AlertEvent, MovedWith

__all__ = ["Alert", "Known", "Notification", "Start", "of_event"]

_MOVED_MAX = 5


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


class Known(NamedTuple):
    """The newest transition of an alert that is known of before it is delivered."""

    id: str
    at_s: float
    """Unix seconds."""


class Start(NamedTuple):
    """What is known before the first delivery, by fingerprint."""

    firing: dict[str, Alert]
    newest: dict[str, Known]
    """Of what fires, and of what is over."""
    unsaid: set[str]
    """Alerts whose newest is nothing to be told of."""


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


def of_event(event: AlertEvent, link: str = "") -> Alert:
    """What is told of an event; ``link``: where people look at alerts.

    What of it no annotation of the rule says is added: value, expected range, who found it.
    """
    ends_at = event.ends_at or (event.at if event.state == "resolved" else None)
    return Alert(
        event.fingerprint,
        event.id,
        event.active,
        event.labels,
        {**dict(_findings(event)), **event.annotations},
        (event.fired_at or event.starts_at).timestamp(),
        None if event.active or ends_at is None else ends_at.timestamp(),
        event.at.timestamp(),
        link,
    )


def _findings(event: AlertEvent) -> Iterator[tuple[str, str]]:
    if event.state == "no_data":
        yield "no_data", "it fired when it was last heard of"
    if event.value is not None:
        of = "" if event.window is None else f"{event.window.statistic} "
        yield "value", f"{of}{event.value:.6g}"
    if event.threshold is not None:
        yield "threshold", event.threshold
    if event.low is not None or event.high is not None:
        low, high = (("?" if x is None else f"{x:.6g}") for x in (event.low, event.high))
        yield "expected", f"{low} to {high}"
    if event.detector:
        yield "detector", event.detector
    if event.moved_with:
        yield "moved_with", "; ".join(map(_moved, event.moved_with[:_MOVED_MAX]))
    if event.exemplars:
        yield "trace_id", event.exemplars[0].trace_id


def _moved(series: MovedWith) -> str:
    about = [series.metric or series.window, *map(str, series.attributes.values())]
    value = "" if series.value is None else f" {series.value:.6g}"
    return f"{' '.join(about)} {series.statistic}{value}"

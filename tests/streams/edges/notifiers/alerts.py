"""Alerts for tests."""

from __future__ import annotations

from streams.edges.notifiers import Alert, Notification

__all__ = ["alert", "notification"]


def alert(
    name: str,
    *,
    firing: bool = True,
    at_s: float = 0.0,
    starts_s: float | None = None,
    **labels: str,
) -> Alert:
    """``name`` is the fingerprint; the transition is told by state and time."""
    return Alert(
        name,
        f"{name}-{'firing' if firing else 'over'}-{at_s:g}",
        firing,
        {
            "alertname": "HighErrorRatio",
            "service": "cart",
            "severity": "critical",
            "instance": name,
            **labels,
        },
        {"summary": f"{name} is <bad>", "description": "look & see"},
        at_s if starts_s is None else starts_s,
        None if firing else at_s,
        at_s,
    )


def notification(*alerts: Alert, key: str = "the-group") -> Notification:
    """About these."""
    settles = tuple((each.fingerprint, each.id) for each in alerts)
    return Notification(key, {"service": "cart"}, alerts, settles)

"""Events of PagerDuty. Source: PagerDuty, Events API v2, Send an alert event.

A group is one incident: its key is the ``dedup_key``. It is triggered, and triggered again with
what has changed, while anything in it fires; then it is resolved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.config import PagerDutyTarget
from schemas.errors import BackendRefused

from .alert import Alert, Notification
from .alertmanager import timestamp
from .posting import Poster

__all__ = ["PagerDutySender", "event"]

_SEVERITIES = ("critical", "error", "warning", "info")
"""That the API knows, the worst first; any other one is an error."""
_SUMMARY_MAX_CHARS = 1024
_DETAIL_MAX_CHARS = 1000
"""Of one text; an event has at most 512 KB."""


class PagerDutySender:
    """Sends events to one service."""

    def __init__(self, target: PagerDutyTarget, external_url: str = "") -> None:
        self._target = target
        self._external_url = external_url
        self._key = target.routing_key.get_secret_value()
        self._poster = Poster(target, [target.url], secrets=[self._key])

    async def start(self) -> None:
        """Make ready."""
        await self._poster.start()

    async def stop(self) -> None:
        """Close all connections."""
        await self._poster.stop()

    async def send(self, notification: Notification, now_s: float) -> Mapping[str, BackendRefused]:
        """Trigger or resolve the group's incident."""
        content = event(notification, self._key, self._external_url, self._target.notification_max)
        try:
            await self._poster.post(self._target.url, content)
        except BackendRefused as error:
            return {alert.fingerprint: error for alert in notification.alerts}
        return {}


def event(
    notification: Notification, routing_key: str, external_url: str, alerts_max: int
) -> dict[str, Any]:
    """The event for a group, with at most ``alerts_max`` alerts in its details."""
    firing = notification.firing
    common = {"routing_key": routing_key, "dedup_key": notification.key}
    if not firing:
        return {**common, "event_action": "resolve"}
    worst = min(firing, key=lambda alert: _SEVERITIES.index(_severity(alert)))
    services = {alert.labels.get("service", "") for alert in firing} - {""}
    resolved = notification.alerts[len(firing) :]
    return {
        **common,
        "event_action": "trigger",
        "client": "otlp-streams",
        **({"client_url": external_url} if external_url else {}),
        "payload": {
            "summary": _summary(worst, len(firing)),
            "source": ", ".join(sorted(services))[:_DETAIL_MAX_CHARS] or "otlp-streams",
            "severity": _severity(worst),
            "timestamp": timestamp(min(alert.starts_s for alert in firing)),
            **({"component": worst.labels["service"]} if worst.labels.get("service") else {}),
            "class": worst.labels.get("alertname", "alert"),
            "custom_details": {
                "num_firing": len(firing),
                "num_resolved": len(resolved),
                "firing": _details(firing[:alerts_max]),
                "resolved": _details(resolved[: max(0, alerts_max - len(firing))]),
            },
        },
    }


def _severity(alert: Alert) -> str:
    severity = alert.labels.get("severity", "")
    return severity if severity in _SEVERITIES else "error"


def _summary(alert: Alert, firing: int) -> str:
    text = alert.annotations.get("summary") or alert.labels.get("alertname", "alert")
    text += f" (and {firing - 1} more)" if firing > 1 else ""
    return text if len(text) <= _SUMMARY_MAX_CHARS else f"{text[: _SUMMARY_MAX_CHARS - 1]}…"


def _details(alerts: Sequence[Alert]) -> list[dict[str, Any]]:
    return [
        {
            "labels": {k: v[:_DETAIL_MAX_CHARS] for k, v in alert.labels.items()},
            "annotations": {k: v[:_DETAIL_MAX_CHARS] for k, v in alert.annotations.items()},
            "starts_at": timestamp(alert.starts_s),
            "fingerprint": alert.fingerprint,
        }
        for alert in alerts
    ]

"""The body of an Alertmanager webhook, version 4.

Source: Alertmanager configuration, section webhook_config, and template/template.go (Data).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas.config import WebhookTarget
from schemas.errors import BackendRefused

from .alert import Alert, Notification
from .alertmanager import timestamp
from .posting import Poster, secrets_of

__all__ = ["WebhookSender", "body"]

_NOT_OVER = "0001-01-01T00:00:00Z"
"""Go's zero time: ``endsAt`` of what still fires."""


class WebhookSender:
    """Posts groups to one URL."""

    def __init__(self, name: str, target: WebhookTarget, external_url: str = "") -> None:
        self._name = name
        self._target = target
        self._external_url = external_url
        self._url = target.url.get_secret_value()
        headers = {name: value.get_secret_value() for name, value in target.headers.items()}
        self._poster = Poster(target, [self._url], headers, secrets_of(self._url))

    async def start(self) -> None:
        """Make ready."""
        await self._poster.start()

    async def stop(self) -> None:
        """Close all connections."""
        await self._poster.stop()

    async def send(self, notification: Notification, now_s: float) -> Mapping[str, BackendRefused]:
        """Post the group."""
        content = body(notification, self._name, self._external_url, self._target.notification_max)
        try:
            await self._poster.post(self._url, content)
        except BackendRefused as error:
            return {alert.fingerprint: error for alert in notification.alerts}
        return {}


def body(
    notification: Notification, receiver: str, external_url: str, alerts_max: int
) -> dict[str, Any]:
    """The body of a request, with at most ``alerts_max`` alerts."""
    alerts = notification.alerts
    return {
        "version": "4",
        "groupKey": notification.key,
        "truncatedAlerts": max(0, len(alerts) - alerts_max),
        "status": "firing" if notification.firing else "resolved",
        "receiver": receiver,
        "groupLabels": dict(notification.labels),
        "commonLabels": _common([alert.labels for alert in alerts]),
        "commonAnnotations": _common([alert.annotations for alert in alerts]),
        "externalURL": external_url,
        "alerts": list(_listed(alerts[:alerts_max], external_url)),
    }


def _listed(alerts: Sequence[Alert], external_url: str) -> Iterable[dict[str, Any]]:
    for alert in alerts:
        over = not alert.firing and alert.ends_s is not None
        yield {
            "status": "firing" if alert.firing else "resolved",
            "labels": dict(alert.labels),
            "annotations": dict(alert.annotations),
            "startsAt": timestamp(alert.starts_s),
            "endsAt": timestamp(alert.ends_s or 0.0) if over else _NOT_OVER,
            "generatorURL": alert.url or external_url,
            "fingerprint": alert.fingerprint,
        }


def _common(all_of: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What all have in common."""
    first, *others = all_of
    return {
        name: value
        for name, value in first.items()
        if all(each.get(name) == value for each in others)
    }

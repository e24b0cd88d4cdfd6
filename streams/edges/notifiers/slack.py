"""Messages of Slack. Source: Slack, Incoming webhooks; Formatting text; Secondary attachments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.config import SlackTarget
from schemas.errors import BackendRefused

from .alert import Alert, Notification
from .posting import Poster, secrets_of

__all__ = ["SlackSender", "message"]

_TEXT_MAX_CHARS = 600
"""Of one alert; Slack cuts messages off at 40,000 characters."""
_LABEL_MAX_CHARS = 100
_COLOURS = {"critical": "#a30200", "error": "#d00000", "warning": "#daa038", "info": "#439fe0"}
_OVER = "#2eb886"


class SlackSender:
    """Posts to the incoming webhook of one channel."""

    def __init__(self, target: SlackTarget, external_url: str = "") -> None:
        self._target = target
        self._external_url = external_url
        self._url = target.url.get_secret_value()
        self._poster = Poster(target, [self._url], secrets=secrets_of(self._url))

    async def start(self) -> None:
        """Make ready."""
        await self._poster.start()

    async def stop(self) -> None:
        """Close all connections."""
        await self._poster.stop()

    async def send(self, notification: Notification, now_s: float) -> Mapping[str, BackendRefused]:
        """Post one message about the group."""
        content = message(notification, self._external_url, self._target.notification_max)
        try:
            await self._poster.post(self._url, content)
        except BackendRefused as error:
            return {alert.fingerprint: error for alert in notification.alerts}
        return {}


def message(notification: Notification, external_url: str, alerts_max: int) -> dict[str, Any]:
    """A message with an attachment per alert, at most ``alerts_max``."""
    alerts, firing = notification.alerts, notification.firing
    state = f"FIRING: {len(firing)}" if firing else "RESOLVED"
    about = ", ".join(_escaped(value, _LABEL_MAX_CHARS) for value in notification.labels.values())
    text = f"*[{state}]* {about}".rstrip()
    if external_url:
        text += f" <{external_url}|alerts>"
    if (more := len(alerts) - alerts_max) > 0:
        text += f"\nand {more} more than are listed here"
    return {"text": text, "attachments": [_attachment(alert) for alert in alerts[:alerts_max]]}


def _attachment(alert: Alert) -> dict[str, Any]:
    severity = alert.labels.get("severity", "")
    title = alert.annotations.get("summary") or alert.labels.get("alertname", "alert")
    lines = [alert.annotations.get("description", "")]
    lines.append(", ".join(f"{name}={value}" for name, value in sorted(alert.labels.items())))
    title = title if alert.firing else f"Resolved: {title}"
    return {
        "color": _COLOURS.get(severity, _COLOURS["error"]) if alert.firing else _OVER,
        "fallback": _escaped(title, _TEXT_MAX_CHARS),
        "title": _escaped(title, _TEXT_MAX_CHARS),
        **({"title_link": alert.url} if alert.url else {}),
        "text": "\n".join(_escaped(line, _TEXT_MAX_CHARS) for line in lines if line),
        "ts": int(alert.starts_s if alert.firing else alert.ends_s or alert.at_s),
    }


def _escaped(text: str, most: int) -> str:
    """Without what Slack would take for a mention, a link or markup of its own; cut off."""
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

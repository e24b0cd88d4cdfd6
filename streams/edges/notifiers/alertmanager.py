"""Alertmanager, API v2. Source: its OpenAPI definition, ``POST /alerts``.

All members of a cluster are sent to; one that takes the alerts is enough, for they share what was
told, not what fires. A member that was away gets all that still fires with the next resends.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from schemas.config import AlertmanagerTarget
from schemas.errors import BackendRefused

from .alert import Alert, Notification
from .posting import Poster

__all__ = ["AlertmanagerSender", "posted", "timestamp"]

_PATH = "/api/v2/alerts"
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_]")


class AlertmanagerSender:
    """Sends alerts to the members of one cluster."""

    def __init__(self, target: AlertmanagerTarget, external_url: str = "") -> None:
        self._target = target
        self._external_url = external_url
        headers = {name: value.get_secret_value() for name, value in target.headers.items()}
        self._urls = [url + _PATH for url in target.urls]
        self._poster = Poster(target, self._urls, headers)

    async def start(self) -> None:
        """Make ready."""
        await self._poster.start()

    async def stop(self) -> None:
        """Close all connections."""
        await self._poster.stop()

    async def send(self, notification: Notification, now_s: float) -> Mapping[str, BackendRefused]:
        """Send alerts; of a request that is refused the halves, until it is known which it is."""
        return await self._send(notification.alerts, now_s)

    async def _send(self, alerts: Sequence[Alert], now_s: float) -> Mapping[str, BackendRefused]:
        ends_s = now_s + self._target.resolve_after
        body = [posted(alert, ends_s, alert.url or self._external_url) for alert in alerts]
        try:
            await self._post(body)
        except BackendRefused as error:
            if len(alerts) == 1:
                return {alerts[0].fingerprint: error}
            middle = len(alerts) // 2
            left = await self._send(alerts[:middle], now_s)
            return {**left, **await self._send(alerts[middle:], now_s)}
        return {}

    async def _post(self, body: Any) -> None:
        answers = await asyncio.gather(
            *(self._poster.post(url, body) for url in self._urls), return_exceptions=True
        )
        if None in answers:
            return
        errors = [each for each in answers if isinstance(each, BaseException)]
        raise next((e for e in errors if not isinstance(e, BackendRefused)), errors[0])


def posted(alert: Alert, ends_s: float, link: str) -> dict[str, Any]:
    """One alert as the API wants it; ``ends_s`` is for one that fires."""
    ends_s = ends_s if alert.firing or alert.ends_s is None else alert.ends_s
    return {
        "labels": _names(alert.labels),
        "annotations": _names(alert.annotations),
        "startsAt": timestamp(alert.starts_s),
        "endsAt": timestamp(max(ends_s, alert.starts_s)),
        **({"generatorURL": link} if link else {}),
    }


def timestamp(unix_s: float) -> str:
    """RFC 3339."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")


def _names(labels: Mapping[str, str]) -> dict[str, str]:
    """Names as every Alertmanager takes them, and no empty values: it refuses both.

    Before release 0.27 a name is of letters, digits and underscores. Of two that become one, the
    second keeps apart by an underscore more.
    """
    found = dict[str, str]()
    for name, value in labels.items():
        if not value:
            continue
        plain = _NOT_IN_NAMES.sub("_", name)
        plain = f"_{plain}" if plain[:1].isdigit() else plain
        while plain in found:
            plain += "_"
        found[plain] = value
    return found

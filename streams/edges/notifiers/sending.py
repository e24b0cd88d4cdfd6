"""One notification to one target, one try."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from schemas.config import AlertmanagerTarget, Notify, PagerDutyTarget, SlackTarget, WebhookTarget
from schemas.errors import BackendRefused

from .alert import Notification
from .alertmanager import AlertmanagerSender
from .pagerduty import PagerDutySender
from .slack import SlackSender
from .webhook import WebhookSender

__all__ = ["Sender", "create_sender"]


class Sender(Protocol):
    """Speaks with one target."""

    async def start(self) -> None:
        """Make ready; connects nothing yet."""
        ...

    async def stop(self) -> None:
        """Close all connections."""
        ...

    async def send(self, notification: Notification, now_s: float) -> Mapping[str, BackendRefused]:
        """Tell it; which alerts it refuses for good, by their fingerprints.

        Raises BackendUnavailable: again later, perhaps at a given time.
        """
        ...


def create_sender(notify: Notify, name: str) -> Sender:
    """For the target of that name. Raises ConfigurationError (its TLS files)."""
    target, link = notify.targets[name], notify.external_url
    match target:
        case AlertmanagerTarget():
            return AlertmanagerSender(target, link)
        case WebhookTarget():
            return WebhookSender(name, target, link)
        case SlackTarget():
            return SlackSender(target, link)
        case PagerDutyTarget():
            return PagerDutySender(target, link)

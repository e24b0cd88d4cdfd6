"""Who is told of alerts: one worker and one consumer group per target, as for exports."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from .base import Settings
from .export import Retry
from .labels import WrittenMatcher
from .security import ClientTls
from .units import Duration

__all__ = [
    "AlertmanagerTarget",
    "GroupedTarget",
    "Notify",
    "NotifyTarget",
    "PagerDutyTarget",
    "SlackTarget",
    "Target",
    "WebhookTarget",
]

ALL_LABELS = "..."
"""In ``group_by``: a group for each alert, as in Alertmanager."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_OUR_HEADERS = frozenset(
    ("content-type", "content-length", "host", "transfer-encoding", "user-agent", "connection")
)


def _checked_url(url: str) -> str:
    """Raises ValueError, without the URL in it: it may hold a secret."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("a URL is http://host[:port]/... or https://host[:port]/...")
    if parts.username or parts.password or parts.fragment:
        raise ValueError("a URL has no user and no fragment; use headers")
    return url


class Target(Settings):
    """What every kind of target has."""

    match: tuple[WrittenMatcher, ...] = Field(default=(), max_length=100)
    """Only alerts whose labels fit all of these are for it: `severity=~"critical|error"`."""
    send_resolved: bool = True
    """Whether it is told when an alert is over."""
    timeout: Duration = Field(default=10.0, gt=0, le=600)
    """A request without an answer by then counts as failed and is retried."""
    retry: Retry = Retry()
    """What happens after a retryable failure."""
    tls: ClientTls = ClientTls()
    """TLS towards the target; an https URL enables it."""
    max_inflight: int = Field(default=4, ge=1, le=100)
    """Requests under way."""
    max_pending: int = Field(default=5_000, ge=1, le=1_000_000)
    """Alerts whose news the target does not have yet; beyond it the rest waits in Kafka."""
    max_alerts: int = Field(default=20_000, ge=1, le=1_000_000)
    """Alerts in memory, firing ones above all; one more is a dead letter, and counted."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """URLs that it is told at; secrets."""
        return ()

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        if self.tls.enabled and any(url.startswith("http:") for url in self.addresses):
            raise ValueError("says http:// (plain text) although tls.enabled is true")
        return self


class AlertmanagerTarget(Target):
    """Alertmanagers that form one cluster; they group, silence and repeat by themselves."""

    type: Literal["alertmanager"] = "alertmanager"
    """API v2 of Alertmanager."""
    urls: tuple[str, ...] = Field(default=("http://127.0.0.1:9093",), min_length=1, max_length=16)
    """Each member of the cluster; all are sent to, and one that takes it is enough. The path of
    the API is appended."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Headers sent with each request; values are secrets."""
    resend_interval: Duration = Field(default=60.0, ge=1, le=3600)
    """How often a firing alert is sent again."""
    resolve_after: Duration = Field(default=240.0, ge=2, le=86_400)
    """`endsAt` of a firing alert lies so far ahead: it is over there if we fall silent."""
    batch_max: int = Field(default=256, ge=1, le=10_000)
    """Alerts in one request."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """URLs of the members."""
        return self.urls

    @field_validator("urls")
    @classmethod
    def _urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked_url(url).rstrip("/") for url in urls)

    @field_validator("headers")
    @classmethod
    def _headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        return _sendable(headers)

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        if self.resolve_after < 2 * self.resend_interval:
            raise ValueError("resolve_after is less than twice resend_interval: alerts would flap")
        return self


class GroupedTarget(Target):
    """A target that gets notifications about groups of alerts."""

    group_by: tuple[str, ...] = Field(default=("tenant", "service"), max_length=100)
    """Labels whose values are equal within a group; `...` alone: each alert is one of its own;
    none: all alerts are one group."""
    group_wait: Duration = Field(default=30.0, ge=0, le=86_400)
    """A new group waits so long for more alerts of the same trouble."""
    group_interval: Duration = Field(default=300.0, gt=0, le=86_400)
    """Least time between notifications about changes in a group."""
    repeat_interval: Duration = Field(default=14_400.0, gt=0, le=2_592_000)
    """A group that still fires is told of again after this long."""
    notification_max: int = Field(default=50, ge=1, le=10_000)
    """Alerts that one notification lists; it says how many more there are."""

    @field_validator("group_by")
    @classmethod
    def _labels(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if ALL_LABELS in names and len(names) > 1:
            raise ValueError("... stands alone: it means all labels")
        if len(set(names)) < len(names) or not all(names):
            raise ValueError("needs names of labels, each once")
        return names


class WebhookTarget(GroupedTarget):
    """Anything that takes the body of an Alertmanager webhook, version 4."""

    type: Literal["webhook"]
    """A webhook."""
    url: SecretStr
    """Where to POST; may hold a secret, and is never shown."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Headers sent with each request; values are secrets."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The URL."""
        return (self.url.get_secret_value(),)

    @field_validator("url")
    @classmethod
    def _url(cls, url: SecretStr) -> SecretStr:
        _checked_url(url.get_secret_value())
        return url

    @field_validator("headers")
    @classmethod
    def _headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        return _sendable(headers)


class SlackTarget(GroupedTarget):
    """A channel of Slack, or of what understands the same messages."""

    type: Literal["slack"]
    """An incoming webhook of Slack."""
    url: SecretStr
    """Of the incoming webhook; it is a secret."""
    notification_max: int = Field(default=10, ge=1, le=50)
    """Alerts that one message lists; it says how many more there are."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The URL."""
        return (self.url.get_secret_value(),)

    @field_validator("url")
    @classmethod
    def _url(cls, url: SecretStr) -> SecretStr:
        _checked_url(url.get_secret_value())
        return url


class PagerDutyTarget(GroupedTarget):
    """A service of PagerDuty. A group is one incident, resolved when its last alert is."""

    type: Literal["pagerduty"]
    """Events API v2 of PagerDuty."""
    routing_key: SecretStr
    """Integration key of the service."""
    url: str = "https://events.pagerduty.com/v2/enqueue"
    """Where events go."""
    group_wait: Duration = Field(default=10.0, ge=0, le=86_400)
    """A new group waits so long for more alerts of the same trouble."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The URL."""
        return (self.url,)

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        return _checked_url(url)

    @field_validator("routing_key")
    @classmethod
    def _key(cls, key: SecretStr) -> SecretStr:
        if not key.get_secret_value().strip():
            raise ValueError("must not be empty")
        return key


NotifyTarget = Annotated[
    AlertmanagerTarget | WebhookTarget | SlackTarget | PagerDutyTarget,
    Field(discriminator="type"),
]
"""One of the kinds of targets."""


class Notify(Settings):
    """Targets by name; each has its own worker and consumer group."""

    targets: dict[str, NotifyTarget] = Field(default_factory=dict)
    """Targets by name; the name is part of the consumer group."""
    external_url: str = ""
    """Where people look at alerts; a link to it stands in notifications."""

    @field_validator("external_url")
    @classmethod
    def _external(cls, url: str) -> str:
        return _checked_url(url) if url else url

    @field_validator("targets")
    @classmethod
    def _names(cls, targets: dict[str, NotifyTarget]) -> dict[str, NotifyTarget]:
        for name in targets:
            if not name or not all(c.isalnum() or c in "_-" for c in name):
                raise ValueError(f"{name!r} is no name of a target: letters, digits, - and _")
        return targets


def _sendable(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no header name")
        if name.lower() in _OUR_HEADERS:
            raise ValueError(f"{name} is set by the notifier itself")
        if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
            raise ValueError(f"the value of {name} has characters that no header may have")
    return headers

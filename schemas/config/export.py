"""The export stage: one worker and one consumer group per backend."""

from __future__ import annotations

import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from ..signals import Signal
from .base import Settings
from .security import ClientTls
from .units import Duration, Size

__all__ = ["Backend", "Export", "Retry"]

_HEADER_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_OUR_HEADERS = frozenset(
    ("content-type", "content-encoding", "content-length", "host", "te", "transfer-encoding",
     "accept-encoding", "user-agent", "connection")
)  # fmt: skip


class Retry(Settings):
    """Exponential backoff with full jitter; a server's own wish comes first."""

    initial: Duration = Field(default=1.0, gt=0, le=600)
    """First pause."""
    multiplier: float = Field(default=1.5, ge=1, le=10)
    """Growth from pause to pause."""
    maximum: Duration = Field(default=30.0, gt=0, le=3600)
    """Longest pause, also for a server's wish."""
    max_elapsed: Duration | None = Field(default=None, gt=0)
    """Give up and dead-letter after this long; unset: as long as it takes, Kafka is the queue."""


class Backend(Settings):
    """One OTLP backend."""

    protocol: Literal["grpc", "http"] = "http"
    """OTLP/gRPC or OTLP/HTTP with protobuf bodies."""
    endpoint: str = "http://127.0.0.1:5318"
    """URL for http (the signal's path is appended), host:port or URL for grpc."""
    signals: tuple[Signal, ...] = tuple(Signal)
    """Signals to send there."""
    compression: Literal["none", "gzip", "zstd"] = "gzip"
    """Compression of requests; zstd for http only, and only where the backend knows it."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Headers (gRPC metadata) sent with each request; values are secrets."""
    tls: ClientTls = ClientTls()
    """TLS towards the backend; an https endpoint enables it."""
    timeout: Duration = Field(default=10.0, gt=0, le=600)
    """A request without an answer by then counts as failed and is retried."""
    max_request: Size = Field(default=1 << 20, ge=1 << 10, le=64 << 20)
    """Consecutive messages are merged up to this size."""
    max_inflight: int = Field(default=4, ge=1, le=1000)
    """Requests under way per partition."""
    max_connections: int = Field(default=8, ge=1, le=1000)
    """Connections to the backend."""
    retry: Retry = Retry()
    """What happens after a retryable failure."""

    @model_validator(mode="after")
    def _speakable(self) -> Self:
        if self.protocol == "grpc" and self.compression == "zstd":
            raise ValueError("compression zstd is for http; grpc speaks none and gzip")
        if self.protocol == "http" and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError("an http endpoint begins with http:// or https://")
        return self

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        url = urlsplit(self.endpoint if "://" in self.endpoint else f"//{self.endpoint}")
        if url.scheme not in ("", "http", "https") or not url.hostname:
            raise ValueError("an endpoint is http://host:port, https://host:port or host:port")
        if url.username or url.password or url.query or url.fragment:
            # Not repeated in the message: it may hold a secret.
            raise ValueError("an endpoint has no user, query or fragment; use headers")
        if self.protocol == "grpc" and (url.port is None or url.path.strip("/")):
            raise ValueError("a grpc endpoint needs a port and has no path")
        return self

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no header name")
            if name.lower() in _OUR_HEADERS or name.lower().startswith("grpc-"):
                raise ValueError(f"{name} is set by the exporter itself")
            if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
                raise ValueError(f"the value of {name} has characters that no header may have")
        return headers


class Export(Settings):
    """Backends by name; each has its own worker and consumer group."""

    backends: dict[str, Backend] = Field(default_factory=lambda: {"default": Backend()})
    """Backends by name; the name is part of the consumer group."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in self.backends:
            if not name or not all(c.isalnum() or c in "_-" for c in name):
                raise ValueError(f"{name!r} is no backend name: letters, digits, - and _")
        return self

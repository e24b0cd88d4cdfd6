"""How Kafka is reached, and the limits of our clients of it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, HttpUrl, SecretStr, field_validator, model_validator

from .base import Settings
from .security import ClientTls
from .units import Duration, Size

__all__ = ["ConsumerSettings", "Kafka", "OAuth", "ProducerSettings", "Sasl"]


class OAuth(Settings):
    """Client credentials grant (RFC 6749 section 4.4) that yields the OAUTHBEARER token."""

    token_url: HttpUrl
    """Token endpoint of the identity provider."""
    client_id: str
    """Client identifier."""
    client_secret: SecretStr
    """Client secret."""
    scope: str | None = None
    """Scopes to ask for, separated by blanks."""
    refresh_before_expiry: Duration = Field(default=60.0, ge=0)
    """A token is renewed this long before it expires."""


class Sasl(Settings):
    """Authentication towards the brokers."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    """SASL mechanism."""
    username: str | None = None
    """User name, for PLAIN and SCRAM."""
    password: SecretStr | None = None
    """Password, for PLAIN and SCRAM."""
    oauth: OAuth | None = None
    """Where the token comes from, for OAUTHBEARER."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.mechanism == "OAUTHBEARER":
            if self.oauth is None:
                raise ValueError("OAUTHBEARER needs oauth")
        elif self.username is None or self.password is None:
            raise ValueError(f"{self.mechanism} needs username and password")
        return self


class ProducerSettings(Settings):
    """What we write: always acks=all, always idempotent."""

    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "zstd"
    """Compression of the record batches."""
    request_timeout: Duration = Field(default=30.0, ge=1, le=600)
    """A message that no broker has acknowledged by then is an error."""
    max_message: Size = Field(default=1_000_000, ge=10_000, le=100_000_000)
    """Largest message we build, uncompressed; at most the topics' max.message.bytes."""
    retry_backoff: Duration = Field(default=0.1, gt=0, le=10)
    """Pause between tries inside the client."""


class ConsumerSettings(Settings):
    """What we read."""

    session_timeout: Duration = Field(default=10.0, ge=1, le=600)
    """A member that is silent for so long loses its partitions."""
    heartbeat_interval: Duration = Field(default=2.0, gt=0, le=60)
    """Heartbeats are sent this often."""
    fetch_max: Size = Field(default=1 << 20, ge=1 << 14, le=1 << 28)
    """Bytes of one partition in one fetch."""
    fetch_response_max: Size = Field(default=16 << 20, ge=1 << 14, le=1 << 30)
    """Bytes of all partitions of a broker in one fetch."""
    fetch_wait: Duration = Field(default=0.25, gt=0, le=10)
    """A broker without news answers after this time."""
    max_poll_records: int = Field(default=16, ge=1, le=10_000)
    """Messages taken from the client in one step."""
    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    """Where a group without a committed offset begins."""
    instance_id: str | None = None
    """group.instance.id for static membership; a restart within the session moves nothing. Workers
    of one supervisor append their number."""

    @model_validator(mode="after")
    def _heartbeat_fits(self) -> Self:
        if self.heartbeat_interval * 3 > self.session_timeout:
            raise ValueError("heartbeat_interval must be at most a third of session_timeout")
        return self


class Kafka(Settings):
    """The cluster."""

    brokers: tuple[str, ...] = ("127.0.0.1:9092",)
    """Bootstrap brokers as host:port: a list, or one text with commas between them."""
    client_id: str = "otlp-streams"
    """client.id, seen in the broker's logs and quotas."""
    group_prefix: str = "otlp-streams"
    """Consumer groups are called PREFIX.STAGE."""
    tls: ClientTls = ClientTls()
    """TLS towards the brokers."""
    sasl: Sasl | None = None
    """Authentication; none when unset."""
    producer: ProducerSettings = ProducerSettings()
    """Our producers."""
    consumer: ConsumerSettings = ConsumerSettings()
    """Our consumers."""

    @field_validator("brokers", mode="before")
    @classmethod
    def _from_text(cls, brokers: object) -> object:
        return [b.strip() for b in brokers.split(",")] if isinstance(brokers, str) else brokers

    @field_validator("brokers")
    @classmethod
    def _host_and_port(cls, brokers: tuple[str, ...]) -> tuple[str, ...]:
        if not brokers:
            raise ValueError("at least one broker is needed")
        for broker in brokers:
            host, _, port = broker.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"{broker!r} is not host:port")
        return brokers

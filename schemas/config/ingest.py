"""The ingest stage: OTLP over gRPC and HTTP, and topics that others write."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from ..signals import Signal
from .base import Settings
from .security import ServerTls
from .topics import check_topic_name
from .units import Duration, Size

__all__ = ["Cors", "GrpcReceiver", "HttpReceiver", "Ingest", "KafkaSource", "split_endpoint"]


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Host and port of ``host:port``; port 0 asks the system for a free one."""
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{endpoint!r} is not host:port")
    return host.strip("[]"), int(port)


class _Listener(Settings):
    enabled: bool = True
    """Listen at all."""
    tls: ServerTls | None = None
    """TLS of the port; plain text when unset."""
    late_after: Duration = Field(default=0.5, gt=0, le=60)
    """A request that is not whole by then is late: late ones share half of inflight_max. Over
    gRPC a late one holds max_request, because gRPC does not tell how much has come."""

    @field_validator("endpoint", check_fields=False)
    @classmethod
    def _is_endpoint(cls, endpoint: str) -> str:
        split_endpoint(endpoint)
        return endpoint


class GrpcReceiver(_Listener):
    """OTLP/gRPC."""

    endpoint: str = "127.0.0.1:4317"
    """Address to listen on, host:port; 0.0.0.0:4317 for every interface."""
    max_concurrent_requests: int = Field(default=256, ge=1, le=100_000)
    """Requests served at once; further ones are told RESOURCE_EXHAUSTED."""
    request_timeout: Duration = Field(default=30.0, gt=0, le=3600)
    """A client that has not sent its whole request by then is told DEADLINE_EXCEEDED."""


class Cors(Settings):
    """Browser clients (Fetch standard, CORS protocol)."""

    allowed_origins: tuple[str, ...] = ()
    """Origins that may send, such as https://shop.example; ``*`` for any; none by default."""
    allowed_headers: tuple[str, ...] = ()
    """Request headers allowed beside the ones OTLP itself needs."""
    max_age: Duration = Field(default=7200.0, ge=0)
    """How long a browser may remember the answer."""


class HttpReceiver(_Listener):
    """OTLP/HTTP, protobuf and JSON on one port."""

    endpoint: str = "127.0.0.1:4318"
    """Address to listen on, host:port."""
    cors: Cors = Cors()
    """Browser clients."""
    request_timeout: Duration = Field(default=30.0, gt=0, le=3600)
    """A client that has not sent its whole request by then is cut off."""
    idle_timeout: Duration = Field(default=120.0, gt=0, le=3600)
    """A connection without a request is closed after this long."""


class KafkaSource(Settings):
    """A topic that others write (a Collector's kafka exporter), to be re-keyed and merged."""

    topic: str
    """Topic to consume."""
    signal: Signal
    """What is on it."""
    encoding: Literal["otlp_proto", "otlp_json"] = "otlp_proto"
    """How it is encoded, in the Collector's words."""

    @field_validator("topic")
    @classmethod
    def _is_legal(cls, topic: str) -> str:
        return check_topic_name(topic)


class Ingest(Settings):
    """Receivers and their way to Kafka."""

    grpc: GrpcReceiver = GrpcReceiver()
    """OTLP/gRPC receiver."""
    http: HttpReceiver = HttpReceiver()
    """OTLP/HTTP receiver."""
    sources: tuple[KafkaSource, ...] = ()
    """Kafka topics to take in beside the ports."""
    source_merge_max: Size = Field(default=1 << 20, ge=0, le=64 << 20)
    """Consecutive messages of a source are divided together up to this size."""
    max_request: Size = Field(default=64 << 20, ge=1 << 10, le=1 << 30)
    """Largest request after decompression."""
    inflight_max: Size = Field(default=256 << 20, ge=1 << 20)
    """Bytes received and not yet acknowledged by Kafka; above it requests are refused."""
    retry_after: Duration = Field(default=1.0, gt=0, le=600)
    """The retry hint that a refused client gets."""
    linger: Duration = Field(default=0.02, ge=0, le=5)
    """Small requests wait at most this long to share a message."""
    partitioner: Literal["fnv1a", "murmur2"] = "fnv1a"
    """Hash from id to partition: the Collector's FNV-1a, or Kafka's murmur2."""
    tenant_header: str | None = None
    """Request header that names the tenant; its messages are never mixed with others'."""
    tenant_max: Size = Field(default=256, ge=1, le=4096)
    """Longest name of a tenant."""
    logs_partition_by: Literal["resource", "trace_id"] = "resource"
    """What decides a log record's partition; trace_id only where a record has one."""
    publish_timeout: Duration = Field(default=8.0, ge=0.1, le=600)
    """A request that Kafka has not acknowledged by then is refused with a retry hint. Shorter
    than the 10 s after which OpenTelemetry SDKs give up, so that they hear the reason."""

"""What ingest says of itself beside what its receivers say."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from .division import Division

__all__ = ["IngestMetrics"]

_LATENCY_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_SIZE_BUCKETS_BYTES = tuple(float(1 << shift) for shift in range(10, 21))


class IngestMetrics:
    """Prometheus metrics of the way from a request to the log."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.items = Counter(
            "otlp_streams_ingest_items",
            "Items by what became of them: taken, or rejected by reason.",
            ("signal", "outcome"),
            registry=registry,
        )
        self.source_items = Counter(
            "otlp_streams_ingest_source_items",
            "Items of foreign topics that were looked at, taken or rejected.",
            ("topic",),
            registry=registry,
        )
        self.messages = Counter(
            "otlp_streams_ingest_messages",
            "Kafka messages by topic and outcome.",
            ("topic", "outcome"),
            registry=registry,
        )
        self.bytes = Counter(
            "otlp_streams_ingest_bytes",
            "Uncompressed bytes of acknowledged messages.",
            ("topic",),
            registry=registry,
        )
        self.refused = Counter(
            "otlp_streams_ingest_refused_requests",
            "Requests turned away with a retry hint, by reason.",
            ("reason",),
            registry=registry,
        )
        self.pending_bytes = Gauge(
            "otlp_streams_ingest_pending_bytes",
            "Bytes accepted and not yet acknowledged by Kafka.",
            registry=registry,
        )
        self.latency = Histogram(
            "otlp_streams_ingest_publish_seconds",
            "From the flush of a message to its acknowledgement.",
            ("topic",),
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.size = Histogram(
            "otlp_streams_ingest_message_bytes",
            "Uncompressed size of a message.",
            ("topic",),
            buckets=_SIZE_BUCKETS_BYTES,
            registry=registry,
        )

        # labels() checks and joins its arguments each time; there are few combinations.
        self._items = cache(self.items.labels)
        self._messages = cache(self.messages.labels)
        self._bytes = cache(self.bytes.labels)
        self._latency = cache(self.latency.labels)
        self._size = cache(self.size.labels)

    def watch_pending(self, pending_bytes: Callable[[], int]) -> None:
        """Let the gauge show what ``pending_bytes`` says when somebody looks."""
        self.pending_bytes.set_function(pending_bytes)

    def count(self, division: Division) -> None:
        """Count the items of a divided request."""
        signal = division.signal
        if taken := division.items - division.rejected:
            self._items(signal, "taken").inc(taken)
        if division.invalid:
            self._items(signal, "invalid_ids").inc(division.invalid)
        if division.oversized:
            self._items(signal, "too_large").inc(len(division.oversized))

    def acknowledged(self, topic: str, size_bytes: int, took_s: float) -> None:
        """Count a message that is on the log; ``took_s`` from its flush."""
        self._messages(topic, "acknowledged").inc()
        self._bytes(topic).inc(size_bytes)
        self._latency(topic).observe(took_s)
        self._size(topic).observe(size_bytes)

    def failed(self, topic: str) -> None:
        """Count a message that Kafka has not acknowledged."""
        self._messages(topic, "failed").inc()

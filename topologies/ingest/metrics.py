"""What ingest says of itself beside what its receivers say."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.signals import Signal

from .division import Division

__all__ = ["IngestMetrics"]

_LATENCY_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_SIZE_BUCKETS_BYTES = tuple(float(1 << shift) for shift in range(10, 21))


class IngestMetrics:
    """Prometheus metrics of the way from a request to the log."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.items = Counter(
            "otlp_streams_ingest_items",
            "Items by what became of them: published, or rejected by reason.",
            ("signal", "outcome"),
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

    def count(self, signal: Signal, division: Division) -> None:
        """Count the items of a divided request."""
        oversized = len(division.oversized)
        for outcome, items in (
            ("divided", division.items - division.invalid - oversized),
            ("invalid_ids", division.invalid),
            ("too_large", oversized),
        ):
            if items:
                self.items.labels(signal=signal.value, outcome=outcome).inc(items)

    def message(
        self, topic: str, size_bytes: int, latency_s: float, error: Exception | None
    ) -> None:
        """Count a message that was acknowledged or failed."""
        outcome = "acknowledged" if error is None else "failed"
        self.messages.labels(topic=topic, outcome=outcome).inc()
        if error is None:
            self.bytes.labels(topic=topic).inc(size_bytes)
            self.latency.labels(topic=topic).observe(latency_s)
            self.size.labels(topic=topic).observe(size_bytes)

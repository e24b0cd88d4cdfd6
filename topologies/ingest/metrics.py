"""What ingest says of itself beside what its receivers say."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from .division import Division

__all__ = ["IngestMetrics", "Outcome"]

_LATENCY_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_SIZE_BUCKETS_BYTES = tuple(float(1 << shift) for shift in range(10, 21))


@dataclass(slots=True)
class Outcome:
    """How publishing a message ended."""

    error: Exception | None = None


class IngestMetrics:
    """Prometheus metrics of the way from a request to the log."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.items = Counter(
            "otlp_streams_ingest_items",
            "Items by what became of them: taken, or rejected by reason.",
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

    def count(self, division: Division) -> None:
        """Count the items of a divided request."""
        for outcome, items in (
            ("taken", division.items - division.rejected),
            ("invalid_ids", division.invalid),
            ("too_large", len(division.oversized)),
        ):
            if items:
                self.items.labels(signal=division.signal.value, outcome=outcome).inc(items)

    @contextlib.contextmanager
    def publishing(self, topic: str, size_bytes: int) -> Iterator[Outcome]:
        """Time a message from its flush to its acknowledgement; the block sets the outcome."""
        outcome, began_s = Outcome(), time.perf_counter()
        yield outcome
        if outcome.error is not None:
            self.messages.labels(topic=topic, outcome="failed").inc()
            return
        self.messages.labels(topic=topic, outcome="acknowledged").inc()
        self.bytes.labels(topic=topic).inc(size_bytes)
        self.latency.labels(topic=topic).observe(time.perf_counter() - began_s)
        self.size.labels(topic=topic).observe(size_bytes)

"""What the receivers say of themselves."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.signals import Signal

from .admission import Admission

__all__ = ["ReceiverMetrics"]

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


class ReceiverMetrics:
    """Prometheus metrics of both servers; one object per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "otlp_streams_receiver_requests",
            "Requests by answer: the gRPC code's name or the HTTP status.",
            ("signal", "transport", "code"),
            registry=registry,
        )
        self.wire_bytes = Counter(
            "otlp_streams_receiver_wire_bytes",
            "Bytes of request bodies as they came, usually compressed.",
            ("signal", "transport"),
            registry=registry,
        )
        self.inflated_bytes = Counter(
            "otlp_streams_receiver_inflated_bytes",
            "Bytes of request bodies after decompression.",
            ("signal", "transport"),
            registry=registry,
        )
        self.rejected_items = Counter(
            "otlp_streams_receiver_rejected_items",
            "Items rejected in partial success.",
            ("signal", "transport"),
            registry=registry,
        )
        self.refused = Counter(
            "otlp_streams_receiver_refused_requests",
            "Requests refused, by reason.",
            ("signal", "transport", "reason"),
            registry=registry,
        )
        self.latency = Histogram(
            "otlp_streams_receiver_request_seconds",
            "From a request's headers to its answer.",
            ("signal", "transport"),
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.inflight_bytes = Gauge(
            "otlp_streams_receiver_inflight_bytes",
            "Bytes reserved for requests that are being served.",
            registry=registry,
        )
        # labels() checks and joins its arguments each time; there are few combinations.
        self._requests = cache(self.requests.labels)
        self._wire_bytes = cache(self.wire_bytes.labels)
        self._inflated_bytes = cache(self.inflated_bytes.labels)
        self._latency = cache(self.latency.labels)

    def watch(self, admission: Admission) -> None:
        """Let the gauge show what ``admission`` has reserved."""
        self.inflight_bytes.set_function(lambda: admission.inflight_bytes)

    def answered(self, signal: Signal | None, transport: str, code: str, latency_s: float) -> None:
        """Count an answer; ``signal`` None where the path named none."""
        name = signal.value if signal else ""
        self._requests(name, transport, code).inc()
        self._latency(name, transport).observe(latency_s)

    def received(self, signal: Signal, transport: str, wire: int, inflated: int) -> None:
        """Count the bytes of a body that was read whole."""
        self._wire_bytes(signal.value, transport).inc(wire)
        self._inflated_bytes(signal.value, transport).inc(inflated)

    def rejected(self, signal: Signal, transport: str, items: int) -> None:
        """Count items that a partial success rejected."""
        self.rejected_items.labels(signal.value, transport).inc(items)

    def refusal(self, signal: Signal | None, transport: str, reason: str) -> None:
        """Count a refused request."""
        self.refused.labels(signal.value if signal else "", transport, reason).inc()

"""What the receivers say of themselves."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from schemas.signals import Signal

from .admission import Admission

__all__ = ["ReceiverMetrics"]

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


class _Traffic:
    """Running totals of one signal on one transport."""

    __slots__ = ("answers", "buckets", "inflated_bytes", "seconds", "wire_bytes")

    def __init__(self) -> None:
        self.answers: Counts[str] = Counts()
        """By code."""
        self.buckets = [0] * (len(_LATENCY_BUCKETS_S) + 1)
        self.seconds = 0.0
        self.wire_bytes = self.inflated_bytes = 0


class ReceiverMetrics(Collector):
    """Prometheus metrics of both servers; one object per registry.

    What every request adds to is kept as plain numbers, which turn into metrics when somebody
    scrapes: the client library's own counters cost as much as all else that is counted.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._traffic: dict[tuple[str, str], _Traffic] = {}
        self._rejected_items = Counter(
            "otlp_streams_receiver_rejected_items",
            "Items rejected in partial success.",
            ("signal", "transport"),
            registry=registry,
        )
        self._refused = Counter(
            "otlp_streams_receiver_refused_requests",
            "Requests refused, by reason.",
            ("signal", "transport", "reason"),
            registry=registry,
        )
        self._inflight_bytes = Gauge(
            "otlp_streams_receiver_inflight_bytes",
            "Bytes reserved for requests that are being served.",
            registry=registry,
        )
        registry.register(self)

    def watch(self, admission: Admission) -> None:
        """Let the gauge show what ``admission`` has reserved."""
        self._inflight_bytes.set_function(lambda: admission.inflight_bytes)

    def answered(self, signal: Signal | None, transport: str, code: str, latency_s: float) -> None:
        """Count an answer; ``signal`` None where the path named none."""
        traffic = self._of(signal or "", transport)
        traffic.answers[code] += 1
        traffic.seconds += latency_s
        traffic.buckets[bisect_left(_LATENCY_BUCKETS_S, latency_s)] += 1

    def received(self, signal: Signal, transport: str, wire: int, inflated: int) -> None:
        """Count the bytes of a body that was read whole."""
        traffic = self._of(signal, transport)
        traffic.wire_bytes += wire
        traffic.inflated_bytes += inflated

    def rejected(self, signal: Signal, transport: str, items: int) -> None:
        """Count items that a partial success rejected."""
        self._rejected_items.labels(signal, transport).inc(items)

    def refusal(self, signal: Signal | None, transport: str, reason: str) -> None:
        """Count a refused request."""
        self._refused.labels(signal or "", transport, reason).inc()

    def collect(self) -> Iterator[Metric]:
        """Requests, bytes and latencies."""
        names = ("signal", "transport")
        requests = CounterMetricFamily(
            "otlp_streams_receiver_requests",
            "Requests by answer: the gRPC code's name or the HTTP status.",
            labels=(*names, "code"),
        )
        wire_bytes = CounterMetricFamily(
            "otlp_streams_receiver_wire_bytes",
            "Bytes of request bodies as they came, usually compressed.",
            labels=names,
        )
        inflated_bytes = CounterMetricFamily(
            "otlp_streams_receiver_inflated_bytes",
            "Bytes of request bodies after decompression.",
            labels=names,
        )
        latency = HistogramMetricFamily(
            "otlp_streams_receiver_request_seconds",
            "From a request's headers to its answer.",
            labels=names,
        )
        bounds = [*map(str, _LATENCY_BUCKETS_S), "+Inf"]
        for key, traffic in self._traffic.items():
            for code, count in traffic.answers.items():
                requests.add_metric((*key, code), count)
            wire_bytes.add_metric(key, traffic.wire_bytes)
            inflated_bytes.add_metric(key, traffic.inflated_bytes)
            counts = map(float, accumulate(traffic.buckets))
            latency.add_metric(key, list(zip(bounds, counts, strict=True)), traffic.seconds)
        yield from (requests, wire_bytes, inflated_bytes, latency)

    def _of(self, signal: str, transport: str) -> _Traffic:
        key = (str(signal), transport)
        traffic = self._traffic.get(key)
        if traffic is None:
            traffic = self._traffic[key] = _Traffic()
        return traffic

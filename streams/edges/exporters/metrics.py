"""What exporters count."""

from __future__ import annotations

from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.signals import Signal

__all__ = ["BackendMetrics", "ExporterMetrics", "ItemMetrics", "SignalMetrics"]

_LATENCY_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class SignalMetrics(NamedTuple):
    """The children of one backend and signal, looked up once."""

    raw_bytes: Counter
    sent_bytes: Counter
    latency: Histogram
    retries: Counter
    rejected: Counter
    unreadable: Counter


class ItemMetrics(NamedTuple):
    """What became of the items of one backend and signal."""

    delivered: Counter
    rejected: Counter
    dead_lettered: Counter


class BackendMetrics:
    """One backend's view of :class:`ExporterMetrics`."""

    def __init__(self, all_backends: ExporterMetrics, backend: str) -> None:
        self._requests = all_backends.requests
        self._backend = backend
        self._outcomes: dict[tuple[Signal, str], Counter] = {}
        self.signals = {
            signal: SignalMetrics(
                raw_bytes=all_backends.raw_bytes.labels(backend, signal.value),
                sent_bytes=all_backends.sent_bytes.labels(backend, signal.value),
                latency=all_backends.latency.labels(backend, signal.value),
                retries=all_backends.retries.labels(backend, signal.value),
                rejected=all_backends.rejected.labels(backend, signal.value),
                unreadable=all_backends.unreadable.labels(backend, signal.value),
            )
            for signal in Signal
        }
        self.items = {
            signal: ItemMetrics(
                *(all_backends.items.labels(backend, signal.value, o) for o in ItemMetrics._fields)
            )
            for signal in Signal
        }
        self.inflight = all_backends.inflight.labels(backend)
        self.up = all_backends.up.labels(backend)
        self.up.set(1)
        self.opened = all_backends.opened.labels(backend)

    def answered(self, signal: Signal, outcome: str) -> None:
        """Count one request; ``outcome`` is ok, partial, or the code that came instead."""
        key = (signal, outcome)
        counter = self._outcomes.get(key)
        if counter is None:
            counter = self._requests.labels(self._backend, signal.value, outcome)
            self._outcomes[key] = counter
        counter.inc()

    def circuit(self, is_open: bool) -> None:
        """Note that the backend's circuit opened or closed."""
        self.up.set(0 if is_open else 1)
        if is_open:
            self.opened.inc()


class ExporterMetrics:
    """Prometheus metrics of all exporters of a process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by_signal = ("backend", "signal")
        self.requests = Counter(
            "otlp_streams_export_requests",
            "Requests by outcome: ok, partial, unavailable or refused.",
            (*by_signal, "outcome"),
            registry=registry,
        )
        self.items = Counter(
            "otlp_streams_export_items",
            "Items by outcome: delivered, rejected in a partial success, or dead_lettered (a "
            "malformed message's cannot be counted; see otlp_streams_dead_letters_total).",
            (*by_signal, "outcome"),
            registry=registry,
        )
        self.raw_bytes = Counter(
            "otlp_streams_export_uncompressed_bytes",
            "Bytes of requests before compression, retries included.",
            by_signal,
            registry=registry,
        )
        self.sent_bytes = Counter(
            "otlp_streams_export_sent_bytes",
            "Bytes of request bodies as sent, retries included.",
            by_signal,
            registry=registry,
        )
        self.latency = Histogram(
            "otlp_streams_export_request_seconds",
            "From the request to its answer, compression included.",
            by_signal,
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.retries = Counter(
            "otlp_streams_export_retries",
            "Requests sent again after a retryable failure.",
            by_signal,
            registry=registry,
        )
        self.rejected = Counter(
            "otlp_streams_export_rejected_items",
            "Items that backends rejected in partial successes.",
            by_signal,
            registry=registry,
        )
        self.unreadable = Counter(
            "otlp_streams_export_unreadable_answers",
            "Answers of success whose body could not be read; taken as full success.",
            by_signal,
            registry=registry,
        )
        self.inflight = Gauge(
            "otlp_streams_export_inflight_requests",
            "Requests under way.",
            ("backend",),
            registry=registry,
        )
        self.up = Gauge(
            "otlp_streams_export_backend_up",
            "0 while a backend's circuit is open, else 1.",
            ("backend",),
            registry=registry,
        )
        self.opened = Counter(
            "otlp_streams_export_circuit_opened",
            "How often a backend was given up on for the time being.",
            ("backend",),
            registry=registry,
        )

    def of(self, backend: str) -> BackendMetrics:
        """The view of one backend."""
        return BackendMetrics(self, backend)

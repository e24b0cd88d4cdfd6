"""The backend of the demonstration: takes everything and writes it into the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from prometheus_client import CollectorRegistry

from schemas.config import HttpReceiver
from schemas.signals import Signal
from streams.edges.receivers import Accepted, Admission, HttpServer, ReceiverMetrics
from streams.windows.encoding import SCOPE

from .ledger import Ledger

__all__ = ["backend", "without_windows"]

_MAX_REQUEST_BYTES = 64 << 20
_INFLIGHT_MAX_BYTES = 256 << 20
_GRACE_S = 2.0


def without_windows(data: bytes) -> tuple[bytes, int]:
    """A request without what was made of other telemetry here, and how many points that was."""
    request = ExportMetricsServiceRequest.FromString(data)
    points = 0
    for resource in request.resource_metrics:
        ours = [each for each in resource.scope_metrics if each.scope.name == SCOPE]
        for scope in ours:
            for metric in scope.metrics:
                if (kind := metric.WhichOneof("data")) is not None:
                    points += len(getattr(metric, kind).data_points)
            resource.scope_metrics.remove(scope)
    return request.SerializeToString(), points


@asynccontextmanager
async def backend(endpoint: str, ledger: Ledger) -> AsyncIterator[HttpServer]:
    """OTLP/HTTP on ``endpoint`` (host:port)."""

    async def accept(signal: Signal, data: bytes, _: Mapping[str, str]) -> Accepted:
        if signal is Signal.METRICS and SCOPE.encode() in data:
            data, points = without_windows(data)
            ledger.aggregated += points
        ledger.arrived(signal, data)
        return Accepted()

    server = HttpServer(
        HttpReceiver(endpoint=endpoint),
        accept,
        max_request_bytes=_MAX_REQUEST_BYTES,
        admission=Admission(_INFLIGHT_MAX_BYTES),
        metrics=ReceiverMetrics(CollectorRegistry()),
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop(_GRACE_S)

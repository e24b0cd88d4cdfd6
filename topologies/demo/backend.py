"""The backend of the demonstration: takes everything and writes it into the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from schemas.config import HttpReceiver
from schemas.signals import Signal
from streams.edges.receivers import Accepted, Admission, HttpServer, ReceiverMetrics

from .ledger import Ledger

__all__ = ["backend"]

_MAX_REQUEST_BYTES = 64 << 20
_INFLIGHT_MAX_BYTES = 256 << 20
_GRACE_S = 2.0


@asynccontextmanager
async def backend(endpoint: str, ledger: Ledger) -> AsyncIterator[HttpServer]:
    """OTLP/HTTP on ``endpoint`` (host:port)."""

    async def accept(signal: Signal, data: bytes, _: Mapping[str, str]) -> Accepted:
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

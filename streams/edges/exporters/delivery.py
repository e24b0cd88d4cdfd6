"""From one try to a delivery: retry, circuit, metrics and the log around an exporter."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from schemas.config import Backend
from schemas.errors import BackendRefused, BackendUnavailable, RetriesExhausted
from schemas.signals import Signal

from .answers import Exported
from .circuit import Circuit
from .metrics import BackendMetrics
from .otlp_grpc import GrpcExporter
from .otlp_http import HttpExporter
from .retry import Backoff

__all__ = ["Delivery", "Exporter", "create_exporter"]

_LOG_EVERY_S = 10.0
"""A backend's warnings are logged at most this often per signal; the metrics count all."""

_log = structlog.get_logger(__name__)


class Exporter(Protocol):
    """Sends requests to one backend, one try a call."""

    async def start(self) -> None:
        """Make ready; connects nothing yet."""

    async def stop(self) -> None:
        """Close all connections."""

    async def export(self, signal: Signal, data: bytes) -> Exported:
        """Send one ``Export*ServiceRequest``.

        Raises BackendUnavailable (again later, perhaps at a given time) or BackendRefused.
        """


def create_exporter(backend: Backend, metrics: BackendMetrics | None = None) -> Exporter:
    """The exporter that a backend's protocol asks for. Raises ConfigurationError."""
    return (GrpcExporter if backend.protocol == "grpc" else HttpExporter)(backend, metrics)


class Delivery:
    """Delivers to one backend until it has the data, has refused it, or time is up."""

    def __init__(
        self,
        name: str,
        backend: Backend,
        metrics: BackendMetrics,
        *,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._retry = backend.retry
        self._metrics = metrics
        # Jitter wants to differ between processes; it is no secret.
        self._rng = rng or random.Random()  # noqa: S311
        self._clock = clock
        self._exporter = create_exporter(backend, metrics)
        self._circuit = Circuit(backend.retry, self._rng, self._on_circuit, clock)
        self._last_error = ""
        self._logged_s: dict[Signal, float] = {}

    async def start(self) -> None:
        """Make the exporter ready."""
        await self._exporter.start()

    async def stop(self) -> None:
        """Close the exporter."""
        await self._exporter.stop()

    @property
    def is_up(self) -> bool:
        """Whether the backend answers, as far as is known."""
        return not self._circuit.is_open

    async def deliver(
        self, signal: Signal, parts: Sequence[bytes], *, started_s: float | None = None
    ) -> Exported:
        """Send requests as one, as often as the retry settings say.

        Protobuf messages one after the other are their merged message. They are joined for each
        try only: what waits for a dead backend is not kept twice.

        Args:
            signal: what they are.
            parts: serialized requests. Several must each be whole (``wire.count`` says so): of
                one that is cut off its neighbour would become a part.
            started_s: when the first try was, on the clock given; now if unset.

        Raises BackendRefused, or RetriesExhausted after ``max_elapsed``.
        """
        backoff = Backoff(self._retry, self._rng, self._clock, started_s=started_s)
        while True:
            try:
                # A request that waits for another's probe gives up when its own time is up.
                async with asyncio.timeout(backoff.left_s() if self._circuit.is_open else None):
                    permit = await self._circuit.permit()
            except TimeoutError:
                raise self._exhausted() from None
            try:
                with permit:
                    return await self._try(signal, parts)
            except BackendUnavailable as error:
                pause_s = backoff.pause(error.retry_after_s)
            if pause_s is None:
                raise self._exhausted()
            self._metrics.signals[signal].retries.inc()
            if not self._circuit.is_open:  # an open circuit makes its own pauses
                await asyncio.sleep(pause_s)

    def _exhausted(self) -> RetriesExhausted:
        return RetriesExhausted(
            f"not taken within {self._retry.max_elapsed:g} s; last: {self._last_error}"
        )

    async def _try(self, signal: Signal, parts: Sequence[bytes]) -> Exported:
        metrics = self._metrics.signals[signal]
        metrics.raw_bytes.inc(sum(map(len, parts)))
        self._metrics.inflight.inc()
        began_s = self._clock()
        outcome = "cancelled"
        try:
            exported = await self._exporter.export(signal, b"".join(parts))
            outcome = "partial" if exported.rejected else "ok"
        except BackendUnavailable as error:
            outcome = "unavailable"
            self._last_error = str(error)
            raise
        except BackendRefused:
            outcome = "refused"
            raise
        finally:
            self._metrics.inflight.dec()
            self._metrics.answered(signal, outcome)
            metrics.latency.observe(self._clock() - began_s)
        if exported.rejected or exported.message:
            self._warn(signal, exported)
        return exported

    def _warn(self, signal: Signal, exported: Exported) -> None:
        self._metrics.signals[signal].rejected.inc(exported.rejected)
        now_s = self._clock()
        if now_s - self._logged_s.get(signal, -_LOG_EVERY_S) >= _LOG_EVERY_S:
            self._logged_s[signal] = now_s
            _log.warning(
                "backend accepted in part" if exported.rejected else "backend warns",
                backend=self._name,
                signal=signal.value,
                rejected=exported.rejected,
                message=exported.message,
            )

    def _on_circuit(self, is_open: bool) -> None:
        self._metrics.circuit(is_open)
        if is_open:
            _log.warning("backend is away", backend=self._name, error=self._last_error)
        else:
            _log.info("backend is back", backend=self._name)

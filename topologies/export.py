"""The export stage: one worker and one consumer group per backend.

    otlp_spans.out | otlp_metrics.out | otlp_logs.out  ->  an OTLP backend, or the dead letters

``run(config, backend)`` is the whole worker; several run in one process each. A backend that
is away holds up its own lanes only: requests wait for the circuit (one of them probes), the
lanes stop fetching at ``runtime.lane_max``, and the committed offset is the queue.

Values that share a call are joined by concatenation. Who wrote them is not known, so each is
checked before (``wire.count``): one that is cut off would take its neighbours with it.

What a delivery ends in: the backend has it (partial success too: counted, logged, never sent
again), or a PermanentError, upon which the runtime looks for the culprit and dead-letters it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from schemas.batches import Batch
from schemas.config import Config
from schemas.errors import PermanentError, RetriesExhausted
from schemas.signals import Signal
from streams import wire
from streams.edges.exporters import BackendMetrics, Delivery, ExporterMetrics
from streams.edges.platform import create_registry
from topologies.runtime import Stage, serve

__all__ = ["ExportSink", "run", "stage"]


class ExportSink:
    """Delivers one partition's batches. Values are requests, and concatenated still are one."""

    def __init__(
        self,
        signal: Signal,
        delivery: Delivery,
        metrics: BackendMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._signal = signal
        self._delivery = delivery
        self._items = metrics.items[signal]
        self._clock = clock
        self._began_s: dict[int, float] = {}

    async def deliver(self, batches: Sequence[Batch]) -> None:
        """Return when the backend has them.

        Raises MalformedMessage (before anything is sent), BackendRefused or RetriesExhausted.

        After RetriesExhausted of several, parts of them come again, in the end each alone: a part
        is tried once more, its ``max_elapsed`` does not begin anew.
        """
        parts = [batch.value for batch in batches if batch.value]
        if not parts:
            return
        known = [batch.offset for batch in batches if batch.offset in self._began_s]
        began_s = min((self._began_s.pop(offset) for offset in known), default=self._clock())
        items = 0
        try:
            items = sum(wire.count(self._signal, part) for part in parts)
            exported = await self._delivery.deliver(self._signal, parts, started_s=began_s)
        except PermanentError as error:
            if len(batches) == 1:
                self._items.dead_lettered.inc(items)
            elif known or isinstance(error, RetriesExhausted):
                self._began_s.update((batch.offset, began_s) for batch in batches)
            raise
        rejected = min(exported.rejected, items)
        self._items.delivered.inc(items - rejected)
        self._items.rejected.inc(rejected)


def stage(config: Config, backend: str, delivery: Delivery, metrics: BackendMetrics) -> Stage:
    """The table of one backend's worker."""
    settings = config.export.backends[backend]
    signals = {config.topics.names.out(signal): signal for signal in settings.signals}

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        await asyncio.to_thread(wire.warm_up, counting_only=True)
        await delivery.start()
        try:
            yield
        finally:
            await delivery.stop()

    return Stage(
        name=f"export.{backend}",
        topics=tuple(signals),
        sink=lambda topic, _partition: ExportSink(signals[topic], delivery, metrics),
        max_inflight=settings.max_inflight,
        merge_max_bytes=settings.max_request,
        lifespan=lifespan,
    )


async def run(config: Config, backend: str) -> None:
    """Export to ``backend`` until SIGTERM."""
    registry = create_registry()
    metrics = ExporterMetrics(registry).of(backend)
    delivery = Delivery(backend, config.export.backends[backend], metrics)
    await serve(stage(config, backend, delivery, metrics), config, registry=registry)

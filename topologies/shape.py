"""The shape stage: signals on their way from where they came to where exporters read.

otlp_spans | otlp_metrics | otlp_logs  ->  otlp_spans.out | otlp_metrics.out | otlp_logs.out
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from schemas.config import Config
from schemas.operators import Operator
from streams import wire
from streams.edges.platform import create_registry
from streams.shaping import PassThrough
from topologies.runtime import Stage, serve

__all__ = ["run", "stage"]


def stage(config: Config) -> Stage:
    """The table of the worker."""
    names = config.topics.names
    signals = {names.of(signal): signal for signal in config.shaped}
    max_bytes = config.kafka.producer.max_message

    def operators(topic: str, _partition: int, _partitions: int) -> tuple[Operator, ...]:
        return (PassThrough(names.out(signals[topic]), max_bytes),)

    def scan(topic: str, value: bytes) -> wire.Scan:
        # A wrong id is for the backend to judge: it does not make the rest of a batch unreadable.
        return wire.scan(signals[topic], value, strict_ids=False)

    return Stage(
        name="shape",
        topics=tuple(signals),
        operators=operators,
        scan=scan,
        merge_outputs=True,
        outputs=tuple(names.out(signal) for signal in signals.values()),
        lifespan=_warm,
    )


@asynccontextmanager
async def _warm() -> AsyncIterator[None]:
    """Kernels are compiled or loaded before the first message, not under it."""
    await asyncio.to_thread(wire.warm_up)
    yield


async def run(config: Config) -> None:
    """Shape until SIGTERM."""
    await serve(stage(config), config, registry=create_registry())

"""The shape stage: signals on their way from where they came to where exporters read.

otlp_spans | otlp_metrics | otlp_logs  ->  otlp_spans.out | otlp_metrics.out | otlp_logs.out,
and what they add to windows to windows.partials
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from schemas.config import Config
from schemas.operators import Operator
from streams import wire
from streams.edges.platform import create_registry
from streams.shaping import PassThrough
from topologies.runtime import Stage, serve
from topologies.warming import warmed
from topologies.windowing import PartialsHost

__all__ = ["run", "stage"]


def stage(config: Config, registry: CollectorRegistry) -> Stage:
    """The table of the worker; its metrics appear in ``registry``."""
    names = config.topics.names
    signals = {names.of(signal): signal for signal in config.shaped}
    max_bytes = config.kafka.producer.max_message
    partials = PartialsHost(config, registry)

    def operators(topic: str, partition: int, partitions: int) -> tuple[Operator, ...]:
        signal = signals[topic]
        return (
            PassThrough(names.out(signal), max_bytes),
            *partials.operators(signal, topic, partition, partitions),
        )

    def scan(topic: str, value: bytes) -> wire.Scan:
        # A wrong id is for the backend to judge: it does not make the rest of a batch unreadable.
        return wire.scan(signals[topic], value, strict_ids=False)

    def warm_up(_: Config) -> None:
        wire.warm_up()
        partials.warm_up(*signals.values())

    return Stage(
        name="shape",
        topics=tuple(signals),
        operators=operators,
        scan=scan,
        merge_outputs=True,
        outputs=(*(names.out(signal) for signal in signals.values()), *partials.outputs),
        kept=partials.outputs,
        lifespan=lambda: warmed(warm_up, config),
    )


async def run(config: Config) -> None:
    """Shape until SIGTERM."""
    registry = create_registry()
    await serve(stage(config, registry), config, registry=registry)

"""The windows stage: what sources add to windows, merged; each window is told once.

windows.partials  ->  windows; for backends otlp_metrics.out
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from schemas.config import Config
from schemas.operators import Operator
from streams.edges.platform import create_registry
from streams.windows.counts_windows import WindowCounts
from streams.windows.records import decode
from streams.windows.windows import Windows
from topologies.runtime import Stage, serve
from topologies.warming import warmed
from topologies.windowing import WindowConcerns, WindowMetrics
from topologies.windowing.warming import warm_up_windows

__all__ = ["run", "stage"]


def stage(config: Config, registry: CollectorRegistry) -> Stage:
    """The table of the worker; its metrics appear in ``registry``."""
    names = config.topics.names
    counts = WindowCounts()
    WindowMetrics(registry, counts)

    def operators(_topic: str, partition: int, _partitions: int) -> tuple[Operator, ...]:
        operator = Windows(
            config.windows,
            topics={"spans": names.spans, "logs": names.logs, "metrics": names.metrics},
            output=names.windows,
            export=names.metrics_out,
            partition=partition,
            max_bytes=config.kafka.producer.max_message,
            counts=counts,
        )
        return (operator,)

    return Stage(
        name="windows",
        topics=(names.windows_partials,),
        operators=operators,
        scan=lambda _topic, value: decode(value),
        outputs=(names.windows, names.metrics_out),
        kept=(names.metrics_out,),
        lifespan=lambda: warmed(warm_up_windows, config),
        warnings=WindowConcerns(counts),
    )


async def run(config: Config) -> None:
    """Make windows until SIGTERM."""
    registry = create_registry()
    await serve(stage(config, registry), config, registry=registry)

"""The detect stage: what is unusual in windows, and what rules make of it.

windows  ->  alerts; every change to alerts.state
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from schemas.config import Config
from schemas.operators import Operator
from streams.alerts.counts import DetectCounts
from streams.alerts.detect import Detect
from streams.alerts.rules import builtin_left_out
from streams.edges.platform import create_registry
from topologies.detection import DetectConcerns, DetectMetrics
from topologies.detection.warming import warm_up_detect
from topologies.runtime import Stage, serve
from topologies.warming import warmed

__all__ = ["run", "stage"]


def stage(config: Config, registry: CollectorRegistry) -> Stage:
    """The table of the worker; its metrics appear in ``registry``."""
    names = config.topics.names
    counts = DetectCounts()
    metrics = DetectMetrics(registry, counts)

    def operators(_topic: str, partition: int, partitions: int) -> tuple[Operator, ...]:
        operator = Detect(
            config.alerts,
            config.windows,
            config.anomaly,
            alerts_topic=names.alerts,
            state_topic=names.alerts_state,
            partition=partition,
            partitions=partitions,
            counts=counts,
            closed=metrics.closed,
        )
        return (operator,)

    return Stage(
        name="detect",
        topics=(names.windows,),
        operators=operators,
        # No scan: the operator passes over windows that no rule looks at.
        outputs=(names.alerts, names.alerts_state),
        kept=(names.alerts,),
        lifespan=lambda: warmed(warm_up_detect, config),
        warnings=DetectConcerns(counts, builtin_left_out(config.alerts, config.windows)),
    )


async def run(config: Config) -> None:
    """Detect until SIGTERM."""
    registry = create_registry()
    await serve(stage(config, registry), config, registry=registry)

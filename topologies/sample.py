"""The sample stage: which traces are kept, decided from what their spans say and held by none.

otlp_spans  ->  sampling.decisions; spans on the wrong partition go back to otlp_spans,
and what all of them, kept or not, add to windows to windows.partials
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from schemas.config import Config
from schemas.operators import Operator
from schemas.signals import Signal
from streams import wire
from streams.edges.platform import create_registry
from streams.sampling.counts import SampleCounts
from streams.sampling.sample import Sample
from topologies.runtime import Stage, serve
from topologies.sampling import SampleMetrics, Targets, concerns_of
from topologies.sampling.letters import dead_letters
from topologies.sampling.warming import warm_up_sample
from topologies.warming import warmed
from topologies.windowing import PartialsHost

__all__ = ["run", "stage"]


def stage(config: Config, registry: CollectorRegistry) -> Stage:
    """The table of the worker; its metrics appear in ``registry``."""
    names = config.topics.names
    counts = SampleCounts(keys_max=config.telemetry.sampling_keys_max)
    SampleMetrics(registry, counts, Targets(config.sampling, counts.adjusted.get))

    partials = PartialsHost(config, registry)

    def operators(topic: str, partition: int, partitions: int) -> tuple[Operator, ...]:
        operator = Sample(
            config.sampling,
            source=topic,
            decisions=names.decisions,
            partition=partition,
            partitions=partitions,
            partitioner=config.ingest.partitioner,
            counts=counts,
            dead_letter=dead_letters(config, "sample"),
        )
        return operator, *partials.operators(Signal.TRACES, topic, partition, partitions)

    def warm_up(config: Config) -> None:
        warm_up_sample(config)
        partials.warm_up(Signal.TRACES)

    return Stage(
        name="sample",
        topics=(names.spans,),
        operators=operators,
        # A wrong id is one span's fault: it does not make the rest of a batch unreadable.
        scan=lambda _topic, value: wire.scan_traces(value, strict_ids=False),
        outputs=(names.decisions, *partials.outputs),
        kept=partials.outputs,
        lifespan=lambda: warmed(warm_up, config),
        warnings=concerns_of(counts, names.spans),
    )


async def run(config: Config) -> None:
    """Sample until SIGTERM."""
    registry = create_registry()
    await serve(stage(config, registry), config, registry=registry)

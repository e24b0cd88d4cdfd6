"""The emit stage: kept spans, read again from where they came, on their way to the exporters.

sampling.decisions, and ranges of otlp_spans that its work orders name  ->  otlp_spans.out
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from schemas.config import Config
from schemas.operators import Operator
from streams.edges.platform import create_registry
from streams.sampling.counts import EmitCounts
from streams.sampling.emit import Emit
from streams.sampling.records import VerdictRecord, WorkOrder, decode
from topologies.runtime import SourceRange, Stage, serve
from topologies.sampling import EmitMetrics, concerns_of
from topologies.sampling.letters import dead_letters
from topologies.sampling.warming import warm_up_emit
from topologies.warming import warmed

__all__ = ["run", "stage"]

READS_MIN_BYTES = 256 << 20
"""Ranges up to this size are read whatever sampling.order_source_max says now: an order may have
been written when it was more."""


def stage(config: Config, registry: CollectorRegistry) -> Stage:
    """The table of the worker; its metrics appear in ``registry``."""
    names = config.topics.names
    counts = EmitCounts()
    metrics = EmitMetrics(registry, counts)

    def taken(order: WorkOrder, root_ends_ns: NDArray[np.uint64]) -> None:
        metrics.taken(order, root_ends_ns, time.time_ns() // 1_000_000)

    def operators(_topic: str, _partition: int, _partitions: int) -> tuple[Operator, ...]:
        operator = Emit(
            output=names.spans_out,
            max_bytes=config.kafka.producer.max_message,
            partitioner=config.ingest.partitioner,
            counts=counts,
            dead_letter=dead_letters(config, "emit"),
            taken=taken,
        )
        return (operator,)

    return Stage(
        name="emit",
        topics=(names.decisions,),
        operators=operators,
        scan=lambda _topic, value: decode(value),
        reads=_range,
        reads_topics=(names.spans,),
        reads_max_bytes=max(READS_MIN_BYTES, 4 * config.sampling.order_source_max),
        outputs=(names.spans_out,),
        lifespan=lambda: warmed(warm_up_emit, config),
        warnings=concerns_of(counts, names.spans),
    )


def _range(record: VerdictRecord | WorkOrder) -> SourceRange | None:
    """What is read for a record: nothing for verdicts, nor for an order without kept traces."""
    if isinstance(record, WorkOrder) and len(record.traces.policy):
        return SourceRange(record.topic, record.partition, record.start, record.stop)
    return None


async def run(config: Config) -> None:
    """Emit until SIGTERM."""
    registry = create_registry()
    await serve(stage(config, registry), config, registry=registry)

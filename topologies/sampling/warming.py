"""Everything that the two stages compile or load, before their first message and not under it."""

from __future__ import annotations

from schemas.batches import Batch
from schemas.config import Config
from schemas.operators import Scanned, Source
from streams import wire
from streams.sampling.emit import Emit
from streams.sampling.records import WorkOrder, decode
from streams.sampling.sample import Sample
from streams.sampling.warming import warm_up_tables

__all__ = ["warm_up"]

# One span that has ended: resource, scope, span with trace id, span id, name and times.
_SPAN = bytes.fromhex(
    "0a10" + "01" * 16 + "1208" + "02" * 8 + "2a0161" + "390100000000000000" + "410200000000000000"
)
_SCOPE = bytes([0x12, len(_SPAN)]) + _SPAN
_RESOURCE = bytes([0x12, len(_SCOPE)]) + _SCOPE
_REQUEST = bytes([0x0A, len(_RESOURCE)]) + _RESOURCE


def warm_up(config: Config) -> None:
    """Take one span through both operators, a restart in between; what they make of it is lost."""
    wire.warm_up()
    warm_up_tables()
    settings = config.sampling.model_copy(update={"max_open_traces": 1})

    def sample() -> Sample:
        return Sample(
            settings, source="s", decisions="d", partition=0, partitions=1,
            partitioner=config.ingest.partitioner,
        )  # fmt: skip

    operator = sample()
    batch = Batch("s", 0, 0, 0, None, _REQUEST, ())
    outcomes = [
        operator.process(Scanned(batch, wire.scan_traces(_REQUEST, strict_ids=False))),
        operator.tick(1 << 40),
    ]
    values = [record.value for outcome in outcomes for record in outcome.records]
    again = sample()
    again.restore(iter(sample().snapshot()))
    emit = Emit(output="o", max_bytes=config.kafka.producer.max_message)
    for offset, value in enumerate(values):
        record = Batch("d", 0, offset, 0, None, value, ())
        again.recall(record)
        order = decode(value)
        if isinstance(order, WorkOrder):
            emit.process(Scanned(record, order, source=Source(0, [batch])))

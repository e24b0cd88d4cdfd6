"""What the two stages compile or load, before their first message and not under it.

One span goes through the operator, a restart in between; what it makes of it is lost.
"""

from __future__ import annotations

import numpy as np

from schemas.batches import Batch
from schemas.config import Config
from schemas.operators import Scanned, Source
from streams import wire
from streams.sampling.emit import Emit
from streams.sampling.records import OrderedTraces, WorkOrder

__all__ = ["warm_up_emit", "warm_up_sample"]

_ID = 0x0101010101010101
# Resource, scope, and a span with trace id, span id, name and times.
_SPAN = bytes.fromhex(
    "0a10" + "01" * 16 + "1208" + "02" * 8 + "2a0161" + "390100000000000000" + "410200000000000000"
)
_SCOPE = bytes([0x12, len(_SPAN)]) + _SPAN
_RESOURCE = bytes([0x12, len(_SCOPE)]) + _SCOPE
_REQUEST = bytes([0x0A, len(_RESOURCE)]) + _RESOURCE
_BATCH = Batch("s", 0, 0, 0, None, _REQUEST, ())
_END_MS = 1 << 40


def warm_up_sample(config: Config) -> None:
    """Decide about one trace, and recall it."""
    # The other stage needs none of this: a few megabytes.
    from streams.sampling.sample import Sample  # noqa: PLC0415
    from streams.sampling.warming import warm_up_tables  # noqa: PLC0415

    wire.warm_up("facts")
    warm_up_tables()

    def sample() -> Sample:
        return Sample(
            config.sampling, source="s", decisions="d", partition=0, partitions=1,
            partitioner=config.ingest.partitioner,
        )  # fmt: skip

    operator = sample()
    scanned = Scanned(_BATCH, wire.scan_traces(_REQUEST, strict_ids=False))
    outcomes = [operator.process(scanned), operator.tick(_END_MS)]
    again = sample()
    again.restore(iter(operator.snapshot()))
    for outcome in outcomes:
        for record in outcome.records:
            again.recall(Batch("d", 0, 0, 0, None, record.value, ()))


def warm_up_emit(config: Config) -> None:
    """Carry out an order about one trace."""
    wire.warm_up("sampled")
    ids, zeros = np.array([_ID], np.uint64), np.zeros(1, np.uint64)
    traces = OrderedTraces(ids, ids, np.zeros(1, np.int32), zeros, np.zeros(1, np.uint8))
    order = WorkOrder("s", 0, 0, 1, 0, 0, ("p",), traces)
    record = Batch("d", 0, 0, 0, None, b"", ())
    emit = Emit(output="o", max_bytes=config.kafka.producer.max_message)
    outcome = emit.process(Scanned(record, order, source=Source(0, [_BATCH])))
    assert outcome.records  # noqa: S101 - else it has not seen the span

"""What somebody should look at while sampling works on: shown by ``/readyz``."""

from __future__ import annotations

import time
from collections.abc import Callable

from streams.sampling.counts import EmitCounts, SampleCounts
from topologies.concerns import Concerns

__all__ = ["concerns_of"]

_SAMPLE = {
    "wrong_partition_spans": "{count:,} spans came on a partition that is not their trace's: "
    "whoever writes to {topic} chooses another than ingest.partitioner; they are sent there",
    "set_back_s": "the broker's time ran back by {count:,} s on {topic}: sampling's goes on from "
    "where it was, and is ahead by as much; look at the brokers' clocks",
    "returned_spans": "{count:,} spans were sent here by a worker that sees another number of "
    "partitions of {topic}",
}
_EMIT = {
    "removed_offsets": "{count:,} offsets of {topic} were removed before emit could read them: "
    "their spans are lost (topics.retention)",
}


def concerns_of(
    counts: SampleCounts | EmitCounts, topic: str, clock: Callable[[], float] = time.monotonic
) -> Concerns:
    """Counts of a stage that should not grow; ``topic`` is the spans'."""
    texts = _SAMPLE if isinstance(counts, SampleCounts) else _EMIT
    return Concerns(counts, texts, {"topic": topic}, clock)

"""Follows ``sampling.decisions``, for the ledger."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from schemas.config import Config
from streams.sampling import consistent
from streams.sampling.records import VerdictRecord, decode

from .following import following
from .sampled import Verdict

__all__ = ["decided_by", "verdicts"]

Decided = Callable[[bytes, Verdict], None]


def verdicts(record: VerdictRecord) -> Iterator[tuple[bytes, Verdict]]:
    """Trace id and verdict of each trace of a record."""
    traces, groups = record.traces, record.groups
    counts = consistent.adjusted_count(record.thresholds)
    for high, low, group, kept, count in zip(
        traces.trace_id_high.tolist(),
        traces.trace_id_low.tolist(),
        traces.group.tolist(),
        traces.kept.tolist(),
        counts.tolist(),
        strict=True,
    ):
        policy = record.policies[int(groups.policy[group])]
        known = kept and not math.isnan(count)
        trace_id = high.to_bytes(8, "big") + low.to_bytes(8, "big")
        yield trace_id, Verdict(kept, policy, count if known else None)


@contextlib.asynccontextmanager
async def decided_by(config: Config, decided: Decided) -> AsyncIterator[None]:
    """Call ``decided`` for every verdict from the topic's begin on, while the block runs.

    Raises:
        BrokerUnavailable, MalformedRecord: at the end of the block.
    """

    def taken(each: Any) -> None:
        record = decode(each.value or b"")
        if isinstance(record, VerdictRecord):
            for trace_id, verdict in verdicts(record):
                decided(trace_id, verdict)

    topic = config.topics.names.decisions
    async with following(config, {topic: config.topics.partitions}, taken):
        yield

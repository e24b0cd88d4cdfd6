"""Follows ``sampling.decisions``, for the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterator

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from schemas.config import Config
from schemas.errors import OtlpStreamsError
from streams.sampling import consistent
from streams.sampling.records import VerdictRecord, decode
from topologies.kafka import as_ours, create_consumer, start_client

from .sampled import Verdict

__all__ = ["following", "verdicts"]

_POLL_MS = 200
_LAST_S = 5.0
"""Time in which the rest is read once nobody writes any more."""

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
async def following(config: Config, decided: Decided) -> AsyncIterator[None]:
    """Call ``decided`` for every verdict from the topic's begin on, while the block runs.

    What was written by the end of the block is read before it is left.

    Raises:
        BrokerUnavailable, MalformedRecord: at the end of the block.
    """
    consumer = create_consumer(config.kafka, auto_offset_reset="earliest")
    await start_client(consumer, config.kafka)
    try:
        topic = config.topics.names.decisions
        places = [TopicPartition(topic, number) for number in range(config.topics.partitions)]
        consumer.assign(places)
        last: dict[TopicPartition, int] = {}

        async def follow() -> None:
            while not last or any([await consumer.position(p) < last[p] for p in places]):
                for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                    for each in records:
                        record = decode(each.value or b"")
                        if isinstance(record, VerdictRecord):
                            for trace_id, verdict in verdicts(record):
                                decided(trace_id, verdict)

        task = asyncio.create_task(follow())
        try:
            yield
            last.update(await consumer.end_offsets(places))
            async with asyncio.timeout(_LAST_S):
                await asyncio.shield(task)
        except KafkaError as error:
            raise as_ours(error, f"reading {topic}") from error
        except TimeoutError:
            raise OtlpStreamsError(f"{topic} could not be read to its end") from None
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    finally:
        await consumer.stop()

"""Follows a topic from its begin, for what the demonstration shows and adds up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from schemas.config import Config
from schemas.errors import OtlpStreamsError
from topologies.kafka import as_ours, create_consumer, start_client

__all__ = ["following"]

_POLL_MS = 200
_LAST_S = 5.0
"""Time in which the rest is read once nobody writes any more."""


@contextlib.asynccontextmanager
async def following(
    config: Config, topics: Mapping[str, int], taken: Callable[[Any], None]
) -> AsyncIterator[None]:
    """Call ``taken`` with every record of topics, while the block runs.

    What was written by the end of the block is read before it is left.

    Args:
        config: where Kafka is.
        topics: how many partitions each has.
        taken: gets a ``ConsumerRecord``.

    Raises:
        BrokerUnavailable, MalformedRecord: at the end of the block.
    """
    consumer = create_consumer(config.kafka, auto_offset_reset="earliest")
    await start_client(consumer, config.kafka)
    try:
        places = [
            TopicPartition(t, number) for t, count in topics.items() for number in range(count)
        ]
        consumer.assign(places)
        last: dict[TopicPartition, int] = {}

        async def follow() -> None:
            while not last or any([await consumer.position(p) < last[p] for p in places]):
                for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                    for each in records:
                        taken(each)

        task = asyncio.create_task(follow())
        try:
            yield
            last.update(await consumer.end_offsets(places))
            async with asyncio.timeout(_LAST_S):
                await asyncio.shield(task)
        except KafkaError as error:
            raise as_ours(error, f"reading {', '.join(topics)}") from error
        except TimeoutError:
            raise OtlpStreamsError(f"{', '.join(topics)} could not be read to the end") from None
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    finally:
        await consumer.stop()

"""Single partitions, by offset or by time, without a consumer group: looking changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.config import Kafka
from topologies.kafka import as_ours, create_consumer, start_client
from topologies.tap import Message

__all__ = ["Reader", "newest_first", "reading"]

BLOCK_OFFSETS = 64
"""Offsets of the newest block; each older one has twice as many, up to ``BLOCK_OFFSETS_MAX``."""
BLOCK_OFFSETS_MAX = 4096
_POLL_MS = 200


class Reader:
    """Committed messages of one partition at a time."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset that is there, and the one after the last that is committed."""
        place = TopicPartition(topic, partition)
        begin = (await self._consumer.beginning_offsets([place]))[place]
        return begin, (await self._consumer.end_offsets([place]))[place]

    async def offset_at(self, topic: str, partition: int, time_ms: int) -> int | None:
        """First offset of that time (Unix milliseconds) or later; None: there is none."""
        place = TopicPartition(topic, partition)
        found = (await self._consumer.offsets_for_times({place: time_ms}))[place]
        return None if found is None else int(found.offset)

    async def forwards(
        self, topic: str, partition: int, start: int, stop: int
    ) -> AsyncGenerator[Message, None]:
        """Messages of [start, stop) in order."""
        place = TopicPartition(topic, partition)
        self._consumer.assign([place])
        self._consumer.seek(place, start)
        # Positions move over control records too, so this ends where transactions were written.
        while await self._consumer.position(place) < stop:
            for record in (await self._consumer.getmany(timeout_ms=_POLL_MS)).get(place, ()):
                if record.offset >= stop:
                    return
                headers = tuple((name, value or b"") for name, value in record.headers)
                yield Message(
                    topic, partition, record.offset, record.timestamp, record.key,
                    record.value or b"", headers,
                )  # fmt: skip


def newest_first(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """[start, stop) in blocks, the newest first, each twice as large as the one before."""
    size = BLOCK_OFFSETS
    while stop > start:
        begin = max(start, stop - size)
        yield begin, stop
        stop, size = begin, min(2 * size, BLOCK_OFFSETS_MAX)


@contextlib.asynccontextmanager
async def reading(kafka: Kafka) -> AsyncIterator[Reader]:
    """A connected reader; what fails inside becomes an error of ours.

    Raises:
        ConfigurationError, BrokerUnavailable: Kafka refuses us, or is away.
    """
    consumer = create_consumer(kafka, auto_offset_reset="earliest")
    await start_client(consumer, kafka)
    try:
        yield Reader(consumer)
    except KafkaError as error:
        raise as_ours(error, "reading partitions") from error
    finally:
        await consumer.stop()

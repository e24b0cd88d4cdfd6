"""What lies committed on Kafka, as a lane reads it (ports.py), over aiokafka.

Two ways: :class:`KafkaLog` reads here and there, with consumers that all lanes share;
:class:`KafkaReader` reads one partition on and on and stays where it stands. A read ends by
position, not by the last record: end offsets count transaction markers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from schemas.batches import Batch
from schemas.errors import BrokerUnavailable
from topologies.kafka import AdminClient, as_ours, create_consumer, list_topics, start_client

from .ports import Fetched

if TYPE_CHECKING:
    from schemas.config import Kafka

__all__ = ["KafkaLog", "KafkaReader"]

READ_TIMEOUT_S = 30.0
"""A read that comes no further for so long is given up."""
CLOSE_TIMEOUT_S = 1.0
READERS_MAX = 8
"""Reads at once in a process; each has a consumer, which is kept."""
READ_MAX_RECORDS = 256
"""In one run; a fetch has at most ``kafka.consumer.fetch_max`` bytes, or one record."""
FETCH_WAIT_MS = 200
"""A reader says that nothing comes after this time."""
FETCH_MAX_RECORDS = 16
"""A reader unpacks so many at once, and never more than may be in the range."""


class KafkaLog:
    """Committed records, by plain consumers that several lanes share."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._open = contextlib.AsyncExitStack()
        self._idle: list[AIOKafkaConsumer] = []
        self._slots = asyncio.Semaphore(READERS_MAX)
        self._admin: AdminClient | None = None
        self._uncommitted: AIOKafkaConsumer | None = None
        self._opening = asyncio.Lock()

    async def partitions(self, topic: str) -> int:
        """From the brokers, not from what some client still believes."""
        return await (await self._asked()).partitions(topic)

    async def record_max_bytes(self, topic: str) -> int | None:
        """``max.message.bytes``; None: there is no such topic, or we may not know."""
        states = await list_topics(self._kafka, [topic])
        known = states[topic].settings.get("max.message.bytes") if topic in states else None
        return None if known is None else int(known)

    def reader(self, topic: str, partition: int) -> KafkaReader:
        """For one lane."""
        return KafkaReader(self._kafka, topic, partition)

    async def begin(self, topic: str, partition: int) -> int:
        """Oldest offset there is."""
        where = TopicPartition(topic, partition)
        async with self._reader() as reader:
            found: dict[TopicPartition, int] = await reader.beginning_offsets([where])
            return found[where]

    async def end(self, topic: str, partition: int) -> int:
        """Last stable offset."""
        where = TopicPartition(topic, partition)
        async with self._reader() as reader:
            found: dict[TopicPartition, int] = await reader.end_offsets([where])
            return found[where]

    async def written(self, topic: str, partition: int) -> int:
        """High watermark: a consumer that reads uncommitted is told no other end."""
        where = TopicPartition(topic, partition)
        async with self._opening:
            try:
                if self._uncommitted is None:
                    reader = create_consumer(self._kafka, isolation_level="read_uncommitted")
                    await start_client(reader, self._kafka)
                    self._uncommitted = reader
                found: dict[TopicPartition, int]
                found = await self._uncommitted.end_offsets([where])
                return found[where]
            except (KafkaError, OSError, TimeoutError) as error:
                if self._uncommitted is not None:
                    await _close(self._uncommitted)
                    self._uncommitted = None
                raise as_ours(error, f"Kafka at {', '.join(self._kafka.brokers)}") from error

    async def read(
        self, topic: str, partition: int, start: int, stop: int
    ) -> AsyncIterator[Sequence[Batch]]:
        """Records of ``[start, stop)``; raises BrokerUnavailable when nothing comes for long."""
        if start >= stop:
            return
        where = TopicPartition(topic, partition)
        async with self._reader() as reader:
            reader.assign([where])
            try:
                reader.seek(where, max(0, start))
                clock = asyncio.get_running_loop().time
                position, heard_s = start, clock()
                while position < stop:
                    found = await reader.getmany(
                        where, timeout_ms=200, max_records=READ_MAX_RECORDS
                    )
                    run = [_batch(each) for each in found.get(where, ()) if each.offset < stop]
                    before, position = position, await reader.position(where)
                    if position > before:
                        heard_s = clock()
                    elif clock() - heard_s > READ_TIMEOUT_S:
                        raise BrokerUnavailable(
                            f"{topic} partition {partition}: nothing after {position} "
                            f"in {READ_TIMEOUT_S:g} s"
                        )
                    if run:
                        yield run
            finally:
                reader.unsubscribe()

    async def committed(self, group: str, topic: str, partition: int) -> int | None:
        """The group's offset; current once the lane's producer has started."""
        return (await (await self._asked()).committed(group)).get((topic, partition))

    async def close(self) -> None:
        """Close all clients."""
        for reader in self._idle:
            with contextlib.suppress(Exception):
                await reader.stop()
        self._idle.clear()
        if self._uncommitted is not None:
            await _close(self._uncommitted)
            self._uncommitted = None
        await self._open.aclose()

    async def _asked(self) -> AdminClient:
        async with self._opening:
            if self._admin is None:
                self._admin = await self._open.enter_async_context(AdminClient(self._kafka))
        return self._admin

    @contextlib.asynccontextmanager
    async def _reader(self) -> AsyncIterator[AIOKafkaConsumer]:
        async with self._slots:
            reader = self._idle.pop() if self._idle else await self._new_reader()
            try:
                yield reader
            except (KafkaError, OSError, TimeoutError) as error:
                await _close(reader)
                raise as_ours(error, f"Kafka at {', '.join(self._kafka.brokers)}") from error
            except BaseException:
                await _close(reader)
                raise
            self._idle.append(reader)

    async def _new_reader(self) -> AIOKafkaConsumer:
        # Offsets that retention has removed: from the begin of what is left.
        reader = create_consumer(self._kafka, auto_offset_reset="earliest")
        await start_client(reader, self._kafka)
        return reader


class KafkaReader:
    """One partition, read on from where it stands, with a consumer of its own.

    Ranges that follow each other cost no seek and no fetch twice: what a fetch has brought beyond
    a range is kept for the next one, packed, and the client fetches ahead by itself. That is
    ``kafka.consumer.fetch_max`` of memory.
    """

    def __init__(self, kafka: Kafka, topic: str, partition: int) -> None:
        self._kafka = kafka
        self._where = TopicPartition(topic, partition)
        self._consumer: AIOKafkaConsumer | None = None
        self._next = -1
        """Handed out up to here."""
        self._position = -1
        """Taken from the client up to here; what lies between is held."""
        self._held: deque[Batch] = deque()

    async def fetch(self, offset: int, stop: int) -> Fetched:
        """Some messages from ``offset`` on; see ports.Reader."""
        try:
            consumer = await self._at(offset)
            if not self._held:
                await self._take(consumer, offset, min(FETCH_MAX_RECORDS, stop - offset))
            batches = []
            while self._held and self._held[0].offset < stop:
                batches.append(self._held.popleft())
            self._next = min(stop, self._position)
            return Fetched(batches, self._next)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise as_ours(error, f"Kafka at {', '.join(self._kafka.brokers)}") from error

    async def close(self) -> None:
        """Close the consumer; a later fetch makes another."""
        consumer, self._consumer = self._consumer, None
        self._held.clear()
        self._next = self._position = -1
        if consumer is not None:
            await _close(consumer)

    async def _at(self, offset: int) -> AIOKafkaConsumer:
        """The consumer, so that what comes next is at ``offset`` or after it."""
        if self._consumer is None:
            consumer = create_consumer(self._kafka, auto_offset_reset="none")
            await start_client(consumer, self._kafka)
            consumer.assign([self._where])
            self._consumer = consumer
        if not self._next <= offset <= self._position:
            self._held.clear()
            self._consumer.seek(self._where, offset)
            self._position = offset
        while self._held and self._held[0].offset < offset:
            self._held.popleft()
        self._next = offset
        return self._consumer

    async def _take(self, consumer: AIOKafkaConsumer, offset: int, count: int) -> None:
        where = self._where
        try:
            found = await consumer.getmany(where, timeout_ms=FETCH_WAIT_MS, max_records=count)
        except OffsetOutOfRangeError:
            begin = (await consumer.beginning_offsets([where]))[where]
            # Beyond the end: it stays there, and whoever asks hears that nothing comes.
            self._position = max(offset, begin)
            consumer.seek(where, self._position)
            return
        self._held.extend(_batch(each) for each in found.get(where, ()))
        self._position = await consumer.position(where)


async def _close(reader: AIOKafkaConsumer) -> None:
    # Without a broker aiokafka lets the cancellation of its own requests out of stop().
    with contextlib.suppress(Exception, asyncio.CancelledError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await reader.stop()


def _batch(record: Any) -> Batch:
    return Batch(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value or b"",
        tuple((name, value or b"") for name, value in record.headers or ()),
    )

"""What lanes get to read, in bulk or at a pace, and what comes out of them, as it is seen."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.config import Kafka
from topologies.kafka import create_consumer, create_producer
from topologies.kafka.admin import AdminClient

WORKER_SESSION_S = 60.0
"""Long enough for a worker to be stopped while the topic is filled."""


def settings(
    bootstrap: str, source: str, name: str, partitions: int, commit_interval_s: float
) -> dict[str, Any]:
    """Of a worker with topics and a group of its own, reading ``source``."""
    return {
        "kafka": {
            "brokers": [bootstrap],
            "group_prefix": name,
            "consumer": {"session_timeout": WORKER_SESSION_S},
        },
        "topics": {
            "names": {"spans": source, "spans_out": f"{name}.out", "journal": f"{name}.journal"},
            "partitions": partitions,
            "replication_factor": 1,
        },
        "runtime": {"commit_interval": commit_interval_s},
        "shape": {"signals": ["traces"]},
    }


async def until(condition: Callable[[], Awaitable[bool]], what: str, patience_s: float) -> None:
    """Return when it holds. Raises RuntimeError, which says ``what`` did not come."""
    give_up_s = time.monotonic() + patience_s
    while not await condition():
        if time.monotonic() > give_up_s:
            raise RuntimeError(f"no {what} in {patience_s:g} s")
        await asyncio.sleep(0.02)


async def create(bootstrap: str, topic: str, partitions: int) -> None:
    """A topic of these partitions."""
    async with AdminClient(Kafka(brokers=(bootstrap,))) as admin:
        await admin.create(topic, partitions)


@contextlib.asynccontextmanager
async def producing(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    """A producer of ours."""
    producer = create_producer(Kafka(brokers=(bootstrap,)))
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def fill(bootstrap: str, topic: str, partitions: int, values: Sequence[bytes]) -> None:
    """All values, round robin."""
    async with producing(bootstrap) as producer:
        for begin in range(0, len(values), 200):
            sends = [
                await producer.send(topic, value, partition=number % partitions)
                for number, value in enumerate(values[begin : begin + 200], begin)
            ]
            await asyncio.gather(*sends)


@contextlib.asynccontextmanager
async def paced(
    bootstrap: str, topic: str, partitions: int, values: Iterable[bytes], per_s: float
) -> AsyncIterator[None]:
    """Values round robin at a steady rate, over and over, while the block runs."""

    async def send() -> None:
        async with producing(bootstrap) as producer:
            began_s = time.monotonic()
            for number, value in enumerate(itertools.cycle(values)):
                await asyncio.sleep(began_s + number / per_s - time.monotonic())
                await producer.send(topic, value, partition=number % partitions)

    task = asyncio.create_task(send())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def seen(
    bootstrap: str, topic: str, partitions: int, see: Callable[[Any, float], None]
) -> AsyncIterator[None]:
    """Calls ``see`` with each record that becomes visible to read_committed, and when."""
    kafka = Kafka(brokers=(bootstrap,))
    consumer: AIOKafkaConsumer = create_consumer(kafka, max_poll_records=500)
    await consumer.start()
    consumer.assign([TopicPartition(topic, number) for number in range(partitions)])

    async def read() -> None:
        while True:
            found = await consumer.getmany(timeout_ms=500)
            now_s = time.monotonic()
            for records in found.values():
                for record in records:
                    see(record, now_s)

    task = asyncio.create_task(read())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await consumer.stop()


async def ends(bootstrap: str, topic: str, partitions: int) -> dict[TopicPartition, int]:
    """What a topic holds now."""
    consumer = create_consumer(Kafka(brokers=(bootstrap,)))
    await consumer.start()
    try:
        where = [TopicPartition(topic, number) for number in range(partitions)]
        found: dict[TopicPartition, int] = await consumer.end_offsets(where)
        return found
    finally:
        await consumer.stop()


async def drained(bootstrap: str, group: str, wanted: Mapping[TopicPartition, int]) -> None:
    """Return when the group has committed all of it."""
    async with AdminClient(Kafka(brokers=(bootstrap,))) as admin:

        async def done() -> bool:
            found = await admin.committed(group)
            return all(found.get((at.topic, at.partition), 0) >= end for at, end in wanted.items())

        await until(done, "end of the backlog", 300)

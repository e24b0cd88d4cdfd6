"""Ranges of a real partition, one after the other: what lies there, and what lies there no more."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from unittest import mock

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from schemas.config import Kafka
from topologies.kafka import create_producer
from topologies.runtime import ranges
from topologies.runtime.clock import SystemClock
from topologies.runtime.kafka_log import KafkaLog, KafkaReader
from topologies.runtime.ranges import RangeReader
from topologies.runtime.stage import SourceRange

MESSAGES = 60


@pytest.fixture
def settings(bootstrap: str) -> Kafka:
    return Kafka.model_validate({"brokers": [bootstrap], "consumer": {"fetch_max": 1 << 16}})


@pytest.fixture
async def log(settings: Kafka) -> AsyncIterator[KafkaLog]:
    found = KafkaLog(settings)
    yield found
    await found.close()


@pytest.fixture
async def reader(log: KafkaLog) -> AsyncIterator[RangeReader]:
    found = RangeReader(log, SystemClock(), 1 << 24)
    yield found
    await found.close()


@pytest.fixture
async def admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    yield client
    await client.close()


async def fill(kafka: Kafka, topic: str, *, aborted: int = 0) -> list[tuple[int, bytes]]:
    """Offsets and values of what lies committed; some of it in transactions, some were aborted."""
    rng = random.Random(topic)
    found = []
    transactional = create_producer(kafka, transactional_id=f"{topic}-id")
    plain: AIOKafkaProducer = create_producer(kafka)
    await transactional.start()
    await plain.start()
    try:
        for number in range(MESSAGES):
            value = b"%d " % number + rng.randbytes(rng.choice([10, 30_000]))
            if number % 5:
                sent = await plain.send_and_wait(topic, value, partition=0)
            else:
                await transactional.begin_transaction()
                sent = await transactional.send_and_wait(topic, value, partition=0)
                if number % 10 == 0 and aborted:
                    await transactional.abort_transaction()
                    continue
                await transactional.commit_transaction()
            found.append((sent.offset, value))
    finally:
        await transactional.stop()
        await plain.stop()
    return found


async def test_consecutive_ranges_are_read_without_a_seek(
    settings: Kafka, topic: str, reader: RangeReader
) -> None:
    there = await fill(settings, topic, aborted=1)
    end = there[-1][0] + 1
    bounds = [0, 1, 1, 7, 20, 21, 50, end]
    seeks = mock.patch.object(AIOKafkaConsumer, "seek", autospec=True, side_effect=_SEEK)
    with seeks as seek:
        for start, stop in itertools.pairwise(bounds):
            source = await reader.read(SourceRange(topic, 0, start, stop))
            assert source.removed == 0
            got = [(batch.offset, batch.value) for batch in source.batches]
            assert got == [each for each in there if start <= each[0] < stop]
        assert seek.call_count == 1
        # Back, forth, and over each other: always what was asked for.
        rng = random.Random(1)
        for _ in range(20):
            start = rng.randrange(end)
            stop = rng.randrange(start, end + 1)
            source = await reader.read(SourceRange(topic, 0, start, stop))
            got = [(batch.offset, batch.value) for batch in source.batches]
            assert got == [each for each in there if start <= each[0] < stop]


_SEEK = AIOKafkaConsumer.seek


async def test_a_cancelled_read_leaves_the_reader_as_good_as_new(
    settings: Kafka, topic: str, reader: RangeReader
) -> None:
    there = await fill(settings, topic)
    rng = random.Random(2)
    for start in range(0, 50, 10):
        wanted = SourceRange(topic, 0, start, start + 10)
        reading = asyncio.ensure_future(reader.read(wanted))
        await asyncio.sleep(rng.random() * 0.02)
        reading.cancel()
        await asyncio.wait([reading])
        source = await reader.read(wanted)
        got = [(batch.offset, batch.value) for batch in source.batches]
        assert got == [each for each in there if start <= each[0] < start + 10]


async def test_what_retention_has_removed_is_counted(
    settings: Kafka, topic: str, log: KafkaLog, reader: RangeReader, admin: AIOKafkaAdminClient
) -> None:
    there = await fill(settings, topic)
    await reader.read(SourceRange(topic, 0, 0, 3))  # it stands within what goes now
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=40)})
    async with asyncio.timeout(10):
        while await log.begin(topic, 0) < 40:  # noqa: ASYNC110 - the broker does it later
            await asyncio.sleep(0.01)
    fresh = RangeReader(log, SystemClock(), 1 << 24)
    try:
        for start, stop in ((5, 20), (20, 50), (50, 55)):
            source = await fresh.read(SourceRange(topic, 0, start, stop))
            assert source.removed == max(0, min(40, stop) - start)
            got = [(batch.offset, batch.value) for batch in source.batches]
            assert got == [each for each in there if max(start, 40) <= each[0] < stop]
    finally:
        await fresh.close()


async def test_what_was_never_there_is_counted_after_a_while(
    settings: Kafka, topic: str, reader: RangeReader, admin: AIOKafkaAdminClient
) -> None:
    there = await fill(settings, topic)
    end = there[-1][0] + 1
    with mock.patch.object(ranges, "SILENCE_S", 0.5):
        reader._patience_s = 0.5
        source = await reader.read(SourceRange(topic, 0, end - 2, end + 5))
        assert source.removed >= 4  # one may be a marker
        assert source.batches[-1].offset == end - 1
        source = await reader.read(SourceRange(topic, 0, end + 1000, end + 1007))
        assert source == (7, [])
        source = await reader.read(SourceRange(topic, 9, 0, 3))
        assert source == (3, [])
        await admin.delete_topics([topic])
        source = await reader.read(SourceRange(topic, 0, 0, 3))
        assert source.removed == 3 - len(source.batches)


async def test_a_reader_that_is_closed_can_be_used_again(settings: Kafka, topic: str) -> None:
    offset = (await fill(settings, topic))[2][0]
    reader = KafkaReader(settings, topic, 0)
    try:
        for _ in range(2):
            found, following = await reader.fetch(offset, offset + 1)
            assert [batch.offset for batch in found] == [offset]
            assert following == offset + 1
            await reader.close()
    finally:
        await reader.close()

"""The admin client: topics to make, offsets to look at."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition

from schemas.config import Kafka
from schemas.errors import ConfigurationError
from topologies.kafka import AdminClient, create_consumer, start_client


async def test_a_topic_is_made_once(bootstrap: str, group: str) -> None:
    async with AdminClient(Kafka(brokers=(bootstrap,))) as admin:
        assert await admin.create(group, 3, settings={"cleanup.policy": "compact"})
        assert not await admin.create(group, 5)
    consumer = create_consumer(Kafka(brokers=(bootstrap,)))
    await start_client(consumer, Kafka(brokers=(bootstrap,)))
    partitions = [TopicPartition(group, number) for number in range(3)]
    consumer.assign(partitions)
    assert await consumer.end_offsets(partitions) == dict.fromkeys(partitions, 0)
    await consumer.stop()


async def test_a_name_that_kafka_does_not_take(bootstrap: str) -> None:
    async with AdminClient(Kafka(brokers=(bootstrap,))) as admin:
        with pytest.raises(ConfigurationError, match="topic a/b cannot be created"):
            await admin.create("a/b", 1)


async def test_offsets_of_a_group(bootstrap: str, topic: str, group: str) -> None:
    kafka = Kafka(brokers=(bootstrap,))
    async with AdminClient(kafka) as admin:
        assert await admin.committed(group) == {}
        consumer = create_consumer(kafka, group_id=group)
        consumer.assign([TopicPartition(topic, 0)])
        await start_client(consumer, kafka)
        await consumer.commit({TopicPartition(topic, 0): 7})
        await consumer.stop()
        assert await admin.committed(group) == {(topic, 0): 7}


async def test_it_is_a_context_manager(bootstrap: str) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await AdminClient(Kafka(brokers=(bootstrap,))).committed("group")

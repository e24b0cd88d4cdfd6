"""What the reckoning after chaos reads from Kafka: committed records and committed offsets."""

from __future__ import annotations

from collections import defaultdict

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.config import Kafka
from schemas.errors import BrokerUnavailable
from topologies.kafka.admin import AdminClient

__all__ = ["committed", "read_committed"]


async def committed(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    """Offsets by partition; empty while the broker cannot be asked."""
    try:
        async with AdminClient(Kafka(brokers=(bootstrap,))) as admin:
            found = await admin.committed(group)
    except BrokerUnavailable:
        return {}
    return {partition: offset for (name, partition), offset in found.items() if name == topic}


async def read_committed(bootstrap: str, topic: str) -> dict[int, list[ConsumerRecord]]:
    """All that a reader of committed records sees now, by partition, in order."""
    found: dict[int, list[ConsumerRecord]] = defaultdict(list)
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False
    ) as consumer:
        await consumer._client.add_topic(topic)
        partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                found[tp.partition] += records
    return found

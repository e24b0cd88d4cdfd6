"""The broker fixtures do what the other tests rely on."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.conftest import MakeTopic
from topologies.localkafka import LocalKafka


async def test_fresh_topics_have_the_partitions_asked_for(
    bootstrap: str, make_topic: MakeTopic
) -> None:
    name = make_topic(3, max_message_bytes=50_000)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        assert await producer.partitions_for(name) == {0, 1, 2}
        sent = await producer.send_and_wait(name, b"value", partition=2)
        assert (sent.partition, sent.offset) == (2, 0)
    assert make_topic(3) != name


async def test_acknowledged_messages_survive_a_kill(
    broker: LocalKafka, make_topic: MakeTopic
) -> None:
    name = make_topic(1, on=broker)
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as producer:
        for number in range(50):
            await producer.send_and_wait(name, b"%d" % number, partition=0)
    address, pid = broker.bootstrap, broker.pid
    await broker.akill()
    assert not broker.running
    await broker.astart()
    assert broker.bootstrap == address
    assert broker.pid != pid
    async with AIOKafkaConsumer(bootstrap_servers=address) as consumer:
        partition = TopicPartition(name, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        got: list[bytes] = []
        while len(got) < 50:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                got += [record.value for record in records]
    assert got == [b"%d" % number for number in range(50)]

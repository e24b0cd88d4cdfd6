"""Where a partition ends, for who reads committed and for who must know what is under way."""

from __future__ import annotations

import asyncio

from schemas.config import Kafka
from topologies.kafka import create_producer
from topologies.runtime.kafka_log import KafkaLog


async def test_an_open_transaction_lies_between_the_stable_and_the_written_end(
    bootstrap: str, topic: str
) -> None:
    kafka = Kafka.model_validate({"brokers": [bootstrap]})
    log, producer = KafkaLog(kafka), create_producer(kafka, transactional_id=f"{topic}-id")
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"x", partition=0)
        assert await log.end(topic, 0) == 0
        assert await log.written(topic, 0) == 1
        await producer.commit_transaction()
        async with asyncio.timeout(10):
            while await log.end(topic, 0) < 2:  # noqa: ASYNC110 - its marker comes later
                await asyncio.sleep(0.01)
        assert await log.written(topic, 0) == 2
    finally:
        await producer.stop()
        await log.close()

"""From settings to clients: what is asked of Kafka, and how much fits into a message."""

from __future__ import annotations

import logging
import os

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from schemas.config import Kafka
from schemas.errors import BrokerUnavailable, ConfigurationError
from tests.conftest import MakeTopic
from topologies.kafka import (
    MESSAGE_OVERHEAD_BYTES,
    as_ours,
    client_options,
    create_consumer,
    create_producer,
    start_client,
)


def test_an_empty_section_speaks_plain_text() -> None:
    options = client_options(Kafka())
    assert options == {
        "bootstrap_servers": ["127.0.0.1:9092"],
        "client_id": "otlp-streams",
        "security_protocol": "PLAINTEXT",
    }


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (SaslAuthenticationFailed("no"), ConfigurationError),
        (UnsupportedSaslMechanismError("no"), ConfigurationError),
        (GroupAuthorizationFailedError("group"), ConfigurationError),
        (KafkaConnectionError("away"), BrokerUnavailable),
        (KafkaTimeoutError(), BrokerUnavailable),
        (NotEnoughReplicasError(), BrokerUnavailable),
        (ConnectionResetError("peer"), BrokerUnavailable),
        (BrokerUnavailable("ours already"), BrokerUnavailable),
    ],
)
def test_errors_become_ours(error: Exception, ours: type[Exception]) -> None:
    assert type(as_ours(error)) is ours


async def test_the_largest_message_passes_however_incompressible(
    bootstrap: str, make_topic: MakeTopic
) -> None:
    kafka = Kafka(brokers=(bootstrap,))
    topic = make_topic(1, max_message_bytes=1_048_588)
    value = os.urandom(kafka.producer.max_message)
    headers = [("tenant", os.urandom(MESSAGE_OVERHEAD_BYTES - 100))]
    producer = create_producer(kafka)
    await start_client(producer, kafka)
    try:
        await producer.send_and_wait(topic, value, partition=0, headers=headers)
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send(topic, value, partition=0, headers=headers * 2)
        # Refused by the client, so that the producer is none the worse.
        last = await producer.send_and_wait(topic, b"next", partition=0)
    finally:
        await producer.stop()
    assert last.offset == 1


async def test_transactions_are_seen_when_committed(
    bootstrap: str, make_topic: MakeTopic, group: str
) -> None:
    kafka = Kafka(brokers=(bootstrap,))
    topic = make_topic(1)
    producer = create_producer(kafka, transactional_id=group)
    await start_client(producer, kafka)
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted", partition=0)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"committed", partition=0)
    finally:
        await producer.stop()
    consumer = create_consumer(kafka)
    await start_client(consumer, kafka)
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        assert (await consumer.getone()).value == b"committed"
    finally:
        await consumer.stop()


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_that_can_be_set(
    bootstrap: str, make_topic: MakeTopic, codec: str
) -> None:
    kafka = Kafka.model_validate({"brokers": (bootstrap,), "producer": {"compression": codec}})
    topic = make_topic(1)
    producer = create_producer(kafka)
    await start_client(producer, kafka)
    await producer.send_and_wait(topic, b"value " * 1000, partition=0)
    await producer.stop()
    consumer = create_consumer(kafka)
    consumer.assign([TopicPartition(topic, 0)])
    await start_client(consumer, kafka)
    await consumer.seek_to_beginning()
    assert (await consumer.getone()).value == b"value " * 1000
    await consumer.stop()


async def test_a_client_that_could_not_start_is_closed(
    unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    kafka = Kafka(brokers=(f"127.0.0.1:{unused_tcp_port}",))
    for client in (create_producer(kafka), create_consumer(kafka, group_id="g")):
        with pytest.raises(BrokerUnavailable, match="nobody listens there"):
            await start_client(client, kafka)

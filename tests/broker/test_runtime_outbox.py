"""The one producer of a process on a real Kafka: order, refusals, an outage; and who may enter."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from schemas.batches import Record
from schemas.config import Kafka
from schemas.errors import BrokerUnavailable, MessageTooLarge
from tests.conftest import MakeTopic
from topologies.kafka import create_producer
from topologies.localkafka import LocalKafka
from topologies.runtime.outbox import Outbox

from .runtime_processes import Workers, read_all, send, until

PASSWORD = "hunter2-hunter2"


def outbox(bootstrap: str, **producer: object) -> Outbox:
    kafka = Kafka.model_validate({"brokers": [bootstrap], "producer": producer})
    return Outbox(lambda: create_producer(kafka))


async def test_records_keep_their_order_and_headers(bootstrap: str, topic: str) -> None:
    out = outbox(bootstrap)
    records = [Record(topic, b"%d" % n, 0, b"k", (("n", b"%d" % n),)) for n in range(200)]
    receipts = [await out.enqueue(records[n : n + 10]) for n in range(0, 200, 10)]
    for receipt in receipts:
        await receipt.acknowledged()
        assert receipt.unacknowledged == []
    await out.stop()
    found = await read_all(bootstrap, topic)
    assert [r.value for r in found] == [record.value for record in records]
    assert [r.headers for r in found] == [record.headers for record in records]
    assert {r.key for r in found} == {b"k"}


async def test_what_the_broker_refuses_does_not_poison_what_follows(
    bootstrap: str, make_topic: MakeTopic
) -> None:
    small, other = make_topic(1, max_message_bytes=20_000), make_topic(1)
    out = outbox(bootstrap)
    await (await out.enqueue([Record(small, b"first", 0)])).acknowledged()
    receipt = await out.enqueue(
        [Record(small, os.urandom(100_000), 0), Record(other, b"beside", 0)]
    )
    with pytest.raises(MessageTooLarge):
        await receipt.acknowledged()
    assert out.replaced == 1
    for n in range(3):
        await (await out.enqueue([Record(small, b"after %d" % n, 0)])).acknowledged()
    # Our own limit refuses before anything is spent.
    with pytest.raises(MessageTooLarge):
        await (await out.enqueue([Record(other, os.urandom(2_000_000), 0)])).acknowledged()
    assert out.replaced == 1
    await out.stop()
    assert [r.value for r in await read_all(bootstrap, small)] == [
        b"first", b"after 0", b"after 1", b"after 2",
    ]  # fmt: skip


async def test_records_wait_for_a_broker_that_is_away(
    broker: LocalKafka, make_topic: MakeTopic
) -> None:
    topic = make_topic(1, on=broker)
    out = outbox(broker.bootstrap)
    await (await out.enqueue([Record(topic, b"before", 0)])).acknowledged()
    await asyncio.to_thread(broker.kill)

    # A producer that is connected goes on trying by itself.
    records = [Record(topic, b"during %d" % n, 0) for n in range(5)]
    receipt = await out.enqueue(records)
    waiting = asyncio.ensure_future(receipt.acknowledged())
    # One that is not says so at once, and is asked again by the lane.
    late = outbox(broker.bootstrap)
    refused = await late.enqueue(records)
    with pytest.raises(BrokerUnavailable):
        await refused.acknowledged()
    assert refused.unacknowledged == records
    assert not waiting.done()

    await asyncio.to_thread(broker.start)
    await asyncio.wait_for(waiting, 20)
    assert receipt.unacknowledged == []
    await (await late.enqueue([Record(topic, b"late", 0)])).acknowledged()
    await late.stop()
    assert [r.value for r in await read_all(broker.bootstrap, topic)] == [
        b"before", *(record.value for record in records), b"late",
    ]  # fmt: skip

    # A stop does not wait for a broker: what is pending is given up, and named.
    await asyncio.to_thread(broker.kill)
    receipt = await out.enqueue([Record(topic, b"lost", 0)])
    waiting = asyncio.ensure_future(receipt.acknowledged())
    await asyncio.wait_for(out.stop(), 10)
    with pytest.raises(BrokerUnavailable):
        await asyncio.wait_for(waiting, 10)
    assert [record.value for record in receipt.unacknowledged] == [b"lost"]


async def test_a_worker_authenticates_everywhere_and_says_why_it_may_not(
    tmp_path: Path, make_topic: MakeTopic, group: str
) -> None:
    """Faust's consumer, our producer and the topic check all go through the SASL port."""
    with LocalKafka(tmp_path / "kafka", keep=False, users={"worker": PASSWORD}) as secured:
        topic, deadletter = make_topic(1, on=secured), make_topic(1, on=secured)
        await send(secured.bootstrap, topic, [b"id0", b"id1 poison", b"id2"])
        workers = Workers(tmp_path, secured.bootstrap_of("SASL_PLAINTEXT"), group)
        try:
            sasl = {"username": "worker", "password": PASSWORD}
            worker = workers.start([topic], deadletter, kafka={"sasl": sasl})
            await until(lambda: len(worker.done()) == 2)

            async def buried() -> bool:
                return len(await read_all(secured.bootstrap, deadletter)) == 1

            await until(buried)
            assert worker.stop() == 0
            stranger = workers.start(
                [topic], deadletter, kafka={"sasl": {**sasl, "password": "wrong"}}
            )
            assert await asyncio.to_thread(stranger.process.wait, 30) != 0
            assert "ConfigurationError" in stranger.log
            for each in workers.all:
                assert PASSWORD not in each.log
                assert json.dumps(sasl)[:20] not in each.log
        finally:
            workers.end()

"""Ingest on real Kafka: what is answered with success is on the log, whatever happens."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import CollectorRegistry

from schemas.batches import Headers, Record
from schemas.config import Config
from schemas.errors import BrokerUnavailable, MessageTooLarge, Overloaded
from schemas.signals import Signal
from streams import wire
from streams.wire import json
from tests.conftest import MakeTopic
from tests.strategies import varint
from topologies.ingest.link import Link
from topologies.ingest.metrics import IngestMetrics
from topologies.ingest.publisher import Publisher
from topologies.kafka import create_producer
from topologies.localkafka import LocalKafka
from topologies.localkafka.probe import free_ports

from .stage_process import StageProcess
from .traffic import committed_everywhere, eventually, fill, ids, request

PARTITIONS = 4


def configuration(bootstrap: str, spans: str, **ingest: Any) -> dict[str, Any]:
    return {
        "kafka": {"brokers": [bootstrap], "producer": {"request_timeout": "15s"}},
        "topics": {
            "names": {
                "spans": spans,
                "metrics": f"{spans}-metrics",
                "logs": f"{spans}-logs",
                "deadletter": f"{spans}-deadletter",
            },
            "partitions": PARTITIONS,
            "replication_factor": 1,
        },
        "ingest": {
            "grpc": {"endpoint": f"127.0.0.1:{free_ports(1)[0]}"},
            "http": {"endpoint": f"127.0.0.1:{free_ports(1)[0]}"},
            **ingest,
        },
    }


@asynccontextmanager
async def publishing(config: Config) -> AsyncIterator[Publisher]:
    link = Link(lambda: create_producer(config.kafka))
    publisher = Publisher(config, link, IngestMetrics(CollectorRegistry()))
    link.start()
    try:
        async with asyncio.timeout(20):
            while publisher.problem:  # noqa: ASYNC110 - the condition is Kafka's
                await asyncio.sleep(0.02)
        yield publisher
    finally:
        await publisher.drain(5)
        await link.stop()


async def on_log(bootstrap: str, topic: str) -> list[tuple[int, bytes, Headers]]:
    """Everything on a topic."""
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False
    ) as consumer:
        await consumer._client.add_topic(topic)
        partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                found += [(tp.partition, r.value, tuple(r.headers)) for r in records]
        return found


@pytest.fixture
def spans_topic(make_topic: MakeTopic, kafka: LocalKafka) -> str:
    return make_topic(PARTITIONS)


async def test_an_answered_request_is_on_the_log_by_trace(
    kafka: LocalKafka, spans_topic: str
) -> None:
    config = Config.model_validate(configuration(kafka.bootstrap, spans_topic))
    bodies = [request(first, spans=20) for first in range(1, 400, 20)]
    async with publishing(config) as publisher:
        answers = await asyncio.gather(*(publisher.accept(Signal.TRACES, b, {}) for b in bodies))
    assert {answer.rejected for answer in answers} == {0}
    log = await on_log(kafka.bootstrap, spans_topic)
    seen = Counter(number for _, value, _ in log for number in ids(value))
    assert seen == Counter({number: 1 for body in bodies for number in ids(body)})
    for partition, value, _ in log:
        scan = wire.scan_traces(value)
        assert set(wire.partition_by_trace(scan, PARTITIONS, "fnv1a").tolist()) == {partition}


async def test_small_requests_share_messages_and_tenants_never_do(
    kafka: LocalKafka, spans_topic: str
) -> None:
    settings = configuration(kafka.bootstrap, spans_topic, linger="200ms", tenant_header="X-Tenant")
    config = Config.model_validate(settings)
    async with publishing(config) as publisher:
        await asyncio.gather(
            *(
                publisher.accept(
                    Signal.TRACES, request(n, spans=1), {"x-tenant": "ab"[n % 2]} if n % 3 else {}
                )
                for n in range(1, 601)
            )
        )
    log = await on_log(kafka.bootstrap, spans_topic)
    assert len(log) <= 3 * PARTITIONS * 2  # three header sets; a second one where linger ended
    for _, value, headers in log:
        tenants = {"ab"[n % 2] if n % 3 else "" for n in ids(value)}
        assert len(tenants) == 1
        tenant = tenants.pop()
        assert headers == ((("tenant", tenant.encode()),) if tenant else ())
    assert sum(len(ids(value)) for _, value, _ in log) == 600


async def test_equal_records_are_two_records(kafka: LocalKafka, spans_topic: str) -> None:
    config = Config.model_validate(configuration(kafka.bootstrap, spans_topic))
    record = Record(spans_topic, request(1, spans=1), 0)
    async with publishing(config) as publisher:
        await asyncio.gather(*(publisher._link.send(record) for _ in range(3)))
        assert publisher._link.stalled_s == 0
    assert [value for _, value, _ in await on_log(kafka.bootstrap, spans_topic)] == [
        record.value
    ] * 3


async def test_large_requests_become_messages_under_the_limit(
    kafka: LocalKafka, spans_topic: str
) -> None:
    config = Config.model_validate(configuration(kafka.bootstrap, spans_topic))
    body = b"".join(request(n, spans=1, name="n" * 30_000) for n in range(1, 401))
    huge = request(9_999, spans=1, name="huge" * 300_000)
    async with publishing(config) as publisher:
        accepted = await publisher.accept(Signal.TRACES, body + huge, {})
        assert accepted.rejected == 1
        assert "hugehuge" in accepted.message
        with pytest.raises(MessageTooLarge, match="max_message"):
            await publisher.accept(Signal.TRACES, huge, {})
    log = await on_log(kafka.bootstrap, spans_topic)
    assert max(len(value) for _, value, _ in log) <= config.kafka.producer.max_message
    assert sorted(number for _, value, _ in log for number in ids(value)) == list(range(1, 401))


async def test_kafka_away_refuses_with_a_hint_and_recovers_by_itself(
    broker: LocalKafka, make_topic: MakeTopic
) -> None:
    topic = make_topic(PARTITIONS, on=broker)
    settings = configuration(broker.bootstrap, topic, publish_timeout="1s")
    settings["kafka"]["producer"]["request_timeout"] = "3s"
    config = Config.model_validate(settings)
    acknowledged: set[int] = set()
    refusals: Counter[float | None] = Counter()
    numbers = iter(range(1, 1_000_000))
    async with publishing(config) as publisher:

        async def client() -> None:
            number = next(numbers)
            try:
                await publisher.accept(Signal.TRACES, request(number, spans=1), {})
            except BrokerUnavailable as error:
                refusals[error.retry_after_s] += 1
            else:
                acknowledged.add(number)

        async def clients(times: int) -> None:
            await asyncio.gather(*(client() for _ in range(times)))

        await clients(50)
        assert len(acknowledged) == 50
        broker.kill()

        async def turned_away() -> bool:
            await clients(5)
            return publisher.problem is not None

        await eventually(turned_away)
        assert set(refusals) == {config.ingest.retry_after}
        await asyncio.to_thread(broker.start)

        async def back() -> bool:
            before = len(acknowledged)
            await clients(5)
            return len(acknowledged) > before and publisher.problem is None

        await eventually(back, 40)
    seen = {n for _, value, _ in await on_log(broker.bootstrap, topic) for n in ids(value)}
    assert acknowledged <= seen


async def test_bytes_in_flight_are_bounded_while_kafka_is_stuck(
    broker: LocalKafka, make_topic: MakeTopic
) -> None:
    topic = make_topic(PARTITIONS, on=broker)
    settings = configuration(
        broker.bootstrap, topic, publish_timeout="30s", inflight_max="2MiB", linger="0ms"
    )
    config = Config.model_validate(settings)
    async with publishing(config) as publisher:
        await publisher.accept(Signal.TRACES, request(1, spans=1), {})
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            requests = [request(n, spans=1, name="n" * 100_000) for n in range(2, 42)]
            tasks = [asyncio.create_task(publisher.accept(Signal.TRACES, b, {})) for b in requests]
            refused, waiting = await asyncio.wait(tasks, timeout=0.5)
            assert {type(task.exception()) for task in refused} == {Overloaded}
            assert len(waiting) == 20  # of 100 kB each, in 2 MiB
            assert publisher.problem is None or "inflight" in publisher.problem
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        await asyncio.gather(*waiting)
        await publisher.accept(Signal.TRACES, request(500, spans=1), {})


async def test_sources_are_rekeyed_and_bad_messages_are_dead_letters(
    kafka: LocalKafka, make_topic: MakeTopic, group: str, tmp_path: Path
) -> None:
    proto, text, spans = make_topic(2), make_topic(1), make_topic(PARTITIONS)
    good = [request(n, spans=3) for n in range(1, 600, 3)]
    without_ids = request(0, spans=1) + request(5_001, spans=2)
    await fill(kafka.bootstrap, proto, 2, [*good[:100], b"\x0a\x05ab", without_ids, *good[100:]])
    as_json = [json.encode(Signal.TRACES, request(n, spans=2)) for n in range(10_000, 10_040, 2)]
    await fill(kafka.bootstrap, text, 1, [*as_json[:5], b"{]", *as_json[5:]])
    config = configuration(
        kafka.bootstrap,
        spans,
        sources=[
            {"topic": proto, "signal": "traces"},
            {"topic": text, "signal": "traces", "encoding": "otlp_json"},
        ],
    )
    config["kafka"]["group_prefix"] = group
    expected = {*range(1, 601), 5_001, 5_002, *range(10_000, 10_040)}
    deadletter = config["topics"]["names"]["deadletter"]

    async def all_there() -> bool:
        log = await on_log(kafka.bootstrap, spans)
        return expected <= {n for _, value, _ in log for n in ids(value)}

    async def all_buried() -> bool:
        return len(await on_log(kafka.bootstrap, deadletter)) >= 3

    async with StageProcess(tmp_path, "ingest", config) as ingest:
        await ingest.ready()
        await eventually(all_there, 30)
        await eventually(all_buried)
        assert await ingest.stop() == 0, ingest.log()
    log = await on_log(kafka.bootstrap, spans)
    assert Counter(n for _, value, _ in log for n in ids(value)) == Counter(expected)
    for partition, value, _ in log:
        scan = wire.scan_traces(value)
        assert set(wire.partition_by_trace(scan, PARTITIONS, "fnv1a").tolist()) == {partition}
    buried = {
        dict(headers)["deadletter.reason"]: value
        for _, value, headers in await on_log(kafka.bootstrap, deadletter)
        if dict(headers)["deadletter.topic"] == proto.encode()
    }
    assert buried[b"malformed"] == b"\x0a\x05ab"
    assert ids(buried[b"items_rejected"]) == [0]
    assert len(log) < len(good) // 2  # neighbours were merged


async def test_a_message_cut_off_behind_a_length_takes_no_neighbour_with_it(
    kafka: LocalKafka, make_topic: MakeTopic, group: str, tmp_path: Path
) -> None:
    """Joined with what follows, an unknown field without its content would hold all of that."""
    source, spans = make_topic(1), make_topic(PARTITIONS)
    good = [request(n, spans=3) for n in range(1, 151, 3)]
    cut = [b"\x7a" + varint(len(following)) for following in (good[0], b"".join(good[10:]))]
    await fill(kafka.bootstrap, source, 1, [cut[0], *good[:10], cut[1], *good[10:]])
    config = configuration(kafka.bootstrap, spans, sources=[{"topic": source, "signal": "traces"}])
    config["kafka"]["group_prefix"] = group
    deadletter = config["topics"]["names"]["deadletter"]
    committed = f"{group}.ingest.{source}"
    async with StageProcess(tmp_path, "ingest", config) as ingest:
        await ingest.ready()
        await eventually(lambda: committed_everywhere(kafka.bootstrap, committed, source), 30)
        items = await ingest.metric("otlp_streams_ingest_items_total", outcome="taken")
        assert await ingest.stop() == 0, ingest.log()
    log = await on_log(kafka.bootstrap, spans)
    assert sorted(n for _, value, _ in log for n in ids(value)) == list(range(1, 151))
    buried = await on_log(kafka.bootstrap, deadletter)
    assert sorted(value for _, value, _ in buried) == sorted(cut)
    assert {dict(headers)["deadletter.reason"] for _, _, headers in buried} == {b"malformed"}
    assert items == 150


async def test_kill_of_ingest_under_load_loses_nothing_acknowledged(
    kafka: LocalKafka, spans_topic: str, tmp_path: Path
) -> None:
    config = configuration(kafka.bootstrap, spans_topic)
    endpoint = config["ingest"]["grpc"]["endpoint"]
    ingest = StageProcess(tmp_path, "ingest", config)
    acknowledged: set[int] = set()
    sent: set[int] = set()
    numbers = iter(range(1, 10_000_000, 5))
    stopping = False

    async def client() -> None:
        channel = grpc.aio.insecure_channel(
            endpoint, options=[("grpc.max_reconnect_backoff_ms", 200)]
        )
        export = channel.unary_unary(Signal.TRACES.grpc_method)
        while not stopping:
            body = request(next(numbers))
            sent.update(ids(body))
            try:
                await export(body, wait_for_ready=True, timeout=15)
            except grpc.aio.AioRpcError:
                continue  # whether it is on the log is not known; its ids are not sent again
            acknowledged.update(ids(body))
        await channel.close()

    await ingest.start()
    await ingest.ready()
    clients = [asyncio.create_task(client()) for _ in range(8)]
    for _ in range(3):
        before = len(acknowledged)
        await eventually(lambda: _true(len(acknowledged) > before + 500), 30)  # noqa: B023
        await ingest.kill()
        await ingest.start()
    before = len(acknowledged)
    await eventually(lambda: _true(len(acknowledged) > before + 500), 30)
    stopping = True
    await asyncio.gather(*clients)
    assert await ingest.stop() == 0, ingest.log()
    log = await on_log(kafka.bootstrap, spans_topic)
    seen = Counter(n for _, value, _ in log for n in ids(value))
    assert acknowledged <= set(seen)
    assert set(seen) <= sent
    assert {count for n, count in seen.items() if n in acknowledged} == {1}


async def _true(value: bool) -> bool:
    return value

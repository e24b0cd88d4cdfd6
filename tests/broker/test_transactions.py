"""Exactly once on a real Kafka, fault by fault; chaos.py has them all at once.

The counting operator's output is a function of its input alone (tests/operators/counting.py): a
message that was lost, or taken twice, shows in every record after it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete

from schemas.batches import Batch, Record
from schemas.config import Kafka
from schemas.errors import RetryableError
from tests.conftest import MakeTopic
from tests.operators.counting import expected, read
from topologies.exits import EXIT_CONFIGURATION, EXIT_DEFECT, EXIT_FENCED
from topologies.localkafka import LocalKafka
from topologies.runtime.journal import Progress, progress_key, snapshot_key
from topologies.runtime.kafka_log import KafkaLog
from topologies.runtime.kafka_transactions import KafkaTransactions
from topologies.runtime.ports import Fenced, Offset, RecordsRefused

from .runtime_processes import Worker, Workers, metric, send, until

SEED = 5


class Bench:
    """A source, a stage of counting operators, what they have written, and what must hold."""

    def __init__(self, workers: Workers, make_topic: MakeTopic, partitions: int = 1) -> None:
        self.workers = workers
        self.bootstrap = workers.bootstrap
        self.partitions = partitions
        self.topic = make_topic(partitions)
        self.output = make_topic(partitions)
        self.deadletter = make_topic(1)
        # A name of its own: the journal's is the stage's.
        self.journal_prefix = f"journal-{self.topic}"
        self.journal = f"{self.journal_prefix}.test"
        self.sent = 0
        self.rng = random.Random(SEED)

    def start(self, name: str = "", **options: object) -> Worker:
        options.setdefault("counting", "snapshot")
        runtime = {"commit_interval": 0.2, "snapshot_interval": 1.0}
        runtime.update(options.pop("runtime", {}))  # type: ignore[call-overload]
        kafka = {"consumer": {
            "session_timeout": 6, "heartbeat_interval": 0.5, "instance_id": name or None,
        }}  # fmt: skip
        return self.workers.start(
            [self.topic], self.deadletter, output=self.output, runtime=runtime, kafka=kafka,
            names={"journal": self.journal_prefix}, **options,
        )  # fmt: skip

    async def send(self, count: int) -> None:
        values = [
            " ".join(self.rng.choices("abcdef", k=self.rng.randint(1, 4))).encode()
            for _ in range(count)
        ]
        await send(self.bootstrap, self.topic, list(values), partitions=self.partitions)
        self.sent += count

    async def records(self, topic: str) -> list[ConsumerRecord]:
        """Committed ones."""
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=self.bootstrap,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=50,
        )
        await consumer.start()
        try:
            ends = await consumer.end_offsets(consumer.assignment())
            found: list[ConsumerRecord] = []
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
            return found
        finally:
            await consumer.stop()

    async def committed(self, partition: int = 0) -> int | None:
        return (await self.workers.committed()).get((self.topic, partition))

    async def progress(self, partition: int = 0) -> Progress | None:
        key = progress_key(self.topic)
        found = [r for r in await self.records(self.journal) if r.key == key]
        mine = [r for r in found if r.partition == partition]
        return Progress.decode(mine[-1].value) if mine else None

    async def reached(self, timeout_s: float = 40) -> None:
        """Wait until all that was sent is committed."""

        async def all_of_it() -> bool:
            offsets = await self.workers.committed()
            return sum(offsets.values()) == self.sent

        await until(all_of_it, timeout_s)

    async def holds(self) -> None:
        """Every input counted once, in order; progress is what the group has committed."""
        source, written = defaultdict(list), defaultdict(list)
        for record in await self.records(self.topic):
            source[record.partition].append(
                Batch(self.topic, record.partition, record.offset, 0, None, record.value, ())
            )
        for record in await self.records(self.output):
            written[record.partition].append(read(record.value))
        for partition in range(self.partitions):
            assert written[partition] == expected(source[partition])
            progress = await self.progress(partition)
            assert progress is not None
            assert progress.position == await self.committed(partition)


@pytest.fixture
def bench(tmp_path: Path, kafka: LocalKafka, group: str, make_topic: MakeTopic) -> Iterator[Bench]:
    workers = Workers(tmp_path, kafka.bootstrap, group)
    yield Bench(workers, make_topic, 2)
    workers.end()


@pytest.fixture
async def admin(kafka: LocalKafka) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await client.start()
    yield client
    await client.close()


async def sending(bench: Bench, times: int, then: Callable[[int], Awaitable[None]]) -> None:
    """Keep sending while something happens again and again."""

    async def send_on() -> None:
        while True:
            await bench.send(5)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(send_on())
    try:
        for number in range(times):
            await then(number)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_killed_and_started_again(bench: Bench) -> None:
    """kill -9 at any moment, with snapshots to come back from."""
    print(f"seed {SEED}")
    workers = [bench.start("one")]

    async def kill(_number: int) -> None:
        before = await bench.committed() or 0
        worker = workers[-1]

        async def goes_on() -> bool:
            assert worker.process.poll() is None, worker.log
            return (await bench.committed() or 0) > before + 20

        await until(goes_on)
        await asyncio.sleep(bench.rng.uniform(0, 0.5))
        worker.process.kill()
        worker.process.wait()
        workers.append(bench.start("one"))

    # A batch that was sent when the sender was stopped may or may not be there.
    await sending(bench, 4, kill)
    bench.sent = len(await bench.records(bench.topic))
    await bench.reached()
    await bench.holds()
    log = "".join(worker.log for worker in workers)
    assert "from its snapshot" in log
    assert "first start" in workers[0].log
    assert "resumed" in workers[-1].log


async def test_rebalances_under_load(bench: Bench) -> None:
    """Workers come and go; lanes that stay keep producer and state."""
    first = bench.start()
    others: list[Worker] = []

    async def come_and_go(_number: int) -> None:
        other = bench.start(counting="snapshot")
        others.append(other)
        await until(lambda: "recovered in" in other.log)
        await asyncio.sleep(0.5)
        assert await asyncio.to_thread(other.stop) == 0

    await sending(bench, 2, come_and_go)
    bench.sent = len(await bench.records(bench.topic))
    await bench.reached()
    await bench.holds()
    text = first.get("/metrics")[1]
    labels = {"stage": "test", "topic": bench.topic}
    assert (metric(text, "otlp_streams_rebalances_total", stage="test") or 0) >= 2
    assert (metric(text, "otlp_streams_transactions_total", **labels) or 0) > 4
    assert first.stop() == 0


async def test_fenced_ends_with_its_own_code(bench: Bench, kafka: LocalKafka) -> None:
    worker = bench.start()
    await bench.send(20)
    await bench.reached()
    usurper = KafkaTransactions(
        Kafka(brokers=(kafka.bootstrap,)), f"{bench.workers.group}-{bench.topic}-0"
    )
    await usurper.start()
    await bench.send(20)
    assert await asyncio.to_thread(worker.process.wait, 30) == EXIT_FENCED
    assert "fenced" in worker.log
    await usurper.stop()
    again = bench.start()
    await bench.reached()
    await bench.holds()
    assert again.stop() == 0


async def test_a_zombie_changes_nothing(bench: Bench) -> None:
    """Stopped for longer than its session, with outputs in hand; another takes over meanwhile."""
    zombie = bench.start(runtime={"commit_interval": 1.0})
    await bench.send(20)
    await bench.reached()
    await bench.send(20)
    zombie.process.send_signal(signal.SIGSTOP)
    try:
        other = bench.start()
        await bench.reached()
        await bench.send(20)
        await bench.reached()
    finally:
        zombie.process.send_signal(signal.SIGCONT)

    def ended_or_joined() -> bool:
        return zombie.process.poll() is not None or zombie.log.count("recovered in") > 2

    await bench.send(20)
    await until(lambda: ended_or_joined() or "generation" in zombie.log.rpartition("recovered")[2])
    assert zombie.process.poll() in (None, EXIT_FENCED)
    await bench.reached()
    await bench.holds()
    assert other.process.poll() is None


async def test_the_broker_dies_in_the_midst(
    tmp_path: Path, broker: LocalKafka, make_topic: MakeTopic, group: str
) -> None:
    workers = Workers(tmp_path, broker.bootstrap, group)
    try:
        bench = Bench(workers, lambda n: make_topic(n, on=broker), 2)
        worker = bench.start()
        await bench.send(100)
        await bench.reached()
        await bench.send(100)
        await asyncio.to_thread(broker.kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(broker.start)
        await bench.reached(90)
        await bench.send(50)
        await bench.reached(90)
        await bench.holds()
        assert worker.process.poll() is None
    finally:
        workers.end()


async def test_what_kafka_refuses_costs_itself_alone(bench: Bench, kafka: LocalKafka) -> None:
    """Poison, records beyond our limit, and one that only the topic's own limit refuses."""
    async with KafkaAdmin(kafka) as admin:
        await admin.limit(bench.output, 100_000)
    values: list[bytes | None] = [b"id%d" % n for n in range(20)]
    values[4], values[7], values[11] = b"id4 poison", b"id7 huge", b"id11 refused"
    values[13] = None
    await send(bench.bootstrap, bench.topic, values)
    bench.sent = 20
    worker = bench.start(counting=None, merge=True)
    await bench.reached()
    written = b"".join(r.value for r in await bench.records(bench.output)).split(b"\n")[:-1]
    good = [n for n in range(20) if n not in {4, 7, 11, 13}]
    wanted = [b"id%d %s" % (n, p) for n in good for p in (b"a", b"b")]
    assert sorted(written) == sorted([*wanted, b"id11 a"])
    letters = {
        int(dict(r.headers)["deadletter.offset"]): (dict(r.headers)["deadletter.reason"], r.value)
        for r in await bench.records(bench.deadletter)
    }
    assert letters == {
        4: (b"malformed", b"id4 poison"), 7: (b"too_large", b""), 11: (b"too_large", b""),
    }  # fmt: skip
    text = worker.get("/metrics")[1]
    labels = {"stage": "test", "topic": bench.topic}
    assert (metric(text, "otlp_streams_transaction_aborts_total", **labels) or 0) >= 1
    assert metric(text, "otlp_streams_dead_letters_total", **labels, reason="too_large") == 2
    assert metric(text, "otlp_streams_lag_messages", **labels, partition="0") == 0
    assert worker.stop() == 0

    await send(bench.bootstrap, bench.topic, [b"id99 fatal"])
    broken = bench.start(counting=None)
    assert await asyncio.to_thread(broken.process.wait, 30) == EXIT_DEFECT
    assert await bench.committed() == 20


async def test_a_log_that_refuses_a_record_ends_the_process(
    bench: Bench, kafka: LocalKafka
) -> None:
    """It must not be lost; the topic has to take it, and then all goes on."""
    async with KafkaAdmin(kafka) as admin:
        await admin.limit(bench.output, 100_000)
        await send(bench.bootstrap, bench.topic, [b"id0", b"id1 refused", b"id2"])
        worker = bench.start(counting=None, logs=True)
        assert await asyncio.to_thread(worker.process.wait, 30) == EXIT_CONFIGURATION
        assert f"{bench.output} does not take it: its max.message.bytes is 100000" in worker.log
        assert await bench.committed() == 1
        await admin.limit(bench.output, 1_000_000)
    bench.sent = 3
    again = bench.start(counting=None, logs=True)
    await bench.reached()
    assert again.stop() == 0
    assert not await bench.records(bench.deadletter)


async def test_a_person_resets_the_group(bench: Bench) -> None:
    worker = bench.start()
    await bench.send(40)
    await bench.reached()
    assert worker.stop() == 0
    offsets = {(bench.topic, partition): 5 for partition in range(2)}
    await reset(bench, offsets)
    again = bench.start()
    bench.sent = 40
    await bench.reached()
    assert again.log.count("the group was reset from 20 to 5: fresh state") == 4
    for partition in range(2):
        progress = await bench.progress(partition)
        assert progress is not None
        assert progress.operators["counting"].began == 5
    assert again.stop() == 0
    values = [read(r.value) for r in await bench.records(bench.output) if r.partition == 0]
    assert [each.first for each in values[-5:]] == [5, 8, 11, 14, 17]  # counted from 5 on


async def test_the_journal_was_deleted(bench: Bench, admin: AIOKafkaAdminClient) -> None:
    worker = bench.start()
    await bench.send(40)
    await bench.reached()
    assert worker.stop() == 0
    await admin.delete_topics([bench.journal])

    async def gone() -> bool:
        return all(t["topic"] != bench.journal for t in await admin.describe_topics())

    await until(gone)
    await bench.send(6)
    again = bench.start()
    await bench.reached()
    assert "no journal for the committed offset 20: fresh state at 20" in again.log
    assert again.stop() == 0
    values = [read(r.value) for r in await bench.records(bench.output) if r.partition == 0]
    assert values[-1] == (20, 23, values[-1].items, values[-1].counts)


async def test_partitions_are_added(bench: Bench, admin: AIOKafkaAdminClient) -> None:
    """A lane whose journal partition is not there yet waits for it and holds up no other."""
    worker = bench.start()
    await bench.send(20)
    await bench.reached()
    assert worker.stop() == 0
    for topic in (bench.journal, bench.output, bench.topic):
        await admin.create_partitions({topic: NewPartitions(3)})
    bench.partitions = 3
    again = bench.start()
    await until(lambda: again.log.count("recovered in") == 3)
    await bench.send(30)
    await bench.reached()
    await bench.holds()
    assert again.stop() == 0


async def test_a_snapshot_that_was_not_finished_is_not_used(
    bench: Bench, kafka: LocalKafka
) -> None:
    worker = bench.start()
    await bench.send(40)
    await bench.reached()

    async def named() -> bool:
        progress = await bench.progress()
        return progress is not None and progress.operators["counting"].snapshot is not None

    await asyncio.sleep(1)
    await bench.send(2)
    await until(named)
    worker.process.kill()
    worker.process.wait()
    for slot in range(2):
        await plant(bench, snapshot_key(bench.topic, "counting", slot, 7), b"half of it")
    await bench.send(10)
    again = bench.start()
    await bench.reached()
    await bench.holds()
    assert "from its snapshot" in again.log
    assert again.stop() == 0


async def test_retention_ate_what_a_replay_needs(bench: Bench, admin: AIOKafkaAdminClient) -> None:
    worker = bench.start(runtime={"snapshot_interval": 600})
    await bench.send(40)
    await bench.reached()
    assert worker.stop() == 0
    await admin.delete_records({TopicPartition(bench.topic, 0): RecordsToDelete(12)})
    again = bench.start(runtime={"snapshot_interval": 600})
    await bench.send(6)
    await bench.reached()
    assert "retention had removed 12 offsets of the replay" in again.log
    text = again.get("/metrics")[1]
    labels = {"stage": "test", "topic": bench.topic}
    assert metric(text, "otlp_streams_lost_replay_messages_total", **labels) == 12
    assert metric(text, "otlp_streams_replayed_messages_total", **labels) == 28
    assert again.stop() == 0

    # And what was never processed.
    await bench.send(20)
    await admin.delete_records({TopicPartition(bench.topic, 0): RecordsToDelete(25)})
    last = bench.start(runtime={"snapshot_interval": 600})

    async def at_the_end() -> bool:
        return await bench.committed() == 33

    await until(at_the_end)
    assert "retention removed 2 offsets before they were processed" in last.log
    text = last.get("/metrics")[1]
    assert metric(text, "otlp_streams_lost_messages_total", **labels) == 2
    assert last.stop() == 0


async def test_the_ports_over_kafka(kafka: LocalKafka, make_topic: MakeTopic, group: str) -> None:
    settings = Kafka(brokers=(kafka.bootstrap,))
    topic, small = make_topic(2), make_topic(1, max_message_bytes=1000)
    log, first = KafkaLog(settings), KafkaTransactions(settings, group)
    try:
        await first.start()
        position = Offset(group, topic, 1, 7)
        assert await log.committed(group, topic, 1) is None
        records = [Record(topic, b"%d" % n, 0, b"k", (("h", b"v"),)) for n in range(3)]
        assert await first.commit(records, position) == [0, 1, 2]
        assert await first.commit([Record(topic, b"3", 0)], None) == [4]  # a marker lies between
        await until(stable(log, topic, 6))  # decided, and a moment later on the log
        assert await log.begin(topic, 0) == 0
        found = [each async for run in log.read(topic, 0, 1, 6) for each in run]
        assert [(each.offset, each.value) for each in found] == [(1, b"1"), (2, b"2"), (4, b"3")]
        assert (found[0].key, found[0].headers) == (b"k", (("h", b"v"),))
        large = Record(small, os.urandom(5000), 0)
        with pytest.raises(RecordsRefused) as refused:
            await first.commit([Record(topic, b"x", 0), large], position)
        assert refused.value.indices == [1]
        await first.stop()

        second, third = KafkaTransactions(settings, group), KafkaTransactions(settings, group)
        await second.start()
        assert await log.committed(group, topic, 1) == 7
        await third.start()
        for _ in range(3):  # however often it tries
            with pytest.raises(Fenced):
                await second.commit([Record(topic, b"zombie", 0)], position)
        (last,) = await third.commit([Record(topic, b"4", 0)], None)
        end = last + 2  # its marker
        await until(stable(log, topic, end))
        found = [each async for run in log.read(topic, 0, 0, end) for each in run]
        assert [each.value for each in found] == [b"0", b"1", b"2", b"3", b"4"]
        await asyncio.gather(second.stop(), third.stop())
        with pytest.raises(RetryableError):
            await third.commit([], None)
    finally:
        await log.close()


async def test_records_that_are_refused_together_are_told_apart(
    kafka: LocalKafka, make_topic: MakeTopic, group: str
) -> None:
    settings = Kafka(brokers=(kafka.bootstrap,))
    small, log = make_topic(1, max_message_bytes=1000), KafkaLog(settings)
    halves = [Record(small, os.urandom(600), 0) for _ in range(2)]
    large = Record(small, os.urandom(2000), 0)
    found: list[object] = []
    try:
        for records, apart in ((halves, False), (halves, True), ([*halves, large], True)):
            transactions = KafkaTransactions(settings, group)
            await transactions.start()
            try:
                found.append(await transactions.commit(records, None, apart=apart))
            except RecordsRefused as error:
                found.append(error)
            await transactions.stop()
        together, offsets, alone = found
        assert isinstance(together, RecordsRefused)
        assert together.indices == [0, 1]
        assert isinstance(offsets, list)
        assert len(offsets) == 2
        assert isinstance(alone, RecordsRefused)
        assert alone.indices == [2]
        assert await log.record_max_bytes(small) == 1000
        assert await log.record_max_bytes(f"{small}-not") is None
        assert (await log.partitions(small), await log.partitions(f"{small}-not")) == (1, 0)
    finally:
        await log.close()


# --- what a person or a crash would do


class KafkaAdmin:
    """Topic settings, which aiokafka's own client alters."""

    def __init__(self, kafka: LocalKafka) -> None:
        self._client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)

    async def __aenter__(self) -> KafkaAdmin:
        await self._client.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def limit(self, topic: str, size_bytes: int) -> None:
        from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

        wanted = {"max.message.bytes": str(size_bytes)}
        await self._client.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic, configs=wanted)]
        )


def stable(log: KafkaLog, topic: str, offset: int) -> Callable[[], Awaitable[bool]]:
    """Whether everything before ``offset`` can be read."""

    async def reached() -> bool:
        return await log.end(topic, 0) >= offset

    return reached


async def reset(bench: Bench, offsets: dict[tuple[str, int], int]) -> None:
    """As kafka-consumer-groups --reset-offsets does, on a group without members."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bench.bootstrap, group_id=bench.workers.group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        places = {TopicPartition(*where): at for where, at in offsets.items()}
        consumer.assign(list(places))
        await consumer.commit(places)
    finally:
        await consumer.stop()


async def plant(bench: Bench, key: bytes, value: bytes) -> None:
    """A record on the journal that no progress record names."""
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(bootstrap_servers=bench.bootstrap)
    await producer.start()
    try:
        for partition in range(bench.partitions):
            await producer.send_and_wait(bench.journal, value, key=key, partition=partition)
    finally:
        await producer.stop()


def test_progress_is_json() -> None:
    """So that a person can read it with any tool."""
    assert json.loads(Progress(1, 2, 3, {}).encode())["position"] == 1

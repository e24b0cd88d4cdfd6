"""The runtime on a real Kafka: worker processes, signals, kills, rebalances, a broker that dies."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeTopic
from topologies.localkafka import LocalKafka

from .runtime_processes import (
    Worker,
    Workers,
    by_partition,
    metric,
    numbered,
    read_all,
    repeats,
    send,
    until,
)


@pytest.fixture
def workers(tmp_path: Path, kafka: LocalKafka, group: str) -> Iterator[Workers]:
    found = Workers(tmp_path, kafka.bootstrap, group)
    yield found
    found.end()


@pytest.fixture
def deadletter(make_topic: MakeTopic) -> str:
    return make_topic(1)


def ready(worker: Worker) -> bool:
    assert worker.process.poll() is None, worker.log
    return worker.get("/readyz")[0] == 200


async def test_poison_transient_and_empty_messages(
    workers: Workers, make_topic: MakeTopic, deadletter: str
) -> None:
    topic = make_topic(2)
    values: list[bytes | None] = list(numbered(40))
    values[6] = b"id6 poison"
    values[9] = b"id9 flaky:3"
    values[11] = None
    values[12] = b""
    tenant = ("tenant", b"a")
    await send(workers.bootstrap, topic, values, partitions=2, headers=lambda _: [tenant])
    worker = workers.start([topic], deadletter, merge_max_bytes=1 << 20, delay_s=0.05)
    await until(lambda: len(workers.done()) == 37)
    wanted = {(topic, 0): 20, (topic, 1): 20}

    async def committed() -> bool:
        return await workers.committed() == wanted

    await until(committed)
    assert repeats(workers.done()) == 0
    assert max(done.together for done in workers.done()) > 1
    (letter,) = await read_all(workers.bootstrap, deadletter)
    headers = dict(letter.headers)
    assert abs(time.time() - int(headers.pop("deadletter.time_unix_nano")) / 1e9) < 60
    assert letter.value == values[6]
    assert headers == {
        "tenant": b"a",
        "deadletter.reason": b"refused",
        "deadletter.message": "no such tenant é".encode(),
        "deadletter.stage": b"test",
        "deadletter.topic": topic.encode(),
        "deadletter.partition": b"0",
        "deadletter.offset": b"3",
    }
    assert ready(worker)
    text = worker.get("/metrics")[1]
    labels = {"stage": "test", "topic": topic}
    assert metric(text, "otlp_streams_messages_in_total", **labels) == 40
    assert metric(text, "otlp_streams_messages_out_total", **labels) == 37
    assert metric(text, "otlp_streams_empty_messages_total", **labels) == 2
    assert metric(text, "otlp_streams_dead_letters_total", **labels, reason="refused") == 1
    assert metric(text, "otlp_streams_retries_total", **labels) >= 3
    assert metric(text, "otlp_streams_lag_messages", **labels, partition="0") == 0
    assert metric(text, "otlp_streams_lane_bytes", **labels, partition="1") == 0
    assert metric(text, "otlp_streams_assigned_partitions", stage="test") == 2
    assert metric(text, "otlp_streams_commit_seconds_count", stage="test") >= 1
    assert worker.stop() == 0


async def test_a_defect_ends_with_70_and_commits_nothing(
    workers: Workers, topic: str, deadletter: str
) -> None:
    await send(workers.bootstrap, topic, [b"id0", b"id1 slow:0.5 fatal", b"id2"])
    worker = workers.start([topic], deadletter, runtime={"commit_interval": 60})
    assert await asyncio.to_thread(worker.process.wait, 30) == 70
    assert {done.ident for done in worker.done()} == {"id0", "id2"}
    assert "a defect of the test" in worker.log
    assert await workers.committed() == {}


async def test_a_crash_of_faust_ends_with_71(workers: Workers, topic: str, deadletter: str) -> None:
    worker = workers.start([topic], deadletter, crash=True)
    assert await asyncio.to_thread(worker.process.wait, 30) == 71
    assert "the fetcher of the test is broken" in worker.log


async def test_sigterm_finishes_what_runs_and_commits(
    workers: Workers, topic: str, deadletter: str
) -> None:
    values = [b"id%d slow:0.5" % n for n in range(20)]
    await send(workers.bootstrap, topic, values)
    runtime = {"commit_interval": 60}
    worker = workers.start([topic], deadletter, max_inflight=2, runtime=runtime)
    await until(lambda: len(worker.done()) >= 2)
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 4
    done = len(worker.done())
    assert done < 20
    assert await workers.committed() == {(topic, 0): done}

    # What hangs is waited for no longer than drain_timeout, and comes again.
    await send(workers.bootstrap, topic, [b"id99 slow:600"])
    again = workers.start([topic], deadletter, max_inflight=30, runtime={"drain_timeout": 0.5})
    await until(lambda: len(again.done()) == 20 - done)
    began = time.monotonic()
    assert again.stop() == 0
    assert 0.5 < time.monotonic() - began < 5
    assert await workers.committed() == {(topic, 0): 20}
    assert repeats(workers.done()) == 0


async def test_an_operator_copies_and_ticks(
    workers: Workers, make_topic: MakeTopic, deadletter: str, tmp_path: Path
) -> None:
    topic, output = make_topic(2), make_topic(2)
    values: list[bytes | None] = list(numbered(60))
    values[5] = b"id5 poison"
    await send(workers.bootstrap, topic, values, partitions=2, headers=lambda n: [("n", b"%d" % n)])
    worker = workers.start([topic], deadletter, output=output)

    async def committed() -> bool:
        return await workers.committed() == {(topic, 0): 30, (topic, 1): 30}

    await until(committed)
    records = await read_all(workers.bootstrap, output)
    for partition in range(2):
        sent = [r.value.decode() for r in records if r.partition == partition]
        expected = [n for n in range(60) if n % 2 == partition and n != 5]
        assert sent == [f"id{n} {part}\n" for n in expected for part in "ab"]
    assert all(dict(r.headers) for r in records if r.value.endswith(b"a\n"))
    (letter,) = await read_all(workers.bootstrap, deadletter)
    assert dict(letter.headers)["deadletter.message"] == b"bad wire type at byte 7"
    ticks = worker.done_file.with_suffix(".ticks")

    def ticked() -> bool:
        if not ticks.exists():
            return False
        partitions = [line.split()[0] for line in ticks.read_text().splitlines()]
        return min(partitions.count("0"), partitions.count("1")) >= 3

    await until(ticked)
    assert worker.stop() == 0


async def test_several_stages_share_a_process_and_nothing_else(
    workers: Workers, make_topic: MakeTopic, deadletter: str
) -> None:
    """A group each: what blocks one does not hold up the other."""
    stuck, other = make_topic(1), make_topic(2)
    await send(workers.bootstrap, stuck, [b"id0 flaky:1000000", b"id1"])
    await send(workers.bootstrap, other, list(numbered(50)), partitions=2)
    worker = workers.start([stuck, other], deadletter, apart=True, max_inflight=1)
    await until(lambda: len([d for d in worker.done() if d.topic == other]) == 50)

    def seen() -> bool:
        text = worker.get("/metrics")[1]
        lags = [
            metric(text, "otlp_streams_lag_messages", stage=topic, partition="0")
            for topic in (stuck, other)
        ]
        return lags == [2, 0]

    await until(seen)
    assert ready(worker)
    assert worker.stop() == 0
    assert {d.topic for d in worker.done()} == {other}


class Load:
    """Sends ids without pause and checks commits against what was done, until told to stop."""

    def __init__(self, workers: Workers, topic: str, partitions: int, pause_s: float) -> None:
        self.sent: dict[tuple[int, int], str] = {}
        self.checks = 0
        self._workers, self._topic, self._partitions = workers, topic, partitions
        self._pause_s = pause_s
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._check())]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _send(self) -> None:
        from aiokafka import AIOKafkaProducer

        producer = AIOKafkaProducer(
            bootstrap_servers=self._workers.bootstrap, request_timeout_ms=60_000,
            enable_idempotence=True,
        )  # fmt: skip
        await producer.start()
        number = 0

        async def one(number: int) -> None:
            partition = number % self._partitions
            value = b"id%d " % number + os.urandom(2000)
            metadata = await producer.send_and_wait(self._topic, value, partition=partition)
            self.sent[partition, metadata.offset] = f"id{number}"

        tasks = set()
        while not self._stop.is_set():
            tasks.add(asyncio.create_task(one(number)))
            number += 1
            await asyncio.sleep(self._pause_s)
        await asyncio.gather(*tasks)
        await producer.stop()

    async def _check(self) -> None:
        """The offset first, the work second: what is committed must have been done before."""
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(5):
                    committed = await self._workers.committed()
            except Exception:  # the broker may be away
                await asyncio.sleep(0.5)
                continue
            done = {(d.partition, d.offset) for d in self._workers.done()}
            for (_, partition), offset in committed.items():
                missing = [n for n in range(offset) if (partition, n) not in done]
                assert not missing, f"partition {partition} at {offset}, not done: {missing[:5]}"
            self.checks += 1
            await asyncio.sleep(0.2)

    async def everything_done(self) -> None:
        done = {d.ident for d in self._workers.done()}
        lost = set(self.sent.values()) - done
        assert not lost, f"{len(lost)} of {len(self.sent)} lost: {sorted(lost)[:5]}"

    async def all_committed(self) -> bool:
        ends = {}
        for partition, offset in self.sent:
            key = (self._topic, partition)
            ends[key] = max(ends.get(key, 0), offset + 1)
        return await self._workers.committed() == ends


async def test_kills_stops_and_rebalances_under_load_lose_nothing(
    workers: Workers, make_topic: MakeTopic, deadletter: str
) -> None:
    topic = make_topic(4)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)

    def start() -> Worker:
        return workers.start([topic], deadletter, delay_s=0.05, max_inflight=8)

    async with Load(workers, topic, 4, 0.01) as load:
        running = [start(), start()]
        for worker in running:
            await until(lambda worker=worker: worker.done())
        for number in (signal.SIGKILL, signal.SIGTERM):
            victim = running.pop(rng.randrange(2))
            await asyncio.sleep(rng.uniform(0, 0.5))
            code = await asyncio.to_thread(victim.stop, number)
            assert code == (0 if number == signal.SIGTERM else -9)
            fresh = start()
            running.append(fresh)
            await until(lambda worker=fresh: worker.done())
    await until(load.all_committed)
    await load.everything_done()
    assert load.checks >= 5
    for worker in running:
        assert worker.stop() == 0
        assert worker.process.returncode == 0


async def test_a_worker_more_or_less_repeats_next_to_nothing(
    workers: Workers, make_topic: MakeTopic, deadletter: str
) -> None:
    topic = make_topic(4)
    async with Load(workers, topic, 4, 0.01) as load:
        first = workers.start([topic], deadletter, delay_s=0.02, max_inflight=4)
        await until(first.done)
        second = workers.start([topic], deadletter, delay_s=0.02, max_inflight=4)
        await until(second.done)
        await until(lambda: ready(first) and ready(second))
        assert "4 partitions, 0 of them as before" in first.log
        assert "2 partitions, 2 of them as before" in first.log
        assert await asyncio.to_thread(first.stop) == 0
        seen = len(second.done())
        await until(lambda: len({d.partition for d in second.done()[seen:]}) == 4)
    await until(load.all_committed)
    await load.everything_done()
    # Calls under way are waited for before partitions move, so that none comes twice.
    assert repeats(workers.done()) == 0
    for (_, partition), offsets in by_partition(second.done()).items():
        assert len(offsets) == len(set(offsets)), partition


async def test_the_broker_dies_and_returns(
    tmp_path: Path, broker: LocalKafka, make_topic: MakeTopic, group: str
) -> None:
    topic, deadletter = make_topic(2, on=broker), make_topic(1, on=broker)
    workers = Workers(tmp_path, broker.bootstrap, group)
    await asyncio.to_thread(broker.kill)
    try:
        # Nobody there at the start: it waits, says so, and can be stopped.
        early = workers.start([topic], deadletter)
        status, text = await asyncio.to_thread(early.get, "/readyz")
        assert status == 503
        assert "waiting for Kafka" in text
        assert early.get("/livez")[0] == 200
        assert early.stop(timeout_s=5) == 0
        worker = workers.start([topic], deadletter, delay_s=0.01, runtime={"drain_timeout": 1})
        await until(lambda: "next try in" in worker.log)
        await asyncio.to_thread(broker.start)
        await until(lambda: ready(worker))
        async with Load(workers, topic, 2, 0.02) as load:
            await until(worker.done)
            await asyncio.to_thread(broker.kill)
            await until(lambda: not ready(worker))
            assert "does not answer" in worker.get("/readyz")[1]
            await asyncio.sleep(1)
            await asyncio.to_thread(broker.start)
            seen = len(worker.done())
            await until(lambda: ready(worker) and len(worker.done()) > seen + 20, 60)
        await until(load.all_committed)
        await load.everything_done()
        assert worker.process.poll() is None

        # Stopped while Kafka is away: nothing hangs, and the exit code says it.
        seen = len(worker.done())
        await send(broker.bootstrap, topic, [b"last slow:2"])

        def fetched() -> bool:
            text = worker.get("/metrics")[1]
            return metric(text, "otlp_streams_lane_bytes", partition="0") == len(b"last slow:2")

        await until(fetched)
        await asyncio.to_thread(broker.kill)
        await until(lambda: len(worker.done()) > seen)
        assert await asyncio.to_thread(worker.stop, timeout_s=10) == 75
        assert "did not take the last commit" in worker.log
    finally:
        workers.end()


async def test_a_slow_sink_does_not_cost_memory(
    workers: Workers, make_topic: MakeTopic, deadletter: str
) -> None:
    topic = make_topic(4)
    block = os.urandom(1 << 20)
    values = [b"id%d " % n + block[n : n + 250_000] for n in range(800)]  # 200 MB
    await send(workers.bootstrap, topic, values, partitions=4)
    worker = workers.start([topic], deadletter, delay_s=30, runtime={"drain_timeout": 0.1})

    def full() -> bool:
        text = worker.get("/metrics")[1]
        lanes = [metric(text, "otlp_streams_lane_full", partition=str(n)) for n in range(4)]
        return lanes == [1.0] * 4

    await until(full)
    text = worker.get("/metrics")[1]
    for partition in "0123":
        # lane_max and one poll of 16 messages.
        assert metric(text, "otlp_streams_lane_bytes", partition=partition) < 13 << 20
        assert metric(text, "otlp_streams_lag_messages", partition=partition) == 200
    await asyncio.sleep(1)
    assert worker.stop() == 0
    usage = json.loads(worker.log.strip().splitlines()[-1])
    assert usage["rss_kb"] < 180 << 10, usage


async def test_a_missing_topic_is_a_clear_error(workers: Workers, deadletter: str) -> None:
    worker = workers.start(["no-such-topic"], deadletter)
    assert await asyncio.to_thread(worker.process.wait, 30) != 0
    assert "ConfigurationError: topics are missing: no-such-topic" in worker.log


async def test_offsets_that_retention_removed_are_counted(
    workers: Workers, topic: str, deadletter: str
) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
    from aiokafka.structs import TopicPartition

    await send(workers.bootstrap, topic, [b"id0", b"id1"])
    worker = workers.start([topic], deadletter)
    await until(lambda: len(worker.done()) == 2)
    assert worker.stop() == 0
    await send(workers.bootstrap, topic, [b"id%d" % n for n in range(2, 10)])
    admin = AIOKafkaAdminClient(bootstrap_servers=workers.bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=7)})
    await admin.close()
    again = workers.start([topic], deadletter)
    await until(lambda: len(again.done()) == 3)
    text = again.get("/metrics")[1]
    assert metric(text, "otlp_streams_lost_messages_total", topic=topic) == 5
    assert "retention removed 5 messages" in again.log
    assert again.stop() == 0


async def test_retention_that_overtakes_a_slow_reader_is_counted(
    workers: Workers, topic: str, deadletter: str
) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
    from aiokafka.structs import TopicPartition

    block = os.urandom(1 << 20)
    values = [b"id%d " % n + block[n : n + 300_000] for n in range(60)]
    values[0] = b"id0 slow:1"
    await send(workers.bootstrap, topic, values)
    worker = workers.start([topic], deadletter, max_inflight=1, runtime={"lane_max": 1 << 20})
    await until(lambda: metric(worker.get("/metrics")[1], "otlp_streams_lane_full") == 1)
    admin = AIOKafkaAdminClient(bootstrap_servers=workers.bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=58)})
    await admin.close()
    await until(lambda: worker.done() and worker.done()[-1].ident == "id59")
    lost = 60 - len(worker.done())
    assert lost > 0

    def counted() -> bool:
        text = worker.get("/metrics")[1]
        return metric(text, "otlp_streams_lost_messages_total", topic=topic) == lost

    await until(counted)
    assert worker.stop() == 0

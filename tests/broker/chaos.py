"""Two workers on a real Kafka, and everything that can happen to them, by seed.

    python -m tests.broker.chaos [--minutes 30] [--seed N]

What must hold afterwards, for a reader of committed records: every message that was acknowledged
to the producer is on the copies once and in its place, every poison among the dead letters once,
the counts are those of an undisturbed run record by record, and the last progress in the journal
is the group's committed offset.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.batches import Batch
from schemas.config import Kafka
from schemas.errors import BrokerUnavailable
from tests.operators.counting import expected, read
from topologies.exits import EXIT_CRASHED, EXIT_FENCED, EXIT_OK, EXIT_TRY_AGAIN
from topologies.kafka.admin import AdminClient
from topologies.localkafka import LocalKafka
from topologies.localkafka.probe import free_ports
from topologies.runtime.journal import Progress, progress_key

from .chaos_worker import STAGE

PARTITIONS = 4
SOURCE, COPIES, COUNTS, DEADLETTER = "chaos", "chaos-copies", "chaos-counts", "chaos-dead"
PREFIX = "chaos"
GROUP = f"{PREFIX}.{STAGE}"
SESSION_S = 6.0
FROZEN_S = 9.0
MESSAGE_EVERY_S = 0.01
SETTLE_S = 90.0


class Worker:
    """A worker process that is started again whenever it has ended."""

    def __init__(self, name: str, directory: Path, bootstrap: str) -> None:
        self.name = name
        self.exits: Counter[int] = Counter()
        self._log = directory / f"{name}.log"
        self._config = directory / f"{name}.yaml"
        self._config.write_text(
            json.dumps(
                {
                    "kafka": {
                        "brokers": [bootstrap],
                        "group_prefix": PREFIX,
                        "consumer": {"session_timeout": f"{SESSION_S}s"},
                    },
                    "topics": {
                        "replication_factor": 1,
                        "partitions": PARTITIONS,
                        "names": {"deadletter": DEADLETTER},
                    },
                    "runtime": {
                        "commit_interval": "200ms",
                        "snapshot_interval": "2s",
                        "idle_tick": "500ms",
                    },
                    "telemetry": {
                        "endpoint": f"127.0.0.1:{free_ports(1)[0]}",
                        "log_format": "json",
                    },
                }
            )
        )
        self.process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._pause_s = 0.0
        self._ending = False

    def begin(self) -> None:
        """Start, and keep it running."""
        self._keeper = asyncio.create_task(self._keep())

    def send(self, number: signal.Signals, pause_s: float = 0.0) -> None:
        """Signal it; if it ends, it starts again after ``pause_s``."""
        self._pause_s = pause_s
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def end(self) -> None:
        """SIGTERM, and no more."""
        self._ending = True
        self.send(signal.SIGTERM)
        if self._keeper is not None:
            await self._keeper

    def log(self) -> str:
        """What it has said lately."""
        return self._log.read_text(errors="replace")[-6000:]

    def lines(self, text: str) -> int:
        """How many of its lines hold ``text``."""
        return self._log.read_text(errors="replace").count(text)

    async def _keep(self) -> None:
        while not self._ending:
            with self._log.open("ab") as log:
                self.process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.broker.chaos_worker",
                    str(self._config), SOURCE, COPIES, COUNTS,
                    stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )  # fmt: skip
            self.exits[await self.process.wait()] += 1
            await asyncio.sleep(self._pause_s)


class Chaos:
    """One run: a broker, workers, a producer, faults by seed, and the reckoning."""

    def __init__(self, broker: LocalKafka, directory: Path, seed: int) -> None:
        self.seed = seed
        self.faults: Counter[str] = Counter()
        self.sent: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        """Acknowledged offsets and values by partition."""
        self._broker = broker
        self._directory = directory
        self._rng = random.Random(seed)
        self._workers = [Worker(name, directory, broker.bootstrap) for name in "ab"]
        self._producing = True

    async def run(self, seconds: float) -> dict[str, Any]:
        """Do it, and return figures. Raises AssertionError with the seed when something is off."""
        await self._create_topics()
        for worker in self._workers:
            worker.begin()
        producer = asyncio.create_task(self._produce())
        try:
            ends = time.monotonic() + seconds
            await self._committed(1, 60)
            while time.monotonic() < ends:
                await self._fault()
                await asyncio.sleep(self._rng.uniform(0.2, 4))
            self._producing = False
            await producer
            await self._settle()
        except BaseException:
            producer.cancel()
            for worker in self._workers:
                print(worker.log(), file=sys.stderr)
            raise
        finally:
            for worker in self._workers:
                await worker.end()
        return await self._reckon()

    # --- what happens

    async def _create_topics(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._broker.bootstrap)
        await admin.start()
        stamped = {"message.timestamp.type": "LogAppendTime"}
        await admin.create_topics(
            [
                NewTopic(topic, PARTITIONS, 1, topic_configs=stamped)
                for topic in (SOURCE, COPIES, COUNTS)
            ]
        )
        await admin.close()

    async def _produce(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._broker.bootstrap,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=120_000,
        )
        await producer.start()
        waiting: set[asyncio.Task[None]] = set()
        number = 0

        async def send(partition: int, value: bytes) -> None:
            metadata = await producer.send_and_wait(SOURCE, value, partition=partition)
            self.sent[partition].append((metadata.offset, value))

        while self._producing:
            number += 1
            poison = self._rng.random() < 0.01
            value = f"{'!' if poison else ''}id{number} k{number % 7} k{number % 40}".encode()
            task = asyncio.create_task(send(number % PARTITIONS, value))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            await asyncio.sleep(MESSAGE_EVERY_S)
        await asyncio.gather(*waiting)
        await producer.stop()

    async def _fault(self) -> None:
        worker = self._rng.choice(self._workers)
        kind = self._rng.choices(
            ["kill", "freeze", "term", "twice", "both", "broker", "breath"],
            [30, 15, 15, 10, 5, 5, 10],
        )[0]
        self.faults[kind] += 1
        if kind == "kill":
            worker.send(signal.SIGKILL, self._rng.choice([0, 0, 1, 4]))
        elif kind == "term":
            worker.send(signal.SIGTERM)
        elif kind == "twice":  # rebalances in quick succession
            for _ in range(3):
                worker.send(self._rng.choice([signal.SIGKILL, signal.SIGTERM]))
                await asyncio.sleep(self._rng.uniform(0.1, 1.5))
        elif kind == "both":
            for each in self._workers:
                each.send(signal.SIGKILL, self._rng.uniform(0, 1))
        elif kind in {"freeze", "breath"}:
            worker.send(signal.SIGSTOP)
            # Longer than the session: the other takes over, and this one wakes up as a zombie.
            await asyncio.sleep(FROZEN_S if kind == "freeze" else self._rng.uniform(0.2, 3))
            worker.send(signal.SIGCONT)
        else:
            self._broker.kill()
            await asyncio.sleep(self._rng.uniform(0.5, 5))
            await asyncio.to_thread(self._broker.start)

    # --- waiting

    async def _offsets(self) -> dict[int, int]:
        try:
            async with AdminClient(Kafka(brokers=(self._broker.bootstrap,))) as admin:
                found = await admin.committed(GROUP)
        except BrokerUnavailable:
            return {}
        return {
            partition: offset for (topic, partition), offset in found.items() if topic == SOURCE
        }

    async def _committed(self, least: int, timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            while min((await self._offsets()).values(), default=0) < least:  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    async def _settle(self) -> None:
        ends = {partition: sent[-1][0] + 1 for partition, sent in self._in_order().items()}
        try:
            async with asyncio.timeout(SETTLE_S):
                while await self._offsets() != ends:  # noqa: ASYNC110 - Kafka's condition
                    await asyncio.sleep(0.3)
        except TimeoutError:
            raise AssertionError(
                f"seed {self.seed}: after {SETTLE_S} s committed {await self._offsets()} of {ends}"
            ) from None

    # --- the reckoning

    def _in_order(self) -> dict[int, list[tuple[int, bytes]]]:
        return {partition: sorted(sent) for partition, sent in self.sent.items()}

    async def _reckon(self) -> dict[str, Any]:
        source = await self._read(SOURCE)
        copies, counts = await self._read(COPIES), await self._read(COUNTS)
        dead = [
            value for values in (await self._read(DEADLETTER)).values() for _, value, _ in values
        ]
        journal = await self._read(f"journal.{STAGE}")
        offsets = await self._offsets()
        where = f"seed {self.seed}, faults {dict(self.faults)}"
        poison: list[bytes] = []
        for partition, acknowledged in self._in_order().items():
            batches = [
                Batch(SOURCE, partition, offset, 0, None, value, ())
                for offset, value, _ in source[partition]
            ]
            values = [batch.value for batch in batches]
            assert {value for _, value in acknowledged} == set(values), where
            good = [value for value in values if not _is_poison(value)]
            poison += [value for value in values if _is_poison(value)]
            found = [value for _, value, _ in copies[partition]]
            assert _repeated(found) == {}, f"{where}: partition {partition} has copies twice"
            assert found == good, f"{where}: partition {partition} lacks {set(good) - set(found)}"
            told = [read(value) for _, value, _ in counts[partition]]
            assert told == _expected(batches), f"{where}: counts of partition {partition} differ"
            progress = [
                value for _, value, key in journal[partition] if key == progress_key(SOURCE)
            ]
            assert Progress.decode(progress[-1]).position == offsets[partition], where
        assert Counter(dead) == Counter(poison), f"{where}: {Counter(dead) - Counter(poison)}"
        exits = sum((worker.exits for worker in self._workers), Counter[int]())
        legal = {EXIT_OK, EXIT_FENCED, -signal.SIGKILL, -signal.SIGTERM}
        if self.faults["broker"]:
            # Faust cannot start, or end, without a broker; the process is started again.
            legal |= {EXIT_CRASHED, EXIT_TRY_AGAIN}
        foreign = set(exits) - legal
        assert not foreign, f"{where}: exits {exits}"
        return {
            "messages": sum(map(len, self.sent.values())),
            "dead letters": len(dead),
            "faults": dict(self.faults),
            "exits": {str(code): times for code, times in exits.items()},
            "journal records": sum(map(len, journal.values())),
        }

    async def _read(self, topic: str) -> dict[int, list[tuple[int, bytes, bytes | None]]]:
        found: dict[int, list[tuple[int, bytes, bytes | None]]] = defaultdict(list)
        async with AIOKafkaConsumer(
            bootstrap_servers=self._broker.bootstrap,
            isolation_level="read_committed",
            enable_auto_commit=False,
        ) as consumer:
            await consumer._client.add_topic(topic)
            partitions = [
                TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()
            ]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    found[tp.partition] += [(r.offset, r.value, r.key) for r in records]
        return found


def _repeated(values: Iterable[bytes]) -> dict[bytes, int]:
    return {value: times for value, times in Counter(values).items() if times > 1}


def _expected(batches: list[Batch]) -> list[Any]:
    """What an undisturbed run records of the words that the worker's scan gives it."""
    return expected(
        batch._replace(
            value=batch.value if _is_poison(batch.value) else batch.value.split(b" ", 1)[1]
        )
        for batch in batches
    )


def _is_poison(value: bytes) -> bool:
    return value.startswith(b"!")


def main() -> None:
    """A run of any length, its figures as JSON."""
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that is killed is meant
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with LocalKafka(directory / "kafka", keep=False) as broker:
            chaos = Chaos(broker, directory, arguments.seed)
            figures = asyncio.run(chaos.run(arguments.minutes * 60))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()

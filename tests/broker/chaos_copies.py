"""Two workers that copy and count, on a real Kafka, and everything that can happen to them.

What must hold afterwards, for a reader of committed records: every message that was acknowledged
to the producer is on the copies once and in its place, every poison among the dead letters once,
the counts are those of an undisturbed run record by record, and the last progress in the journal
is the group's committed offset.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.batches import Batch
from tests.operators.counting import expected, read
from topologies.localkafka import LocalKafka
from topologies.runtime.journal import Progress, progress_key

from .chaos_faults import Faults
from .chaos_kafka import committed, read_committed
from .chaos_processes import Worker, ends, figures, telling
from .chaos_worker import STAGE

PARTITIONS = 4
SOURCE, COPIES, COUNTS, DEADLETTER = "chaos", "chaos-copies", "chaos-counts", "chaos-dead"
PREFIX = "chaos"
GROUP = f"{PREFIX}.{STAGE}"
SESSION_S = 6.0
FROZEN_S = 9.0
MESSAGE_EVERY_S = 0.01
SETTLE_S = 90.0


def configuration(bootstrap: str) -> dict[str, Any]:
    """Of the workers."""
    return {
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
    }


class Chaos:
    """One run: a broker, workers, a producer, faults by seed, and the reckoning."""

    def __init__(self, broker: LocalKafka, directory: Path, seed: int) -> None:
        self.seed = seed
        self.sent: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        """Acknowledged offsets and values by partition."""
        self._broker = broker
        self._directory = directory
        self._rng = random.Random(seed)
        config = configuration(broker.bootstrap)
        arguments = ("-m", "tests.broker.chaos_worker", "CONFIG", SOURCE, COPIES, COUNTS)
        self._workers = [Worker(name, directory, config, arguments) for name in "ab"]
        self._faults = Faults(self._workers, broker, self._rng, frozen_s=FROZEN_S)
        self._producing = True

    async def run(self, seconds: float) -> dict[str, Any]:
        """Do it, and return figures. Raises AssertionError with the seed when something is off."""
        await self._create_topics()
        for worker in self._workers:
            worker.begin()
        producer = asyncio.create_task(self._produce())
        try:
            with telling(self._workers, producer):
                began = time.monotonic()
                await self._committed(1, 60)
                await self._faults.go_on(began + seconds - time.monotonic())
                self._producing = False
                await producer
                await self._settle()
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

    # --- waiting

    async def _offsets(self) -> dict[int, int]:
        return await committed(self._broker.bootstrap, GROUP, SOURCE)

    async def _committed(self, least: int, timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            while min((await self._offsets()).values(), default=0) < least:  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    async def _settle(self) -> None:
        wanted = {partition: sent[-1][0] + 1 for partition, sent in self._in_order().items()}
        try:
            async with asyncio.timeout(SETTLE_S):
                while await self._offsets() != wanted:  # noqa: ASYNC110 - Kafka's condition
                    await asyncio.sleep(0.3)
        except TimeoutError:
            raise AssertionError(
                f"seed {self.seed}: after {SETTLE_S} s committed {await self._offsets()}"
                f" of {wanted}"
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
        where = f"seed {self.seed}, faults {dict(self._faults.done)}"
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
        exits = ends(self._workers, broker_killed=bool(self._faults.done["broker"]))
        return {
            "messages": sum(map(len, self.sent.values())),
            "dead letters": len(dead),
            "faults": dict(self._faults.done),
            **figures(self._workers, exits),
            "journal records": sum(map(len, journal.values())),
        }

    async def _read(self, topic: str) -> dict[int, list[tuple[int, bytes, bytes | None]]]:
        found = await read_committed(self._broker.bootstrap, topic)
        return defaultdict(
            list, {p: [(r.offset, r.value, r.key) for r in rows] for p, rows in found.items()}
        )


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

"""Worker processes of tests/broker/runtime_worker.py, and what they and Kafka say."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

ROOT = Path(__file__).resolve().parents[2]


class Done(NamedTuple):
    topic: str
    partition: int
    offset: int
    ident: str
    together: int


class Worker:
    """One process; its lines are in ``done``, what it logs in ``log``."""

    def __init__(self, directory: Path, name: str, order: dict[str, Any]) -> None:
        self.done_file = directory / f"{name}.done"
        self.log_file = directory / f"{name}.log"
        order_file = directory / f"{name}.json"
        order_file.write_text(json.dumps({**order, "done": str(self.done_file)}))
        read_end, write_end = os.pipe()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.broker.runtime_worker", str(order_file)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                pass_fds=[write_end],
                env={**os.environ, "OTLP_STREAMS_ADMIN_FD": str(write_end)},
            )
        os.close(write_end)
        self._admin = read_end
        self._endpoint = ""

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def done(self) -> list[Done]:
        if not self.done_file.exists():
            return []
        lines = self.done_file.read_text().split("\n")[:-1]
        found = [line.split() for line in lines]
        return [Done(t, int(p), int(o), i, int(n)) for t, p, o, i, n in found]

    def get(self, path: str) -> tuple[int, str]:
        if not self._endpoint:
            with os.fdopen(self._admin) as pipe:
                self._endpoint = pipe.readline().strip()
        try:
            with urllib.request.urlopen(f"http://{self._endpoint}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 30) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if not self._endpoint:
            os.close(self._admin)


class Workers:
    """Starts workers of one group, and ends them all."""

    def __init__(self, directory: Path, bootstrap: str, group: str) -> None:
        self.directory = directory
        self.bootstrap = bootstrap
        self.group = f"{group}.test"
        self._prefix = group
        self.all: list[Worker] = []

    def start(
        self,
        topics: list[str],
        deadletter: str,
        *,
        output: str | None = None,
        runtime: dict[str, Any] | None = None,
        kafka: dict[str, Any] | None = None,
        names: dict[str, str] | None = None,
        **knobs: Any,
    ) -> Worker:
        order = {
            "topics": topics,
            "output": output,
            "knobs": knobs,
            "config": {
                "kafka": {
                    "brokers": [self.bootstrap],
                    "group_prefix": self._prefix,
                    "consumer": {"session_timeout": 6, "heartbeat_interval": 0.5},
                    **(kafka or {}),
                },
                "topics": {"create": True, "names": {"deadletter": deadletter, **(names or {})}},
                "telemetry": {"endpoint": "127.0.0.1:0"},
                "runtime": {"commit_interval": 0.2, "idle_tick": 0.3, **(runtime or {})},
            },
        }
        worker = Worker(self.directory, f"worker-{len(self.all)}", order)
        self.all.append(worker)
        return worker

    def done(self) -> list[Done]:
        return [done for worker in self.all for done in worker.done()]

    async def committed(self) -> dict[tuple[str, int], int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(self.group)
        except GroupCoordinatorNotAvailableError:
            return {}  # the first group of a new broker
        finally:
            await admin.close()
        return {(tp.topic, tp.partition): at.offset for tp, at in offsets.items()}

    def end(self) -> None:
        for worker in self.all:
            worker.end()


async def until(what: Callable[[], Any], timeout_s: float = 30, every_s: float = 0.05) -> Any:
    """Wait for a condition; the value that fulfils it."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = what()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {timeout_s} s")
        await asyncio.sleep(every_s)


async def send(
    bootstrap: str,
    topic: str,
    values: list[bytes | None],
    *,
    partitions: int = 1,
    headers: Callable[[int], list[tuple[str, bytes]]] = lambda _: [],
    **options: Any,
) -> None:
    """Send values in order, round robin over the partitions."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=2, **options)
    await producer.start()
    try:
        futures = [
            await producer.send(
                topic, value, key=b"k", partition=n % partitions, headers=headers(n)
            )
            for n, value in enumerate(values)
        ]
        await asyncio.gather(*futures)
    finally:
        await producer.stop()


async def read_all(bootstrap: str, topic: str) -> list[ConsumerRecord]:
    """Everything that is on a topic now."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=50
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


def metric(text: str, name: str, **labels: str) -> float | None:
    """Value of a sample in Prometheus text."""
    for line in text.splitlines():
        if line.startswith((f"{name}{{", f"{name} ")) and all(
            f'{key}="{value}"' in line for key, value in labels.items()
        ):
            return float(line.rpartition(" ")[2])
    return None


def repeats(done: list[Done]) -> int:
    """How many deliveries beyond the first each message had, in all."""
    return sum(n - 1 for n in Counter((d.topic, d.partition, d.offset) for d in done).values())


def by_partition(done: list[Done]) -> dict[tuple[str, int], list[int]]:
    found: dict[tuple[str, int], list[int]] = {}
    for each in done:
        found.setdefault((each.topic, each.partition), []).append(each.offset)
    return found


def numbered(count: int, size: int = 0) -> Iterator[bytes]:
    for n in range(count):
        yield (b"id%d " % n).ljust(size, b"x")

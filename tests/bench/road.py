"""Our own worker processes under a meter: what a run of one scenario does.

A scenario's figure is items per CPU-second of the worker's process tree. A worker that drains a
topic begins before it can be observed, so its start-up (measured on an empty topic in the same
run) is taken off; the table states it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from aiokafka import TopicPartition
from ruamel.yaml import YAML

from schemas.batches import Record
from schemas.config import Kafka
from topologies.kafka import create_consumer, create_producer
from topologies.kafka.admin import AdminClient
from topologies.localkafka.probe import free_ports

from .measure import Meter

_READY_S = 60.0
_DRAIN_S = 300.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One run of one scenario."""

    items: int
    cpu_s: float
    peak_rss_bytes: int
    wall_s: float
    messages: int
    note: str = ""

    @property
    def per_cpu_s(self) -> float:
        """Items per CPU-second."""
        return self.items / self.cpu_s

    @property
    def items_per_message(self) -> float:
        """Items in a Kafka message, on average."""
        return self.items / max(1, self.messages)


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def worker(
    stage: str, config: dict[str, object], directory: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A stage in a process of its own, from ready until the block ends."""
    port = free_ports(1)[0]
    path = directory / f"{stage.replace(':', '-')}-{port}.yaml"
    settings = config | {"telemetry": {"endpoint": f"127.0.0.1:{port}", "log_level": "warning"}}
    with path.open("w") as file:
        YAML(typ="safe").dump(settings, file)
    process = subprocess.Popen(
        [sys.executable, "-m", "topologies.cli.main", "run", stage, "--config", str(path)]
    )
    try:
        give_up = time.monotonic() + _READY_S
        while not _ready(port):
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{stage} did not become ready, exit code {process.poll()}")
            time.sleep(0.02)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextlib.contextmanager
def sink(protocol: str) -> Iterator[str]:
    """The endpoint of a backend that takes everything."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.sink", protocol], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield f"http://127.0.0.1:{port}" if protocol == "http" else f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def base_config(bootstrap: str, topic: str, partitions: int, codec: str) -> dict[str, object]:
    """The settings that scenarios share; one topic of spans."""
    return {
        "kafka": {
            "brokers": [bootstrap],
            "producer": {"compression": codec},
            "group_prefix": topic,
        },
        "topics": {
            "names": {"spans": topic, "spans_out": f"{topic}.out", "journal": f"{topic}.journal"},
            "partitions": partitions,
            "replication_factor": 1,
        },
    }


def receive(
    config: dict[str, object],
    protocol: str,
    file: Path,
    items: int,
    directory: Path,
    width: int = 16,
) -> Figure:
    """Clients send a file to ingest as fast as it answers."""
    ports = dict(zip(("grpc", "http"), free_ports(2), strict=True))
    settings = config | {
        "ingest": {name: {"endpoint": f"127.0.0.1:{port}"} for name, port in ports.items()}
    }
    with worker("ingest", settings, directory) as process:
        began = time.monotonic()
        with Meter(process.pid) as meter:
            output = subprocess.run(
                [
                    sys.executable, "-m", "tests.bench.load", str(file), protocol,
                    f"127.0.0.1:{ports[protocol]}", str(width),
                ],
                check=True, stdout=subprocess.PIPE,
            ).stdout  # fmt: skip
        load = json.loads(output)
        note = f"p50 {load['p50_ms']:.0f} ms, p99 {load['p99_ms']:.0f} ms"
        wall_s = time.monotonic() - began
    topic = config["topics"]["names"]["spans"]  # type: ignore[index]
    messages = asyncio.run(_messages(config["kafka"]["brokers"][0], topic))  # type: ignore[index]
    return Figure(items, meter.cpu_s, meter.peak_rss_bytes, wall_s, messages, note)


def drain(
    stage: str,
    config: dict[str, object],
    group: str,
    topic: str,
    items: int,
    directory: Path,
    bootstrap: str,
    idle_cpu_s: float = 0.0,
) -> Figure:
    """A worker reads a topic until its group's lag is 0; ``idle_cpu_s`` is taken off."""
    began = time.monotonic()
    with worker(stage, config, directory) as process, Meter(process.pid) as meter:
        meter._began_s = 0.0  # from the start of the process: it drains before it says ready
        messages = asyncio.run(_until_drained(bootstrap, group, topic))
        used = meter.now_s()
        return Figure(
            items,
            used - idle_cpu_s,
            meter.peak_rss_bytes,
            time.monotonic() - began,
            messages,
            f"start-up {idle_cpu_s:.1f} CPU s taken off" if idle_cpu_s else "",
        )


async def _ends(bootstrap: str, topic: str) -> dict[TopicPartition, int]:
    consumer = create_consumer(Kafka(brokers=(bootstrap,)))
    await consumer.start()
    try:
        await consumer._client.add_topic(topic)
        partitions = consumer.partitions_for_topic(topic) or set()
        ends: dict[TopicPartition, int] = await consumer.end_offsets(
            [TopicPartition(topic, partition) for partition in partitions]
        )
        return ends
    finally:
        await consumer.stop()


async def _messages(bootstrap: str, topic: str) -> int:
    return sum((await _ends(bootstrap, topic)).values())


async def _until_drained(bootstrap: str, group: str, topic: str) -> int:
    """Return when the group has committed every end; how many messages that were."""
    wanted = await _ends(bootstrap, topic)
    give_up = time.monotonic() + _DRAIN_S
    async with AdminClient(Kafka(brokers=(bootstrap,))) as admin:
        while time.monotonic() < give_up:
            committed = await admin.committed(group)
            if all(committed.get((tp.topic, tp.partition), 0) >= end for tp, end in wanted.items()):
                return sum(wanted.values())
            await asyncio.sleep(0.1)
    raise RuntimeError(f"{group} did not drain {topic}")


def fill(
    bootstrap: str, topic: str, partitions: int, messages: Iterable[bytes], codec: str
) -> None:
    """Put messages on a topic, round robin, as a Collector's kafka exporter might."""
    asyncio.run(_fill(bootstrap, topic, partitions, messages, codec))


async def _fill(
    bootstrap: str, topic: str, partitions: int, messages: Iterable[bytes], codec: str
) -> None:
    kafka = Kafka.model_validate({"brokers": [bootstrap], "producer": {"compression": codec}})
    async with AdminClient(kafka) as admin:
        await admin.create(topic, partitions)
    producer = create_producer(kafka)
    await producer.start()
    try:
        sent = []
        for number, message in enumerate(messages):
            record = Record(topic, message, number % partitions)
            sent.append(await producer.send(record.topic, record.value, partition=record.partition))
            if len(sent) == 100:
                await asyncio.gather(*sent)
                sent = []
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def cores() -> int:
    """Cores that this machine has."""
    return os.cpu_count() or 1

"""A worker that is told to pause and to go on, by the command line, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry

from schemas.batches import Batch
from schemas.config import Config
from schemas.signals import Signal
from schemas.topics import topic_specs
from tests.topologies.tap.test_tap import logs
from topologies import shape
from topologies.control.setting import set_value
from topologies.kafka import AdminClient, create_topics
from topologies.runtime.stage import Stage
from topologies.runtime.worker import Worker
from topologies.tap import as_rows, follow

from .test_follower import audits, until

NAME = "export.enabled.default"


class Seen:
    def __init__(self) -> None:
        self.batches: list[Batch] = []

    async def deliver(self, batches: Sequence[Batch]) -> None:
        self.batches += batches


async def command(config_file: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "topologies.cli.main", *arguments, "--config", str(config_file),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == code, err.decode()
    assert "Traceback" not in err.decode()
    return out.decode(), err.decode()


async def test_a_lane_pauses_at_a_boundary_and_goes_on(config: Config, config_file: Path) -> None:
    await create_topics(config.kafka, topic_specs(config))
    seen, topic = Seen(), config.topics.names.logs
    stage = Stage(name="export.default", topics=(topic,), sink=lambda _t, _p: seen)
    fatals: list[BaseException] = []
    worker = Worker([stage], config, CollectorRegistry(), fatals.append)
    await worker.start()
    producer = AIOKafkaProducer(bootstrap_servers=list(config.kafka.brokers))
    await producer.start()
    sent = 0

    async def send(count: int) -> None:
        nonlocal sent
        for _ in range(count):
            await producer.send_and_wait(topic, b"%d" % sent, partition=0)
            sent += 1

    async def change(*arguments: str) -> None:
        applied = len(await audits(config, "applied"))
        await command(config_file, "control", *arguments)
        for _ in range(100):
            if len(await audits(config, "applied")) > applied:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("nobody applied it")

    try:
        await until(lambda: worker.hosts[0].ready)
        await send(5)
        await until(lambda: len(seen.batches) == 5)
        await change("set", NAME, "off", "--reason", "maintenance")
        await send(5)
        await asyncio.sleep(1)
        assert len(seen.batches) == 5, "delivered while paused"
        assert sum(state.lag or 0 for state in worker.hosts[0].lane_states()) == 5
        await change("unset", NAME)
        await until(lambda: len(seen.batches) == 10)
        assert [int(batch.value) for batch in seen.batches] == list(range(10))
        paused, resumed = await audits(config, "applied")
        assert {r.partition: r.first for r in paused.ranges}[0] == 5
        assert {r.partition: r.first for r in resumed.ranges}[0] == 5
        assert (paused.after, resumed.before, resumed.after) == (False, False, None)
        assert paused.reason == "maintenance"
        # A worker that starts while it is paused delivers nothing at all.
        await set_value(config, NAME, False)
        await worker.stop()
        await send(1)
        worker = Worker([stage], config, CollectorRegistry(), fatals.append)
        await worker.start()
        await until(lambda: worker.hosts[0].ready)
        await until(lambda: sum(s.lag or 0 for s in worker.hosts[0].lane_states()) == 1)
        await asyncio.sleep(0.5)
        assert len(seen.batches) == 10
        await set_value(config, NAME, True)
        await until(lambda: len(seen.batches) == 11)
    finally:
        await producer.stop()
        await worker.stop()
    assert fatals == []


async def test_a_lane_with_transactions_pauses_too(config: Config) -> None:
    """Nothing is shaped while it is paused, what was processed before is committed."""
    await create_topics(config.kafka, topic_specs(config))
    names = config.topics.names
    fatals: list[BaseException] = []
    worker = Worker(
        [shape.stage(config, CollectorRegistry())], config, CollectorRegistry(), fatals.append
    )
    await worker.start()
    producer = AIOKafkaProducer(bootstrap_servers=list(config.kafka.brokers))
    await producer.start()

    async def shaped(topic: str) -> int:
        found = follow(config.kafka, topic, from_beginning=True, to_end=True)
        return sum([len(list(as_rows(Signal.LOGS, m.value))) async for m in found])

    async def send(count: int) -> None:
        for _ in range(count):
            await producer.send_and_wait(names.logs, logs(), partition=1)

    async def reaches(count: int) -> None:
        for _ in range(200):
            if await shaped(names.logs_out) == count:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{await shaped(names.logs_out)} instead of {count}")

    try:
        await send(3)
        await reaches(3)
        await set_value(config, "shape.enabled.logs", False)
        for _ in range(100):
            if await audits(config, "applied"):
                break
            await asyncio.sleep(0.05)
        [paused] = await audits(config, "applied")
        assert {r.partition: r.first for r in paused.ranges} == {0: 0, 1: 3}
        await send(4)
        await asyncio.sleep(2)
        assert await shaped(names.logs_out) == 3
        async with AdminClient(config.kafka) as admin:
            committed = await admin.committed(f"{config.kafka.group_prefix}.shape")
        assert committed[names.logs, 1] == 3
        await set_value(config, "shape.enabled.logs", True)
        await reaches(7)
    finally:
        await producer.stop()
        await worker.stop()
    assert fatals == []


async def test_the_commands(config_file: Path) -> None:
    out, _ = await command(config_file, "control", "set", NAME, "false", "--reason", "why [x]")
    assert f"{NAME}: (configuration) -> false (control record 0)" in out
    out, _ = await command(config_file, "control", "set", "log.level", "debug", "--json")
    assert json.loads(out)["after"] == "debug"
    _, err = await command(config_file, "control", "set", "log.levl", "debug", code=78)
    assert "did you mean log.level?" in err

    out, _ = await command(config_file, "control", "get")
    assert "why [x]" in out
    assert "shape.enabled.traces" in out
    shown: Any = json.loads((await command(config_file, "control", "get", NAME, "--json"))[0])
    assert [(each["name"], each["value"], each["default"]) for each in shown] == [
        (NAME, False, True)
    ]
    assert shown[0]["set"]["reason"] == "why [x]"

    await command(config_file, "control", "unset", NAME)
    out, _ = await command(config_file, "control", "history", NAME)
    assert "(configuration) → false" in out
    assert "false → (configuration)" in out
    assert "debug" not in out
    audits_: Any = json.loads((await command(config_file, "control", "history", "--json"))[0])
    assert [each["name"] for each in audits_] == [NAME, "log.level", NAME]

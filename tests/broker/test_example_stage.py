"""The stage of docs/exactly-once.md as it stands there: its test passes, its worker survives."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from schemas.config import Kafka
from tests.conftest import MakeTopic
from topologies.kafka.admin import AdminClient
from topologies.localkafka import LocalKafka

from .stage_process import StageProcess
from .traffic import eventually, fill

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "exactly-once.md"
OUTPUT = "error_totals"
PARTITIONS, KILLS, SEED = 3, 3, 20261124
POISON = b"no request"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A folder with the files of the page, each named by its first line."""
    found = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    for name, text in found:
        (tmp_path / name).write_text(text)
    assert [name for name, _ in found] == ["error_totals.py", "worker.py", "test_error_totals.py"]
    return tmp_path


def test_it_passes_the_battery(example: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_error_totals.py"],
        cwd=example,
        env={"PYTHONPATH": f"{ROOT}:{example}", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def request(severities: Sequence[int]) -> bytes:
    message = ExportLogsServiceRequest()
    records = message.resource_logs.add().scope_logs.add().log_records
    for severity in severities:
        records.add(severity_number=severity)
    return message.SerializeToString()  # type: ignore[no-any-return]


class Traffic:
    """Messages, dealt to the partitions in turn for as long as it runs, and what must follow."""

    def __init__(self, rng: random.Random) -> None:
        self.totals: list[list[int]] = [[] for _ in range(PARTITIONS)]
        self.poison = 0
        self.stopping = False
        self._rng = rng

    async def run(self, bootstrap: str, topic: str) -> None:
        """Send until ``stopping``."""
        while not self.stopping:
            await fill(bootstrap, topic, PARTITIONS, [self._next(n) for n in range(30)])
            await asyncio.sleep(0.05)  # the pace

    def _next(self, number: int) -> bytes:
        rng, of = self._rng, self.totals[number % PARTITIONS]
        if rng.random() < 0.01:
            self.poison += 1
            return POISON
        severities = [rng.choice([5, 9, 13, 17, 21]) for _ in range(rng.randint(1, 4))]
        if errors := sum(severity >= 17 for severity in severities):
            of.append((of[-1] if of else 0) + errors)
        return request(severities)


async def committed(bootstrap: str, topic: str) -> list[list[bytes]]:
    """Values of each partition, as far as they are committed."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", fetch_max_wait_ms=50
    )
    async with consumer:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found: dict[TopicPartition, list[bytes]] = {each: [] for each in partitions}
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for partition, records in (await consumer.getmany(timeout_ms=100)).items():
                found[partition] += [record.value for record in records]
        return list(found.values())


@pytest.mark.timeout(240)
async def test_its_totals_are_right_however_often_it_is_killed(
    kafka: LocalKafka, make_topic: MakeTopic, group: str, example: Path
) -> None:
    rng = random.Random(SEED)
    logs, deadletter = make_topic(PARTITIONS), make_topic(PARTITIONS)
    async with AdminClient(Kafka(brokers=(kafka.bootstrap,))) as admin:
        await admin.create(OUTPUT, PARTITIONS)
    config: dict[str, Any] = {
        "kafka": {
            "brokers": [kafka.bootstrap],
            "group_prefix": group,
            # Static membership: a worker that was killed is replaced at once.
            "consumer": {"instance_id": "one"},
        },
        "topics": {
            "names": {"logs": logs, "deadletter": deadletter, "journal": f"{group}-journal"},
            "partitions": PARTITIONS,
            "replication_factor": 1,
        },
        "runtime": {"commit_interval": "100ms"},
    }
    traffic = Traffic(rng)
    worker = StageProcess(example, "error_totals", config, example / "worker.py")

    async def totals() -> list[list[int]]:
        found = await committed(kafka.bootstrap, OUTPUT)
        return [[json.loads(value)["total"] for value in of] for of in found]

    async def grown(count: int) -> bool:
        return sum(map(len, await totals())) >= count

    async with worker:
        await worker.ready()
        sending = asyncio.create_task(traffic.run(kafka.bootstrap, logs))
        for _ in range(KILLS):
            seen = sum(map(len, await totals()))
            await eventually(lambda seen=seen: grown(seen + rng.randint(1, 200)), 40)
            await worker.kill()  # under load, at any moment
            await worker.start()
        traffic.stopping = True
        await sending
        await eventually(lambda: grown(sum(map(len, traffic.totals))), 40)
        await worker.ready()
        assert await worker.stop() == 0, worker.log()
    assert await totals() == traffic.totals
    dead = [value for of in await committed(kafka.bootstrap, deadletter) for value in of]
    assert dead == [POISON] * traffic.poison

"""Export workers as processes, what they are fed, and backends that remember."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

__all__ = [
    "ExportWorker",
    "Received",
    "committed_everywhere",
    "eventually",
    "fill",
    "free_port",
    "ids",
    "names",
    "request",
]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def request(first: int, spans: int = 5, name: str = "GET /", pad: bytes = b"") -> bytes:
    """A request of ``spans`` spans with the ids ``first``, ``first + 1``, ..."""
    message = ExportTraceServiceRequest()
    resource = message.resource_spans.add()
    attribute = resource.resource.attributes.add(key="pad")
    attribute.value.bytes_value = pad
    scope = resource.scope_spans.add()
    for number in range(first, first + spans):
        scope.spans.add(
            trace_id=number.to_bytes(16, "big"), span_id=number.to_bytes(8, "big"), name=name
        )
    return message.SerializeToString()


class Received:
    """Span ids and how often each came, with the name of its span."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, data: bytes) -> None:
        """Take a request over."""
        self.counts.update(ids(data))


def ids(data: bytes) -> list[int]:
    """Span ids of a request."""
    return [int.from_bytes(span.span_id, "big") for span in _spans(data)]


def names(data: bytes) -> set[str]:
    """Span names of a request."""
    return {span.name for span in _spans(data)}


def _spans(data: bytes) -> list[Any]:
    return [
        span
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


async def fill(bootstrap: str, topic: str, partitions: int, values: Sequence[bytes]) -> None:
    """Put values on the partitions in turn; all acknowledged."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        futures = [
            await producer.send(topic, value, partition=number % partitions)
            for number, value in enumerate(values)
        ]
        await asyncio.gather(*futures)


async def committed_everywhere(bootstrap: str, group: str, topic: str) -> bool:
    """Whether the group has committed the end of every partition."""
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
    ) as consumer:
        partitions = [TopicPartition(topic, p) for p in await _partitions(consumer, topic)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            if (await consumer.committed(partition) or 0) != ends[partition]:
                return False
        return True


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.add_topic(topic)
    found: set[int] = consumer.partitions_for_topic(topic) or set()
    return found


async def eventually(holds: Callable[[], Awaitable[object]], timeout_s: float = 20) -> None:
    """Return as soon as ``await holds()`` is true."""
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110 - the condition lies in another process
            await asyncio.sleep(0.1)


class ExportWorker:
    """``otlp-streams run export:NAME`` as a process of its own; its output goes to a file."""

    def __init__(self, directory: Path, name: str, config: dict[str, Any]) -> None:
        self.admin = f"127.0.0.1:{free_port()}"
        self._name = name
        self._config = directory / f"{name}.yaml"
        self._config.write_text(json.dumps({**config, "telemetry": {"endpoint": self.admin}}))
        self._log = directory / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def rss_bytes(self) -> int:
        """Resident memory now."""
        assert self._process is not None
        return int(psutil.Process(self._process.pid).memory_info().rss)

    async def start(self) -> None:
        """Start, and return at once."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "topologies.cli.main",
                "run", f"export:{self._name}", "--config", str(self._config),
                stdout=log, stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    async def ready(self, timeout_s: float = 30) -> None:
        """Return when ``/readyz`` says so."""
        ends_s = time.monotonic() + timeout_s
        while time.monotonic() < ends_s:
            assert self._process is not None
            if self._process.returncode is not None:
                break
            try:
                async with aiohttp.request("GET", f"http://{self.admin}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
        raise AssertionError(f"not ready:\n{self.log()}")

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples that carry ``labels``."""
        async with aiohttp.request("GET", f"http://{self.admin}/metrics") as answer:
            text = await answer.text()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self._process.wait()

    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace")[-8000:]

    async def __aenter__(self) -> ExportWorker:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.kill()

"""What the parts of transactions.py share: a broker, workers that lie in wait, readings."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.table import Table

from topologies.localkafka import LocalKafka

from . import lane_load
from .generate import span_requests
from .workers import Worker, cpu_s

SPANS_PER_MESSAGE = 512


class Way(NamedTuple):
    """A kind of worker and how often it commits."""

    kind: str
    commit_interval_s: float

    @property
    def text(self) -> str:
        """For a table."""
        names = {"plain": "no transactions", "apart": "transactions, records not joined"}
        return f"{names.get(self.kind, 'transactions')}, {self.commit_interval_s:g} s"


PLAIN = Way("plain", 1.0)


class Usage(NamedTuple):
    """What one worker has used in a span of time."""

    cpu_s: float
    messages: float
    transactions: float
    seconds: float
    idle_cpu_s_per_s: float = 0.0

    @property
    def ms_per_message(self) -> float:
        """CPU."""
        return self.cpu_s * 1e3 / max(1.0, self.messages)


class Bench:
    """A broker, and messages to be read."""

    def __init__(
        self, kafka: LocalKafka, directory: Path, spans: int, runs: int, state_bytes: int
    ) -> None:
        self.kafka = kafka
        self.bootstrap = kafka.bootstrap
        self.directory = directory
        self.runs = runs
        self.state_bytes = state_bytes
        self.values = list(span_requests("rich", spans))
        self._numbers = itertools.count()

    async def source(self, partitions: int) -> str:
        """A new topic."""
        topic = f"source-{next(self._numbers)}"
        await lane_load.create(self.bootstrap, topic, partitions)
        return topic

    def worker(self, way: Way, source: str, partitions: int, name: str | None = None) -> Worker:
        """Not started; alone in its group unless ``name`` is another's."""
        name = name or f"bench-{next(self._numbers)}"
        settings = lane_load.settings(
            self.bootstrap, source, name, partitions, way.commit_interval_s
        )
        return Worker(self.directory, way.kind, settings)


@contextlib.asynccontextmanager
async def running(workers: Sequence[Worker]) -> AsyncIterator[None]:
    """All of them, ready."""
    try:
        for worker in workers:
            await worker.start()
        for worker in workers:
            await worker.ready()
        yield
    finally:
        await asyncio.gather(*(worker.stop() for worker in workers))


class Reading(NamedTuple):
    at_s: float
    cpu_s: float
    messages: float
    transactions: float

    @classmethod
    async def of(cls, worker: Worker) -> Reading:
        messages = await worker.total("otlp_streams_messages_in_total")
        transactions = await worker.total("otlp_streams_transactions_total")
        return cls(time.monotonic(), worker.cpu_s, messages, transactions)

    def since(self, other: Reading) -> Usage:
        """What was used from ``other`` to here."""
        return Usage(
            self.cpu_s - other.cpu_s,
            self.messages - other.messages,
            self.transactions - other.transactions,
            self.at_s - other.at_s,
        )


async def lie_in_wait(workers: Sequence[Worker]) -> list[Reading]:
    """Stop processes, members of their groups all the same, so that a backlog may grow."""
    found = [await Reading.of(worker) for worker in workers]
    for worker in workers:
        worker.signal(signal.SIGSTOP)
    return found


class Drain(NamedTuple):
    """How a backlog was worked off."""

    used: list[Usage]
    wall_s: float
    peak_rss_bytes: int
    machine: float
    """Share of all cores that was busy, whoever was."""
    broker_cpu_s: float


async def drain(
    bench: Bench, source: str, lanes: int, workers: Sequence[Worker], before: Sequence[Reading]
) -> Drain:
    """Let stopped workers of one group go, until nothing is left."""
    ends = await lane_load.ends(bench.bootstrap, source, lanes)
    broker = bench.kafka.pid
    assert broker is not None
    broker_s, peak = cpu_s(broker), 0
    psutil.cpu_percent()
    began_s = time.monotonic()
    for worker in workers:
        worker.signal(signal.SIGCONT)
    done = asyncio.create_task(lane_load.drained(bench.bootstrap, workers[0].group, ends))
    while not (await asyncio.wait((done,), timeout=0.05))[0]:
        peak = max(peak, *(worker.rss_bytes for worker in workers))
    await done
    wall_s = time.monotonic() - began_s
    machine, broker_s = psutil.cpu_percent() / 100, cpu_s(broker) - broker_s
    used = [
        (await Reading.of(worker)).since(reading)
        for worker, reading in zip(workers, before, strict=True)
    ]
    return Drain(used, wall_s, peak, machine, broker_s)


def columns(table: Table, left: Sequence[str], right: Sequence[str]) -> None:
    """Words to the left, figures to the right."""
    for column in left:
        table.add_column(column)
    for column in right:
        table.add_column(column, justify="right")

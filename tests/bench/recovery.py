"""How long a partition is without new output when its worker dies, by what has to come back.

Two workers share four partitions; each output says which process made it. Then, one after the
other: one is killed and the other takes over; one is stopped with SIGTERM and the other takes
over; the only one is killed and started again at once. Until the *last* of the partitions has
output of another process. The last kill comes once more with static membership, which is how
a process that is started again gets its partitions before the session is over.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import signal
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from . import lane_load
from .lane_bench import Bench
from .lane_worker import PID_HEADER, STATE_BYTES
from .workers import Worker

LANES = 4
PER_S = 80.0
SESSION_S = 10.0
COMMIT_INTERVAL_S = 0.2
SIZES = ((10 << 20, 3), (100 << 20, 3), (1 << 30, 1))
"""Bytes over all lanes, and how many runs."""
_PATIENCE_S = 180.0


class _Outputs:
    """Who has made the newest output of each partition, and when it was first seen from whom."""

    def __init__(self) -> None:
        self.owner: dict[int, int] = {}
        self.taken_s: dict[tuple[int, int], float] = {}
        self.seen_s: dict[int, float] = {}

    def see(self, record: Any, now_s: float) -> None:
        """A record of the output topic."""
        pid = next(int(value) for name, value in record.headers if name == PID_HEADER)
        if self.owner.get(record.partition) != pid:
            self.owner[record.partition] = pid
            self.taken_s[record.partition, pid] = now_s
        self.seen_s[record.partition] = now_s

    async def taken_over(self, partitions: Iterable[int], before: int) -> float:
        """When the last of them had its first output of somebody else."""
        partitions = list(partitions)

        async def taken() -> bool:
            return all(self.owner[each] != before for each in partitions)

        await lane_load.until(taken, "output", _PATIENCE_S)
        return max(self.taken_s[each, self.owner[each]] for each in partitions)


class _Run:
    """One size, one kind, three events."""

    def __init__(self, bootstrap: str, directory: Path, name: str, kind: str, size: int) -> None:
        self._kind = kind
        self._size = size
        self._bootstrap = bootstrap
        self._source = f"{name}.in"
        self._output = f"{name}.out"
        self._group = f"{name}.shape"
        settings = lane_load.settings(bootstrap, self._source, name, LANES, COMMIT_INTERVAL_S)
        settings["kafka"]["consumer"] = {"session_timeout": SESSION_S}
        settings["runtime"]["snapshot_interval"] = 3 if size < 1 << 29 else 30
        self._settings = settings
        self._directory = directory
        self._outputs = _Outputs()
        self._workers: list[Worker] = []

    async def _start(self, instance_id: str | None = None) -> Worker:
        environment = {STATE_BYTES: str(self._size // LANES)}
        settings = copy.deepcopy(self._settings)
        settings["kafka"]["consumer"]["instance_id"] = instance_id
        worker = Worker(self._directory, self._kind, settings, environment=environment)
        self._workers.append(worker)
        await worker.start()
        return worker

    def _of(self, worker: Worker) -> list[int]:
        return [at for at, owner in self._outputs.owner.items() if owner == worker.pid]

    async def _shared(self, *workers: Worker) -> None:
        share = LANES // len(workers)

        async def shared() -> bool:
            return all(len(self._of(worker)) == share for worker in workers)

        await lane_load.until(shared, "sharing of partitions", _PATIENCE_S)
        if self._kind == "state":
            for worker in workers:
                await self._snapshots(worker)

    async def _snapshots(self, worker: Worker) -> None:
        wanted = 0.9 * len(self._of(worker)) * self._size // LANES

        async def complete() -> bool:
            return await worker.total("otlp_streams_snapshot_bytes") >= wanted

        await lane_load.until(complete, "snapshots", _PATIENCE_S)

    async def _event(self, worker: Worker, what: Callable[[], Awaitable[object]]) -> float:
        partitions, pid = self._of(worker), worker.pid
        began_s = time.monotonic()
        await what()
        return await self._outputs.taken_over(partitions, pid) - began_s

    async def run(self, values: Sequence[bytes]) -> dict[str, float]:
        """Seconds by event."""
        try:
            await lane_load.create(self._bootstrap, self._source, LANES)
            if self._kind == "replay":
                await self._fill(values)
            first = await self._start()
            await first.ready()
            if self._kind == "replay":
                ends = await lane_load.ends(self._bootstrap, self._source, LANES)
                await lane_load.drained(self._bootstrap, self._group, ends)
            return await self._events(first, values[0])
        finally:
            await asyncio.gather(*(worker.stop() for worker in self._workers))

    async def _fill(self, values: Sequence[bytes]) -> None:
        left, chosen = self._size, []
        for value in itertools.cycle(values):
            if left <= 0:
                break
            chosen.append(value)
            left -= len(value)
        await lane_load.fill(self._bootstrap, self._source, LANES, chosen)

    async def _events(self, first: Worker, value: bytes) -> dict[str, float]:
        found: dict[str, float] = {}
        small = _small(value)
        async with (
            lane_load.seen(self._bootstrap, self._output, LANES, self._outputs.see),
            lane_load.paced(self._bootstrap, self._source, LANES, [small], PER_S),
        ):
            await self._shared(first)
            second = await self._start()
            await self._shared(first, second)
            found["kill -9, the other takes over"] = await self._event(first, _kill(first))
            third = await self._start()
            await self._shared(second, third)
            found["SIGTERM, the other takes over"] = await self._event(second, _ask(second))
            await second.ended()
            await self._shared(third)

            fourth = await self._again(found, "kill -9, started again at once", third)
            await self._shared(fourth)
            await fourth.stop()
            static = await self._start("one")
            await self._shared(static)
            await self._again(found, "the same, static membership", static, "one")
        return found

    async def _again(
        self, found: dict[str, float], event: str, worker: Worker, instance_id: str | None = None
    ) -> Worker:
        async def again() -> None:
            await _kill(worker)()
            started.append(await self._start(instance_id))

        started: list[Worker] = []
        found[event] = await self._event(worker, again)
        return started[0]


def _small(value: bytes) -> bytes:
    """A request of a few spans, so that the pace costs next to nothing."""
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    request = trace_service_pb2.ExportTraceServiceRequest.FromString(value)
    del request.resource_spans[1:]
    del request.resource_spans[0].scope_spans[1:]
    del request.resource_spans[0].scope_spans[0].spans[4:]
    return request.SerializeToString()


def _kill(worker: Worker) -> Callable[[], Awaitable[object]]:
    async def kill() -> None:
        worker.signal(signal.SIGKILL)
        await worker.ended()

    return kill


def _ask(worker: Worker) -> Callable[[], Awaitable[object]]:
    async def ask() -> None:
        worker.signal(signal.SIGTERM)

    return ask


async def table(bench: Bench) -> Table:
    """Measure and lay out."""
    result = Table(
        title=f"Seconds until all partitions have new output; session timeout {SESSION_S:g} s, "
        f"commit interval {COMMIT_INTERVAL_S:g} s, {LANES} partitions"
    )
    for column in ("what comes back", "event"):
        result.add_column(column)
    for column in ("median s", "min - max", "runs"):
        result.add_column(column, justify="right")
    for kind, (size, runs) in itertools.product(("state", "replay"), SIZES):
        if size > bench.state_bytes:
            continue
        figures = defaultdict(list)
        for number in range(runs):
            name = f"recovery-{kind}-{size >> 20}-{number}"
            run = _Run(bench.bootstrap, bench.directory, name, kind, size)
            for event, seconds in (await run.run(bench.values)).items():
                figures[event].append(seconds)
        text = {"state": "MiB in snapshots", "replay": "MiB to replay"}[kind]
        for event, seconds in figures.items():
            result.add_row(
                f"{size >> 20} {text}",
                event,
                f"{statistics.median(seconds):.1f}",
                f"{min(seconds):.1f} - {max(seconds):.1f}",
                str(len(seconds)),
                end_section=event == list(figures)[-1],
            )
    return result

"""Memory by number of lanes; one worker and two.

Broker and workers share the machine, so two workers soon find no more cores. That is why scaling
is measured twice: as it is, and with each worker running a quarter of the time, as on a machine
with cores for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

from rich.table import Table

from . import lane_load, road
from .lane_bench import PLAIN, Bench, Drain, Way, columns, drain, lie_in_wait, running
from .workers import Worker

SHARE = 0.25
SLICE_S = 0.01
LAPS = 4
"""So many times the usual backlog, so that starting up does not count."""


async def rss(bench: Bench) -> Table:
    """Memory by number of lanes."""
    table = Table(title="Resident memory of a worker, MiB")
    columns(table, ("way", "lanes"), ("idle", "peak over a backlog", "idle/lane", "peak/lane"))
    for way in (PLAIN, Way("shape", 1.0)):
        first: dict[int, tuple[float, float]] = {}
        for lanes in (1, 12, 64):
            found = [await _rss(bench, way, lanes) for _ in range(bench.runs)]
            idle, peak = (statistics.median(each[i] for each in found) / 2**20 for i in (0, 1))
            first[lanes] = idle, peak
            more = lanes - 1
            table.add_row(
                way.text,
                str(lanes),
                f"{idle:.0f}",
                f"{peak:.0f}",
                f"{(idle - first[1][0]) / more:.2f}" if more else "",
                f"{(peak - first[1][1]) / more:.2f}" if more else "",
                end_section=lanes == 64,
            )
    return table


async def _rss(bench: Bench, way: Way, lanes: int) -> tuple[int, int]:
    source = await bench.source(lanes)
    worker = bench.worker(way, source, lanes)
    async with running([worker]):
        await asyncio.sleep(3)
        idle = worker.rss_bytes
        before = await lie_in_wait([worker])
        await lane_load.fill(bench.bootstrap, source, lanes, bench.values)
        done = await drain(bench, source, lanes, [worker], before)
    return idle, done.peak_rss_bytes


async def scaling(bench: Bench) -> Table:
    """One worker and two, the same backlog."""
    table = Table(title=f"Scaling, 12 lanes, {road.cores()} cores shared with the broker")
    columns(
        table,
        ("each worker runs", "workers"),
        ("messages/s", "", "CPU of a core, each", "CPU ms/message", "broker's", "machine busy"),
    )
    for share in (1.0, SHARE):
        found = defaultdict(list)
        for _, count in itertools.product(range(bench.runs), (1, 2)):
            found[count].append(await _scaled(bench, count, share))
        alone = 0.0
        for count, drains in found.items():
            messages = len(bench.values) * LAPS
            cpu = [sum(used.cpu_s for used in each.used) for each in drains]
            shares = [s / (count * d.wall_s) for s, d in zip(cpu, drains, strict=True)]
            rate = statistics.median(messages / each.wall_s for each in drains)
            broker_s = statistics.median(each.broker_cpu_s for each in drains)
            alone = alone or rate
            table.add_row(
                "always" if share == 1 else f"{share:.0%} of the time",
                str(count),
                f"{rate:.0f}",
                f"x {rate / alone:.2f}",
                f"{statistics.median(shares):.0%}",
                f"{statistics.median(cpu) * 1e3 / messages:.2f}",
                f"{broker_s * 1e3 / messages:.2f}",
                f"{statistics.median(each.machine for each in drains):.0%}",
                end_section=count == 2,
            )
    return table


async def _scaled(bench: Bench, count: int, share: float) -> Drain:
    source = await bench.source(12)
    first = bench.worker(Way("shape", 0.2), source, 12)
    name = first.group.removesuffix(".shape")
    others = [bench.worker(Way("shape", 0.2), source, 12, name) for _ in range(count - 1)]
    workers = [first, *others]
    async with running(workers):

        async def shared() -> bool:
            counts = [await each.total("otlp_streams_assigned_partitions") for each in workers]
            return counts == [12 // count] * count

        await lane_load.until(shared, "sharing of partitions", 30)
        await asyncio.sleep(2)
        before = await lie_in_wait(workers)
        await lane_load.fill(bench.bootstrap, source, 12, bench.values * LAPS)
        async with _slowed(workers, share):
            return await drain(bench, source, 12, workers, before)


@contextlib.asynccontextmanager
async def _slowed(workers: Sequence[Worker], share: float) -> AsyncIterator[None]:
    """Each runs for a share of the time, in slices, not all at the same time."""

    async def slow(worker: Worker, begin_s: float) -> None:
        await asyncio.sleep(begin_s)
        while True:
            worker.signal(signal.SIGCONT)
            await asyncio.sleep(SLICE_S)
            worker.signal(signal.SIGSTOP)
            await asyncio.sleep(SLICE_S / share - SLICE_S)

    turn_s = SLICE_S / share / len(workers)
    slowed = workers if share < 1 else ()
    tasks = [
        asyncio.create_task(slow(worker, index * turn_s)) for index, worker in enumerate(slowed)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for worker in workers:
            worker.signal(signal.SIGCONT)

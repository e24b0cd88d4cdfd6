"""CPU of lanes with transactions beside lanes without, at a pace and over a backlog."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
from collections.abc import Sequence

from rich.table import Table

from . import lane_load
from .lane_bench import (
    PLAIN,
    SPANS_PER_MESSAGE,
    Bench,
    Reading,
    Usage,
    Way,
    columns,
    drain,
    lie_in_wait,
    running,
)

LANES = (1, 4, 12)
WINDOW_S = 8.0
IDLE_S = 4.0
WAYS = (PLAIN, Way("shape", 1.0), Way("shape", 0.2), Way("shape", 0.1), Way("apart", 1.0))
PACES = ((24.0, WAYS), (96.0, (PLAIN, Way("shape", 1.0))))
"""Messages a second, and who reads them at the same time."""


async def _paced(bench: Bench, lanes: int, per_s: float, ways: Sequence[Way]) -> list[Usage]:
    """Idle for a while, then a load that all of them take at the same time."""
    source = await bench.source(lanes)
    workers = [bench.worker(way, source, lanes) for way in ways]
    async with running(workers):
        await asyncio.sleep(1.5)
        before = [await Reading.of(worker) for worker in workers]
        await asyncio.sleep(IDLE_S)
        idle = [
            (await Reading.of(worker)).since(reading)
            for worker, reading in zip(workers, before, strict=True)
        ]
        async with lane_load.paced(bench.bootstrap, source, lanes, bench.values, per_s):
            await asyncio.sleep(1.5)
            before = [await Reading.of(worker) for worker in workers]
            await asyncio.sleep(WINDOW_S)
            after = [await Reading.of(worker) for worker in workers]
    return [
        end.since(begin)._replace(idle_cpu_s_per_s=rest.cpu_s / rest.seconds)
        for begin, end, rest in zip(before, after, idle, strict=True)
    ]


async def paced(bench: Bench) -> Table:
    """CPU at a steady pace."""
    table = Table(title=f"Paced load, {WINDOW_S:g} s; all ways read the same messages at once")
    columns(
        table,
        ("lanes", "messages/s", "way"),
        ("CPU ms/message", "us/span", "CPU of a core", "idle", "transactions/s", "CPU on top"),
    )
    for (per_s, ways), lanes in itertools.product(PACES, LANES):
        runs = [await _paced(bench, lanes, per_s, ways) for _ in range(bench.runs)]
        for index, way in enumerate(ways):
            own = [run[index] for run in runs]
            on_top = statistics.median(
                run[index].ms_per_message / run[0].ms_per_message - 1 for run in runs
            )
            per_message = statistics.median(usage.ms_per_message for usage in own)
            table.add_row(
                str(lanes),
                f"{per_s:g}",
                way.text,
                f"{per_message:.2f}",
                f"{per_message * 1e3 / SPANS_PER_MESSAGE:.2f}",
                f"{statistics.median(each.cpu_s / each.seconds for each in own):.1%}",
                f"{statistics.median(each.idle_cpu_s_per_s for each in own):.1%}",
                f"{statistics.median(each.transactions / each.seconds for each in own):.1f}",
                f"{on_top:+.0%}" if index else "",
                end_section=index == len(ways) - 1,
            )
    return table


async def _drains(bench: Bench, lanes: int) -> dict[Way, tuple[Usage, float]]:
    """The same backlog once for each way, one after the other, in any order."""
    source = await bench.source(lanes)
    workers = {way: bench.worker(way, source, lanes) for way in WAYS}
    found = {}
    async with running(list(workers.values())):
        await asyncio.sleep(1)
        readings = await lie_in_wait(list(workers.values()))
        before = dict(zip(workers, readings, strict=True))
        await lane_load.fill(bench.bootstrap, source, lanes, bench.values)
        for way in random.sample(WAYS, len(WAYS)):
            done = await drain(bench, source, lanes, [workers[way]], [before[way]])
            found[way] = done.used[0], done.wall_s
    return found


async def backlog(bench: Bench) -> Table:
    """CPU while a backlog is worked off."""
    table = Table(title=f"A backlog of {len(bench.values)} messages worked off")
    columns(
        table,
        ("lanes", "way"),
        ("CPU ms/message", "us/span", "transactions", "messages/s (wall)", "CPU on top"),
    )
    for lanes in LANES:
        runs = [await _drains(bench, lanes) for _ in range(bench.runs)]
        for way in WAYS:
            per_message = statistics.median(run[way][0].ms_per_message for run in runs)
            on_top = statistics.median(
                run[way][0].ms_per_message / run[PLAIN][0].ms_per_message - 1 for run in runs
            )
            rate = statistics.median(run[way][0].messages / run[way][1] for run in runs)
            table.add_row(
                str(lanes),
                way.text,
                f"{per_message:.2f}",
                f"{per_message * 1e3 / SPANS_PER_MESSAGE:.2f}",
                f"{statistics.median(run[way][0].transactions for run in runs):.0f}",
                f"{rate:.0f}",
                "" if way == PLAIN else f"{on_top:+.0%}",
                end_section=way == WAYS[-1],
            )
    return table

"""Order and time by seed; processes that vanish or stand still."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from .loop import Hang, Process, SimLoop


def story(seed: int, *, shuffle: bool) -> tuple[list[int], float]:
    loop = SimLoop(random.Random(seed), shuffle=shuffle)
    told: list[int] = []

    async def teller(number: int) -> None:
        for _ in range(3):
            told.append(number)
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(teller(number) for number in range(5)))
        await asyncio.sleep(3600)

    loop.run_until_complete(main())
    ended = loop.time()
    loop.shut()
    return told, ended


def test_a_seed_decides_the_order_and_the_time() -> None:
    told, ended = story(1, shuffle=True)
    assert (told, ended) == story(1, shuffle=True)
    assert 3600 < ended < 3601
    assert len({tuple(story(seed, shuffle=True)[0]) for seed in range(20)}) > 15
    assert story(1, shuffle=False)[0] == story(2, shuffle=False)[0] == [0, 1, 2, 3, 4] * 3


def ran(main: Any, loop: SimLoop) -> None:
    loop.run_until_complete(main)
    loop.shut()


def test_a_killed_process_runs_no_finally() -> None:
    loop = SimLoop(random.Random(0), shuffle=True)
    seen: list[str] = []

    async def work() -> None:
        try:
            while True:
                seen.append("work")
                await asyncio.sleep(1)
        finally:
            seen.append("finally")

    async def main() -> None:
        process = Process("p", loop)
        process.spawn(work())
        await asyncio.sleep(2.5)
        process.kill()
        before = list(seen)
        await asyncio.sleep(10)
        assert seen == before == ["work"] * 3

    ran(main(), loop)


def test_a_paused_process_goes_on_with_all_that_was_due() -> None:
    loop = SimLoop(random.Random(0), shuffle=True)
    times: list[float] = []

    async def work() -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            times.append(loop.time())

    async def main() -> None:
        process = Process("p", loop)
        task = process.spawn(work())
        await asyncio.sleep(1.5)
        process.pause()
        await asyncio.sleep(10)
        assert len(times) == 1
        process.resume()
        await task
        assert 11.5 < times[1] < times[2] - 0.9

    ran(main(), loop)


def test_what_waits_for_nothing_is_a_hang() -> None:
    loop = SimLoop(random.Random(0), shuffle=True)

    async def forever() -> None:
        await asyncio.Event().wait()

    async def circles() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Hang, match="nothing is left"):
        loop.run_until_complete(forever())
    with pytest.raises(Hang, match="circles"):
        loop.run_until_complete(circles())
    loop.shut()

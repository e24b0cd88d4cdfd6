"""The circuit alone: who may go out, and when."""

from __future__ import annotations

import asyncio
import random

import pytest

from schemas.config import Retry
from schemas.errors import BackendRefused, BackendUnavailable
from streams.edges.exporters.circuit import OPEN_AFTER, Circuit

from .servers import until


def circuit(initial=0.02, changes=None) -> Circuit:
    class Highest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    note = changes.append if changes is not None else lambda _open: None
    return Circuit(Retry(initial=initial, maximum=max(initial, 0.05)), Highest(), note)


async def request(it: Circuit, error: BaseException | None = None) -> None:
    with await it.permit():
        if error is not None:
            raise error


async def failing(it: Circuit, times: int = OPEN_AFTER, wish_s: float | None = None) -> None:
    for _ in range(times):
        with pytest.raises(BackendUnavailable):
            await request(it, BackendUnavailable("away", wish_s))


async def test_it_opens_after_failures_in_a_row_only() -> None:
    changes: list[bool] = []
    it = circuit(changes=changes)
    await failing(it, OPEN_AFTER - 1)
    await request(it)
    await failing(it, OPEN_AFTER - 1)
    with pytest.raises(BackendRefused):
        await request(it, BackendRefused("no", "400"))  # it lives
    await failing(it, OPEN_AFTER - 1)
    assert not it.is_open
    await failing(it, 1)
    assert it.is_open
    assert changes == [True]


async def test_one_of_many_probes_and_its_success_frees_all() -> None:
    changes: list[bool] = []
    it = circuit(changes=changes)
    await failing(it)
    under_way = most = 0
    answers = iter([BackendUnavailable("away"), BackendUnavailable("away"), None])
    log: list[str] = []

    async def worker() -> None:
        nonlocal under_way, most
        while True:
            permit = await it.permit()
            was_open = it.is_open
            try:
                with permit:
                    if not was_open:
                        log.append("after")
                        return
                    under_way += 1
                    most = max(most, under_way)
                    log.append("probe")
                    try:
                        await asyncio.sleep(0.01)
                        if (error := next(answers)) is not None:
                            raise error
                    finally:
                        under_way -= 1
                    return
            except BackendUnavailable:
                pass

    async with asyncio.timeout(10):
        await asyncio.gather(*(worker() for _ in range(20)))
    assert most == 1
    assert log == ["probe"] * 3 + ["after"] * 19
    assert changes == [True, False]


async def test_a_probe_that_is_cancelled_leaves_its_place_to_the_next() -> None:
    it = circuit()
    await failing(it)

    async def hang() -> None:
        with await it.permit():
            await asyncio.sleep(3600)

    first = asyncio.create_task(hang())
    await until(lambda: it._probing)
    second = asyncio.create_task(request(it))
    await asyncio.sleep(0.02)
    assert not second.done()
    first.cancel()
    async with asyncio.timeout(10):
        await second
    assert not it.is_open


async def test_a_late_success_closes_and_a_late_failure_says_nothing_new() -> None:
    it = circuit(initial=30.0)
    early = [await it.permit(), await it.permit()]
    await failing(it)
    assert it.is_open
    probe_at_s = it._probe_at_s
    with pytest.raises(BackendUnavailable), early[0]:
        raise BackendUnavailable("away", 3600.0)
    assert it._probe_at_s == probe_at_s
    waiting = asyncio.create_task(request(it))
    await asyncio.sleep(0)
    with early[1]:
        pass
    assert not it.is_open
    async with asyncio.timeout(10):
        await waiting


async def test_a_wish_sets_the_pause() -> None:
    it = circuit(initial=30.0)
    await failing(it, wish_s=0.01)
    async with asyncio.timeout(10):
        await request(it)
    assert not it.is_open

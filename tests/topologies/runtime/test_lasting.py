"""Lanes with a sink that works between deliveries, too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from schemas.batches import Batch
from schemas.config import Config
from schemas.control import control_settings
from schemas.errors import BackendRefused
from schemas.records import Value
from topologies.control.view import ControlView
from topologies.runtime.stage import LastingSink

from .doubles import Bench, settle

CONFIG = Config.model_validate({"notify": {"targets": {"it": {"type": "alertmanager"}}}})


class Waiting:
    """Says what it is told; a delivery ends when the test wants it."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.ends: dict[int, asyncio.Future[None]] = {}
        self.busy = asyncio.Event()
        self.busy.set()

    async def deliver(self, batches: Sequence[Batch]) -> None:
        (batch,) = batches
        self.ends[batch.offset] = asyncio.get_running_loop().create_future()
        await self.ends[batch.offset]

    def start(self) -> None:
        self.told.append("start")

    def adjust(self, name: str, value: Value) -> None:
        self.told.append((name, value))

    def freeze(self) -> None:
        self.told.append("freeze")

    async def idle(self) -> None:
        await self.busy.wait()

    def thaw(self) -> None:
        self.told.append("thaw")

    def close(self) -> None:
        self.told.append("close")


@pytest.fixture
def sink() -> Waiting:
    return Waiting()


def test_it_is_one(sink: Waiting) -> None:
    assert isinstance(sink, LastingSink)


async def test_deliveries_wait_for_each_other_neither_to_begin_nor_to_end(sink: Waiting) -> None:
    bench = Bench(sink=sink, max_inflight=3, merge_max_bytes=0)
    bench.put(0, 1, 2, 3)
    await settle()
    assert sorted(sink.ends) == [0, 1, 2], "no more than max_inflight"
    sink.ends[1].set_result(None)
    await settle()
    assert sorted(sink.ends) == [0, 1, 2, 3]
    assert bench.committable is None
    sink.ends[0].set_result(None)
    await settle()
    assert bench.committable == 2
    assert (bench.counts.calls, bench.counts.messages_out) == (4, 2)


async def test_what_only_waits_holds_up_no_rebalance(sink: Waiting) -> None:
    bench = Bench(sink=sink, merge_max_bytes=0)
    bench.put(0)
    await settle()
    bench.lane.freeze()
    await asyncio.wait_for(bench.lane.drained(), 1)
    assert not sink.ends[0].done()
    sink.busy.clear()
    drained = asyncio.ensure_future(bench.lane.drained())
    await settle()
    assert not drained.done(), "a request under way is waited for"
    sink.busy.set()
    await drained
    bench.lane.thaw()
    bench.lane.close()
    await settle()
    assert sink.told == ["start", "freeze", "thaw", "close"]
    assert sink.ends[0].cancelled()


async def test_a_refusal_is_a_dead_letter_and_a_defect_is_fatal(sink: Waiting) -> None:
    bench = Bench(sink=sink, merge_max_bytes=0)
    bench.put(0, 1)
    await settle()
    sink.ends[0].set_exception(BackendRefused("no", "400"))
    await settle()
    assert bench.committable == 1
    assert dict(bench.kafka.log[0].headers)["deadletter.reason"] == b"refused"
    sink.ends[1].set_exception(ZeroDivisionError())
    await settle()
    assert [type(each) for each in bench.fatals] == [ZeroDivisionError]


async def test_it_is_told_what_is_set_before_it_starts_and_later(sink: Waiting) -> None:
    view = ControlView(control_settings(CONFIG))
    view.change("notify.enabled.it", False)
    bench = Bench(sink=sink, control=view.lane("notify.it", "t", 0))
    await settle()
    assert sink.told == [("notify.enabled.it", False), "start"]
    bench.put(0)
    await settle()
    assert not sink.ends, "paused"
    view.change("notify.enabled.it", None)
    view.change("alerts.silences", '{"schema_version": 1, "silences": []}')
    await settle()
    assert sink.told[2:] == [
        ("notify.enabled.it", True),
        ("alerts.silences", '{"schema_version": 1, "silences": []}'),
    ]
    assert list(sink.ends) == [0]

"""What operators get back, and what they are told, when a lane begins and when it begins again."""

from __future__ import annotations

import asyncio
import weakref
from functools import partial
from unittest import mock

from schemas.batches import Batch
from schemas.control import ControlSetting
from schemas.errors import BrokerUnavailable
from schemas.operators import Scanned
from schemas.records import Value
from tests.operators import deciding
from tests.operators.deciding import Deciding
from topologies.control.view import ControlView
from topologies.runtime.hosted import LOG_HEADER
from topologies.runtime.journal import Progress

from .memory import LaneBench, MemoryKafka, Upper


class Watched(Deciding):
    """Notes what happens to it."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.restored = 0
        self.recalled: list[int] = []
        self.replayed: list[int] = []

    def process(self, scanned: Scanned):
        if scanned.replayed:
            self.replayed.append(scanned.batch.offset)
        return super().process(scanned)

    def recall(self, record: Batch) -> None:
        assert record.headers == ()
        self.recalled.append(deciding.read(record.value).number)
        super().recall(record)

    def restore(self, chunks) -> None:
        self.restored += 1
        super().restore(chunks)


by_log = partial(Watched, "deciding", "log", 0, snapshots="log", every=2)


async def again(bench: LaneBench) -> Watched:
    """The process dies, and another one takes over."""
    bench.lane.close()
    await bench.lane.closed()
    await bench.started()
    made = bench.made[-1]
    assert isinstance(made, Watched)
    return made


def decided(bench: LaneBench) -> list[tuple[int, list[str]]]:
    decisions = [deciding.read(value) for value in bench.kafka.values("log")]
    return [(decision.number, decision.keys) for decision in decisions]


async def test_a_snapshot_of_the_log_is_completed_by_log_and_replay() -> None:
    bench = LaneBench(lambda: [by_log()], snapshot_interval_s=4.0, idle_tick_s=1e6)
    await bench.started()
    for value in (b"a", b"b", b"c", b"d", b"e", b"f", b"g"):  # the snapshot is taken on the way
        bench.source(value)
        await bench.clock.advance(1)
    last = [b for b in bench.kafka.logs["journal"] if b.key == b"in/progress"][-1]
    progress = Progress.decode(last.value).operators["deciding"]
    assert progress.snapshot is not None
    assert progress.snapshot.position < 6
    assert progress.replay_from == 6
    watched = await again(bench)
    assert watched.restored == 1
    assert watched.recalled == [2]
    assert watched.replayed == [6]
    bench.source(b"h")
    await bench.clock.advance(1)
    assert decided(bench) == [(0, ["a", "b"]), (1, ["c", "d"]), (2, ["e", "f"]), (3, ["g", "h"])]


async def test_without_its_snapshot_the_whole_log_is_recalled_and_no_more_replayed() -> None:
    bench = LaneBench(lambda: [by_log()], snapshot_interval_s=3.0, idle_tick_s=1e6)
    await bench.started()
    for value in (b"a", b"b", b"c", b"d", b"e"):
        bench.source(value)
        await bench.clock.advance(1)
    pieces = bench.kafka.logs["journal"]
    at = next(n for n, each in enumerate(pieces) if b"snapshot" in (each.key or b""))
    pieces[at] = pieces[at]._replace(value=b"damaged")
    watched = await again(bench)
    assert (watched.restored, watched.recalled, watched.replayed) == (0, [0, 1], [4])
    assert watched.number == 2


async def test_nothing_is_decided_in_a_replay() -> None:
    """With another setting it would be: what waits is decided with the next batch instead."""
    every = [4]
    bench = LaneBench(lambda: [by_log(every=every[0])], idle_tick_s=1e6)
    await bench.started()
    bench.source(b"a", b"b", b"c")
    await bench.clock.advance(1)
    every[0] = 2
    watched = await again(bench)
    assert watched.replayed == [0, 1, 2]
    await bench.clock.advance(2)
    assert decided(bench) == []
    bench.source(b"d")
    await bench.clock.advance(1)
    assert decided(bench) == [(0, ["a", "b", "c", "d"])]


async def test_an_operator_gets_back_its_own_records_alone() -> None:
    """Lanes of other sources, and other operators, write to the same partition of a log."""
    bench = LaneBench(lambda: [by_log()], idle_tick_s=1e6)
    await bench.started()
    bench.source(b"a", b"b")
    await bench.clock.advance(1)
    (ours,) = bench.kafka.logs["log"]
    assert ours.headers == ((LOG_HEADER, b"in/deciding"),)
    for headers in ((), ((LOG_HEADER, b"other/deciding"),), ((LOG_HEADER, b"in/another"),)):
        bench.kafka.append("log", ours.value, headers=headers)
    bench.source(b"c", b"d")
    await bench.clock.advance(1)
    watched = await again(bench)
    assert watched.recalled == [0, 1]


async def test_what_retention_took_from_a_log_is_counted() -> None:
    bench = LaneBench(lambda: [by_log()], idle_tick_s=1e6)
    await bench.started()
    for value in (b"a", b"b", b"c", b"d"):
        bench.source(value)
    await bench.clock.advance(1)
    bench.kafka.begins["log"] = 1
    watched = await again(bench)
    assert watched.recalled == [1]
    assert bench.counts.lost_replay == 1


# --- values that are set at run time ---------------------------------------------------------


class Told(Upper):
    """Notes what it is told, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, str, Value]] = []

    def adjust(self, name: str, value: Value) -> None:
        self.told.append((self.seen, name, value))


SETTINGS = {
    setting.name: setting
    for setting in (
        ControlSetting("rate", (1, 2, 3), 1, "", stage="test"),
        ControlSetting("rate.of.others", (1, 2, 3), 1, "", stage="other"),
        ControlSetting("rate.of.all", (1, 2, 3), 1, ""),
    )
}


async def test_values_reach_operators_at_the_boundary() -> None:
    view = ControlView(SETTINGS)
    view.change("rate", 2)
    bench = LaneBench(lambda: [Told()], control=view)
    await bench.started()
    told = bench.made[-1]
    assert isinstance(told, Told)
    assert told.told == [(0, "rate", 2)]
    bench.source(b"a", b"b")
    await bench.clock.advance(1)
    application = view.change("rate", 3)
    view.change("rate.of.others", 3)
    view.change("rate.of.all", 3)
    await bench.clock.advance(1)
    (range_,) = await application.complete(0)
    assert range_.first == 2
    bench.source(b"c")
    await bench.clock.advance(1)
    view.change("rate", None)
    await bench.clock.advance(1)
    assert told.told[1:] == [(2, "rate", 3), (2, "rate.of.all", 3), (3, "rate", 1)]


async def test_values_reach_operators_that_are_made_anew() -> None:
    view = ControlView(SETTINGS)
    bench = LaneBench(lambda: [Told()], control=view)
    lane = await bench.started()
    assert bench.made[-1].told == []
    for name in ("rate", "rate.of.others", "rate.of.all"):
        view.change(name, 2)
    bench.source(b"a")
    await bench.clock.advance(1)
    lane.close()
    await lane.closed()
    await bench.started()
    told = bench.made[-1]
    assert isinstance(told, Told)
    assert told.told == [(1, "rate", 2), (1, "rate.of.all", 2)]  # after the replay


async def test_operators_are_gone_with_their_lane() -> None:
    """At once, without the garbage collector: gauges of theirs would stay for ever otherwise."""
    made: list[weakref.ref[Upper]] = []

    def make() -> list[Upper]:
        upper = Upper()
        made.append(weakref.ref(upper))
        return [upper]

    bench = LaneBench(make, keep=False, snapshot_interval_s=0.0)
    lane = await bench.started()
    bench.source(b"a")
    await bench.clock.advance(1)
    bench.kafka.errors = [BrokerUnavailable("away")]
    bench.source(b"b")
    await bench.clock.advance(3)
    assert [each() is None for each in made] == [True, False]
    bench.deliver(1)
    await bench.clock.advance(2)
    lane.close()
    await lane.closed()
    assert [each() is None for each in made] == [True, True]


# --- the time of ticks -----------------------------------------------------------------------


class Timed(Upper):
    def __init__(self) -> None:
        super().__init__()
        self.times: list[int] = []

    def tick(self, now_ms: int):
        self.times.append(now_ms)
        return super().tick(now_ms)


async def test_the_time_of_a_tick_is_the_brokers() -> None:
    """Messages are of 1 s after the epoch; the machine believes something else."""
    bench = LaneBench(lambda: [Timed()])
    await bench.started()
    await bench.clock.advance(2.5)
    (timed,) = bench.made
    assert isinstance(timed, Timed)
    unix_ms = bench.clock.unix_ns() // 1_000_000
    assert timed.times
    assert all(unix_ms - 2500 <= each <= unix_ms for each in timed.times)
    timed.times.clear()
    bench.source(b"a")
    await bench.clock.advance(4.5)  # ticks come at whole seconds
    assert timed.times == [2500, 3500, 4500, 5500]
    bench.lane.close()
    await bench.lane.closed()
    await bench.clock.advance(100)
    await bench.started()
    await bench.clock.advance(3)
    timed = bench.made[-1]
    assert isinstance(timed, Timed)
    assert timed.times[-1] == 4000  # what has passed since the recovery


# --- partitions that are added ---------------------------------------------------------------


async def test_operators_are_made_anew_when_there_are_more_partitions() -> None:
    bench = LaneBench()
    lane = await bench.started()
    bench.source(b"a")
    await bench.clock.advance(1)
    lane.freeze()
    lane.thaw()
    bench.source(b"b")
    await bench.clock.advance(1)
    assert (bench.partitions, bench.committed) == ([1], 2)
    bench.kafka.counts["in"] = 3
    lane.freeze()
    lane.thaw()
    bench.source(b"c")
    await bench.clock.advance(3)
    assert bench.partitions == [1, 3]
    assert bench.counts.recoveries == {"assigned": 1, "partitions": 1}
    bench.deliver(2)
    await bench.clock.advance(1)
    assert bench.kafka.values("out") == [b"A", b"B", b"C"]
    assert bench.made[-1].seen == 3


async def test_partitions_that_are_added_during_a_recovery_are_seen() -> None:
    """It has asked already when the rebalance comes."""
    bench, gate, written = LaneBench(lambda: [by_log()]), asyncio.Event(), MemoryKafka.written

    async def slowly(topic: str, partition: int) -> int:
        if topic == "log":
            await gate.wait()
        return await written(bench.kafka, topic, partition)

    with mock.patch.object(bench.kafka, "written", slowly):
        lane = await bench.started()
        assert (bench.partitions, bench.events) == ([1], [])
        bench.kafka.counts["in"] = 3
        lane.freeze()
        lane.thaw()
        gate.set()
        await bench.clock.advance(3)
    assert bench.partitions == [1, 3]


async def test_a_broker_that_does_not_know_the_partition_yet_is_not_believed() -> None:
    bench = LaneBench()
    bench.kafka.counts["in"] = 0
    await bench.started()
    assert bench.partitions == [1]

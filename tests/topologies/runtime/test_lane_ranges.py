"""Ranges of another topic that batches name: read before they are processed, never in the way."""

from __future__ import annotations

import asyncio

import pytest

from schemas.batches import Batch
from schemas.errors import BrokerUnavailable, MessageTooLarge
from schemas.operators import Source
from tests.operators.quoting import QUOTED, Quote, Quoting, named, read
from topologies.runtime.ranges import SILENCE_S, RangeReader
from topologies.runtime.stage import SourceRange

from .doubles import FakeClock, settle
from .memory import LaneBench, MemoryKafka


class Quotes(Quoting):
    """Its scan is the value itself."""

    def process(self, scanned):
        return super().process(scanned._replace(scan=named(scanned.batch.value)))


def reads(value: bytes) -> SourceRange | None:
    wanted = named(value)
    return None if wanted is None else SourceRange(QUOTED, 0, *wanted)


def bench(messages: int = 10, **limits) -> LaneBench:
    found = LaneBench(lambda: [Quotes("quotes")], reads=reads, **limits)
    for number in range(messages):
        found.kafka.append(QUOTED, b"%d" % number)
    return found


def quotes(lane: LaneBench) -> list[Quote]:
    return [read(value) for value in lane.kafka.values("quotes")]


async def test_what_a_batch_names_is_read_before_it_is_processed() -> None:
    one = bench()
    await one.started()
    one.source(b"0-3", b"none", b"3-5", b"", b"5-5")
    await one.clock.advance(1)
    assert quotes(one) == [
        Quote(0, 0, ["0", "1", "2"]),
        Quote(2, 0, ["3", "4"]),
        Quote(4, 0, []),
    ]
    assert one.counts.range_messages == 5
    assert one.counts.range_bytes == 5
    assert one.committed == 5
    one.lane.close()
    await one.lane.closed()
    assert one.kafka.closed_readers == 1


async def test_other_batches_are_committed_while_a_range_is_read() -> None:
    one = bench()
    await one.started()
    one.kafka.fetch_gate.clear()
    one.source(b"none", b"0-2", b"none")
    await one.clock.advance(3)
    assert one.committed == 1
    assert one.lane.queued == 2
    assert not one.lane.uncommitted
    one.kafka.fetch_gate.set()
    await one.clock.advance(1)
    assert one.committed == 3
    assert quotes(one) == [Quote(1, 0, ["0", "1"])]


async def test_a_frozen_lane_reads_no_more_and_goes_on_in_order() -> None:
    one = bench()
    lane = await one.started()
    one.kafka.fetch_gate.clear()
    one.source(b"0-2", b"2-4")
    await settle()
    lane.freeze()
    await asyncio.wait_for(lane.drained(), 1)
    one.kafka.fetch_gate.set()
    await one.clock.advance(3)
    assert quotes(one) == []
    assert one.slots._value == 2
    lane.thaw()
    await one.clock.advance(1)
    assert [quote.offset for quote in quotes(one)] == [0, 1]
    assert one.slots._value == 2


async def test_a_closed_lane_gives_back_its_slot() -> None:
    one = bench()
    lane = await one.started()
    one.kafka.fetch_gate.clear()
    one.source(b"0-2")
    await settle()
    assert one.slots._value == 1
    lane.close()
    await lane.closed()
    assert one.slots._value == 2
    assert one.kafka.closed_readers == 1


async def test_a_lane_that_recovers_reads_again() -> None:
    one = bench()
    await one.started()
    one.kafka.fetch_gate.clear()
    one.source(b"none", b"0-2")
    await settle()
    one.kafka.errors = [BrokerUnavailable("away")]
    await one.clock.advance(1)
    one.kafka.fetch_gate.set()
    await one.clock.advance(3)
    one.deliver(0)
    await one.clock.advance(2)
    assert quotes(one) == [Quote(1, 0, ["0", "1"])]
    assert one.slots._value == 2


async def test_only_so_many_ranges_are_in_memory_at_once() -> None:
    one = bench()
    await one.started()
    await one.slots.acquire()
    await one.slots.acquire()  # two other lanes
    one.source(b"0-2")
    await one.clock.advance(1)
    assert one.kafka.fetches == []
    one.slots.release()
    await one.clock.advance(1)
    assert [quote.offset for quote in quotes(one)] == [0]


async def test_kafka_that_does_not_answer_is_asked_again() -> None:
    one = bench()
    await one.started()
    one.kafka.fetch_errors = [BrokerUnavailable("away"), BrokerUnavailable("away")]
    one.source(b"0-2")
    await one.clock.advance(4)
    assert quotes(one) == [Quote(0, 0, ["0", "1"])]
    assert one.counts.retries == 2
    assert len(one.partitions) == 1  # the lane did not have to recover


async def test_too_much_at_once_is_poison() -> None:
    one = bench(messages=0)
    for _ in range(4):
        one.kafka.append(QUOTED, b"x" * 30)
    await one.started()
    one.source(b"0-4", b"0-2")
    await one.clock.advance(1)
    assert [quote.offset for quote in quotes(one)] == [1]
    (letter,) = one.kafka.logs["dl"]
    assert b"range quoted/0/0-4" in dict(letter.headers)["deadletter.message"]
    assert one.slots._value == 2


async def test_a_replay_reads_nothing() -> None:
    class Long(Quotes):
        def process(self, scanned):
            return super().process(scanned)._replace(replay_from=0)

    one = LaneBench(lambda: [Long("quotes")], reads=reads)
    lane = await one.started()
    one.kafka.append(QUOTED, b"a")
    one.source(b"0-1")
    await one.clock.advance(1)
    lane.close()
    await lane.closed()
    fetches = len(one.kafka.fetches)
    await one.started()
    assert one.counts.replayed == 1
    assert len(one.kafka.fetches) == fetches


# --- what is there no more -------------------------------------------------------------------


async def ranged(kafka: MemoryKafka, clock: FakeClock, start: int, stop: int) -> Source:
    reader = RangeReader(kafka, clock, 1000)
    reading = asyncio.ensure_future(reader.read(SourceRange("t", 0, start, stop)))
    await clock.advance(3 * SILENCE_S)
    return await reading


def kafka(*offsets: int, begin: int = 0) -> MemoryKafka:
    found = MemoryKafka()
    found.logs["t"] = [Batch("t", 0, n, 0, None, b"%d" % n, ()) for n in offsets]
    found.begins["t"] = begin
    return found


@pytest.mark.parametrize(
    ("offsets", "begin", "start", "stop", "removed", "read"),
    [
        ((0, 1, 2, 3), 0, 1, 3, 0, [1, 2]),
        ((0, 1, 2, 3), 2, 0, 4, 2, [2, 3]),
        ((0, 1, 2, 3), 4, 1, 3, 2, []),
        ((0, 1, 2, 3), 9, 1, 3, 2, []),
        ((0, 2, 4), 0, 0, 5, 0, [0, 2, 4]),  # markers
        ((0, 2, 4), 2, 0, 5, 2, [2, 4]),
        ((0, 1), 0, 0, 4, 2, [0, 1]),  # beyond the end
        ((), 0, 3, 5, 2, []),
        ((0, 1), 0, -3, 1, 0, [0]),
        ((0, 1), 0, 1, 0, 0, []),
    ],
)
async def test_what_is_missing_is_counted(
    offsets: tuple[int, ...], begin: int, start: int, stop: int, removed: int, read: list[int]
) -> None:
    source = await ranged(kafka(*offsets, begin=begin), FakeClock(), start, stop)
    assert source.removed == removed
    assert [batch.offset for batch in source.batches] == read


async def test_a_topic_that_is_gone_is_waited_for_once() -> None:
    clock, gone = FakeClock(), kafka()
    gone.counts["t"] = 0
    reader = RangeReader(gone, clock, 1000)
    began_s = clock.now_s
    reading = asyncio.ensure_future(reader.read(SourceRange("t", 0, 0, 7)))
    await clock.advance(SILENCE_S - 1)
    assert not reading.done()
    await clock.advance(2)
    assert await reading == Source(7, [])
    reading = asyncio.ensure_future(reader.read(SourceRange("t", 0, 7, 9)))
    await settle()
    assert await reading == Source(2, [])
    assert clock.now_s == began_s + SILENCE_S + 1
    # Made anew, and patient again.
    gone.counts["t"] = 1
    gone.logs["t"] = kafka(9, 10).logs["t"]
    assert (await reader.read(SourceRange("t", 0, 9, 11))).removed == 0
    reading = asyncio.ensure_future(reader.read(SourceRange("t", 0, 11, 12)))
    await clock.advance(SILENCE_S - 1)
    assert not reading.done()
    reading.cancel()


async def test_a_partition_that_has_more_and_says_nothing_is_no_loss() -> None:
    class Silent(MemoryKafka):
        async def end(self, topic: str, partition: int) -> int:
            return 9

    clock = FakeClock()
    reader = RangeReader(Silent(), clock, 1000)
    reading = asyncio.ensure_future(reader.read(SourceRange("t", 0, 0, 7)))
    await clock.advance(3 * SILENCE_S)
    with pytest.raises(BrokerUnavailable):
        await reading


async def test_another_partition_takes_another_reader() -> None:
    log = kafka(0, 1)
    reader = RangeReader(log, FakeClock(), 1000)
    for partition in (0, 0, 1):
        await reader.read(SourceRange("t", partition, 0, 2))
    assert log.closed_readers == 1
    with pytest.raises(MessageTooLarge):
        await RangeReader(log, FakeClock(), 1).read(SourceRange("t", 0, 0, 2))

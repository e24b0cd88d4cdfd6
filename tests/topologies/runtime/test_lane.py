"""Lanes with a sink, against a clock and a Kafka that the test holds."""

from __future__ import annotations

import asyncio

import pytest

from schemas.errors import (
    BackendRefused,
    BackendUnavailable,
    BrokerUnavailable,
    MalformedMessage,
    MessageTooLarge,
)
from topologies.runtime.calls import Backoff

from .doubles import Bench, ListSink, settle


async def test_batches_that_wait_share_a_call_up_to_the_limit_and_equal_headers() -> None:
    sink = ListSink()
    bench = Bench(sink=sink, max_inflight=1, merge_max_bytes=30)
    gate = asyncio.Event()
    sink.answer = lambda _: gate.wait()
    bench.put(0, value=b"x" * 10)
    await settle()
    bench.put(1, 2, 3, 4, value=b"x" * 10)
    bench.put(5, 6, value=b"x" * 10, headers=(("tenant", b"a"),))
    bench.put(7, value=b"x" * 10)
    bench.put(8, value=b"x" * 100)
    bench.put(9, value=b"x", headers=(("sampling.source", b"spans/0/1-2"), ("tenant", b"a")))
    bench.put(10, value=b"x", headers=(("tenant", b"a"), ("sampling.source", b"spans/0/2-3")))
    gate.set()
    await settle()
    assert sink.calls == [[0], [1, 2, 3], [4], [5, 6], [7], [8], [9, 10]]
    assert bench.committable == 11
    assert bench.lane.bytes == 0
    assert (bench.counts.messages_in, bench.counts.messages_out) == (11, 11)


async def test_calls_overlap_and_commit_in_order() -> None:
    gates = {n: asyncio.Event() for n in range(5)}
    sink = ListSink(lambda offsets: gates[offsets[0]].wait())
    bench = Bench(sink=sink, max_inflight=3, merge_max_bytes=0)
    bench.put(*range(5))
    await settle()
    assert sink.calls == [[0], [1], [2]]
    gates[2].set()
    gates[1].set()
    await settle()
    assert sink.calls == [[0], [1], [2], [3], [4]]
    assert bench.committable is None
    gates[0].set()
    await settle()
    assert bench.committable == 3
    gates[4].set()
    gates[3].set()
    await settle()
    assert bench.committable == 5


async def test_a_retryable_error_waits_and_is_tried_again_for_ever() -> None:
    sink = ListSink(lambda _: BackendUnavailable("no"))
    bench = Bench(sink=sink, merge_max_bytes=0, max_inflight=1)
    bench.put(0, 1)
    await bench.clock.advance(40)
    assert bench.clock.slept[:6] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]  # half of 1, 2, 4, 8, 8
    assert set(map(tuple, sink.calls)) == {(0,)}
    assert bench.committable is None
    assert bench.counts.retries == len(sink.calls)
    sink.answer = lambda _: None
    await bench.clock.advance(5)
    assert bench.committable == 2
    assert not bench.kafka.log
    assert not bench.fatals


async def test_the_other_sides_wish_comes_first_within_the_bound() -> None:
    answers = iter([BackendUnavailable("no", 3.0), BackendUnavailable("no", 99.0), None])
    bench = Bench(sink=ListSink(lambda _: next(answers)))
    bench.put(0)
    await bench.clock.advance(30)
    assert bench.clock.slept == [3.0, 8.0]
    assert bench.committable == 1


def test_backoff_never_exceeds_its_maximum() -> None:
    backoff = Backoff(0.2, 10.0)
    for failures in (1, 2, 30, 10_000):
        for jitter in (0.0, 0.999):
            assert 0.1 <= backoff.pause_s(failures, None, jitter) <= 10.0
    assert backoff.pause_s(1, -5.0, 0.5) == 0.0


async def test_only_the_culprit_of_a_group_is_dead_lettered() -> None:
    def answer(offsets: list[int]) -> object:
        return BackendRefused("bad tenant", "400") if 2 in offsets else None

    sink = ListSink(answer)
    bench = Bench(sink=sink)
    bench.put(0, 1, 2, 3, value=b"payload", headers=(("tenant", b"a"),))
    await settle()
    assert sink.calls == [[0, 1, 2, 3], [0, 1], [2, 3], [2], [3]]
    assert bench.committable == 4
    (letter,) = bench.kafka.log
    assert letter.topic == "dl"
    assert letter.value == b"payload"
    assert dict(letter.headers) == {
        "tenant": b"a",
        "deadletter.reason": b"refused",
        "deadletter.message": b"bad tenant",
        "deadletter.stage": b"test",
        "deadletter.topic": b"t",
        "deadletter.partition": b"0",
        "deadletter.offset": b"2",
        "deadletter.time_unix_nano": b"5",
    }
    assert bench.counts.dead_letters == {"refused": 1}
    assert bench.counts.messages_out == 3


@pytest.mark.parametrize("culprits", [{0}, {63}, {20, 21}, {1, 40}, set(range(64))])
async def test_culprits_are_found_by_halving(culprits: set[int]) -> None:
    sink = ListSink(lambda offsets: MalformedMessage("bad", 1) if culprits & set(offsets) else None)
    bench = Bench(sink=sink)
    bench.put(*range(64))
    for _ in range(20):
        await settle()
    letters = [dict(letter.headers)["deadletter.offset"] for letter in bench.kafka.log]
    assert letters == [b"%d" % offset for offset in sorted(culprits)]
    assert bench.committable == 64
    assert bench.counts.messages_out == 64 - len(culprits)
    assert len(sink.calls) <= min(1 + 2 * 6 * len(culprits), 2 * 64 - 1)


async def test_a_dead_letter_is_acknowledged_before_its_offset_is_finished() -> None:
    bench = Bench(sink=ListSink(lambda _: MalformedMessage("bad", 3)))
    bench.kafka.errors = [BrokerUnavailable("away"), BrokerUnavailable("away")]
    bench.kafka.gate.clear()
    bench.put(0)
    await bench.clock.advance(100)
    assert bench.committable is None
    bench.kafka.gate.set()
    await settle()
    assert bench.committable is None
    await bench.clock.advance(100)
    assert len(bench.kafka.log) == 1
    assert bench.committable == 1


async def test_a_dead_letter_too_large_for_its_topic_goes_without_the_value() -> None:
    bench = Bench(sink=ListSink(lambda _: MalformedMessage("bad", 3)))
    bench.kafka.errors = [MessageTooLarge("a record", 9, "topic dl", 5)]
    bench.put(0, value=b"x" * 9)
    await settle()
    (letter,) = bench.kafka.log
    assert letter.value == b""
    assert dict(letter.headers)["deadletter.value_bytes"] == b"9"
    assert bench.committable == 1


async def test_anything_else_is_fatal_and_finishes_nothing() -> None:
    bench = Bench(sink=ListSink(lambda _: KeyError("defect")))
    bench.put(0)
    await settle()
    assert [type(error) for error in bench.fatals] == [KeyError]
    assert bench.committable is None


async def test_a_full_lane_stops_its_partition_and_half_of_it_starts_it_again() -> None:
    gates = {n: asyncio.Event() for n in range(3)}
    sink = ListSink(lambda offsets: gates[offsets[0]].wait())
    bench = Bench(sink=sink, merge_max_bytes=0, limit_bytes=100)
    bench.put(0, 1, value=b"x" * 50)
    bench.put(2, value=b"x" * 50)
    assert bench.events == ["full"]
    gates[0].set()
    gates[1].set()
    await settle()
    assert bench.events == ["full"]  # 50 of 100 is not below half
    gates[2].set()
    await settle()
    assert bench.events == ["full", "drained"]


async def test_tombstones_and_empty_values_are_finished_at_once_and_counted() -> None:
    sink = ListSink()
    bench = Bench(sink=sink)
    bench.put(0, 1, value=b"")
    assert bench.committable == 2
    await settle()
    assert sink.calls == []
    assert bench.counts.empty == 2


async def test_what_comes_again_is_dropped() -> None:
    sink = ListSink()
    bench = Bench(sink=sink, merge_max_bytes=0)
    bench.put(5, 6, 5, 6, 7)
    await settle()
    assert sink.calls == [[5], [6], [7]]
    assert bench.counts.repeated == 2


async def test_finished_ahead_of_a_stuck_message_is_bounded() -> None:
    stuck = asyncio.Event()
    sink = ListSink(lambda offsets: stuck.wait() if offsets == [0] else None)
    bench = Bench(sink=sink, merge_max_bytes=0, max_inflight=2, ahead_max=10)
    bench.put(*range(100))
    await settle()
    assert len(sink.calls) <= 11
    stuck.set()
    for _ in range(20):
        await settle()
    assert bench.committable == 100


async def test_frozen_lanes_begin_nothing_and_drain_what_runs() -> None:
    gates = {n: asyncio.Event() for n in range(4)}
    sink = ListSink(lambda offsets: gates[offsets[0]].wait())
    bench = Bench(sink=sink, merge_max_bytes=0, max_inflight=2)
    bench.put(*range(4))
    await settle()
    bench.lane.freeze()
    drained = asyncio.ensure_future(bench.lane.drained())
    gates[0].set()
    await settle()
    assert not drained.done()
    gates[1].set()
    await settle()
    assert drained.done()
    assert sink.calls == [[0], [1]]
    assert bench.committable == 2
    bench.lane.thaw()
    gates[2].set()
    gates[3].set()
    await settle()
    assert bench.committable == 4


async def test_a_call_that_waits_for_its_next_try_holds_up_no_drain() -> None:
    sink = ListSink(lambda _: BackendUnavailable("no"))
    bench = Bench(sink=sink)
    bench.put(0)
    await settle()
    bench.lane.freeze()
    await asyncio.wait_for(bench.lane.drained(), 1)
    await bench.clock.advance(60)
    assert len(sink.calls) == 1


async def test_a_closed_lane_is_silent() -> None:
    gate = asyncio.Event()
    sink = ListSink(lambda _: gate.wait())
    bench = Bench(sink=sink, limit_bytes=1)
    bench.put(0)
    await settle()
    bench.lane.close()
    gate.set()
    await settle()
    assert bench.committable is None
    assert bench.events == ["full"]
    assert not bench.fatals

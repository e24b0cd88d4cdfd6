"""Records that a topic does not take: which one, what of its batch stands, what must not go."""

from __future__ import annotations

import pytest

from schemas.batches import Record
from schemas.errors import ConfigurationError, PermanentError
from schemas.operators import Outcome, Scanned
from topologies.runtime.draft import Draft
from topologies.runtime.narrowing import MustNotBeDropped, Narrowing
from topologies.runtime.ports import RecordsRefused

from .memory import LaneBench, Upper


class Splitting(Upper):
    """Each letter of a batch is a record, an X a long one; a Z goes to its log."""

    log_topic = "log"

    def process(self, scanned: Scanned) -> Outcome:
        letters = scanned.batch.value.decode()
        return Outcome([Record("log" if c == "z" else "out", _value(c), 0) for c in letters])


def _value(letter: str) -> bytes:
    return (letter * (9 if letter in "xyz" else 1)).encode()


async def goes_on(bench: LaneBench, upto: int) -> None:
    """Whenever the lane asks for messages again, it gets them."""
    for _ in range(20):
        await bench.clock.advance(2)
        if bench.fatals or bench.committed == upto:
            return
        bench.deliver(bench.lane.next_offset or 0)


async def test_a_refused_record_costs_itself_alone() -> None:
    bench = LaneBench(lambda: [Splitting()])
    bench.kafka.limits["out"] = 4
    await bench.started()
    bench.source(b"a", b"bxc", b"d")
    await goes_on(bench, 3)
    assert bench.kafka.values("out") == [b"a", b"b", b"c", b"d"]
    (letter,) = bench.kafka.logs["dl"]
    assert dict(letter.headers)["deadletter.offset"] == b"1"
    assert dict(letter.headers)["deadletter.value_bytes"] == b"3"
    assert bench.committed == 3
    assert bench.counts.dead_letters == {"too_large": 1}
    assert not bench.fatals


async def test_several_of_one_batch_are_found_one_after_the_other() -> None:
    bench = LaneBench(lambda: [Splitting()])
    bench.kafka.limits["out"] = 4
    await bench.started()
    bench.source(b"xaybx")
    await goes_on(bench, 1)
    assert bench.kafka.values("out") == [b"a", b"b"]
    assert len(bench.kafka.logs["dl"]) == 1
    assert not bench.fatals


async def test_what_is_too_large_only_together_is_no_record_to_drop() -> None:
    bench = LaneBench(lambda: [Splitting()], join_max_bytes=100)
    bench.kafka.limits["out"] = 4
    await bench.started()
    bench.source(b"abcdefgh")
    await goes_on(bench, 1)
    assert bench.kafka.values("out") == [b"%c" % c for c in b"abcdefgh"]
    assert "dl" not in bench.kafka.logs
    bench.source(b"a")  # and from then on as before
    await bench.clock.advance(1)
    bench.source(b"a", b"a", b"b")  # the first one goes at once
    await bench.clock.advance(1)
    assert bench.kafka.values("out")[-1] == b"ab"


async def test_a_record_of_a_log_is_never_dropped() -> None:
    bench = LaneBench(lambda: [Splitting()])
    bench.kafka.limits["log"] = 4
    await bench.started()
    bench.source(b"a", b"bzc")
    await goes_on(bench, 2)
    (error,) = bench.fatals
    assert isinstance(error, ConfigurationError)
    assert "log" in str(error)
    assert "max.message.bytes is 4" in str(error)
    assert bench.kafka.values("out") == [b"a"]
    assert bench.committed == 1


async def test_what_a_tick_has_decided_is_never_dropped() -> None:
    bench = LaneBench(lambda: [Splitting()])
    bench.kafka.limits["log"] = 4
    await bench.started()
    bench.source(b"a")
    await bench.clock.advance(1)
    (upper,) = bench.made
    assert isinstance(upper, Upper)
    upper.tick_records = [Record("log", b"12345", 0)]
    await bench.clock.advance(5)
    (error,) = bench.fatals
    assert isinstance(error, ConfigurationError)
    assert bench.committed == 1


@pytest.mark.parametrize("topic", ["journal", "dl"])
async def test_topics_of_the_runtime_have_to_take_what_they_get(topic: str) -> None:
    bench = LaneBench(lambda: [Upper()])
    await bench.started()
    bench.kafka.limits[topic] = 0
    bench.source(b"!a")
    await goes_on(bench, 1)
    (error,) = bench.fatals
    assert isinstance(error, ConfigurationError)
    assert topic in str(error)
    assert bench.committed == 0


async def test_our_own_limit_drops_no_record_of_a_log() -> None:
    class Growing(Upper):
        log_topic = "log"

        def process(self, scanned: Scanned) -> Outcome:
            return Outcome([Record("log", b"x" * 600_000, 0)])

    bench = LaneBench(lambda: [Growing()])
    await bench.started()
    bench.source(b"a")
    await bench.clock.advance(1)
    (error,) = bench.fatals
    assert isinstance(error, ConfigurationError)
    assert "kafka.producer.max_message" in str(error)
    assert bench.committed == 0


def test_each_alone_and_several_refused_is_a_defect() -> None:
    narrowing, draft = Narrowing(), Draft(3, 0, 0)
    records = [Record("out", b"a", 0), Record("out", b"b", 0)]
    draft.advance(3, 0)
    draft.add(records)
    several = RecordsRefused("no", [0, 1])
    narrowing.refused(draft, records, several, ())
    assert narrowing.apart(draft)
    with pytest.raises(AssertionError):
        narrowing.refused(draft, records, several, ())
    with pytest.raises(MustNotBeDropped):
        narrowing.refused(draft, records, RecordsRefused("no", [1]), {"out"})
    other = PermanentError("of something else")
    with pytest.raises(PermanentError) as raised:
        narrowing.refused(draft, records, other, ())
    assert raised.value is other

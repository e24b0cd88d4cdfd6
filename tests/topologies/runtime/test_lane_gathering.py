"""What operators gather over batches goes with the transaction that passes them, once."""

from __future__ import annotations

import pytest

from schemas.batches import Record
from schemas.errors import BrokerUnavailable, ConfigurationError
from schemas.operators import Outcome, Scanned
from tests.operators.gathering import Gathering, read

from .memory import LaneBench, Upper
from .test_lane_refusals import goes_on


def benched(**options) -> LaneBench:
    return LaneBench(lambda: [Upper(), Gathering("gathered", 0)], **options)


def gathered(bench: LaneBench) -> list[list[str]]:
    return [read(value).keys for value in bench.kafka.values("gathered")]


async def test_it_goes_with_its_batches_and_makes_no_transaction_of_its_own() -> None:
    bench = benched()
    await bench.started()
    bench.source(b"a")
    await bench.clock.advance(1)
    bench.source(b"b", b"c")
    await bench.clock.advance(1)
    assert gathered(bench) == [["a"], ["b", "c"]]
    commits = len(bench.kafka.commits)
    await bench.clock.advance(30)
    assert bench.made[0].ticks > 10
    assert len(bench.kafka.commits) == commits


async def test_it_comes_last_and_is_never_joined() -> None:
    class Hasty(Gathering):
        """Says nothing before a commit, and then one by one."""

        def flush(self):
            keys, self.keys = self.keys, []
            return [Record("out", key.encode(), 0) for key in keys]

    bench = LaneBench(lambda: [Hasty("out", 0), Upper()], join_max_bytes=100)
    await bench.started()
    bench.source(b"a")
    await bench.clock.advance(1)
    bench.source(b"b", b"c", b"d")
    await bench.clock.advance(1)
    assert bench.kafka.values("out") == [b"A", b"a", b"BCD", b"b", b"c", b"d"]


async def test_what_one_says_before_a_commit_is_not_said_again() -> None:
    bench = benched()
    await bench.started()
    bench.source(*(b"%c" % c for c in b"abcdefg"))
    await bench.clock.advance(2)
    assert gathered(bench) == [["a", "b", "c", "d", "e"], ["f", "g"]]


async def test_a_frozen_lane_commits_what_is_gathered() -> None:
    bench = benched(commit_interval_s=60.0)
    await bench.started()
    bench.source(b"a")
    await bench.clock.advance(0)
    bench.source(b"b")
    await bench.clock.advance(0)
    bench.lane.freeze()
    await bench.lane.drained()
    assert gathered(bench) == [["a", "b"]]
    assert bench.committed == 2


async def test_nothing_of_it_survives_a_transaction_that_failed() -> None:
    bench = benched()
    await bench.started()
    bench.kafka.errors = [None, BrokerUnavailable("away")]
    bench.source(b"a")
    await bench.clock.advance(1)
    bench.source(b"b")
    await bench.clock.advance(1)
    bench.source(b"c")
    await goes_on(bench, 3)
    assert [key for keys in gathered(bench) for key in keys] == ["a", "b", "c"]


async def test_a_refused_record_beside_it_costs_it_nothing() -> None:
    bench = benched()
    bench.kafka.limits["out"] = 4
    await bench.started()
    bench.source(b"a", b"b", b"ccccc", b"d")
    await goes_on(bench, 4)
    assert [key for keys in gathered(bench) for key in keys] == ["a", "b", "ccccc", "d"]
    assert bench.kafka.values("out") == [b"A", b"B", b"D"]
    assert len(bench.kafka.logs["dl"]) == 1
    assert not bench.fatals


async def test_a_topic_that_refuses_it_ends_the_process_and_is_named() -> None:
    bench = benched()
    bench.kafka.limits["gathered"] = 40
    await bench.started()
    bench.source(b"a", b"b", b"c" * 40, b"d")
    await goes_on(bench, 4)
    (error,) = bench.fatals
    assert isinstance(error, ConfigurationError)
    assert "gathered" in str(error)
    assert "max.message.bytes is 40" in str(error)
    assert bench.committed == 2
    assert "dl" not in bench.kafka.logs


@pytest.mark.parametrize("ours", [True, False])
async def test_a_kept_topic_loses_no_record_of_a_batch(ours: bool) -> None:
    class Long(Upper):
        def process(self, scanned: Scanned) -> Outcome:
            return Outcome([Record("kept", scanned.batch.value * 9, 0)])

    limits = {"record_max_bytes": 105} if ours else {}
    bench = LaneBench(lambda: [Long()], kept=["kept"], join_max_bytes=100, **limits)
    if not ours:
        bench.kafka.limits["kept"] = 5
    await bench.started()
    bench.source(b"a")
    await goes_on(bench, 1)
    (error,) = bench.fatals
    assert isinstance(error, ConfigurationError)
    assert "kept" in str(error)
    assert bench.committed == 0


async def test_more_than_we_may_send_is_a_defect_of_the_operator() -> None:
    bench = benched(record_max_bytes=150)
    await bench.started()
    bench.source(b"a" * 45)
    await bench.clock.advance(2)
    (error,) = bench.fatals
    assert isinstance(error, AssertionError)
    assert "gathering" in str(error)
    assert bench.committed == 0

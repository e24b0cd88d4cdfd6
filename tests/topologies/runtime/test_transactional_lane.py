"""A transactional lane against a Kafka of lists; the simulator has the crashes and races."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from schemas.batches import Record
from schemas.errors import BrokerUnavailable
from schemas.operators import Outcome, Scanned
from topologies.runtime.journal import PIECE_MAX_BYTES, Progress
from topologies.runtime.ports import Fenced

from .doubles import settle
from .memory import LaneBench, Upper


async def progressed(bench: LaneBench) -> Progress:
    last = [b for b in bench.kafka.logs["journal"] if b.key == b"in/progress"][-1]
    return Progress.decode(last.value)


async def test_outputs_progress_and_offset_are_one_transaction() -> None:
    bench = LaneBench()
    await bench.started()
    assert bench.events == ["recovered 0"]
    assert bench.committed == 0  # so that a first start is at the same place for ever
    bench.source(b"a", b"b")
    await settle()
    assert bench.committed == 0
    await bench.clock.advance(1)
    assert bench.committed == 2
    last = bench.kafka.commits[-1]
    assert [(r.topic, r.value) for r in last[:-1]] == [("out", b"A"), ("out", b"B")]
    assert last[-1].key == b"in/progress"
    assert (await progressed(bench)).position == 2
    assert bench.counts.processed == 2
    await bench.clock.advance(50)
    assert len(bench.kafka.commits) == 2  # nothing new, no transaction
    assert not bench.fatals


async def test_the_next_batches_are_processed_while_one_commits() -> None:
    bench = LaneBench(commit_max_bytes=3)
    await bench.started()
    bench.kafka.gate.clear()
    bench.source(b"aaa", b"bb", b"b", b"c")
    await settle()
    (upper,) = bench.made
    assert isinstance(upper, Upper)
    assert upper.seen == 3  # one transaction under way, the next one full, the rest queued
    assert bench.lane.queued == 1
    bench.kafka.gate.set()
    await settle()
    assert bench.kafka.values("out") == [b"AAA", b"BB", b"B"]
    await bench.clock.advance(1)
    assert bench.kafka.values("out") == [b"AAA", b"BB", b"B", b"C"]


async def test_after_an_error_everything_is_made_anew() -> None:
    bench = LaneBench()
    await bench.started()
    bench.source(b"a", b"b")
    bench.kafka.errors = [BrokerUnavailable("in doubt")]
    await bench.clock.advance(1)
    assert bench.kafka.stopped == 1
    assert bench.events[1:] == ["full"]
    assert bench.lane.next_offset is None
    bench.lane.put(bench.kafka.logs["in"][1])  # still on its way: not wanted now
    await bench.clock.advance(1)
    assert bench.events[-1] == "recovered 0"
    bench.deliver(0)
    await bench.clock.advance(2)
    assert bench.kafka.values("out") == [b"A", b"B"]
    assert bench.committed == 2
    assert bench.counts.aborts == 1
    assert bench.counts.recoveries == {"assigned": 1, "broker_unavailable": 1}


async def test_in_doubt_and_yet_committed() -> None:
    """The error said nothing; the journal says what happened."""
    bench = LaneBench()
    await bench.started()
    bench.source(b"a")
    bench.kafka.late = BrokerUnavailable("no answer")
    await bench.clock.advance(1)
    await bench.clock.advance(2)
    assert bench.events[-1] == "recovered 1"
    bench.source(b"b")
    await bench.clock.advance(1)
    assert bench.kafka.values("out") == [b"A", b"B"]


async def test_state_comes_from_the_replay_and_outputs_do_not() -> None:
    bench = LaneBench()
    lane = await bench.started()
    bench.source(b"a", b"!", b"", b"c")
    await bench.clock.advance(1)
    lane.close()
    await lane.closed()
    await bench.started()
    upper = bench.made[-1]
    assert isinstance(upper, Upper)
    assert upper.seen == 2
    assert bench.counts.replayed == 4
    assert bench.kafka.values("out") == [b"A", b"C"]
    assert len(bench.kafka.logs["dl"]) == 1
    assert bench.counts.empty == 1
    assert bench.counts.dead_letters == {"permanent": 1}


async def test_snapshots_come_in_pieces_and_count_when_they_are_whole() -> None:
    class Large(Upper):
        def __init__(self) -> None:
            super().__init__()
            self.pieces = 4

    bench = LaneBench(lambda: [Large()], snapshot_interval_s=2)
    lane = await bench.started()
    bench.source(b"a")
    await bench.clock.advance(3)
    bench.source(b"b")
    for _ in range(2):
        await bench.clock.advance(1)
        assert (await progressed(bench)).operators["upper"].snapshot is None
    await bench.clock.advance(1)
    place = (await progressed(bench)).operators["upper"].snapshot
    assert place is not None
    assert (place.position, place.pieces) == (2, 3)
    commits = len(bench.kafka.commits)
    await bench.clock.advance(20)
    assert len(bench.kafka.commits) == commits

    bench.source(b"c")
    lane.freeze()
    lane.thaw()
    await bench.clock.advance(1)
    lane.close()
    await lane.closed()
    bench.counts.replayed = 0
    await bench.started()
    upper = bench.made[-1]
    assert isinstance(upper, Upper)
    assert upper.seen == 3
    assert bench.counts.replayed == 1


@pytest.mark.parametrize("damage", ["missing", "changed", "version"])
async def test_a_snapshot_that_cannot_be_used_is_replaced_by_a_replay(damage: str) -> None:
    class Newer(Upper):
        format_version = 2

    kinds: list[type[Upper]] = [Upper]
    bench = LaneBench(lambda: [kinds[-1]()], snapshot_interval_s=0.5)
    lane = await bench.started()
    bench.source(b"a", b"b")
    await bench.clock.advance(3)
    assert (await progressed(bench)).operators["upper"].snapshot is not None
    lane.close()
    await lane.closed()
    log = bench.kafka.logs["journal"]
    at = next(n for n, b in enumerate(log) if b"snapshot" in (b.key or b""))
    if damage == "missing":
        del log[at]
    elif damage == "changed":
        log[at] = log[at]._replace(value=b"\0\0\0\x011")
    else:
        kinds.append(Newer)
    await bench.started()
    upper = bench.made[-1]
    assert isinstance(upper, Upper)
    assert upper.seen == 2
    assert bench.counts.replayed == 2


async def test_a_person_resets_the_group() -> None:
    bench = LaneBench()
    lane = await bench.started()
    bench.source(b"a", b"b", b"c")
    await bench.clock.advance(1)
    lane.close()
    await lane.closed()
    bench.kafka.group["g", "in", 0] = 1
    bench.start()
    await bench.clock.advance(1)
    assert bench.events[-1] == "recovered 1"
    bench.deliver(1)
    await bench.clock.advance(1)
    assert bench.kafka.values("out") == [b"A", b"B", b"C", b"B", b"C"]
    upper = bench.made[-1]
    assert isinstance(upper, Upper)
    assert upper.seen == 2


async def test_what_retention_took_is_counted() -> None:
    bench = LaneBench()
    lane = await bench.started()
    bench.source(b"a", b"b", b"c", b"d")
    await bench.clock.advance(1)
    lane.close()
    await lane.closed()
    bench.kafka.begins["in"] = 3
    await bench.started()
    assert bench.events[-1] == "recovered 4"
    assert (bench.counts.lost, bench.counts.lost_replay, bench.counts.replayed) == (0, 3, 1)
    bench.lane.close()
    await bench.lane.closed()
    bench.kafka.append("in", b"e")
    bench.kafka.append("in", b"f")
    bench.kafka.begins["in"] = 5
    await bench.started()
    assert bench.events[-1] == "recovered 5"
    assert bench.counts.lost == 1


async def test_what_a_seek_skipped_is_read_from_the_log() -> None:
    bench = LaneBench()
    for value in (b"a", b"b", b"c", b"d"):
        bench.kafka.append("in", value)
    await bench.started()
    bench.deliver(2)
    await bench.clock.advance(1)
    assert bench.kafka.values("out") == [b"A", b"B", b"C", b"D"]
    bench.deliver(0)
    assert bench.counts.repeated == 4
    reads = len(bench.kafka.reads)
    bench.source(b"e")
    await bench.clock.advance(1)
    assert len(bench.kafka.reads) == reads  # looked at once


async def test_what_never_came_is_read_when_the_lane_is_idle() -> None:
    bench = LaneBench()
    for value in (b"a", b"b"):
        bench.kafka.append("in", value)
    await bench.started()
    await bench.clock.advance(3)
    assert bench.kafka.values("out") == [b"A", b"B"]
    assert bench.committed == 2


async def test_fenced() -> None:
    bench = LaneBench()
    lane = await bench.started()
    bench.source(b"a")
    bench.kafka.epoch += 1
    await bench.clock.advance(1)
    assert isinstance(bench.fencings[0], Fenced)
    assert bench.kafka.values("out") == []
    lane.close()


async def test_fenced_while_frozen_waits_to_hear_whether_the_partition_has_gone() -> None:
    bench = LaneBench()
    lane = await bench.started()
    bench.source(b"a")
    await settle()
    bench.kafka.epoch += 1
    lane.freeze()
    await asyncio.wait_for(lane.drained(), 1)
    assert not bench.fencings
    lane.close()
    await lane.closed()
    assert not bench.fencings


async def test_a_frozen_lane_commits_what_it_has_and_takes_nothing() -> None:
    bench = LaneBench()
    lane = await bench.started()
    bench.source(b"a")
    await settle()
    lane.freeze()
    bench.source(b"b")
    await asyncio.wait_for(lane.drained(), 1)
    assert bench.committed == 1
    await bench.clock.advance(5)
    assert bench.committed == 1
    lane.thaw()
    await bench.clock.advance(1)
    assert bench.committed == 2
    assert not lane.uncommitted


async def test_a_record_beyond_our_own_limit_never_goes_out() -> None:
    class Growing(Upper):
        def process(self, scanned: Scanned) -> Outcome:
            size = 600_000 if scanned.batch.value == b"big" else 1
            return Outcome([Record("out", b"x" * size, 0), Record("out", b"y", 0)])

    bench = LaneBench(lambda: [Growing()])
    await bench.started()
    bench.source(b"big", b"a")
    await bench.clock.advance(1)
    assert bench.kafka.values("out") == [b"y", b"x", b"y"]
    assert bench.counts.dead_letters == {"too_large": 1}
    assert bench.committed == 2


async def test_ticks() -> None:
    bench = LaneBench()
    await bench.started()
    bench.end = False
    await bench.clock.advance(3)
    (upper,) = bench.made
    assert isinstance(upper, Upper)
    assert upper.ticks == 0
    bench.end = True
    await bench.clock.advance(3)
    assert upper.ticks == 2  # the first moment at the end is to see whether messages are missing
    commits = len(bench.kafka.commits)
    upper.tick_records = [Record("out", b"tick", 0)]
    await bench.clock.advance(1)
    upper.tick_records = ()
    await bench.clock.advance(3)
    assert bench.kafka.values("out") == [b"tick"]
    assert len(bench.kafka.commits) == commits + 1
    bench.lane.freeze()
    ticks = upper.ticks
    await bench.clock.advance(3)
    assert upper.ticks == ticks


async def test_back_pressure() -> None:
    bench = LaneBench(commit_max_bytes=4)
    await bench.started(limit_bytes=8)
    bench.kafka.gate.clear()
    bench.source(b"aaaa")
    await settle()
    bench.source(b"bbbb", b"cccc", b"dddd")
    await settle()
    assert bench.events[1:] == ["full"]
    assert bench.lane.full
    bench.kafka.gate.set()
    await settle()
    assert bench.events[1:] == ["full", "drained"]
    await bench.clock.advance(1)
    assert bench.kafka.values("out") == [b"AAAA", b"BBBB", b"CCCC", b"DDDD"]


async def test_a_defect_is_fatal_and_commits_nothing() -> None:
    class Broken(Upper):
        def process(self, scanned: Scanned) -> Outcome:
            raise KeyError("a defect of the test")

    bench = LaneBench(lambda: [Broken()])
    await bench.started()
    bench.source(b"a")
    await bench.clock.advance(2)
    assert isinstance(bench.fatals[0], KeyError)
    assert bench.committed == 0


async def test_one_scan_for_all_operators_and_one_dead_letter() -> None:
    class Second(Upper):
        name = "second"

        def process(self, scanned: Scanned) -> Outcome:
            self.seen += 1
            return Outcome([Record("other", scanned.batch.value, 0)])

    bench = LaneBench(lambda: [Upper(), Second()])
    await bench.started()
    bench.source(b"!x", b"a")
    await bench.clock.advance(1)
    assert bench.kafka.values("out") == [b"A"]
    assert bench.kafka.values("other") == [b"!x", b"a"]
    assert len(bench.kafka.logs["dl"]) == 1


async def test_recall_and_replay_of_an_operator_with_a_log() -> None:
    """What was decided is not decided again: the log wins."""

    class Logged(Upper):
        log_topic = "out"
        snapshots = "none"

        def __init__(self) -> None:
            super().__init__()
            self.recalled: list[bytes] = []
            self.open: list[int] = []

        def process(self, scanned: Scanned) -> Outcome:
            self.open.append(scanned.batch.offset)
            records: Sequence[Record] = ()
            if len(self.open) == 3:
                self.open = self.open[2:]
                records = [Record("out", b"decided", 0)]
            return Outcome(records, self.open[0])

        def recall(self, record) -> None:
            self.recalled.append(record.value)

    bench = LaneBench(lambda: [Logged()])
    bench.kafka.append("out", b"of another time")
    lane = await bench.started()
    for value in (b"a", b"b", b"c", b"d"):
        bench.source(value)
        await bench.clock.advance(1)
    lane.close()
    await lane.closed()
    await bench.started()
    logged = bench.made[-1]
    assert isinstance(logged, Logged)
    assert logged.open == [2, 3]
    assert logged.recalled == [b"decided"]
    assert bench.counts.replayed == 2


def test_pieces_fit_any_topic() -> None:
    assert PIECE_MAX_BYTES < 1_000_000

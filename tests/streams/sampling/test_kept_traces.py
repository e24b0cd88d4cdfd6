"""Kept traces: what comes back, what is forgotten when, snapshots that are damaged.

Random sequences against plain dictionaries are in test_open_traces.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schemas.errors import MalformedMessage
from streams.sampling.dropped_traces import DroppedTraces
from streams.sampling.kept_traces import KeptTraces
from streams.sampling.open_traces import OpenTraces
from streams.sampling.snapshots import from_chunks, to_chunks
from tests.streams.sampling.batches import Span, batch


def add(
    kept: KeptTraces, ids: list[int], now_ms: int, last: int | None = None, offset: int = 0
) -> None:
    """Trace i with threshold 10 i, policy i - 3, in message ``last`` alone."""
    high, low = np.zeros(len(ids), np.uint64), np.array(ids, np.uint64)
    place = None if last is None else np.full(len(ids), last, np.int64)
    policy = np.array(ids, np.int32) - np.int32(3)
    kept.add(
        high,
        low,
        low * np.uint64(10),
        policy,
        now_ms=now_ms,
        offset=offset,
        first=place,
        last=place,
    )


def active(kept: KeptTraces, start: int = 0, stop: int = 1 << 40) -> list[int]:
    return kept.overlapping(start, stop).trace_id_low.tolist()


def absorb(kept: KeptTraces, trace: int, offset: int, now_ms: int = 0) -> int:
    """A late span; how many were taken as such."""
    opened, dropped = OpenTraces(10), DroppedTraces(1 << 10, 10)
    scanned = batch([Span(trace=trace)])
    return opened.absorb(*scanned, offset, now_ms, 0, kept=kept, dropped=dropped).kept


def test_a_decision_is_found_until_its_time_is_over() -> None:
    kept = KeptTraces(10, 1_000)
    add(kept, [1, 2], 5_000)
    add(kept, [3], 5_500)
    assert kept.find(0, 1) == (10, -2)
    assert kept.find(1, 1) is None
    assert kept.expire(5_999) == 0
    assert kept.expire(6_000) == 2
    assert kept.find(0, 1) is None
    assert kept.find(0, 3) == (30, 0)
    assert kept.forgotten == 0


def test_the_oldest_go_when_there_are_too_many() -> None:
    kept = KeptTraces(3, 1_000)
    add(kept, [1, 2, 3, 4, 5], 0)
    assert [i for i in range(1, 6) if kept.find(0, i)] == [3, 4, 5]
    assert kept.forgotten == 2


def test_for_which_messages_a_trace_counts_that_had_to_make_place() -> None:
    """For those that came before it had to; as long as they may be replayed."""
    kept = KeptTraces(1, 1_000)
    add(kept, [1, 2, 3], 0, last=7, offset=8)
    assert [i for i in range(1, 4) if kept.find(0, i)] == [3]
    assert active(kept) == [1, 2, 3], "an order lists them"
    assert [absorb(kept, i, 7) for i in (1, 2, 3)] == [1, 1, 1]
    assert [absorb(kept, i, 8) for i in (1, 2, 3)] == [0, 0, 1]
    again = KeptTraces(1, 1_000)
    add(again, [1, 2, 3], 0, offset=8)  # recalled
    again.expire(0)
    assert [absorb(again, i, 7) for i in (1, 2, 3)] == [1, 1, 1]
    again.restore(again.chunks())
    assert [absorb(again, i, 8) for i in (1, 2, 3)] == [0, 0, 1]
    for each in (kept, again):
        each.retire(9)
        each.expire(0)
        assert len(each) == 1
        assert each.forgotten == 2


def test_a_trace_counts_for_messages_of_its_time_though_orders_are_late() -> None:
    for recalled in (False, True):
        kept = KeptTraces(10, 1_000)
        add(kept, [1], 5_000, None if recalled else 3, offset=4)
        add(kept, [2], 90_000, offset=4)
        assert absorb(kept, 1, 4, 5_999) == 1
        assert absorb(kept, 1, 5, 6_000) == 0
        assert kept.find(0, 1) is not None, "those before may be replayed"
        kept.expire(6_000)
        assert kept.find(0, 1) is None
        assert active(kept) == [1], "but goes with the order"
        kept.retire(5)
        kept.expire(6_000)
        assert len(kept) == 1


def test_what_is_not_remembered_is_decided_anew() -> None:
    kept = KeptTraces(1, 1_000)
    add(kept, [1, 2], 0, last=3, offset=4)
    again = np.full(1, 77, np.uint64)
    one = np.ones(1, np.uint64)
    kept.add(one - one, one, again, np.full(1, 9, np.int32), now_ms=1, offset=9)
    assert kept.find(0, 1) == (77, 9)
    assert kept.find(0, 2) is None
    assert len(kept) == 2


def test_the_last_decision_about_a_trace_counts() -> None:
    """The one before did not for its new spans, which had come too late for it."""
    kept = KeptTraces(10, 1_000)
    add(kept, [1, 2], 0, last=3)
    two, one = np.full(1, 77, np.uint64), np.ones(1, np.uint64)
    place = np.full(1, 5, np.int64)
    kept.add(one - one, one, two, np.full(1, 9, np.int32), now_ms=1_500, first=place, last=place)
    kept.expire(1_000)
    assert kept.find(0, 1) == (77, 9)
    assert kept.find(0, 2) is None
    assert active(kept, 4, 5) == [1]
    kept.retire(6)
    kept.expire(2_499)
    assert len(kept) == 1
    kept.expire(2_500)
    assert len(kept) == 0


def test_a_late_span_makes_its_trace_active_again() -> None:
    kept = KeptTraces(10, 1_000)
    add(kept, [1, 2], 0, last=3)
    kept.retire(4)
    assert absorb(kept, 1, 9) == 1
    assert active(kept) == [1]
    assert active(kept, 0, 9) == active(kept, 10, 20) == []
    # One that an order already covers came with it.
    kept.retire(20)
    assert absorb(kept, 2, 19) == 1
    assert active(kept) == []


def test_recalled_traces_are_active_where_the_replay_finds_them() -> None:
    kept = KeptTraces(10, 1_000)
    kept.retire(5)
    add(kept, [1, 2, 3], 0)
    assert active(kept) == []
    for trace, offset in ((2, 4), (3, 5), (1, 6), (3, 8)):
        absorb(kept, trace, offset)
    assert active(kept) == [3, 1]
    assert active(kept, 7, 8) == [3]
    kept.retire(7)
    assert active(kept) == [3]


def test_many_and_more_than_there_is_room_for() -> None:
    kept = KeptTraces(1, 1_000)
    ids = list(range(1, 200_001))
    add(kept, ids, 0, last=1)
    assert len(kept) == kept.active == len(ids)
    assert active(kept) == ids
    assert kept.find(0, 200_000) == (2_000_000, 199_997)
    other = KeptTraces(5, 1_000, seed=9)
    other.restore(kept.chunks())
    assert active(other) == ids
    assert (kept.forgotten, other.forgotten) == (199_999, 199_999)
    kept.retire(2)
    kept.expire(0)
    assert len(kept) == 1
    kept.expire(1_000)
    assert kept.touched_bytes < 10_000


@pytest.fixture
def chunks() -> list[bytes]:
    kept = KeptTraces(10, 1_000)
    add(kept, [1, 2], 0, last=3)
    add(kept, [3], 5, last=8)
    kept.retire(5)
    return kept.chunks()


COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("trace_id_high", "trace_id_low", "threshold"), np.uint64),
    "policy": np.int32,
    **dict.fromkeys(("first", "last", "number", "active"), np.int64),
    **dict.fromkeys(("since_number", "since_ms", "cut_number", "cut_offset"), np.int64),
}


def test_damaged_snapshots_are_refused_and_change_nothing(chunks: list[bytes]) -> None:
    kept = KeptTraces(10, 1_000)
    add(kept, [9], 1)
    before = kept.chunks()
    damaged = [chunks[:-1], [*chunks, b""], [], [b""], chunks[1:], [chunks[0]] * len(chunks)]
    for k, chunk in enumerate(chunks):
        for at in range(len(chunk)):
            flipped = bytes([*chunk[:at], chunk[at] ^ 4, *chunk[at + 1 :]])
            damaged += [[*chunks[:k], other, *chunks[k + 1 :]] for other in (flipped, chunk[:at])]
    assert len(damaged) > 500
    for some in damaged:
        with pytest.raises(MalformedMessage):
            kept.restore(some)
    assert kept.chunks() == before


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("active", [3]),
        ("active", [-1]),
        ("active", [2, 2]),
        ("active", [1]),
        ("active", []),
        ("last", [3, -1, 8]),
        ("first", [-1, -1, 9]),
        ("trace_id_low", [1, 1, 3]),
        ("trace_id_low", [1, 2]),
        ("number", [0, 2, 1]),
        ("number", [0, 1, 3]),
        ("number", [-1, 0, 1]),
        ("since_number", [0]),
        ("since_ms", [5, 0]),
        ("cut_offset", [1]),
    ],
)
def test_snapshots_that_contradict_themselves(
    chunks: list[bytes], column: str, values: list[int]
) -> None:
    numbers, columns = from_chunks(chunks, "kept traces", 2, COLUMNS)
    columns[column] = np.array(values, COLUMNS[column])
    kept = KeptTraces(10, 1_000)
    with pytest.raises(MalformedMessage, match="kept traces"):
        kept.restore(to_chunks("kept traces", 2, numbers, columns))
    assert len(kept) == 0


def test_snapshots_of_something_else(chunks: list[bytes]) -> None:
    numbers, columns = from_chunks(chunks, "kept traces", 2, COLUMNS)
    others = [
        to_chunks("kept traces", 1, numbers, columns),
        to_chunks("dropped traces", 2, numbers, columns),
        to_chunks("kept traces", 2, {**numbers, "more": 1}, columns),
        to_chunks("kept traces", 2, numbers, {"number": columns["number"]}),
        DroppedTraces(1 << 10, 1).chunks(),
    ]
    for other in others:
        with pytest.raises(MalformedMessage):
            KeptTraces(10, 1_000).restore(other)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="capacity"):
        KeptTraces(0, 1)
    with pytest.raises(ValueError, match="memory_ms"):
        KeptTraces(1, 0)
    ids, policy = np.ones(2, np.uint64), np.ones(1, np.int32)
    with pytest.raises(ValueError, match="traces"):
        KeptTraces(1, 1).add(ids, ids, ids, policy, now_ms=0)

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


def add(kept: KeptTraces, ids: list[int], now_ms: int, last: int | None = None) -> None:
    """Trace i with threshold 10 i, policy i - 3, in message ``last`` alone."""
    high, low = np.zeros(len(ids), np.uint64), np.array(ids, np.uint64)
    place = None if last is None else np.full(len(ids), last, np.int64)
    policy = np.array(ids, np.int32) - np.int32(3)
    kept.add(high, low, low * np.uint64(10), policy, now_ms=now_ms, first=place, last=place)


def active(kept: KeptTraces, start: int = 0, stop: int = 1 << 40) -> list[int]:
    return kept.overlapping(start, stop).trace_id_low.tolist()


def absorb(kept: KeptTraces, trace: int, offset: int) -> int:
    """A late span; how many were taken as such."""
    opened, dropped = OpenTraces(10), DroppedTraces(1 << 10, 10)
    scanned = batch([Span(trace=trace)])
    return opened.absorb(*scanned, offset, 0, 0, kept=kept, dropped=dropped).kept


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


def test_active_traces_are_not_forgotten() -> None:
    kept = KeptTraces(1, 1_000)
    add(kept, [1, 2, 3], 0, last=7)
    add(kept, [4, 5], 10_000)
    assert [i for i in range(1, 6) if kept.find(0, i)] == [1, 2, 3, 5]
    kept.retire(8)
    assert active(kept) == []
    add(kept, [6], 10_001)
    assert [i for i in range(1, 7) if kept.find(0, i)] == [6]
    assert kept.forgotten == 1 + 4


def test_a_trace_is_decided_once() -> None:
    kept = KeptTraces(10, 1_000)
    add(kept, [1], 0, last=3)
    two, one = np.full(1, 77, np.uint64), np.ones(1, np.uint64)
    place = np.full(1, 5, np.int64)
    kept.add(one - one, one, two, np.full(1, 9, np.int32), now_ms=1, first=place, last=place)
    assert kept.find(0, 1) == (10, -2)
    assert active(kept, 4, 5) == [1]


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
    assert kept.find(0, 123_456) == (1_234_560, 123_453)
    other = KeptTraces(5, 1_000, seed=9)
    other.restore(kept.chunks())
    assert active(other) == ids
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
    **dict.fromkeys(("first", "last", "added", "active"), np.int64),
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
    ],
)
def test_snapshots_that_contradict_themselves(
    chunks: list[bytes], column: str, values: list[int]
) -> None:
    numbers, columns = from_chunks(chunks, "kept traces", 1, COLUMNS)
    columns[column] = np.array(values, COLUMNS[column])
    kept = KeptTraces(10, 1_000)
    with pytest.raises(MalformedMessage, match="kept traces"):
        kept.restore(to_chunks("kept traces", 1, numbers, columns))
    assert len(kept) == 0


def test_snapshots_of_something_else(chunks: list[bytes]) -> None:
    numbers, columns = from_chunks(chunks, "kept traces", 1, COLUMNS)
    others = [
        to_chunks("kept traces", 2, numbers, columns),
        to_chunks("dropped traces", 1, numbers, columns),
        to_chunks("kept traces", 1, {**numbers, "more": 1}, columns),
        to_chunks("kept traces", 1, numbers, {"added": columns["added"]}),
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

"""The filter of dropped traces: none is missed, few are found by mistake, and it is small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.errors import MalformedMessage
from streams.sampling.dropped_traces import DroppedTraces
from streams.sampling.fingerprints import FULL
from streams.sampling.kept_traces import KeptTraces
from streams.sampling.open_traces import OpenTraces
from streams.sampling.snapshots import from_chunks, to_chunks
from tests.streams.sampling.batches import Span, batch

Ids = tuple[NDArray[np.uint64], NDArray[np.uint64]]


def random_ids(count: int, seed: int = 1) -> Ids:
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, 1 << 64, (2, count), np.uint64))  # type: ignore[return-value]


def part(ids: Ids, start: int, stop: int) -> Ids:
    return ids[0][start:stop], ids[1][start:stop]


def fill(dropped: DroppedTraces, ids: Ids, a_second: int, start_ms: int = 0) -> int:
    """Add traces at this rate, in steps of half a second; the time after it."""
    step = a_second // 2
    now_ms = start_ms
    for at in range(0, len(ids[0]), step):
        dropped.add(*part(ids, at, at + step), now_ms)
        dropped.expire(now_ms)
        now_ms += 500
    return now_ms


def test_nothing_is_missed_in_its_time_and_errors_are_rare() -> None:
    dropped = DroppedTraces(1 << 20, 60_000)
    ids = random_ids(600_000)
    fill(dropped, ids, 5_000)
    assert dropped.forgotten == dropped.rotated_early == 0
    assert dropped.contains(*part(ids, 300_000, 600_000)).all()
    # It forgot, too: of the first half, what is older than the memory and a generation.
    assert not dropped.contains(*part(ids, 0, 100_000)).all()
    assert 300_000 <= len(dropped) <= 550_000
    assert 4 <= dropped.generations <= 8
    others = random_ids(1_000_000, seed=2)
    assert dropped.contains(*others).mean() < dropped.generations * 0.000114 * 1.2 < 0.001


def test_two_bytes_a_trace_when_full() -> None:
    dropped = DroppedTraces(1 << 20, 60_000)
    fill(dropped, random_ids(600_000), 5_000)
    newest = dropped._generations[0]
    full = dropped._generations[1:]
    assert [g.taken for g in full] == [int(g.places * FULL) for g in full]
    for each in full:
        assert each.bytes.nbytes <= 2 * each.taken + 8
    assert dropped.nbytes <= 2 * (len(dropped) - newest.taken + newest.places * FULL) + 64


@pytest.mark.parametrize(
    "make",
    [
        lambda n: (np.zeros(len(n), np.uint64), n),
        lambda n: (n, np.full(len(n), 5, np.uint64)),
        lambda n: (n << np.uint64(40), np.zeros(len(n), np.uint64)),
        lambda n: (n, n),
        lambda n: (n, ~n),
    ],
    ids=["zero high", "same low", "few bits", "equal halves", "complements"],
)
def test_ids_that_look_alike(make: Any) -> None:
    n = np.arange(1, 300_001, dtype=np.uint64)
    high, low = make(n)
    dropped = DroppedTraces(1 << 20, 60_000)
    dropped.add(*part((high, low), 0, 150_000), 0)
    assert dropped.contains(*part((high, low), 0, 150_000)).all()
    assert dropped.contains(*part((high, low), 150_000, 300_000)).mean() < 0.001
    assert len(dropped) > 149_900


def test_the_oldest_go_early_when_there_are_too_many() -> None:
    dropped = DroppedTraces(10_000, 10**9)
    ids = random_ids(50_000)
    fill(dropped, ids, 5_000)
    assert len(dropped) <= 10_000
    assert dropped.forgotten + len(dropped) > 49_900
    assert dropped.rotated_early > 0
    assert dropped.contains(*part(ids, 46_000, 50_000)).all()
    assert dropped.contains(*part(ids, 0, 30_000)).mean() < 0.01


def test_sizes_follow_the_rate() -> None:
    dropped = DroppedTraces(1 << 22, 60_000)
    now_ms = fill(dropped, random_ids(100_000, 1), 1_000)
    quiet = dropped.nbytes
    now_ms = fill(dropped, random_ids(2_000_000, 2), 20_000, now_ms)
    busy = dropped.nbytes
    assert busy > 8 * quiet
    assert 3 <= dropped.generations <= 8
    now_ms = fill(dropped, random_ids(200_000, 3), 1_000, now_ms)
    assert dropped.nbytes < 2 * quiet
    assert dropped.forgotten == 0
    dropped.expire(now_ms + 60_000)
    assert (len(dropped), dropped.nbytes) == (0, 0)


def test_forgotten_when_its_time_is_over() -> None:
    dropped = DroppedTraces(1 << 10, 1_000)
    ids = random_ids(20)
    dropped.add(*ids, 100)
    assert dropped.expire(1_099) == 0
    assert dropped.contains(*ids).all()
    assert dropped.expire(1_100) == 20
    assert not dropped.contains(*ids).any()


def absorbed(dropped: DroppedTraces, ids: Ids, offset: int, now_ms: int = 0) -> int:
    """How many spans are late ones of dropped traces."""
    opened, kept = OpenTraces(10), KeptTraces(10, 10)
    spans = [Span(trace=int(a) << 64 | int(b)) for a, b in zip(*ids, strict=True)]
    taken = opened.absorb(*batch(spans), offset, now_ms, 0, kept=kept, dropped=dropped)
    return taken.dropped


def test_for_which_messages_traces_count_that_had_to_make_place() -> None:
    """For those that came before they had to; as long as they may be replayed."""
    ids = random_ids(3000)
    dropped = DroppedTraces(512, 1_000)
    dropped.add(*ids, 0, 8)
    assert len(dropped) <= 512
    again = DroppedTraces(512, 1_000)
    again.restore(dropped.chunks())
    for each in (dropped, again):
        assert absorbed(each, ids, 7) == 3000
        assert absorbed(each, ids, 8) < 600
        each.expire(0, 8)
        assert each.nbytes <= 2 * 512 + 64
        assert absorbed(each, ids, 7) < 600


def test_traces_count_for_messages_of_their_time_though_orders_are_late() -> None:
    ids, others = random_ids(20), random_ids(20, seed=2)
    dropped = DroppedTraces(1 << 10, 1_000)
    dropped.add(*ids, 100, 1)
    assert absorbed(dropped, ids, 1, 1_099) == 20
    assert absorbed(dropped, ids, 2, 1_100) == 0
    # And what comes later does not bring them back: they are in a filter of their own.
    dropped.add(*others, 1_100, 3)
    assert absorbed(dropped, ids, 2, 1_100) == 0
    assert absorbed(dropped, ids, 1, 1_099) == 20
    dropped.expire(1_100, 2)
    assert absorbed(dropped, ids, 1, 1_099) == 0
    assert absorbed(dropped, others, 3, 1_100) == 20


def test_the_same_trace_takes_one_place() -> None:
    dropped = DroppedTraces(1 << 10, 1_000)
    for now_ms in range(100):
        dropped.add(*random_ids(10), now_ms)
    assert len(dropped) == 10


def test_a_filter_that_finds_no_place_is_left_as_it_was() -> None:
    """Beyond what it is rated for, as ids made for it would do: the next one takes over."""
    dropped = DroppedTraces(1 << 14, 1_000)
    ids = random_ids(8_192)
    dropped.add(*part(ids, 0, 1), 0)
    dropped._state[4] = 1 << 40  # full at
    dropped.add(*ids, 0)
    first = dropped._generations[-1]
    assert dropped.generations == 3
    assert first.places * FULL < first.taken < first.places
    assert dropped.contains(*ids).all()
    assert len(dropped) > 8_180


def test_snapshots_go_on_as_if_nothing_had_happened() -> None:
    whole = DroppedTraces(1 << 16, 20_000)
    ids = random_ids(120_000)
    fill(whole, part(ids, 0, 60_000), 2_000)
    again = DroppedTraces(1 << 16, 20_000)
    again.restore(whole.chunks())
    for each in (whole, again):
        fill(each, part(ids, 60_000, 120_000), 2_000, 30_000)
    assert again.chunks() == whole.chunks()
    assert (again.forgotten, again.rotated_early) == (whole.forgotten, whole.rotated_early)
    empty = DroppedTraces(1 << 16, 20_000)
    again.restore(empty.chunks())
    assert len(again) == 0
    assert not again.contains(*ids).any()


COLUMNS = {
    **dict.fromkeys(("places", "taken", "opened", "touched", "until"), np.int64),
    "filters": np.uint8,
}


def test_damaged_snapshots_are_refused_and_change_nothing() -> None:
    other = DroppedTraces(1 << 9, 1_000)
    other.add(*random_ids(5), 0)
    dropped = DroppedTraces(1 << 10, 1_000)
    dropped.add(*random_ids(5, 2), 0)
    before, chunks = dropped.chunks(), other.chunks()
    damaged = [chunks[:-1], [*chunks, b""], [], chunks[::-1]]
    for k, chunk in enumerate(chunks):
        for at in range(len(chunk)):
            flipped = bytes([*chunk[:at], chunk[at] ^ 128, *chunk[at + 1 :]])
            damaged += [[*chunks[:k], bad, *chunks[k + 1 :]] for bad in (flipped, chunk[:at])]
    assert len(damaged) > 500
    for some in damaged:
        with pytest.raises(MalformedMessage):
            dropped.restore(some)
    assert dropped.chunks() == before


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("places", [96]),
        ("places", [32]),
        ("places", [1 << 40]),
        ("places", [64, 64]),
        ("taken", [-1]),
        ("taken", [121]),
        ("opened", []),
        ("until", []),
        ("filters", []),
    ],
)
def test_snapshots_that_contradict_themselves(column: str, values: list[int]) -> None:
    good = DroppedTraces(1 << 9, 1_000)
    good.add(*random_ids(5), 0)
    numbers, columns = from_chunks(good.chunks(), "dropped traces", 2, COLUMNS)
    columns[column] = np.array(values, COLUMNS[column])
    with pytest.raises(MalformedMessage, match="dropped traces"):
        good.restore(to_chunks("dropped traces", 2, numbers, columns))
    assert len(good) == 5


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="most"):
        DroppedTraces(511, 1)
    with pytest.raises(ValueError, match="memory_ms"):
        DroppedTraces(1 << 10, 0)
    high, low = np.ones(2, np.uint64), np.ones(1, np.uint64)
    with pytest.raises(ValueError, match="halves"):
        DroppedTraces(1 << 10, 1).add(high, low, 0)
    with pytest.raises(ValueError, match="halves"):
        DroppedTraces(1 << 10, 1).contains(high, low)

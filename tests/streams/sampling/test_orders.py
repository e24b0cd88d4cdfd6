"""Ranges of work orders: they tile what is decided, and none is larger than it may be."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.sampling.clock import Clock
from streams.sampling.orders import Orders, Piece, Range


def filled(pieces: list[Piece], source_max_bytes: int = 100, interval_ms: int = 1000) -> Orders:
    orders = Orders(source_max_bytes, interval_ms)
    for piece in pieces:
        orders.take(piece)
    return orders


def settle(orders: Orders, ranges: list[Range], now_ms: int) -> None:
    for each in ranges:
        orders.settle(each.stop, now_ms, each.clock)


def test_nothing_is_due_while_nothing_is_decided() -> None:
    orders = Orders(100, 1000)
    assert orders.end is None
    assert orders.due(0, 10**6) == []
    orders.take(Piece(7, 60, 5000))
    assert orders.end == 7
    assert orders.due(7, 10**6) == []


def test_what_is_decided_waits_for_the_interval_or_for_size() -> None:
    orders = filled([Piece(7, 60, 5000)])
    first = orders.due(8, 5000)
    assert [(r.start, r.stop, r.size_bytes, r.clock.time_ms) for r in first] == [(7, 8, 60, 5000)]
    settle(orders, first, 5000)
    orders.take(Piece(9, 60, 5100))
    assert orders.due(10, 5999) == []
    orders.take(Piece(10, 60, 5900))
    full = orders.due(11, 5999)
    assert [(r.start, r.stop) for r in full] == [(8, 10)]
    settle(orders, full, 5999)
    assert orders.due(11, 6998) == []
    assert [(r.start, r.stop) for r in orders.due(11, 6999)] == [(10, 11)]


def test_a_message_larger_than_a_range_is_one_by_itself() -> None:
    orders = filled([Piece(0, 10, 0), Piece(1, 500, 0), Piece(2, 10, 0)])
    assert [(r.start, r.stop) for r in orders.due(3, 10**6)] == [(0, 1), (1, 2), (2, 3)]


def test_a_range_is_halved_down_to_one_message() -> None:
    whole = Range(5, 12, (Piece(5, 1, 1), Piece(7, 1, 2), Piece(11, 1, 3)))
    halves = whole.halves()
    assert halves is not None
    assert [(each.start, each.stop, len(each.pieces)) for each in halves] == [(5, 7, 1), (7, 12, 2)]
    assert halves[0].halves() is None


def test_what_the_log_tells_is_not_ordered_again() -> None:
    """Messages may be replayed from before the end of the last order."""
    orders = Orders(100, 1000)
    orders.settle(9, 4000, Clock(3900))
    for offset in (8, 9, 11):
        orders.take(Piece(offset, 10, 4000 + offset))
    orders.settle(10, 5000, Clock(4009))
    assert (orders.end, orders.issued_ms, orders.time_ms) == (10, 5000, 4009)
    assert [(r.start, r.stop) for r in orders.due(12, 6000)] == [(10, 12)]


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 150), st.integers(0, 700)), max_size=30),
    st.lists(st.integers(0, 5), min_size=31, max_size=31),
    st.integers(0, 30),
)
def test_ranges_tile_the_source_also_after_a_restart(
    steps: list[tuple[int, int, int]], undecided: list[int], crash: int
) -> None:
    def run(orders: Orders, pieces: list[Piece], since: int) -> list[Range]:
        found = []
        for at, piece in enumerate(pieces):
            orders.take(piece)
            if at < since:
                continue  # replayed
            upto = max(piece.offset + 1 - undecided[at], 0)
            ranges = orders.due(upto, piece.time_ms)
            assert all(r.stop <= max(upto, orders.end or 0) for r in ranges)
            settle(orders, ranges, piece.time_ms)
            found += ranges
        return found

    pieces, offset, now = [], 0, 10_000
    for gap, size, later in steps:
        offset, now = offset + gap, now + later
        pieces.append(Piece(offset, size, now))
    # What is decided never becomes undecided again.
    for at in range(1, len(pieces)):
        least = pieces[at - 1].offset + 1 - undecided[at - 1]
        undecided[at] = min(undecided[at], pieces[at].offset + 1 - least)
    whole = run(Orders(100, 1000), pieces, 0)
    for before, after in pairwise(whole):
        assert before.stop == after.start
    taken = [piece for each in whole for piece in each.pieces]
    assert taken == pieces[: len(taken)]
    for each in whole:
        assert each.size_bytes <= 100 or len(each.pieces) == 1
        assert all(each.start <= piece.offset < each.stop for piece in each.pieces)

    crash = min(crash, len(pieces))
    log = run(Orders(100, 1000), pieces[:crash], 0)
    after = Orders(100, 1000)
    for each in log:
        after.settle(each.stop, each.clock.time_ms, each.clock)
    if log:
        # The log tells when an order was issued; the first message that was replayed, no less.
        issued = Orders(100, 1000)
        run(issued, pieces[:crash], 0)
        after.issued_ms = issued.issued_ms
    begin = log[-1].stop if log else 0
    again = [piece for piece in pieces if piece.offset >= begin]
    skipped = len(pieces) - len(again)
    undecided = undecided[skipped:]
    assert log + run(after, again, crash - skipped) == whole


@pytest.mark.parametrize("size", [0, 1])
def test_no_interval_means_at_once(size: int) -> None:
    orders = filled([Piece(0, size, 10)], interval_ms=0)
    assert [(r.start, r.stop) for r in orders.due(1, 10)] == [(0, 1)]

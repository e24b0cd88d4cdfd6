"""Parts hold exactly the chosen items, unchanged, with everything that belongs to them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schemas.signals import Signal
from streams import wire
from tests.strategies import REQUESTS, encodings, requests
from tests.streams.wire.oracle import content, flat

SIGNALS = list(Signal)
# Not shrunk: requests are small already, and shrinking takes minutes.
bounded = settings(max_examples=60, deadline=None, derandomize=True, phases=[Phase.generate])


def drawn(draw: st.DataObject, signal: Signal) -> bytes:
    request = draw.draw(requests(signal))
    if draw.draw(st.booleans()):
        return draw.draw(encodings(request))
    data: bytes = request.SerializeToString()
    return data


@pytest.mark.parametrize("signal", SIGNALS)
def test_split_keeps_every_item_and_its_envelopes(signal: Signal) -> None:
    @bounded
    @given(st.data())
    def check(draw: st.DataObject) -> None:
        data = drawn(draw, signal)
        scan = wire.scan(signal, data)
        numbers = st.lists(st.integers(-1, 4), min_size=scan.items, max_size=scan.items)
        part = np.array(draw.draw(numbers), np.int32)
        whole = content(signal, data)
        expected: dict[int, list[tuple[bytes, ...]]] = {}
        for item, number in zip(whole, part.tolist(), strict=True):
            if number >= 0:
                expected.setdefault(number, []).append(item)
        pieces = wire.split(data, scan, part, 5)
        assert [number for number, _ in pieces] == sorted(expected)
        for number, piece in pieces:
            assert content(signal, piece) == expected[number]
            again = wire.scan(signal, piece)
            assert again.items == len(expected[number])

    check()


@pytest.mark.parametrize("signal", SIGNALS)
def test_select(signal: Signal) -> None:
    @bounded
    @given(st.data())
    def check(draw: st.DataObject) -> None:
        data = drawn(draw, signal)
        scan = wire.scan(signal, data)
        mask = np.array(
            draw.draw(st.lists(st.booleans(), min_size=scan.items, max_size=scan.items)), np.bool_
        )
        kept = wire.select(data, scan, mask)
        whole = content(signal, data)
        assert content(signal, kept) == [x for x, keep in zip(whole, mask, strict=True) if keep]

    check()


@pytest.mark.parametrize("signal", SIGNALS)
def test_split_by_size(signal: Signal) -> None:
    @bounded
    @given(st.data())
    def check(draw: st.DataObject) -> None:
        data = drawn(draw, signal)
        scan = wire.scan(signal, data)
        limit = draw.draw(st.integers(10, 600))
        pieces, oversized = wire.split_by_size(data, scan, limit)
        whole = content(signal, data)
        left_out = {big.item for big in oversized}
        kept = [item for piece in pieces for item in content(signal, piece)]
        assert kept == [item for at, item in enumerate(whole) if at not in left_out]
        assert all(len(piece) <= limit for piece in pieces)
        for big in oversized:
            alone = np.zeros(scan.items, np.bool_)
            alone[big.item] = True
            assert big.size_bytes > limit
            if scan.items > 1:
                assert big.size_bytes == len(wire.select(data, scan, alone))
        # Greedy: the first item of a piece did not fit the piece before.
        at = [i for i in range(scan.items) if i not in left_out]
        start = 0
        for piece, following in pairwise(pieces):
            count = wire.scan(signal, piece).items
            mask = np.zeros(scan.items, np.bool_)
            mask[at[start : start + count + 1]] = True
            assert len(wire.select(data, scan, mask)) > limit or mask.all()
            assert wire.scan(signal, following).items
            start += count

    check()


def spans(*names: str) -> bytes:
    request = REQUESTS[Signal.TRACES]()
    group = request.resource_spans.add().scope_spans.add()
    for name in names:
        group.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name=name)
    data: bytes = request.SerializeToString()
    return data


def test_oversized_items_are_named() -> None:
    data = spans("small", "x" * 500, "last")
    scan = wire.scan_traces(data)
    pieces, oversized = wire.split_by_size(data, scan, 200)
    assert [wire.scan_traces(piece).items for piece in pieces] == [2]
    assert [(o.item, o.name) for o in oversized] == [(1, "x" * 500)]


def test_what_fits_or_stays_together_is_returned_as_it_is() -> None:
    data = spans("a", "b", "c")
    scan = wire.scan_traces(data)
    assert wire.split_by_size(data, scan, len(data))[0][0] is data
    assert wire.split(data, scan, np.full(3, 2, np.int32), 4)[0] == (2, data)
    assert wire.select(data, scan, np.ones(3, np.bool_)) is data
    assert wire.select(data, scan, np.zeros(3, np.bool_)) == b""


def test_padding_does_not_make_a_message_exceed_the_limit() -> None:
    """One item whose request is too long only because of what holds no item."""
    lean = spans("a")
    data = lean + b"\x0a\x00" * 10
    pieces, oversized = wire.split_by_size(data, wire.scan_traces(data), len(lean))
    assert pieces == [lean]
    assert not oversized


def test_many_partitions_and_other_integer_types() -> None:
    data = spans(*map(str, range(300)))
    scan = wire.scan_traces(data)
    part = np.arange(300)[::-1]
    pieces = wire.split(data, scan, part.astype(np.int64), 1000)  # type: ignore[arg-type]
    assert [number for number, _ in pieces] == list(range(300))
    names = [wire.scan_traces(piece).span_name(piece, 0) for _, piece in pieces]
    assert names == [str(299 - k) for k in range(300)]


def test_wrong_arguments_are_refused() -> None:
    data = spans("a", "b")
    scan = wire.scan_traces(data)
    with pytest.raises(ValueError, match="not below 2"):
        wire.split(data, scan, np.array([0, 2], np.int32), 2)
    with pytest.raises(ValueError, match="shape"):
        wire.split(data, scan, np.array([0], np.int32), 2)
    with pytest.raises(ValueError, match="not of these"):
        wire.split(data + b"x", scan, np.array([0, 1], np.int32), 2)


@pytest.mark.parametrize("signal", SIGNALS)
def test_merge_is_what_protobuf_merges(signal: Signal) -> None:
    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(st.lists(requests(signal), max_size=3))
    def check(messages) -> None:
        merged = REQUESTS[signal]()
        for message in messages:
            merged.MergeFrom(message)
        joined = wire.merge([message.SerializeToString() for message in messages])
        parsed = REQUESTS[signal].FromString(joined)
        deterministic = {"deterministic": True}
        assert parsed.SerializeToString(**deterministic) == merged.SerializeToString(
            **deterministic
        )
        assert wire.scan(signal, joined).items == len(flat(signal, merged))

    check()

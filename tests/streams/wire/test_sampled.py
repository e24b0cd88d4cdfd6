"""Kept spans come out with every byte they had, but for the tracestate, in document order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schemas.errors import MalformedMessage
from schemas.signals import Signal
from streams import wire
from streams.sampling.consistent import UNKNOWN
from tests.strategies import REQUESTS, encodings, requests, varint
from tests.streams.wire.oracle import content, flat, items, parse
from tests.streams.wire.states import read, states, thresholds, written

bounded = settings(max_examples=100, deadline=None, derandomize=True, phases=[Phase.generate])
LARGE = 1 << 20


def low(span: Any) -> int:
    return int.from_bytes(span.trace_id[8:], "big") if len(span.trace_id) == 16 else 0


def spans_of(request: Any) -> list[Any]:
    return [item.message for item in items(Signal.TRACES, request)]


def reference(
    data: bytes, keep: list[bool], each: list[int]
) -> tuple[list[tuple[bytes, ...]], int]:
    """What the kept spans and their envelopes have to be, and how many tracestates were cut."""
    request = REQUESTS[Signal.TRACES].FromString(data)
    shortened = 0
    for span, kept, threshold in zip(spans_of(request), keep, each, strict=True):
        if kept:
            state, cut = written(span.trace_state.encode(), low(span), threshold)
            span.trace_state = state.decode()
            shortened += cut
    expected = [x for x, kept in zip(flat(Signal.TRACES, request), keep, strict=True) if kept]
    return expected, shortened


def raw_fields(body: bytes) -> Iterator[bytes]:
    """The top-level fields of a message that is well-formed."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = body[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(body):
        start = at
        kind = number() & 7
        if kind == 0:
            number()
        elif kind == 2:
            size = number()
            at += size
        else:
            at += 8 if kind == 1 else 4
        yield body[start:at]


def assert_sampled(data: bytes, scan: wire.SpanScan, keep: list[bool], each: list[int]) -> bytes:
    """``sampled`` gives what the reference says; returns the one piece."""
    arguments = np.array(keep, np.bool_), np.array(each, np.uint64)
    made = wire.sampled(data, scan, *arguments, LARGE)
    expected, shortened = reference(data, keep, each)
    assert not made.oversized
    assert made.shortened == shortened
    assert len(made.pieces) == (1 if any(keep) else 0)
    if not any(keep):
        return b""
    (piece,) = made.pieces
    assert content(Signal.TRACES, piece) == expected
    again = wire.scan_traces(piece, strict_ids=False)
    assert again.items == sum(keep)
    starts, stops = scan.start[keep].tolist(), scan.stop[keep].tolist()
    ranges = zip(again.start.tolist(), again.stop.tolist(), starts, stops, strict=True)
    for start, stop, old_start, old_stop in ranges:
        new, old = list(raw_fields(piece[start:stop])), list(raw_fields(data[old_start:old_stop]))
        if new != old:
            rest = [field for field in new if field[0] != 0x1A]
            assert rest == [field for field in old if field[0] != 0x1A]
            assert len(new) - len(rest) <= 1
    return piece


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Requests with tracestates of all kinds, some of them encoded in unusual ways."""
    request = draw(requests(Signal.TRACES))
    for span in spans_of(request):
        span.trace_state = draw(states)
    if draw(st.booleans()):
        encoded: bytes = draw(encodings(request))
        return encoded
    data: bytes = request.SerializeToString()
    return data


@bounded
@given(st.data())
def test_only_the_tracestate_changes(draw: st.DataObject) -> None:
    data = draw.draw(messages())
    scan = wire.scan_traces(data)
    n = scan.items
    keep = draw.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    each = draw.draw(st.lists(thresholds, min_size=n, max_size=n))
    found = wire.trace_state(data, scan)
    expected = [
        read(span.trace_state.encode(), low(span))
        for span in spans_of(REQUESTS[Signal.TRACES].FromString(data))
    ]
    assert found.randomness.tolist() == [x.randomness for x in expected]
    assert found.threshold.tolist() == [x.threshold or 0 for x in expected]
    piece = assert_sampled(data, scan, keep, each)
    if piece:  # once more changes nothing
        kept = [t for t, k in zip(each, keep, strict=True) if k]
        again = wire.scan_traces(piece)
        arguments = np.ones(again.items, np.bool_), np.array(kept, np.uint64)
        assert wire.sampled(piece, again, *arguments, LARGE).pieces == [piece]


@bounded
@given(st.data())
def test_pieces_of_a_size(draw: st.DataObject) -> None:
    data = draw.draw(messages())
    scan = wire.scan_traces(data)
    n = scan.items
    keep = draw.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    each = draw.draw(st.lists(thresholds, min_size=n, max_size=n))
    limit = draw.draw(st.integers(10, 700))
    arguments = np.array(keep, np.bool_), np.array(each, np.uint64)
    made = wire.sampled(data, scan, *arguments, limit)
    assert all(len(piece) <= limit for piece in made.pieces)
    left_out = {big.item for big in made.oversized}
    expected, _ = reference(data, keep, each)
    kept = [i for i in range(n) if keep[i]]
    fits = [x for i, x in zip(kept, expected, strict=True) if i not in left_out]
    assert [x for piece in made.pieces for x in content(Signal.TRACES, piece)] == fits
    for big in made.oversized:
        alone = np.zeros(n, np.bool_)
        alone[big.item] = True
        (piece,) = wire.sampled(data, scan, alone, arguments[1], LARGE).pieces
        assert big.size_bytes == len(piece) > limit
        assert big.name == scan.span_name(data, big.item)
    for before, piece in zip(made.pieces, made.pieces[1:], strict=False):
        # Greedy: the first span of a piece did not fit the piece before.
        first = wire.scan_traces(piece)
        only = np.zeros(first.items, np.bool_)
        only[0] = True
        joined = wire.merge([before, wire.select(piece, first, only)])
        whole = wire.scan_traces(joined)
        assert whole.items == wire.scan_traces(before).items + 1
        assert len(joined) > limit or same_envelopes_take(joined) > limit


def same_envelopes_take(joined: bytes) -> int:
    """Size if the last span lay with those before it, where resource and scope are the same."""
    request = REQUESTS[Signal.TRACES].FromString(joined)
    last, before = request.resource_spans[-1], request.resource_spans[-2]
    return len(joined) if last.resource != before.resource else len(request.SerializeToString())


def one_span(*fields: bytes) -> bytes:
    span = b"".join(fields)
    scoped = b"\x12" + varint(len(span)) + span
    group = b"\x12" + varint(len(scoped)) + scoped
    return b"\x0a" + varint(len(group)) + group


IDS = (b"\x0a\x10" + b"t" * 16, b"\x12\x08" + b"s" * 8)
NAME = b"\x2a\x01n"


def state(text: bytes, padding: int = 0) -> bytes:
    return b"\x1a" + varint(len(text), padding) + text


@pytest.mark.parametrize(
    ("fields", "threshold", "expected"),
    [
        ((*IDS, NAME), 1 << 55, (*IDS, state(b"ot=th:8"), NAME)),
        ((NAME, *IDS), 1 << 55, (state(b"ot=th:8"), NAME, *IDS)),
        ((*IDS, NAME), UNKNOWN, (*IDS, NAME)),
        ((*IDS, state(b""), NAME), 1 << 55, (*IDS, state(b"ot=th:8"), NAME)),
        ((*IDS, state(b""), NAME), UNKNOWN, (*IDS, state(b""), NAME)),
        ((*IDS, state(b"ot=th:8", 1), NAME), UNKNOWN, (*IDS, NAME)),
        ((*IDS, state(b"ot=th:80", 1), NAME), 1 << 55, (*IDS, state(b"ot=th:80", 1), NAME)),
        # The last one counts, the others go with it.
        ((state(b"ot=th:c"), *IDS, state(b"a=1"), NAME), UNKNOWN, None),
        (
            (state(b"ot=th:c"), *IDS, state(b"a=1"), NAME),
            1 << 55,
            (*IDS, state(b"ot=th:8,a=1"), NAME),
        ),
        ((state(b"a=1"), *IDS, state(b"", 2), NAME), 1 << 55, (*IDS, state(b"ot=th:8"), NAME)),
        ((state(b"ot=rv:1"), *IDS, NAME, state(b"ot=th:c")), UNKNOWN, (*IDS, NAME)),
    ],
)
def test_where_the_tracestate_stands(
    fields: tuple[bytes, ...], threshold: int, expected: tuple[bytes, ...] | None
) -> None:
    data = one_span(*fields)
    piece = assert_sampled(data, wire.scan_traces(data), [True], [threshold])
    assert piece == one_span(*(fields if expected is None else expected))


def test_lengths_that_grow_by_a_byte() -> None:
    for size in range(60, 140):
        data = one_span(*IDS, b"\x2a" + varint(size) + b"n" * size)
        assert_sampled(data, wire.scan_traces(data), [True], [(1 << 56) - 1])


@pytest.mark.parametrize("cut", [1, 2, 7])
def test_large_messages(cut: int) -> None:
    """Several resources and scopes, lengths of two and three bytes, most spans dropped."""
    rng = random.Random(cut)
    request = REQUESTS[Signal.TRACES]()
    for r in range(5):
        group = request.resource_spans.add(schema_url=f"r{r}")
        group.resource.attributes.add(key="service.name").value.string_value = f"service {r}"
        for s in range(3):
            scoped = group.scope_spans.add(schema_url=f"s{s}")
            for n in range(rng.randrange(300)):
                scoped.spans.add(
                    trace_id=rng.randbytes(16),
                    span_id=rng.randbytes(8),
                    name=f"span {n}",
                    trace_state=rng.choice(["", "", "a=1", "ot=th:4,b=2"]),
                )
    data = request.SerializeToString()
    scan = wire.scan_traces(data)
    keep = [i % cut == 0 and (i // 200) % 2 == 0 for i in range(scan.items)]
    each = [rng.choice([0, 1 << 55, UNKNOWN, rng.randrange(1 << 56)]) for _ in keep]
    assert_sampled(data, scan, keep, each)


def test_nothing_kept_and_nothing_there() -> None:
    data = one_span(*IDS)
    scan = wire.scan_traces(data)
    assert wire.sampled(data, scan, np.zeros(1, np.bool_), np.zeros(1, np.uint64), 100) == (
        [],
        [],
        0,
    )
    none = np.zeros(0, np.bool_), np.zeros(0, np.uint64)
    assert wire.sampled(b"", wire.scan_traces(b""), *none, 100) == ([], [], 0)
    empty = wire.trace_state(b"", wire.scan_traces(b""))
    assert empty.randomness.tolist() == empty.threshold.tolist() == []


def test_wrong_arguments_are_refused() -> None:
    data = one_span(*IDS)
    scan = wire.scan_traces(data)
    one, two = np.ones(1, np.bool_), np.ones(2, np.bool_)
    with pytest.raises(ValueError, match="shapes"):
        wire.sampled(data, scan, two, np.zeros(1, np.uint64), 100)
    with pytest.raises(ValueError, match="shapes"):
        wire.sampled(data, scan, one, np.zeros((1, 1), np.uint64), 100)
    with pytest.raises(ValueError, match="not of these"):
        wire.sampled(data + b"\x00", scan, one, np.zeros(1, np.uint64), 100)
    with pytest.raises(ValueError, match="not of these"):
        wire.trace_state(data + b"\x00", scan)


def rich_in_states() -> bytes:
    """About a kilobyte with tracestates, to be damaged."""
    request = REQUESTS[Signal.TRACES]()
    for r in range(2):
        group = request.resource_spans.add(schema_url="u")
        group.resource.attributes.add(key="service.name").value.string_value = f"service {r}"
        scoped = group.scope_spans.add()
        for text in ("", "ot=th:8;rv:d0000000000001;x:1,a=1", "a=1 , ot=th:C", "b=2"):
            span = scoped.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="n")
            span.trace_state = text
            span.attributes.add(key="k").value.int_value = 7
            span.status.code = 2
    return one_span(state(b"ot=th:c"), *IDS, state(b"a=1", 1), NAME) + request.SerializeToString()


def agree(data: bytes) -> str:
    """If scan accepts the bytes, everything works on them and is what the reference says."""
    try:
        scan = wire.scan_traces(data, strict_ids=False)
    except MalformedMessage:
        return "refused"
    request = parse(Signal.TRACES, data)
    assert request is not None
    found = wire.trace_state(data, scan)
    expected = [read(span.trace_state.encode(), low(span)) for span in spans_of(request)]
    assert found.randomness.tolist() == [x.randomness for x in expected]
    assert found.threshold.tolist() == [x.threshold or 0 for x in expected]
    assert found.refused == sum(x.refused for x in expected)
    keep = [i % 3 != 1 for i in range(scan.items)]
    assert_sampled(data, scan, keep, [(UNKNOWN, 1 << 55, 1)[i % 3] for i in range(scan.items)])
    return "accepted"


def test_truncated_at_every_byte() -> None:
    data = rich_in_states()
    seen = Counter(agree(data[:size]) for size in range(len(data) + 1))
    assert seen["refused"] > len(data) // 2
    assert seen["accepted"] >= 4


def test_bits_flipped() -> None:
    data = rich_in_states()
    seen: Counter[str] = Counter()
    for bit in range(0, len(data) * 8, 3):
        changed = bytearray(data)
        changed[bit >> 3] ^= 1 << (bit & 7)
        seen[agree(bytes(changed))] += 1
    assert all(seen[how] > 200 for how in ("accepted", "refused")), seen


def test_bytes_inserted_removed_and_replaced() -> None:
    rng = random.Random(4)
    data = rich_in_states()
    seen: Counter[str] = Counter()
    for _ in range(1500):
        changed = bytearray(data)
        at = rng.randrange(len(changed))
        changed[at : at + 1] = rng.choice([b",", b";", b"\x1a", b":", b"=", rng.randbytes(1)])
        seen[agree(bytes(changed))] += 1
    assert all(seen[how] > 100 for how in ("accepted", "refused")), seen

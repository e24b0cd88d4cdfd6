"""Counted as scanned; and what is counted can stand beside others, whatever is inside of it."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import MalformedMessage
from schemas.signals import Signal
from streams import wire
from tests.strategies import encodings, requests
from tests.streams.wire.oracle import STRICTER, content, items, parse
from tests.streams.wire.test_malformed import field, log, point, sample, span

SIGNALS = list(Signal)
NEIGHBOURS = {
    Signal.TRACES: span(field(5, b"neighbour")),
    Signal.LOGS: log(field(3, b"neighbour")),
    Signal.METRICS: point(field(7, field(1, b"neighbour"))),
}


def counted(signal: Signal, data: bytes) -> int | None:
    try:
        return wire.count(signal, data)
    except MalformedMessage as error:
        refusal = error
    assert 0 <= refusal.offset <= len(data)
    official = parse(signal, data)
    assert official is None or str(refusal).startswith(STRICTER), (refusal, data.hex())
    return None


def scanned(signal: Signal, data: bytes) -> int | None:
    try:
        return wire.scan(signal, data, strict_ids=False).items
    except MalformedMessage:
        return None


def check(signal: Signal, data: bytes) -> str:
    """Counter, scan and official library agree on ``data``; how it ended."""
    number, known = counted(signal, data), scanned(signal, data)
    assert known is None or number == known, data.hex()
    official = parse(signal, data)
    if number is None:
        return "refused"
    if official is not None:
        assert number == sum(1 for _ in items(signal, official)), data.hex()
    neighbour = NEIGHBOURS[signal]
    (expected,) = content(signal, neighbour)
    for together in (data + neighbour, neighbour + data):
        merged = parse(signal, together)
        # What is wrong inside of an item makes both unreadable, which is seen; never less.
        assert (merged is None) == (official is None), data.hex()
        assert wire.count(signal, together) == number + 1
        if merged is not None:
            bodies = [
                i.message.SerializeToString(deterministic=True) for i in items(signal, merged)
            ]
            assert len(bodies) == number + 1
            assert bodies[-1 if together.endswith(neighbour) else 0] == expected[0]
    return "read" if official is not None else "wrong inside"


@pytest.mark.parametrize("signal", SIGNALS)
def test_what_scan_accepts_is_counted(signal: Signal) -> None:
    @settings(
        max_examples=150,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def look(draw: Any) -> None:
        request = draw.draw(requests(signal))
        for data in (request.SerializeToString(), draw.draw(encodings(request))):
            assert wire.count(signal, data) == wire.scan(signal, data).items

    look()


@pytest.mark.parametrize("signal", SIGNALS)
def test_truncated_at_every_byte(signal: Signal) -> None:
    data = sample(signal)
    seen = Counter(check(signal, data[:size]) for size in range(len(data) + 1))
    assert seen["refused"] > len(data) // 2
    assert not seen["wrong inside"], "a frame ends too early"


@pytest.mark.parametrize("signal", SIGNALS)
def test_every_bit_flipped(signal: Signal) -> None:
    data = sample(signal)
    seen: Counter[str] = Counter()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit >> 3] ^= 1 << (bit & 7)
        seen[check(signal, bytes(changed))] += 1
    assert all(seen[how] > 20 for how in ("read", "wrong inside", "refused")), seen


@pytest.mark.parametrize("signal", SIGNALS)
def test_random_and_changed_bytes(signal: Signal) -> None:
    rng = random.Random(6)
    data = sample(signal)
    tags = [0x0A, 0x12, 0x1A, 0x2A, 0x3A, 0x4A, 0x7A, 0x08, 0x0B, 0x10, 0, 1, 2, 3, 4, 6, 8, 0x80]
    seen: Counter[str] = Counter()
    for _ in range(2500):
        changed = bytearray(data)
        at = rng.randrange(len(changed))
        changed[at : at + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
        seen[check(signal, bytes(changed))] += 1
        seen[check(signal, bytes(rng.choices(tags, k=rng.randint(1, 30))))] += 1
        seen[check(signal, rng.randbytes(rng.randint(1, 30)))] += 1
    assert all(seen[how] > 20 for how in ("read", "refused")), seen


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_length_that_lacks_its_content_swallows_the_neighbour_unless_checked(
    signal: Signal,
) -> None:
    neighbour = NEIGHBOURS[signal]
    for tag in (0x7A, 0x0A, 0xA2):
        head = bytes([tag, 1] if tag == 0xA2 else [tag]) + bytes([len(neighbour)])
        assert parse(signal, head) is None
        if tag != 0x0A:  # an unknown field: nothing is left, and nobody complains
            assert not content(signal, head + neighbour)
            assert wire.count(signal, head + neighbour) == 0
        with pytest.raises(MalformedMessage, match="beyond the enclosing message"):
            wire.count(signal, head)


def nest(levels: int, extra: bytes) -> bytes:
    """``extra`` in the request, its resource, scope, metric or data; 0: the request."""
    for number in (1, 2, 2, 5)[:levels][::-1]:
        extra = field(number, extra)
    return extra


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (b"\x7a\x05ab", "beyond the enclosing message"),
        (b"\x7a", "ends inside a field"),
        (b"\x79\x01\x02", "ends inside a field"),
        (b"\x7d\x01", "ends inside a field"),
        (b"\x78\x80", "ends inside a field"),
        (b"\x78" + b"\xff" * 11, "varint is longer"),
        (b"\x7a\x80\x80\x80\x80\x80\x00", "varint is longer"),
        (b"\xfa\x80\x00\x01", "shortest form"),
        (b"\xf8\xff\xff\xff\x1f\x01", "beyond 32 bits"),
        (b"\x00\x01", "field number 0"),
        (b"\x7b\x7c", "a group"),
        (b"\x0b\x0c", "a group"),
        (b"\x08\x01", "wrong wire type"),
        (b"\x7e", "undefined wire type"),
    ],
)
def test_every_level_is_looked_at(extra: bytes, message: str) -> None:
    for signal in SIGNALS:
        for level in range(5 if signal == Signal.METRICS else 3):
            before = nest(level, b"")
            with pytest.raises(MalformedMessage, match=message) as caught:
                wire.count(signal, before + nest(level, extra))
            assert len(before) <= caught.value.offset <= len(before + nest(level, extra))
            assert scanned(signal, nest(level, extra)) is None


def test_items_themselves_are_not_read() -> None:
    assert wire.count(Signal.TRACES, span(b"\xff\xff") + span(b"")) == 2
    assert wire.count(Signal.LOGS, log(b"\x00")) == 1
    assert wire.count(Signal.METRICS, point(b"\x00", 11)) == 1


def test_two_kinds_of_data_in_one_metric() -> None:
    both = field(5, field(1, b"")) + field(7, field(1, b""))
    one_each = field(2, field(5, field(1, b""))) + field(2, field(7, field(1, b"")))
    assert wire.count(Signal.METRICS, field(1, field(2, one_each))) == 2
    with pytest.raises(MalformedMessage, match="data of two kinds"):
        wire.count(Signal.METRICS, field(1, field(2, field(2, both))))


def test_many_items() -> None:
    for signal, one in NEIGHBOURS.items():
        assert wire.count(signal, one * 5000) == 5000
    assert wire.count(Signal.LOGS, b"") == 0

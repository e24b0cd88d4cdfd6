"""What a tracestate says about sampling, by the specifications' rules, whatever its bytes are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schemas.signals import Signal
from streams import wire
from streams.sampling.consistent import UNKNOWN, decode
from tests.strategies import REQUESTS
from tests.streams.wire.states import read, states, thresholds, written

bounded = settings(max_examples=300, deadline=None, derandomize=True, phases=[Phase.generate])
TRACE_ID = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736")
LOW = int.from_bytes(TRACE_ID[8:], "big")


def message(*each: str) -> bytes:
    request = REQUESTS[Signal.TRACES]()
    scoped = request.resource_spans.add().scope_spans.add()
    for state in each:
        scoped.spans.add(trace_id=TRACE_ID, span_id=b"s" * 8, name="n", trace_state=state)
    data: bytes = request.SerializeToString()
    return data


def one(state: str) -> tuple[int, int, int]:
    data = message(state)
    found = wire.trace_state(data, wire.scan_traces(data))
    assert (found.randomness.dtype, found.threshold.dtype) == (np.uint64, np.uint64)
    return int(found.randomness[0]), int(found.threshold[0]), found.refused


def after(state: str, threshold: int) -> str:
    data = message(state)
    scan = wire.scan_traces(data)
    arguments = np.ones(1, np.bool_), np.array([threshold], np.uint64)
    made = wire.sampled(data, scan, *arguments, 10_000)
    (piece,) = made.pieces
    parsed = REQUESTS[Signal.TRACES].FromString(piece)
    text: str = parsed.resource_spans[0].scope_spans[0].spans[0].trace_state
    return text


OWN = LOW & ((1 << 56) - 1)


@pytest.mark.parametrize(
    ("state", "randomness", "threshold", "refused"),
    [
        # The specification's examples.
        ("ot=th:0", OWN, 0, 0),
        ("ot=th:c", OWN, 0xC0000000000000, 0),
        ("ot=rv:6e6d1a75832a2f", 0x6E6D1A75832A2F, None, 0),
        ("ot=p:8;r:62", OWN, None, 0),
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", OWN, None, 0),
        # Where it may stand, and between what.
        ("", OWN, None, 0),
        (
            "a=1, \tot=k:v;th:8;rv:9000000000000a ,b=1",
            0x9000000000000A,
            1 << 55,
            0,
        ),
        # What is not there.
        ("ot=th:C", OWN, None, 1),
        ("ot=th:", OWN, None, 1),
        ("ot=th:000000000000001", OWN, None, 1),
        ("ot=rv:6e6d1a75832a2", OWN, None, 1),
        ("ot=rv:6E6D1A75832A2F", OWN, None, 1),
        ("ot=th:8;th:4", OWN, 1 << 55, 1),
        ("ot=th:x;th:4", OWN, 1 << 54, 1),
        ("ot=th:8,ot=th:4", OWN, 1 << 55, 0),
        ("t@ot=th:8,OT=th:8,ot =th:8", OWN, None, 0),
        # Consistent up to the randomness itself.
        ("ot=th:6e6d1a75832a2f;rv:6e6d1a75832a2f", 0x6E6D1A75832A2F, 0x6E6D1A75832A2F, 0),
        ("ot=th:6e6d1a75832a3;rv:6e6d1a75832a2f", 0x6E6D1A75832A2F, None, 1),
    ],
)
def test_what_is_read(state: str, randomness: int, threshold: int | None, refused: int) -> None:
    assert one(state) == (randomness, threshold or 0, refused)
    assert read(state.encode(), LOW) == (randomness, threshold, bool(refused))


@bounded
@given(st.lists(states, min_size=1, max_size=4))
def test_what_is_read_of_any_state(each: list[str]) -> None:
    data = message(*each)
    found = wire.trace_state(data, wire.scan_traces(data))
    expected = [read(state.encode(), LOW) for state in each]
    assert found.randomness.tolist() == [x.randomness for x in expected]
    assert found.threshold.tolist() == [x.threshold or 0 for x in expected]
    assert found.refused == sum(x.refused for x in expected)


C = decode("c")


@pytest.mark.parametrize(
    ("state", "threshold", "expected"),
    [
        ("", C, "ot=th:c"),
        ("", 0, "ot=th:0"),
        ("", UNKNOWN, ""),
        # Set: in front, with what else is known.
        ("congo=t61rcWkgMzE", C, "ot=th:c,congo=t61rcWkgMzE"),
        ("a=1, ot=p:8;r:62 ,,b=2", C, "ot=th:c;p:8;r:62,a=1,b=2"),
        ("a=1,ot=p:8;rv:d0000000000001", C, "ot=th:c;rv:d0000000000001;p:8,a=1"),
        ("a=1,ot=th:8", C, "ot=th:c,a=1"),
        # Never lowered; what says it already stays as it is.
        ("a=1 , ot=th:c00;k:v", 1 << 55, "a=1 , ot=th:c00;k:v"),
        ("a=1 , ot=th:c00;k:v", C, "a=1 , ot=th:c00;k:v"),
        # Inconsistent or malformed: not there.
        ("ot=th:d;x:1", C, "ot=th:c;x:1"),
        ("ot=th:D;rv:1;x:1", C, "ot=th:c;x:1"),
        ("ot=th:8;th:4;what;x:1", C, "ot=th:c;x:1"),
        ("ot=th:8,a=1,ot=x:1", C, "ot=th:c,a=1"),
        ("a=1,ot=th:c;th:8", C, "ot=th:c,a=1"),
        ("a=1,ot=th:c,ot=x:1", C, "ot=th:c,a=1"),
        ("a=1,ot=x:1,ot=th:c", UNKNOWN, "ot=x:1,a=1"),
        # Not known: taken out, with what is left empty.
        ("ot=th:8", UNKNOWN, ""),
        ("a=1,ot=th:8", 1 << 56, "a=1"),
        ("a=1,ot=th:8;x:1", UNKNOWN, "ot=x:1,a=1"),
        ("a=1,ot=th:Z;rv:00000000000001", UNKNOWN, "ot=rv:00000000000001,a=1"),
        ("a=1 ,ot=rv:1;x:1", UNKNOWN, "a=1 ,ot=rv:1;x:1"),
    ],
)
def test_what_is_written(state: str, threshold: int, expected: str) -> None:
    assert after(state, threshold) == expected
    assert written(state.encode(), LOW, threshold)[0] == expected.encode()


def test_limits_of_the_specifications() -> None:
    full = [f"k{n}=v" for n in range(32)]
    assert after(",".join(full), C) == ",".join(["ot=th:c", *full[:31]])
    assert after(",".join([*full[:31], "ot=th:8"]), C) == ",".join(["ot=th:c", *full[:31]])
    assert after(",".join([*full, "ot=th:8"]), UNKNOWN) == ",".join(full)
    rv = "rv:d0000000000001"
    long = [f"{name}:{'x' * 110}" for name in "ab"]
    assert after(f"ot={';'.join([*long, rv])}", C) == f"ot=th:c;{rv};{';'.join(long)}"
    for last, kept in (("c:12345", [*long, "c:12345"]), ("c:123456", long)):
        text = after(f"ot={';'.join([*long, last, rv])}", C)
        assert text == f"ot=th:c;{rv};{';'.join(kept)}"
        assert len(text) == len("ot=") + (256 if last in kept else 248)
    for state in (",".join(full), f"ot={';'.join([*long, 'c:123456', rv])}", "", "ot=th:8"):
        data = message(state, "ot=th:4")
        thresholds = np.full(2, C, np.uint64)
        made = wire.sampled(data, wire.scan_traces(data), np.ones(2, np.bool_), thresholds, 10_000)
        assert made.shortened == (len(state) > 10)


@bounded
@given(states, thresholds)
def test_what_is_written_can_be_read(state: str, threshold: int) -> None:
    text = after(state, threshold)
    assert text.encode() == written(state.encode(), LOW, threshold)[0]
    before, now = read(state.encode(), LOW), read(text.encode(), LOW)
    assert now.randomness == before.randomness, "rv is never lost"
    if threshold >= 1 << 56:
        assert "ot=th:" not in text
        assert now.threshold is None
    elif threshold <= before.randomness:
        assert now.threshold == max(threshold, before.threshold or 0)
    assert after(text, threshold) == text, "once more changes nothing"

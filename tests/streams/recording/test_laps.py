"""Laps against the protobuf library: the same message with other ids and times, nothing else."""

import numpy as np
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import MalformedMessage
from streams.recording.laps import AS_RECORDED, Lap, at_lap, fresh
from streams.recording.layout import find

from .requests import REQUESTS, TYPES

LAPS = st.builds(
    Lap,
    trace_salt=st.one_of(st.binary(min_size=16, max_size=16), st.just(b"\1" * 16)),
    span_salt=st.one_of(st.binary(min_size=8, max_size=8), st.just(b"\1" * 8)),
    shift_ns=st.one_of(
        st.integers(-(2**65), 2**65), st.sampled_from([0, 1, -1, 10**18, -(10**18)])
    ),
)


def expected(message: Message, lap: Lap) -> None:
    """Change a message in place, field by field, by the fields' names."""
    for descriptor, value in message.ListFields():
        name = descriptor.name
        if descriptor.message_type is not None:
            for child in value if not isinstance(value, Message) else [value]:
                expected(child, lap)
        elif name == "trace_id" and len(value) == 16 and any(value):
            message.trace_id = (
                bytes(a ^ b for a, b in zip(value, lap.trace_salt, strict=True)) or value
            )
            if not any(message.trace_id):
                message.trace_id = value
        elif name in ("span_id", "parent_span_id") and len(value) == 8 and any(value):
            other = bytes(a ^ b for a, b in zip(value, lap.span_salt, strict=True))
            setattr(message, name, other if any(other) else value)
        elif name.endswith("time_unix_nano"):
            setattr(message, name, min(max(value + lap.shift_ns, 1), 2**64 - 1))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(REQUESTS, LAPS)
def test_only_ids_and_times_differ(request_, lap):
    signal, message = request_
    data = message.SerializeToString()
    layout = find(signal, data)
    moved = at_lap(data, layout, lap)
    expected(message, lap)
    assert TYPES[signal].FromString(moved) == message
    assert len(moved) == len(data)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(REQUESTS)
def test_items_and_times(request_):
    signal, message = request_
    layout = find(signal, message.SerializeToString())
    times, items = [], 0

    def visit(part: Message) -> None:
        nonlocal items
        items += part.DESCRIPTOR.name in ("Span", "LogRecord") or part.DESCRIPTOR.name.endswith(
            "DataPoint"
        )
        for descriptor, value in part.ListFields():
            if descriptor.message_type is not None:
                for child in value if not isinstance(value, Message) else [value]:
                    visit(child)
            elif descriptor.name.endswith("time_unix_nano"):
                times.append(value)

    visit(message)
    assert layout.items == items
    assert (layout.earliest_ns, layout.latest_ns) == (min(times, default=0), max(times, default=0))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(REQUESTS, st.integers(0, 2**16), st.integers(0, 255))
def test_damaged_bytes_are_refused_or_patched_in_place(request_, where, byte):
    signal, message = request_
    data = bytearray(message.SerializeToString())
    if data:
        data[where % len(data)] = byte
    try:
        layout = find(signal, bytes(data))
    except MalformedMessage:
        return
    assert len(at_lap(bytes(data), layout, fresh(np.random.default_rng(1), 5))) == len(data)


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05ab", b"\x0b", b"\x00\x01", b"\x0a" + b"\xff" * 11, b"\x09\x01"]
)
def test_malformed(data):
    from schemas.signals import Signal

    with pytest.raises(MalformedMessage):
        find(Signal.TRACES, data)


@given(LAPS, st.lists(st.binary(min_size=8, max_size=8).filter(any), unique=True, max_size=20))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_ids_stay_distinct_and_valid(lap, ids):
    moved = [lap.span_id(one) for one in [*ids, *([lap.span_salt] if any(lap.span_salt) else [])]]
    assert all(any(one) for one in moved)
    assert len(set(moved)) == len({*ids, *([lap.span_salt] if any(lap.span_salt) else [])})


def test_a_fresh_lap_changes_every_id_and_a_recorded_one_none():
    lap = fresh(np.random.default_rng(7), 3)
    again = fresh(np.random.default_rng(7), 3)
    assert lap == again
    assert lap.trace_id(b"\2" * 16) != b"\2" * 16
    assert lap.span_id(b"") == b""
    assert (lap.time_ns(0), lap.time_ns(10)) == (0, 13)
    assert AS_RECORDED.trace_id(b"\2" * 16) == b"\2" * 16

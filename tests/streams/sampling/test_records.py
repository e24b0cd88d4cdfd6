"""Verdicts and work orders as bytes: they come back, and whatever else is refused."""

from __future__ import annotations

import contextlib
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.columns import Column
from schemas.records import MalformedRecord, NewerVersion
from schemas.records.binary import MAGIC
from schemas.records.sampling import (
    BINARY,
    DECIDED_GROUPS,
    DECIDED_TRACES,
    EARLY,
    ERROR,
    KEPT,
    MORE,
    ORDERED_TRACES,
    RAISED,
    VerdictsHeader,
)
from streams.packing import pack
from streams.sampling.records import (
    DecidedGroups,
    DecidedTraces,
    OrderedTraces,
    Raised,
    VerdictRecord,
    WorkOrder,
    decode,
)

U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(0, 2**63 - 1)
NAMES = st.lists(st.text(max_size=8), min_size=1, max_size=3).map(tuple)
_BITS = {"u1": (0, 8), "u8": (0, 64), "i4": (-31, 31), "i8": (-63, 63)}


def column(draw: st.DrawFn, spec: Column, size: int, bounds: tuple[int, int] | None = None) -> Any:
    dtype = np.dtype("<" + spec.dtype)
    if dtype.kind == "f":
        values = st.floats(width=8 * dtype.itemsize)
    else:
        least, most = _BITS[spec.dtype]
        values = st.integers(*(bounds or (-(2**-least) if least else 0, 2**most - 1)))
    return np.array(draw(st.lists(values, min_size=size, max_size=size)), dtype)


@st.composite
def verdicts(draw: st.DrawFn) -> VerdictRecord:
    policies, groups, roots = draw(NAMES), draw(st.integers(1, 4)), draw(st.integers(0, 3))
    texts = draw(st.lists(st.text(max_size=9), min_size=groups, max_size=groups))
    encoded = [text.encode() for text in texts]
    stops = np.cumsum([len(each) for each in encoded]).astype(np.int32)
    bounds = {
        "group": (0, groups - 1), "root": (-1, roots - 1), "group_policy": (0, len(policies) - 1),
        "raised_trace": (0, 0),
    }  # fmt: skip
    size = draw(st.integers(0, 5))
    traces = DecidedTraces(*(column(draw, c, size, bounds.get(c.name)) for c in DECIDED_TRACES))
    table = [column(draw, c, groups, bounds.get(c.name)) for c in DECIDED_GROUPS[:-1]]
    parts = draw(st.integers(1, 5))
    many = draw(st.integers(0, 2)) if size else 0
    raised = Raised(*(column(draw, c, many, bounds.get(c.name) or (0, 2**63)) for c in RAISED))
    numbers = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3).map(tuple)
    memory = draw(st.lists(numbers, min_size=len(policies), max_size=len(policies)))
    return VerdictRecord(
        draw(st.text(max_size=20)), draw(st.integers(0, 2**31)), draw(I64), policies, traces,
        DecidedGroups(*table, stops),
        np.array(draw(st.lists(U64, min_size=roots, max_size=roots)), np.uint64),
        raised, tuple(memory), b"".join(encoded), draw(NAMES),
        draw(st.integers(0, parts - 1)), parts,
    )  # fmt: skip


@st.composite
def orders(draw: st.DrawFn) -> WorkOrder:
    policies, size, start = draw(NAMES), draw(st.integers(0, 5)), draw(st.integers(0, 2**62))
    bounds = {"policy": (0, len(policies) - 1)}
    traces = OrderedTraces(*(column(draw, c, size, bounds.get(c.name)) for c in ORDERED_TRACES))
    parts = draw(st.integers(1, 5))
    seen = draw(st.lists(st.tuples(I64, st.integers(1, 2**31 - 1)), max_size=2))
    return WorkOrder(
        draw(st.text(max_size=20)), draw(st.integers(0, 2**31)), start,
        start + draw(st.integers(0, 2**62)), draw(I64), draw(I64), policies, traces, tuple(seen),
        draw(st.integers(0, parts - 1)), parts, draw(I64),
    )  # fmt: skip


def plain(record: object) -> object:
    """Something that can be compared: arrays as their type and bytes, so that NaN is NaN."""
    if isinstance(record, np.ndarray):
        return record.dtype.str, record.tobytes()
    if isinstance(record, DecidedTraces | DecidedGroups | Raised | OrderedTraces):
        return [plain(each) for each in record]
    if isinstance(record, VerdictRecord | WorkOrder):
        return {name: plain(value) for name, value in vars(record).items()}
    return record


@settings(max_examples=150, derandomize=True, deadline=None)
@given(verdicts() | orders())
def test_a_record_comes_back(record: VerdictRecord | WorkOrder) -> None:
    data = record.encode()
    back = decode(data)
    assert plain(back) == plain(record)
    assert back.encode() == data


@settings(max_examples=60, derandomize=True, deadline=None)
@given(verdicts() | orders(), st.data())
def test_a_record_that_is_cut_or_altered_is_refused(
    record: VerdictRecord | WorkOrder, data: st.DataObject
) -> None:
    value = record.encode()
    for stop in {0, 3, 15, *range(0, len(value), 7)}:
        with pytest.raises(MalformedRecord):
            decode(value[:stop])
    at = data.draw(st.integers(0, len(value) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MalformedRecord):
        decode(value[:at] + bytes([value[at] ^ bit]) + value[at + 1 :])
    with pytest.raises(MalformedRecord):
        decode(value + b"\0")


@settings(max_examples=150, derandomize=True, deadline=None)
@given(verdicts() | orders(), st.data())
def test_any_bytes_with_a_right_checksum_are_a_record_or_an_error(
    record: VerdictRecord | WorkOrder, data: st.DataObject
) -> None:
    body = bytearray(record.encode()[8:])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + 1] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(MalformedRecord):
        back = decode(sealed(bytes(body)))
        assert isinstance(back, VerdictRecord | WorkOrder)
        back.encode()
        assert isinstance(back, WorkOrder) or back.key_texts is not None
    with contextlib.suppress(MalformedRecord):
        decode(data.draw(st.binary(max_size=60)))


def sealed(body: bytes) -> bytes:
    return struct.pack("<4sI", MAGIC, zlib.crc32(body)) + body


def with_header(value: bytes, **changes: object) -> bytes:
    """The record with other fields in its header."""
    size = int.from_bytes(value[8:12], "little")
    head = json.loads(value[16 : 16 + size]) | changes
    text = json.dumps({k: v for k, v in head.items() if v is not None}).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return sealed(struct.pack("<II", len(text), 0) + text + value[16 + size :])


ORDER = WorkOrder(
    "otlp_spans", 3, 10, 20, 1_700_000_001_000, 1_700_000_000_000, ("all",),
    OrderedTraces(
        np.array([1, 2], np.uint64), np.array([3, 4], np.uint64), np.zeros(2, np.int32),
        np.array([0, 7], np.uint64), np.array([0, MORE], np.uint8),
    ),
)  # fmt: skip
VERDICTS = VerdictRecord(
    "otlp_spans", 3, 1_700_000_000_000, ("errors", "rest"),
    DecidedTraces(
        np.array([1, 2], np.uint64), np.array([3, 4], np.uint64), np.array([1, 0], np.int32),
        np.array([KEPT, EARLY | ERROR], np.uint8), np.array([1.5, 0], np.float32),
        np.array([3, 70_000], np.int64), np.array([900, 1], np.int64), np.array([-1, 0], np.int32),
        np.array([-1, 20], np.int64),
    ),
    DecidedGroups(
        np.array([1, 0], np.int32), np.array([11, 12], np.uint64), np.array([21, 22], np.uint64),
        np.array([0, 1 << 55], np.uint64), np.array([1.0, 0.5]), np.array([2, 2], np.int32),
    ),
    np.array([99], np.uint64), Raised(np.array([0], np.int32), np.array([1 << 52], np.uint64)),
    ((0.1, 3.0), ()), b"k1",
)  # fmt: skip


def test_flags_and_keys_are_read_out() -> None:
    back = decode(VERDICTS.encode())
    assert isinstance(back, VerdictRecord)
    assert back.traces.kept.tolist() == [True, False]
    assert back.traces.early.tolist() == [False, True]
    assert back.traces.error.tolist() == [False, True]
    assert back.key_texts == {11: "k1"}
    assert back.thresholds.tolist() == [1 << 52, 0]
    assert back.decided.root_operation.tolist() == [0, 99]
    assert back.decided.memory == ((0.1, 3.0), ())
    order = decode(ORDER.encode())
    assert isinstance(order, WorkOrder)
    assert order.traces.more.tolist() == [False, True]


def test_what_is_on_the_wire() -> None:
    """Other programs read this: it may grow, and must not change."""
    value = ORDER.encode()
    size = int.from_bytes(value[8:12], "little")
    assert value[:4] == b"\x89OSR"
    assert json.loads(value[16 : 16 + size]) == {
        "schema_version": 1, "kind": "work_order", "topic": "otlp_spans", "partition": 3,
        "start": 10, "stop": 20, "issued_ms": 1_700_000_001_000, "time_ms": 1_700_000_000_000,
        "part": 0, "parts": 1, "partitions": [], "strangers_until_ms": 0, "ahead_ms": 0,
        "highest_ms": 0, "policies": ["all"],
        "columns": [
            {"name": "trace_id_high", "dtype": "u1", "size": 2},
            {"name": "trace_id_low", "dtype": "u1", "size": 2},
            {"name": "policy", "dtype": "u1", "size": 2},
            {"name": "threshold", "dtype": "u1", "size": 2},
            {"name": "flags", "dtype": "u1", "size": 2},
        ],
    }  # fmt: skip
    padded = [b"\1\2", b"\3\4", b"\0\0", b"\0\7", b"\0\1"]
    assert value[16 + size :] == b"".join(each.ljust(8, b"\0") for each in padded)


def test_columns_and_fields_that_are_not_known_are_passed_over() -> None:
    """Also a column of a type that nobody knows here: its size is told."""
    value = ORDER.encode()
    size = int.from_bytes(value[8:12], "little")
    columns = json.loads(value[16 : 16 + size])["columns"]
    more = [{"name": "colour", "dtype": "x3", "size": 6, "unit": "nm"}, *columns]
    head, rest = value[: 16 + size], value[16 + size :]
    grown = with_header(head + b"abcdef\0\0" + rest, columns=more, expires={"at": [1]})
    assert plain(decode(grown)) == plain(ORDER)


def test_a_newer_version_is_refused_whatever_else_it_says() -> None:
    for record in (ORDER, VERDICTS):
        with pytest.raises(NewerVersion, match="schema_version 2"):
            decode(with_header(record.encode(), schema_version=2, columns="elsewhere"))


@pytest.mark.parametrize(
    ("record", "changes", "what"),
    [
        (ORDER, {"kind": "verdict"}, "kind 'verdict'"),
        (ORDER, {"kind": None}, "no kind"),
        (ORDER, {"start": 21}, "from 21 to 20"),
        (ORDER, {"start": -1}, "start"),
        (ORDER, {"part": 1}, "part 1 of 1"),
        (ORDER, {"policies": []}, "policy points outside"),
        (ORDER, {"partitions": [[0, 0]]}, "number of partitions"),
        (ORDER, {"columns": []}, "bytes too many"),
        (ORDER, {"columns": [{"name": "policy", "dtype": "u1", "size": 40}]}, "trace_id_high"),
        (ORDER, {"columns": [{"name": "policy", "dtype": "u8", "size": 39}]}, "has 39 bytes"),
        (ORDER, {"columns": [{"name": "policy", "dtype": "u1", "size": 99}]}, "ends within"),
        (VERDICTS, {"policies": ["one"], "memory": []}, "group_policy points outside"),
        (VERDICTS, {"partition": None}, "partition"),
        (VERDICTS, {"memory": [[1.0]]}, "memory of 1 policies"),
    ],
)
def test_what_is_wrong_is_said(
    record: VerdictRecord | WorkOrder, changes: dict[str, object], what: str
) -> None:
    with pytest.raises(MalformedRecord, match=what):
        decode(with_header(record.encode(), **changes))


@pytest.mark.parametrize(
    ("name", "values", "what"),
    [
        ("group", [0, 2], "group points outside"),
        ("root", [0, 1], "root points outside"),
        ("raised_trace", [2], "raised_trace points outside"),
        ("raised_threshold", [1, 2], "raised_threshold has 2 rows"),
        ("spans", [1, 2, 3], "spans has 3 rows"),
        ("flags", [0, 256], "flags holds what is no u1"),
        ("flags", [0.0, 1.0], "flags holds what is no u1"),
        ("group_text_stop", [2, 1], "goes backwards"),
        ("group_text_stop", [2, 3], "group_text_stop points outside"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(
    name: str, values: list[float], what: str
) -> None:
    tables = [
        VERDICTS.traces,
        VERDICTS.groups,
        (VERDICTS.roots,),
        VERDICTS.raised,
        (np.frombuffer(b"k1", np.uint8),),
    ]
    columns = {
        spec.name: array
        for table, arrays in zip(BINARY[0][2], tables, strict=True)
        for spec, array in zip(table, arrays, strict=True)
    }
    columns[name] = np.array(values)
    header = VerdictsHeader(
        topic="t", partition=0, decided_ms=0, policies=VERDICTS.policies, columns=()
    )
    with pytest.raises(MalformedRecord, match=what):
        decode(pack(header, columns))


def test_every_column_says_what_it_means() -> None:
    for _, header, tables in BINARY:
        assert [n for n, field in header.model_fields.items() if not field.description] == []
        assert all(column.meaning for table in tables for column in table)

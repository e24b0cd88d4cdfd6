"""Attributes are what the official library reads, of whatever kind and however encoded."""

from __future__ import annotations

import math
import random
import struct
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schemas.errors import MalformedMessage
from schemas.signals import Signal
from streams import wire
from streams.wire import Attribute, ValueKind
from tests.strategies import REQUESTS, encodings, requests, varint
from tests.streams.wire.oracle import items, parse

bounded = settings(max_examples=150, deadline=None, derandomize=True, phases=[Phase.generate])
KINDS = {
    "string_value": ValueKind.STRING,
    "bool_value": ValueKind.BOOL,
    "int_value": ValueKind.INT,
    "double_value": ValueKind.DOUBLE,
}
KEYS = ["service.name", "http.route", "k", "", "none of these", "x" * 300, "é"]
ITEMS = {Signal.TRACES: "span", Signal.LOGS: "record", Signal.METRICS: "point"}


def fields_of(signal: Signal) -> list[Attribute]:
    places = ("resource", "scope", ITEMS[signal])
    return [Attribute(where, key) for key in KEYS for where in places]  # type: ignore[arg-type]


FIELDS = fields_of(Signal.TRACES)


def attribute(owner: Any, key: str) -> Any | None:
    """The value of the first attribute with this key; None if there is none."""
    return next((each.value for each in owner.attributes if each.key == key), None)


def expected(value: Any | None) -> tuple[ValueKind, object]:
    """Kind and value, as something that can be compared."""
    if value is None:
        return ValueKind.ABSENT, None
    name = value.WhichOneof("value")
    kind = KINDS.get(name, ValueKind.OTHER)
    content = getattr(value, name) if kind != ValueKind.OTHER else None
    if kind == ValueKind.DOUBLE:
        content = struct.pack("<d", content)  # a NaN is not equal to itself
    return kind, content


def assert_looked_up(data: bytes, scan: wire.Scan, request: Any) -> None:
    fields = fields_of(scan.signal)
    found = wire.lookup(data, scan, fields)
    assert all(each.shape == (len(fields), scan.items) for each in found)
    hashes: dict[int, tuple[ValueKind, object]] = {}
    for i, item in enumerate(items(scan.signal, request)):
        owners = {
            "resource": item.envelopes[1].resource,  # type: ignore[attr-defined]
            "scope": item.envelopes[2].scope,  # type: ignore[attr-defined]
            ITEMS[scan.signal]: item.message,
        }
        for f, field in enumerate(fields):
            kind, content = expected(attribute(owners[field.where], field.key))
            assert found.kind[f, i] == kind, (field, i)
            number, hashed = float(found.number[f, i]), int(found.hash[f, i])
            text = data[found.start[f, i] : found.stop[f, i]]
            if kind == ValueKind.STRING:
                assert text.decode() == content == found.text(data, f, i)
                assert hashed == wire.hash64(text)
            else:
                assert text == b""
            if kind in (ValueKind.BOOL, ValueKind.INT):
                assert number == float(content)  # type: ignore[arg-type]
            elif kind == ValueKind.DOUBLE:
                assert struct.pack("<d", number) == content
            else:
                assert math.isnan(number)
            assert (hashed == 0) == (kind == ValueKind.ABSENT)
            if kind != ValueKind.OTHER:
                assert hashes.setdefault(hashed, (kind, content)) == (kind, content)
    assert len(set(hashes.values())) == len(hashes), "one value, one hash"
    groups = getattr(request, request.DESCRIPTOR.fields[0].name)
    for group, hashed in zip(groups, wire.service_hash(data, scan).tolist(), strict=True):
        kind, content = expected(attribute(group.resource, "service.name"))
        assert (hashed == 0) == (kind == ValueKind.ABSENT)
        if kind == ValueKind.STRING:
            assert hashed == wire.hash64(str(content).encode())


@pytest.mark.parametrize("signal", Signal)
@bounded
@given(draw=st.data())
def test_values_are_what_the_library_reads(signal: Signal, draw: st.DataObject) -> None:
    request = draw.draw(requests(signal))
    data = request.SerializeToString()
    if draw.draw(st.booleans()):
        data = draw.draw(encodings(request))
        request = REQUESTS[signal].FromString(data)
    assert_looked_up(data, wire.scan(signal, data), request)


def wrap(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


IDS = b"\x0a\x10" + b"t" * 16 + b"\x12\x08" + b"s" * 8
"""A span's ids."""


def span_with(*attributes: bytes) -> bytes:
    span = IDS + b"".join(wrap(9, each) for each in attributes)
    return wrap(1, wrap(2, wrap(2, span)))


def key_value(key: bytes, value: bytes) -> bytes:
    return wrap(1, key) + wrap(2, value)


K = Attribute("span", "k")


@pytest.mark.parametrize(
    ("attributes", "kind", "number", "text"),
    [
        ([key_value(b"k", wrap(1, b"v"))], ValueKind.STRING, math.nan, "v"),
        ([key_value(b"k", wrap(1, b""))], ValueKind.STRING, math.nan, ""),
        ([key_value(b"k", b"\x10\x01")], ValueKind.BOOL, 1, "true"),
        (
            [key_value(b"k", b"\x10\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")],
            ValueKind.BOOL,
            1,
            "true",
        ),
        ([key_value(b"k", b"\x10\x00")], ValueKind.BOOL, 0, "false"),
        ([key_value(b"k", b"\x18\xc8\x01")], ValueKind.INT, 200, "200"),
        ([key_value(b"k", b"\x18" + varint(2**64 - 1))], ValueKind.INT, -1, "-1"),
        ([key_value(b"k", b"\x21" + struct.pack("<d", 1.5))], ValueKind.DOUBLE, 1.5, "1.5"),
        ([key_value(b"k", wrap(5, wrap(1, wrap(1, b"v"))))], ValueKind.OTHER, math.nan, ""),
        ([key_value(b"k", wrap(6, wrap(1, wrap(1, b"k"))))], ValueKind.OTHER, math.nan, ""),
        ([key_value(b"k", wrap(7, b"bytes"))], ValueKind.OTHER, math.nan, ""),
        ([key_value(b"k", b"\x40\x05")], ValueKind.OTHER, math.nan, ""),
        ([key_value(b"k", b"")], ValueKind.OTHER, math.nan, ""),
        ([wrap(1, b"k")], ValueKind.OTHER, math.nan, ""),
        ([wrap(1, b"other"), b""], ValueKind.ABSENT, math.nan, ""),
        # Fields in another order, twice, with padding, unknown ones between them.
        ([wrap(2, wrap(1, b"v")) + wrap(1, b"k")], ValueKind.STRING, math.nan, "v"),
        ([wrap(1, b"x") + key_value(b"k", wrap(1, b"v"))], ValueKind.STRING, math.nan, "v"),
        ([key_value(b"k", wrap(1, b"v")) + wrap(1, b"x")], ValueKind.ABSENT, math.nan, ""),
        ([key_value(b"k", b"\x10\x01" + wrap(1, b"v"))], ValueKind.STRING, math.nan, "v"),
        ([key_value(b"k", wrap(1, b"v") + b"\x10\x01")], ValueKind.BOOL, 1, "true"),
        ([key_value(b"k", wrap(1, b"v")) + wrap(2, b"")], ValueKind.STRING, math.nan, "v"),
        ([key_value(b"k", wrap(1, b"v")) + wrap(2, b"\x18\x07")], ValueKind.INT, 7, "7"),
        ([b"\x0a\x81\x00k\x12\x82\x80\x00\x10\x01"], ValueKind.BOOL, 1, "true"),
        (
            [key_value(b"k", wrap(100, b"u") + wrap(1, b"v") + b"\xa0\x06\x01")],
            ValueKind.STRING,
            math.nan,
            "v",
        ),
        # A key twice: the first counts.
        ([key_value(b"k", b"\x18\x01"), key_value(b"k", b"\x18\x02")], ValueKind.INT, 1, "1"),
        ([wrap(1, b"k"), key_value(b"k", b"\x18\x02")], ValueKind.OTHER, math.nan, ""),
    ],
)
def test_encodings_of_a_value(
    attributes: list[bytes], kind: ValueKind, number: float, text: str
) -> None:
    data = span_with(*attributes)
    scan = wire.scan_traces(data)
    found = wire.lookup(data, scan, [K])
    assert found.kind[0, 0] == kind
    assert float(found.number[0, 0]) == number or math.isnan(number)
    assert found.text(data, 0, 0) == text
    assert_looked_up(data, scan, REQUESTS[Signal.TRACES].FromString(data))


def test_hashes_tell_types_apart() -> None:
    values = [b"\x10\x01", b"\x18\x01", b"\x21" + struct.pack("<d", 1.0), b"\x40\x01", b""]
    values += [wrap(1, b"\x01"), wrap(7, b"\x01"), wrap(7, b""), wrap(5, b""), wrap(6, b"")]
    data = b"".join(span_with(key_value(b"k", value)) for value in values)
    hashes = wire.lookup(data, wire.scan_traces(data), [K]).hash[0].tolist()
    assert len(set(hashes)) == len(values)
    assert 0 not in hashes


def test_one_hash_for_the_same_text_wherever_it_is() -> None:
    for text in ("", "a", "checkout", "é" * 40, "x" * 1000):
        request = REQUESTS[Signal.TRACES]()
        group = request.resource_spans.add()
        group.resource.attributes.add(key="service.name").value.string_value = text
        span = group.scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name=text)
        span.attributes.add(key="k").value.string_value = text
        data = request.SerializeToString()
        scan = wire.scan_traces(data)
        found = wire.lookup(data, scan, [wire.SERVICE_NAME, K])
        same = {*found.hash[:, 0].tolist(), int(scan.name_hash[0]), wire.hash64(text.encode())}
        assert same == {int(wire.service_hash(data, scan)[0])}


def test_resources_and_scopes_in_pieces() -> None:
    """A resource that is there twice is merged; its spans and those of the next are told apart."""
    first = wrap(1, wrap(1, key_value(b"a", b"\x18\x01")))
    again = wrap(1, wrap(1, key_value(b"a", b"\x18\x02")) + wrap(1, key_value(b"b", b"\x18\x03")))
    scope = wrap(1, wrap(3, key_value(b"s", b"\x18\x04")))
    spans = wrap(2, IDS) * 3
    data = wrap(1, first + wrap(2, scope + spans) + again + wrap(2, spans)) + wrap(
        1, wrap(2, b"") + wrap(2, spans + scope)
    )
    fields = [Attribute("resource", "a"), Attribute("resource", "b"), Attribute("scope", "s")]
    found = wire.lookup(data, wire.scan_traces(data), fields)
    absent = math.nan
    assert np.array_equal(
        found.number,
        [
            [1] * 6 + [absent] * 3,
            [3] * 6 + [absent] * 3,
            [4] * 3 + [absent] * 3 + [4] * 3,
        ],
        equal_nan=True,
    )
    assert_looked_up(data, wire.scan_traces(data), REQUESTS[Signal.TRACES].FromString(data))


def test_many_fields_and_fields_twice() -> None:
    request = REQUESTS[Signal.TRACES]()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    )
    for n in range(100):
        span.attributes.add(key=f"key {n:02}").value.int_value = n
    data = request.SerializeToString()
    scan = wire.scan_traces(data)
    fields = [Attribute("span", f"key {n:02}") for n in range(wire.FIELDS_MAX)]
    assert wire.lookup(data, scan, fields).number[:, 0].tolist() == list(range(wire.FIELDS_MAX))
    again = wire.lookup(data, scan, [*fields[60:], *fields[:62], fields[61]])
    assert again.number[:, 0].tolist() == [*range(60, 64), *range(62), 61]
    with pytest.raises(ValueError, match="65 fields in one lookup; at most 64"):
        wire.lookup(data, scan, [*fields, K])


def test_nothing_to_look_up() -> None:
    data = span_with()
    assert wire.lookup(data, wire.scan_traces(data), []).kind.shape == (0, 1)
    assert wire.lookup(b"", wire.scan_traces(b""), [K]).hash.shape == (1, 0)
    assert wire.service_hash(b"", wire.scan_traces(b"")).tolist() == []


def test_wrong_arguments_are_refused() -> None:
    data = span_with()
    scan = wire.scan_traces(data)
    with pytest.raises(ValueError, match="resource, scope or span, not 'event'"):
        wire.lookup(data, scan, [Attribute("event", "k")])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="resource, scope or span, not 'point'"):
        wire.lookup(data, scan, [Attribute("point", "k")])
    with pytest.raises(ValueError, match="resource, scope or record, not 'span'"):
        wire.lookup(b"", wire.scan_logs(b""), [K])
    for function in (lambda x: wire.lookup(x, scan, [K]), lambda x: wire.service_hash(x, scan)):
        with pytest.raises(ValueError, match="not of these"):
            function(data + b"\x00")


def sample() -> bytes:
    """Half a kilobyte of attributes of every kind, to be damaged."""
    request = REQUESTS[Signal.TRACES]()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "checkout"
    scoped = group.scope_spans.add()
    scoped.scope.attributes.add(key="k").value.bool_value = True
    for n in range(2):
        span = scoped.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="n")
        span.attributes.add(key="http.route").value.string_value = "/api"
        span.attributes.add(key="k").value.int_value = 300
        span.attributes.add(key="service.name").value.double_value = 1.5
        span.attributes.add(key="").value.array_value.values.add().bool_value = True
        span.attributes.add(key="é").value.bytes_value = b"b" * n
    data: bytes = request.SerializeToString()
    return data


def agree(data: bytes) -> str:
    try:
        scan = wire.scan_traces(data, strict_ids=False)
    except MalformedMessage:
        return "refused"
    request = parse(Signal.TRACES, data)
    assert request is not None
    assert_looked_up(data, scan, request)
    return "accepted"


def test_truncated_at_every_byte() -> None:
    data = sample()
    assert {agree(data[:size]) for size in range(1, len(data))} == {"refused"}
    assert agree(data) == "accepted"


def test_bits_flipped() -> None:
    data = sample()
    seen: Counter[str] = Counter()
    for bit in range(0, len(data) * 8, 2):
        changed = bytearray(data)
        changed[bit >> 3] ^= 1 << (bit & 7)
        seen[agree(bytes(changed))] += 1
    assert all(seen[how] > 100 for how in ("accepted", "refused")), seen


def test_bytes_inserted_removed_and_replaced() -> None:
    rng = random.Random(4)
    data = sample()
    seen: Counter[str] = Counter()
    for _ in range(1500):
        changed = bytearray(data)
        at = rng.randrange(len(changed))
        changed[at : at + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
        seen[agree(bytes(changed))] += 1
    assert all(seen[how] > 100 for how in ("accepted", "refused")), seen

"""What is refused, where, and that nothing is accepted that the official library refuses."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from schemas.errors import MalformedMessage
from schemas.signals import Signal
from streams import wire
from tests.strategies import REQUESTS, requests, varint
from tests.streams.wire.oracle import STRICTER, assert_scan, items, parse, wrong_ids

SIGNALS = list(Signal)


def agree(signal: Signal, data: bytes) -> str:
    """Scan and official library agree on ``data``; how it ended."""
    official = parse(signal, data)
    refusal: MalformedMessage | None
    try:
        scan = wire.scan(signal, data, strict_ids=False)
    except MalformedMessage as error:
        refusal = error
    else:
        refusal = None
    if refusal is not None:
        assert 0 <= refusal.offset <= len(data)
        assert official is None or str(refusal).startswith(STRICTER), (refusal, data.hex())
        return "refused by both" if official is None else "stricter"
    assert official is not None, data.hex()
    assert_scan(signal, data, official, scan)
    wrong = [wrong_ids(signal, item.message) for item in items(signal, official)]
    valid = scan.valid.tolist()
    if valid != [not w for w in wrong]:
        # A wrong id that a later one replaces counts here too; written anew it is gone.
        anew = wire.scan(signal, official.SerializeToString(), strict_ids=False)
        assert anew.valid.tolist() == [not w for w in wrong]
        assert not any(v and w for v, w in zip(valid, wrong, strict=True))
    if not all(valid):
        with pytest.raises(MalformedMessage, match=" id"):
            wire.scan(signal, data)
    else:
        wire.scan(signal, data)
    return "accepted"


def fields_in(message: Any) -> set[str]:
    """Full names of all fields that are set somewhere in a message."""
    found = set()
    for field, value in message.ListFields():
        found.add(field.full_name)
        if field.message_type is not None:
            for each in value if field.is_repeated else [value]:
                found |= fields_in(each)
    return found


@cache
def sample(signal: Signal) -> bytes:
    """A request of about a kilobyte with as many different fields as examples hold."""
    best, most = b"", 0

    @settings(
        max_examples=120,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(signal))
    def look(request: Any) -> None:
        nonlocal best, most
        data = request.SerializeToString()
        if len(data) < 1000 and len(fields_in(request)) > most:
            best, most = data, len(fields_in(request))

    look()
    assert most >= 20
    return best


@pytest.mark.parametrize("signal", SIGNALS)
def test_truncated_at_every_byte(signal: Signal) -> None:
    data = sample(signal)
    seen = Counter(agree(signal, data[:size]) for size in range(len(data) + 1))
    assert seen["refused by both"] > len(data) // 2
    assert not seen["stricter"]


@pytest.mark.parametrize("signal", SIGNALS)
def test_every_bit_flipped(signal: Signal) -> None:
    data = sample(signal)
    seen: Counter[str] = Counter()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit >> 3] ^= 1 << (bit & 7)
        seen[agree(signal, bytes(changed))] += 1
    assert all(seen[how] > 20 for how in ("accepted", "refused by both", "stricter")), seen


@pytest.mark.parametrize("signal", SIGNALS)
def test_bytes_inserted_removed_and_replaced(signal: Signal) -> None:
    rng = random.Random(4)
    data = sample(signal)
    for _ in range(3000):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(changed))
            changed[at : at + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
        agree(signal, bytes(changed))


@pytest.mark.parametrize("signal", SIGNALS)
def test_random_bytes(signal: Signal) -> None:
    rng = random.Random(5)
    for _ in range(3000):
        agree(signal, rng.randbytes(rng.randint(1, 40)))
    # Bytes that are likely tags and lengths get further into the messages.
    likely = [0x0A, 0x12, 0x1A, 0x22, 0x2A, 0x3A, 0x4A, 0x08, 0x10, 0, 1, 2, 3, 4, 6, 8, 16, 0x80]
    for _ in range(6000):
        agree(signal, bytes(rng.choices(likely, k=rng.randint(1, 30))))


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def span(extra: bytes, trace_id: bytes = b"t" * 16, span_id: bytes = b"s" * 8) -> bytes:
    body = field(1, trace_id) + field(2, span_id) + extra
    return field(1, field(2, field(2, body)))


def log(extra: bytes) -> bytes:
    return field(1, field(2, field(2, extra)))


def point(extra: bytes, data: int = 5) -> bytes:
    return field(1, field(2, field(2, field(data, field(1, extra)))))


def refused(signal: Signal, data: bytes, message: str, offset: int | None = None) -> None:
    with pytest.raises(MalformedMessage, match=message) as caught:
        wire.scan(signal, data)
    if offset is not None:
        assert caught.value.offset == offset


PREFIX = len(span(b"")) + 0


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (b"\x39\x01\x02", "ends inside a field"),
        (b"\x30" + b"\xff" * 10 + b"\x01", "varint is longer"),
        (b"\x30", "ends inside a field"),
        (b"\x80\x00\x01", "shortest form"),
        (b"\xf8\xff\xff\xff\x1f\x01", "beyond 32 bits"),
        (b"\x00\x01", "field number 0"),
        (b"\x2d\x01\x01\x01\x01", "wrong wire type"),
        (b"\x28\x01", "wrong wire type"),
        (b"\x4b\x4c", "a group"),
        (b"\xfb\x06\xfc\x06", "a group"),
        (b"\x4e", "undefined wire type"),
        (b"\x2a\x05ab", "beyond the enclosing message"),
        (b"\x2a\x80\x80\x80\x80\x80\x00", "varint is longer"),
        (b"\x2a\x02\xc3\x28", "not UTF-8"),
        (b"\x1a\x03\xed\xa0\x80", "not UTF-8"),
        (b"\x2a\x02\xc0\x80", "not UTF-8"),
        (b"\x2a\x04\xf4\x90\x80\x80", "not UTF-8"),
        (field(9, field(1, b"\xff")), "not UTF-8"),
        (field(9, field(1, b"key") + field(2, field(1, b"\xe2\x82"))), "not UTF-8"),
        (field(9, field(1, b"k" * 200) + field(2, field(1, b"v" * 300 + b"\xfe"))), "not UTF-8"),
        (field(11, field(2, b"\x80")), "not UTF-8"),
        (field(13, field(1, b"t")), "trace id has the wrong length"),
        (field(13, field(2, b"s" * 9)), "span id has the wrong length"),
        (field(4, b"p" * 7), "span id has the wrong length"),
        (field(15, b"\x1a\x01"), "wrong wire type"),
        (field(15, field(2, b"\xff")), "not UTF-8"),
    ],
)
def test_refusals_in_a_span(extra: bytes, message: str) -> None:
    refused(Signal.TRACES, span(extra), message)


@pytest.mark.parametrize(
    ("trace_id", "span_id", "message"),
    [
        (b"", b"s" * 8, "trace id has the wrong length"),
        (b"t" * 15, b"s" * 8, "trace id has the wrong length"),
        (bytes(16), b"s" * 8, "without a valid trace id"),
        (b"t" * 16, b"s" * 4, "span id has the wrong length"),
        (b"t" * 16, bytes(8), "without a valid span id"),
    ],
)
def test_ids_of_a_span(trace_id: bytes, span_id: bytes, message: str) -> None:
    data = span(b"", trace_id, span_id)
    refused(Signal.TRACES, data, message)
    scan = wire.scan_traces(data + span(b""), strict_ids=False)
    assert scan.valid.tolist() == [False, True]
    assert wire.partition_by_trace(scan, 7).tolist()[0] == -1


def test_a_span_needs_its_ids() -> None:
    for body in (b"", field(1, b"t" * 16), field(2, b"s" * 8)):
        refused(Signal.TRACES, field(1, field(2, field(2, body))), "without a valid", 4)


def test_what_is_optional_may_be_empty_or_zero() -> None:
    """By the protocol that means none; a request is not refused for it."""
    wire.scan_traces(span(field(4, bytes(8)) + field(13, field(1, bytes(16)) + field(2, b""))))
    wire.scan_logs(log(field(9, bytes(16)) + field(10, bytes(8))))
    wire.scan_metrics(point(field(5, field(4, b"") + field(5, bytes(16)))))


def test_ids_of_log_records_and_exemplars() -> None:
    refused(Signal.LOGS, log(field(9, b"t" * 15)), "trace id has the wrong length")
    refused(Signal.LOGS, log(field(10, b"t" * 9)), "span id has the wrong length")
    refused(Signal.METRICS, point(field(5, field(5, b"t" * 8))), "trace id has the wrong length")
    refused(Signal.METRICS, point(field(8, field(4, b"s")), 9), "span id has the wrong length")


def test_packed_fields() -> None:
    for data in (point(field(6, bytes(16)), 9), point(field(8, field(2, b"\x80\x01\x02")), 10)):
        wire.scan_metrics(data)
    for size in (4, 12, 15):
        refused(Signal.METRICS, point(field(6, bytes(size)), 9), "does not end with an element")
    refused(Signal.METRICS, point(field(8, field(2, b"\x80")), 10), "ends inside a field")


def test_two_kinds_of_data_in_one_metric() -> None:
    metric = field(5, field(1, b"")) + field(7, field(1, b""))
    refused(Signal.METRICS, field(1, field(2, field(2, metric))), "data of two kinds", 10)


def nested(levels: int) -> bytes:
    body = AnyValue(bool_value=True).SerializeToString()
    for _ in range(levels):
        body = field(5, field(1, body))
    return body


@pytest.mark.parametrize("signal", SIGNALS)
def test_depth_limit_is_that_of_protobuf(signal: Signal) -> None:
    ends = Counter()
    for levels in range(44, 51):
        attribute = field(1, b"k") + field(2, nested(levels))
        data = {
            Signal.TRACES: span(field(9, attribute)),
            Signal.LOGS: log(field(6, attribute)),
            Signal.METRICS: point(field(7, attribute)),
        }[signal]
        accepted = parse(signal, data) is not None
        ends[accepted] += 1
        if accepted:
            wire.scan(signal, data)
        else:
            refused(signal, data, "nested more than 100 deep")
    assert ends[True]
    assert ends[False]
    # The short cut for plain attributes must not step over the limit either.
    for levels in range(42, 50):
        pairs = field(6, field(1, field(1, b"k") + field(2, field(1, b"v"))))
        for _ in range(levels):
            pairs = field(5, field(1, pairs))
        data = span(field(9, field(1, b"k") + field(2, pairs)))
        assert (parse(Signal.TRACES, data) is not None) == accepts(data)


def accepts(data: bytes) -> bool:
    try:
        wire.scan_traces(data)
    except MalformedMessage:
        return False
    return True


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.one_of(st.binary(max_size=40), st.text(max_size=30).map(str.encode)), st.binary(max_size=2)
)
def test_utf8_is_decided_as_python_decides(text: bytes, tail: bytes) -> None:
    for raw in (text, text + tail, b"a" * 29 + text, text + b"z" * 35, b"\xc3\xa9" * 9 + text):
        try:
            raw.decode()
            valid = True
        except UnicodeDecodeError:
            valid = False
        assert accepts(span(field(5, raw))) == valid


def test_the_offset_names_the_place() -> None:
    data = span(b"") + span(field(5, b"fine") + field(3, b"not \xff fine"))
    refused(Signal.TRACES, data, "not UTF-8", data.index(b"\xff"))
    refused(Signal.TRACES, b"\x0a\x05ab", "beyond the enclosing message", 1)


def test_requests_of_another_signal_do_not_crash() -> None:
    for signal in SIGNALS:
        for other in SIGNALS:
            agree(signal, sample(other))
    assert set(REQUESTS) == set(SIGNALS)

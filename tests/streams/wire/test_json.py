"""OTLP/JSON against the official protobuf JSON mapping, and where it deviates from that."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.errors import MalformedMessage
from schemas.signals import Signal
from streams.wire.json import DEPTH_MAX, REQUESTS, decode, encode
from tests import strategies

TRACE_ID = "5b8efff798038103d269b633813fc60c"
SPAN_ID = "eee19b7ec3c1b174"

signals = pytest.mark.parametrize("signal", list(Signal))
bounded = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def known(signal: Signal, data: bytes) -> Any:
    """The message without what JSON cannot carry."""
    message = REQUESTS[signal].FromString(data)
    message.DiscardUnknownFields()
    return message


def official(signal: Signal, text: bytes) -> Any:
    """What the protobuf library makes of OTLP/JSON, ids and enums aside."""

    def convert(node: Any, in_value: bool = False) -> Any:
        if isinstance(node, list):
            return [convert(item, in_value) for item in node]
        if not isinstance(node, dict):
            return node
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode()
            if key in ("traceId", "spanId", "parentSpanId") and isinstance(value, str)
            else convert(value)
            for key, value in node.items()
        }

    return json_format.ParseDict(
        convert(json.loads(text)), REQUESTS[signal](), ignore_unknown_fields=True
    )


def span(**fields: object) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [fields]}]}]}).encode()


def decoded_span(**fields: object) -> Any:
    message = ExportTraceServiceRequest.FromString(decode(Signal.TRACES, span(**fields)))
    return message.resource_spans[0].scope_spans[0].spans[0]


def decoded_value(value: object) -> Any:
    got = decoded_span(attributes=[{"key": "k", "value": value}])
    return got.attributes[0].value


# ---- both ways


@signals
@bounded
@given(data=st.data())
def test_round_trip(signal: Signal, data: st.DataObject) -> None:
    message = data.draw(strategies.requests(signal))
    binary = message.SerializeToString()
    assert known(signal, decode(signal, encode(signal, binary))) == known(signal, binary)


@signals
@bounded
@given(data=st.data())
def test_the_official_library_reads_what_we_write(signal: Signal, data: st.DataObject) -> None:
    message = data.draw(strategies.requests(signal))
    text = encode(signal, message.SerializeToString())
    assert official(signal, text) == known(signal, message.SerializeToString())


@signals
@bounded
@given(data=st.data())
def test_we_read_what_the_official_library_writes(signal: Signal, data: st.DataObject) -> None:
    """lowerCamelCase and .proto names, strings for 64 bit; only the ids differ."""
    message = data.draw(strategies.requests(signal))
    message.DiscardUnknownFields()
    for original in (False, True):
        tree = json_format.MessageToDict(
            message, preserving_proto_field_name=original, use_integers_for_enums=True
        )

        def to_hex(node: Any) -> None:
            for child in node if isinstance(node, list) else node.values():
                if isinstance(child, dict | list):
                    to_hex(child)
            if isinstance(node, dict):
                for key, value in node.items():
                    if key.lower().replace("_", "") in ("traceid", "spanid", "parentspanid"):
                        node[key] = base64.b64decode(value).hex().upper()

        to_hex(tree)
        assert known(signal, decode(signal, json.dumps(tree).encode())) == message


def test_what_we_write() -> None:
    request = ExportTraceServiceRequest()
    one = request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=bytes.fromhex(TRACE_ID), span_id=bytes.fromhex(SPAN_ID), kind=2, name="ü",
        start_time_unix_nano=2**63, dropped_events_count=3,
    )  # fmt: skip
    one.attributes.add(key="b").value.bytes_value = b"\xff\xfe"
    one.attributes.add(key="i").value.int_value = -5
    one.attributes.add(key="d").value.double_value = float("-inf")
    one.attributes.add(key="e").value.kvlist_value.SetInParent()
    text = encode(Signal.TRACES, request.SerializeToString())
    assert json.loads(text)["resourceSpans"][0]["scopeSpans"][0]["spans"] == [
        {
            "traceId": TRACE_ID, "spanId": SPAN_ID, "kind": 2, "name": "ü",
            "startTimeUnixNano": str(2**63), "droppedEventsCount": 3,
            "attributes": [
                {"key": "b", "value": {"bytesValue": "//4="}},
                {"key": "i", "value": {"intValue": "-5"}},
                {"key": "d", "value": {"doubleValue": "-Infinity"}},
                {"key": "e", "value": {"kvlistValue": {}}},
            ],
        }
    ]  # fmt: skip


def test_nothing() -> None:
    for signal in Signal:
        assert decode(signal, b" {} ") == b""
        assert encode(signal, b"") == b"{}"


# ---- ids by position


def test_ids_everywhere_that_otlp_has_them() -> None:
    ids = (bytes.fromhex(TRACE_ID), bytes.fromhex(SPAN_ID))
    both = {"traceId": TRACE_ID.upper(), "spanId": SPAN_ID}
    got = decoded_span(**both, parentSpanId=SPAN_ID, links=[both])
    assert (got.trace_id, got.span_id) == ids
    assert got.parent_span_id == ids[1]
    assert (got.links[0].trace_id, got.links[0].span_id) == ids

    text = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [both]}]}]})
    logs = ExportLogsServiceRequest.FromString(decode(Signal.LOGS, text.encode()))
    record = logs.resource_logs[0].scope_logs[0].log_records[0]
    assert (record.trace_id, record.span_id) == ids

    points = {"dataPoints": [{"exemplars": [both], "asInt": "1"}]}
    spread = {"dataPoints": [{"exemplars": [both]}]}
    for kind, data in (("gauge", points), ("sum", points), ("histogram", spread),
                       ("exponentialHistogram", spread)):  # fmt: skip
        text = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{kind: data}]}]}]})
        request = ExportMetricsServiceRequest.FromString(decode(Signal.METRICS, text.encode()))
        metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
        point = getattr(metric, metric.WhichOneof("data")).data_points[0]
        assert (point.exemplars[0].trace_id, point.exemplars[0].span_id) == ids


def test_attributes_named_like_ids_are_left_alone() -> None:
    entry = {"key": "traceId", "value": {"stringValue": "not hex", "traceId": "unknown field"}}
    value = decoded_value({"kvlistValue": {"values": [entry]}})
    assert value.kvlist_value.values[0].value.string_value == "not hex"


def test_empty_ids_are_empty() -> None:
    got = decoded_span(traceId="", spanId="", parentSpanId=None)
    assert (got.trace_id, got.span_id, got.parent_span_id) == (b"", b"", b"")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"traceId": TRACE_ID[:-1]}, r"spans\[0\]\.traceId: 32 hex digits are wanted, not 31"),
        ({"traceId": SPAN_ID}, "32 hex digits"),
        ({"spanId": TRACE_ID}, "16 hex digits"),
        ({"parentSpanId": "zz" * 8}, "a hex string is wanted"),
        ({"spanId": "é" * 16}, "a hex string is wanted"),
        ({"spanId": 17}, "a hex string is wanted, not 17"),
        ({"traceId": "W47/95gDgQPSabYzgT/GDA=="}, "32 hex digits"),
        ({"links": [{}, {"traceId": "00"}]}, r"links\[1\]\.traceId: 32 hex digits"),
        ({"kind": "SPAN_KIND_SERVER"}, r"spans\[0\]\.kind: OTLP/JSON has integers"),
        ({"kind": "2"}, "has integers for enums"),
        ({"kind": 2.0}, "has integers for enums"),
        ({"kind": True}, "has integers for enums"),
        ({"kind": 2**31}, "out of range"),
        ({"status": {"code": "STATUS_CODE_OK"}}, r"status\.code"),
        ({"name": 3}, r"name: a string is wanted, not 3"),
        ({"name": "\ud800"}, "surrogates"),
        ({"startTimeUnixNano": -1}, "out of range"),
        ({"startTimeUnixNano": 2**64}, "out of range"),
        ({"startTimeUnixNano": str(2**64)}, "out of range"),
        ({"startTimeUnixNano": "1_000"}, "an integer is wanted"),
        ({"startTimeUnixNano": " 1"}, "an integer is wanted"),
        ({"startTimeUnixNano": 1.5}, "an integer is wanted"),
        ({"startTimeUnixNano": True}, "an integer is wanted"),
        ({"startTimeUnixNano": []}, "an integer is wanted, not an array"),
        ({"droppedLinksCount": 2**32}, "out of range"),
        ({"attributes": {}}, "an array is wanted, not an object"),
        ({"attributes": [None]}, r"attributes\[0\]: an object is wanted"),
        ({"attributes": ["a"]}, "an object is wanted, not 'a'"),
        ({"status": []}, "an object is wanted, not an array"),
        ({"name": "a", "startTimeUnixNano": 1, "start_time_unix_nano": 1}, "given twice"),
    ],
)
def test_what_is_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(MalformedMessage, match=says):
        decode(Signal.TRACES, span(**fields))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"bytesValue": "a"}, "a base64 string is wanted"),
        ({"bytesValue": "&&&&"}, "a base64 string is wanted"),
        ({"bytesValue": 1}, "a base64 string is wanted"),
        ({"boolValue": "true"}, "true or false is wanted"),
        ({"boolValue": 1}, "true or false is wanted"),
        ({"doubleValue": "nan"}, "a number is wanted"),
        ({"doubleValue": "1_0"}, "a number is wanted"),
        ({"doubleValue": True}, "a number is wanted"),
        ({"doubleValue": 10**400}, "a number is wanted"),
        ({"intValue": 2**63}, "out of range"),
        ({"stringValue": "a", "intValue": 1}, "stringValue and intValue exclude each other"),
    ],
)
def test_which_values_are_refused(value: dict[str, object], says: str) -> None:
    with pytest.raises(MalformedMessage, match=says):
        decoded_value(value)


@pytest.mark.parametrize(
    ("value", "field", "expected"),
    [
        ({"bytesValue": "//79"}, "bytes_value", b"\xff\xfe\xfd"),
        ({"bytesValue": "__79"}, "bytes_value", b"\xff\xfe\xfd"),  # URL alphabet
        ({"bytesValue": "YQ"}, "bytes_value", b"a"),  # no padding
        ({"bytesValue": ""}, "bytes_value", b""),
        ({"intValue": 7}, "int_value", 7),
        ({"intValue": "-7"}, "int_value", -7),
        ({"intValue": 7.0}, "int_value", 7),
        ({"intValue": 2**63 - 1}, "int_value", 2**63 - 1),
        ({"doubleValue": 3}, "double_value", 3.0),
        ({"doubleValue": "2.5e1"}, "double_value", 25.0),
        ({"doubleValue": "Infinity"}, "double_value", float("inf")),
        ({"boolValue": False}, "bool_value", False),
        ({"stringValue": ""}, "string_value", ""),
        ({"stringValue": "a", "intValue": None}, "string_value", "a"),
        ({"string_value": "a", "unknown": [1, {"x": "y"}]}, "string_value", "a"),
    ],
)
def test_which_values_are_taken(value: dict[str, object], field: str, expected: object) -> None:
    got = decoded_value(value)
    assert got.WhichOneof("value") == field
    assert getattr(got, field) == expected


def test_enums_of_the_future_are_kept() -> None:
    assert decoded_span(kind=77).kind == 77


@pytest.mark.parametrize(
    ("text", "offset"),
    [(b"", 0), (b"{", 1), (b'{"a": "\xff"}', 7), ('{"ü": x}'.encode(), 7), (b"{} {}", 3)],
)
def test_no_json_at_this_byte(text: bytes, offset: int) -> None:
    with pytest.raises(MalformedMessage) as raised:
        decode(Signal.TRACES, text)
    assert raised.value.offset == offset


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_bare_nan_is_no_json(number: str) -> None:
    text = span(x=1).replace(b'"x": 1', f'"attributes": [{{"key": "k", "value": {{"doubleValue": {number}}}}}]'.encode())  # fmt: skip # noqa: E501
    with pytest.raises(MalformedMessage, match=f"{number} is no JSON number"):
        decode(Signal.TRACES, text)


def test_number_beyond_a_double() -> None:
    with pytest.raises(MalformedMessage, match="range"):
        decode(Signal.TRACES, span(attributes=[{"key": "k", "value": {"doubleValue": 1}}]).replace(b": 1}", b": 1e999}"))  # fmt: skip # noqa: E501


@pytest.mark.parametrize("text", [b"[]", b"1", b"null", b'"resourceSpans"'])
def test_a_request_is_an_object(text: bytes) -> None:
    with pytest.raises(MalformedMessage, match="is an object"):
        decode(Signal.TRACES, text)


def nested(levels: int) -> dict[str, object]:
    value: dict[str, object] = {"stringValue": "end"}
    for _ in range(levels):
        value = {"arrayValue": {"values": [value]}}
    return value


def test_depth_is_bounded_as_in_protobuf() -> None:
    deepest = (DEPTH_MAX - 6) // 2  # request, resource, scope, span, key-value, value; two a level
    data = decode(Signal.TRACES, span(attributes=[{"key": "k", "value": nested(deepest)}]))
    assert encode(Signal.TRACES, data)
    with pytest.raises(MalformedMessage, match="nested"):
        decoded_value(nested(deepest + 1))
    for text in (b"[" * 1_000_000, b'{"a":' * 1_000_000):
        with pytest.raises(MalformedMessage, match="nested"):
            decode(Signal.TRACES, text)


@signals
@settings(max_examples=150, deadline=None, derandomize=True)
@given(text=st.text(alphabet='{}[]",:0123456789.eE+-nulltrfasNI \\u', max_size=60))
def test_any_text_is_decoded_or_malformed(signal: Signal, text: str) -> None:
    try:
        data = decode(signal, text.encode())
    except MalformedMessage:
        return
    REQUESTS[signal].FromString(data)


def test_no_protobuf_is_malformed() -> None:
    for signal in Signal:
        with pytest.raises(MalformedMessage, match="not protobuf"):
            encode(signal, b"\x0a\xff")

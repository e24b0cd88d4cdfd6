"""The server's side of the OTLP specification, sentence by sentence.

``TABLE`` is every MUST and SHOULD (and the MAY that we make use of) which binds a server, from
docs/specification.md of opentelemetry-proto, with the test that holds it. Where a sentence is
kept by what is not here (the acceptor of the ingest stage), its test shows the receiver's part.
"""

# ruff: noqa: E501 - a table is read by the line

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from http import HTTPStatus

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from schemas.errors import (
    BrokerUnavailable,
    MalformedMessage,
    MessageTooLarge,
    Overloaded,
    TooManyItems,
)
from schemas.signals import Signal
from streams.edges.receivers import Accepted

from .conftest import JSON, PROTOBUF, Script, Servers, Start
from .requests import request_of

TABLE = [
    # section, sentence, test
    ("Protocol Details", "All server components MUST support no compression and gzip.", "compression"),
    ("gRPC Request", "The server MUST enforce a message size limit when receiving the request.", "grpc_size_limit"),
    ("gRPC Request", "If the limit is exceeded [...] return a RESOURCE_EXHAUSTED status code; the client MUST treat it as not-retryable.", "grpc_size_limit"),
    ("gRPC Concurrent Requests", "Implementations SHOULD support concurrent unary calls.", "grpc_concurrent_calls"),
    ("gRPC Response, HTTP Response", "The response MUST be the appropriate message.", "full_success"),
    ("Full Success", "On an empty request the server SHOULD respond with success.", "empty_request"),
    ("Full Success", "On success the response MUST be an Export<signal>ServiceResponse.", "full_success"),
    ("Full Success", "The server MUST leave partial_success unset in case of a successful response.", "full_success"),
    ("Partial Success", "The response MUST be the same Export<signal>ServiceResponse; HTTP MUST respond with 200 OK.", "partial_success"),
    ("Partial Success", "The server MUST initialize partial_success and MUST set rejected_<signal>.", "partial_success"),
    ("Partial Success", "The server SHOULD populate error_message.", "partial_success"),
    ("Partial Success", "For a warning rejected_<signal> MUST be 0 and error_message MUST be non-empty.", "warning"),
    ("gRPC Failures", "The server SHOULD indicate retryable errors using Unavailable and MAY supply RetryInfo.", "grpc_unavailable"),
    ("gRPC Failures", "Not-retryable errors are recommended to use InvalidArgument and MAY supply BadRequest.", "grpc_invalid_argument"),
    ("gRPC Failures", "RESOURCE_EXHAUSTED is retryable only if the status carries RetryInfo.", "grpc_resource_exhausted"),
    ("gRPC Throttling", "If the server cannot keep up it SHOULD signal that, with a retry_delay.", "grpc_resource_exhausted"),
    ("gRPC Throttling", "The server SHOULD choose a retry_delay that gives it time to recover.", "grpc_unavailable"),
    ("HTTP", "OTLP/HTTP uses HTTP POST requests.", "http_method"),
    ("HTTP Binary Encoding", "The server MUST set Content-Type: application/x-protobuf.", "content_type_of_answers"),
    ("HTTP JSON Encoding", "traceId and spanId are case-insensitive hex strings, in all messages.", "json_ids"),
    ("HTTP JSON Encoding", "Enum values MUST be integers; enum names MUST NOT be used.", "json_enums"),
    ("HTTP JSON Encoding", "Receivers MUST ignore message fields with unknown names.", "json_unknown_fields"),
    ("HTTP JSON Encoding", "64-bit integers: either numbers or strings are accepted when decoding.", "json_integers"),
    ("HTTP JSON Encoding", "The keys of JSON objects are field names converted to lowerCamelCase.", "json_names"),
    ("HTTP JSON Encoding", "The server MUST set Content-Type: application/json.", "content_type_of_answers"),
    ("HTTP Request", "Default URL paths are /v1/traces, /v1/metrics, /v1/logs.", "http_paths"),
    ("HTTP Request", "The client MAY gzip the content with Content-Encoding: gzip.", "compression"),
    ("HTTP Request", "The server MUST limit the size of the body, including after decompression.", "http_size_limit"),
    ("HTTP Request", "If the limit is exceeded, the server SHOULD respond with 413.", "http_size_limit"),
    ("HTTP Response", "The server MUST use the same Content-Type in the response as in the request.", "content_type_of_answers"),
    ("HTTP Full Success", "On success, the server MUST respond with HTTP 200 OK.", "full_success"),
    ("HTTP Failures", "If processing fails the server MUST respond with an appropriate 4xx or 5xx.", "http_failures"),
    ("HTTP Failures", "The body of all 4xx and 5xx MUST be a Protobuf-encoded Status.", "http_failures"),
    ("HTTP Failures", "Status.message SHOULD contain a developer-facing error message.", "http_failures"),
    ("HTTP Failures", "The server SHOULD use status codes to indicate retryable and not-retryable errors.", "http_failures"),
    ("HTTP Bad Data", "Data that cannot be decoded MUST be answered with 400; details SHOULD hold a BadRequest.", "http_bad_data"),
    ("HTTP Throttling", "If overloaded the server SHOULD respond with 429 or 503 and MAY include Retry-After.", "http_throttling"),
    ("All Other Responses", "Other responses are treated according to HTTP specifications.", "http_other"),
    ("HTTP Connection", "The client SHOULD keep the connection alive between requests.", "http_keep_alive"),
    ("HTTP Connection", "The server SHOULD accept protobuf and JSON on the same port by Content-Type.", "same_port"),
    ("Empty Envelopes", "Receivers MAY ignore empty envelopes.", "empty_envelopes"),
    ("Interoperability", "Old clients must be able to talk to new servers and vice versa.", "unknown_protobuf_fields"),
]  # fmt: skip

RESPONSES = {
    Signal.TRACES: ExportTraceServiceResponse,
    Signal.METRICS: ExportMetricsServiceResponse,
    Signal.LOGS: ExportLogsServiceResponse,
}
REJECTED = {
    Signal.TRACES: "rejected_spans",
    Signal.METRICS: "rejected_data_points",
    Signal.LOGS: "rejected_log_records",
}
SPAN = {"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "eee19b7ec3c1b174", "name": "a"}

signals = pytest.mark.parametrize("signal", list(Signal))


def test_table_and_tests_agree() -> None:
    module = sys.modules[__name__]
    named = {f"test_{test}" for _, _, test in TABLE}
    there = {name for name in vars(module) if name.startswith("test_")}
    assert named == there - {"test_table_and_tests_agree"}


def traces_json(span: dict[str, object]) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def only_span(script: Script):  # type: ignore[no-untyped-def]
    _, data, _ = script.received[-1]
    (resource,) = ExportTraceServiceRequest.FromString(data).resource_spans
    return resource.scope_spans[0].spans[0]


def details(status: status_pb2.Status | None, kind: type) -> list:  # type: ignore[type-arg]
    assert status is not None
    found = []
    for detail in status.details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


@signals
async def test_compression(servers: Servers, script: Script, signal: Signal) -> None:
    data = request_of(signal)
    for compression in (None, grpc.Compression.NoCompression, grpc.Compression.Gzip):
        await servers.export(signal, data, compression)
        assert script.received.pop()[:2] == (signal, data)
    for encoding, body in (("identity", data), ("gzip", gzip.compress(data))):
        status, _, _ = await servers.post(signal.http_path, body, Content_Encoding=encoding)
        assert status == 200
        assert script.received.pop()[:2] == (signal, data)


async def test_grpc_size_limit(start: Start, script: Script) -> None:
    servers = await start(script, max_request_bytes=100_000)
    exact = request_of(Signal.LOGS, 1, "x" * (100_000 - 31))
    assert len(exact) == 100_000
    await servers.export(Signal.LOGS, exact)
    for compression in (None, grpc.Compression.Gzip):
        code, status = await servers.refused(
            Signal.LOGS, request_of(Signal.LOGS, 1, "x" * 100_001), compression
        )
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        if status is not None:
            assert not details(status, error_details_pb2.RetryInfo)
    assert len(script.received) == 1


async def test_grpc_concurrent_calls(start: Start) -> None:
    everybody = asyncio.Barrier(50)

    async def accept(*_: object) -> Accepted:
        async with asyncio.timeout(10):
            await everybody.wait()  # passes only if all fifty are served at once
        return Accepted()

    servers = await start(accept)
    await asyncio.gather(
        *(servers.export(Signal.TRACES, request_of(Signal.TRACES)) for _ in range(50))
    )


@signals
async def test_full_success(servers: Servers, signal: Signal) -> None:
    data = request_of(signal)
    answer = RESPONSES[signal].FromString(await servers.export(signal, data))
    assert not answer.HasField("partial_success")
    status, body, headers = await servers.post(signal.http_path, data)
    assert (status, headers["Content-Type"]) == (200, PROTOBUF)
    assert not RESPONSES[signal].FromString(body).HasField("partial_success")
    status, body, _ = await servers.post(signal.http_path, b"{}", JSON)
    assert (status, json.loads(body)) == (200, {})


@signals
async def test_empty_request(servers: Servers, script: Script, signal: Signal) -> None:
    assert await servers.export(signal, b"") == b""
    assert (await servers.post(signal.http_path, b""))[:2] == (200, b"")
    assert (await servers.post(signal.http_path, b"{}", JSON))[:2] == (200, b"{}")
    assert [received[:2] for received in script.received] == [(signal, b"")] * 3


@signals
async def test_partial_success(servers: Servers, script: Script, signal: Signal) -> None:
    script.answer = Accepted(2, "2 without ids")
    field = REJECTED[signal]
    answers = [
        RESPONSES[signal].FromString(await servers.export(signal, request_of(signal))),
    ]
    status, body, _ = await servers.post(signal.http_path, request_of(signal))
    assert status == 200
    answers.append(RESPONSES[signal].FromString(body))
    status, body, _ = await servers.post(signal.http_path, b"{}", JSON)
    assert status == 200
    answers.append(json_format.Parse(body, RESPONSES[signal]()))
    for answer in answers:
        assert answer.HasField("partial_success")
        assert getattr(answer.partial_success, field) == 2
        assert answer.partial_success.error_message == "2 without ids"
    camel = json_format.MessageToDict(answers[0])["partialSuccess"]
    assert json.loads(body)["partialSuccess"] == camel


@signals
async def test_warning(servers: Servers, script: Script, signal: Signal) -> None:
    script.answer = Accepted(0, "deprecated")
    answer = RESPONSES[signal].FromString(await servers.export(signal, request_of(signal)))
    assert getattr(answer.partial_success, REJECTED[signal]) == 0
    assert answer.partial_success.error_message == "deprecated"


@signals
async def test_grpc_unavailable(servers: Servers, script: Script, signal: Signal) -> None:
    script.answer = BrokerUnavailable("no Kafka", 2.5)
    code, status = await servers.refused(signal, request_of(signal))
    assert code is grpc.StatusCode.UNAVAILABLE
    (info,) = details(status, error_details_pb2.RetryInfo)
    assert info.retry_delay.ToMilliseconds() == 2500
    script.answer = BrokerUnavailable("no Kafka")  # no hint of its own: the server has one
    _, status = await servers.refused(signal, request_of(signal))
    (info,) = details(status, error_details_pb2.RetryInfo)
    assert info.retry_delay.ToMilliseconds() > 0


@signals
async def test_grpc_invalid_argument(servers: Servers, script: Script, signal: Signal) -> None:
    script.answer = MalformedMessage("truncated field", 17)
    code, status = await servers.refused(signal, b"\x0a\xff")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert status is not None
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert status.message == "truncated field at byte 17"
    (bad,) = details(status, error_details_pb2.BadRequest)
    assert bad.field_violations[0].description == status.message


@signals
async def test_grpc_resource_exhausted(servers: Servers, script: Script, signal: Signal) -> None:
    script.answer = Overloaded("full", 0.5)
    code, status = await servers.refused(signal, request_of(signal))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    (info,) = details(status, error_details_pb2.RetryInfo)
    assert info.retry_delay.ToMilliseconds() == 500
    for error in (MessageTooLarge("span", 2_000_000, "max_message", 1_000_000), TooManyItems(9)):
        script.answer = error
        code, status = await servers.refused(signal, request_of(signal))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert status.message == str(error)
        assert not details(status, error_details_pb2.RetryInfo)


async def test_http_method(servers: Servers, script: Script) -> None:
    for method in ("GET", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"):
        url = f"http://127.0.0.1:{servers.http.port}/v1/traces"
        async with servers.session.request(method, url) as answer:
            assert answer.status == HTTPStatus.METHOD_NOT_ALLOWED
            assert answer.headers["Allow"] == "POST"
            if method != "HEAD":
                assert "POST" in status_pb2.Status.FromString(await answer.read()).message
    assert not script.received


async def test_content_type_of_answers(servers: Servers, script: Script) -> None:
    for content_type in (PROTOBUF, JSON, "application/json; charset=utf-8", "Application/JSON"):
        plain = JSON if "json" in content_type.lower() else PROTOBUF
        for answer in (Accepted(), Accepted(1, "one"), MalformedMessage("bad")):
            script.answer = answer
            body = b"{}" if plain == JSON else b""
            status, _, headers = await servers.post("/v1/traces", body, content_type)
            assert status == (400 if isinstance(answer, Exception) else 200)
            assert headers["Content-Type"].partition(";")[0] == plain


async def test_json_ids(servers: Servers, script: Script) -> None:
    for upper in (False, True):
        trace_id, span_id = ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174")
        if upper:
            trace_id, span_id = trace_id.upper(), span_id.upper()
        link = {"traceId": trace_id, "spanId": span_id}
        span = {**link, "parentSpanId": span_id, "name": "a", "links": [link]}
        status, _, _ = await servers.post("/v1/traces", traces_json(span), JSON)
        assert status == 200
        got = only_span(script)
        ids = (bytes.fromhex(trace_id), bytes.fromhex(span_id))
        assert (got.trace_id, got.span_id) == ids
        assert (got.links[0].trace_id, got.links[0].span_id) == ids
        assert got.parent_span_id == ids[1]


async def test_json_enums(servers: Servers, script: Script) -> None:
    status, _, _ = await servers.post("/v1/traces", traces_json({**SPAN, "kind": 2}), JSON)
    assert status == 200
    assert only_span(script).kind == 2
    wrong = traces_json({**SPAN, "kind": "SPAN_KIND_SERVER"})
    status, body, _ = await servers.post("/v1/traces", wrong, JSON)
    assert status == 400
    assert "kind" in json.loads(body)["message"]


async def test_json_unknown_fields(servers: Servers, script: Script) -> None:
    span = {**SPAN, "fromTheFuture": {"a": [1, {"traceId": "no hex"}]}}
    status, _, _ = await servers.post("/v1/traces", traces_json(span), JSON)
    assert status == 200
    got = only_span(script)
    assert (got.name, got.span_id.hex()) == ("a", SPAN["spanId"])


async def test_json_integers(servers: Servers, script: Script) -> None:
    for value in (1_544_712_660_000_000_123, "1544712660000000123"):
        span = {
            **SPAN,
            "startTimeUnixNano": value,
            "attributes": [{"key": "n", "value": {"intValue": value}}],
        }
        status, _, _ = await servers.post("/v1/traces", traces_json(span), JSON)
        assert status == 200
        got = only_span(script)
        assert got.start_time_unix_nano == 1_544_712_660_000_000_123
        assert got.attributes[0].value.int_value == 1_544_712_660_000_000_123


async def test_json_names(servers: Servers, script: Script) -> None:
    status, _, _ = await servers.post(
        "/v1/traces", traces_json({**SPAN, "droppedAttributesCount": 7}), JSON
    )
    assert status == 200
    assert only_span(script).dropped_attributes_count == 7


@signals
async def test_http_paths(servers: Servers, script: Script, signal: Signal) -> None:
    status, _, _ = await servers.post(f"/v1/{signal.value}", request_of(signal))
    assert status == 200
    assert script.received[-1][0] is signal


async def test_http_size_limit(start: Start, script: Script) -> None:
    servers = await start(script, max_request_bytes=100_000)
    long = request_of(Signal.LOGS, 1, "x" * 100_001)

    async def chunked():  # type: ignore[no-untyped-def]
        for at in range(0, len(long), 10_000):
            yield long[at : at + 10_000]

    for body, encoding in (
        (long, "identity"),
        (chunked(), "identity"),
        (gzip.compress(long), "gzip"),
    ):
        status, answer, _ = await servers.post("/v1/logs", body, Content_Encoding=encoding)
        assert status == 413
        assert "ingest.max_request" in status_pb2.Status.FromString(answer).message
    status, _, _ = await servers.post("/v1/logs", request_of(Signal.LOGS, 1, "x" * 99_000))
    assert status == 200


async def test_http_failures(servers: Servers, script: Script) -> None:
    cases: list[tuple[Exception, int]] = [
        (MalformedMessage("bad", 3), 400),
        (MessageTooLarge("span", 2, "max_message", 1), 413),
        (TooManyItems(9), 413),
        (Overloaded("full"), 429),
        (BrokerUnavailable("no Kafka"), 503),
        (RuntimeError("a defect"), 500),
    ]
    for error, expected in cases:
        script.answer = error
        status, body, _ = await servers.post("/v1/traces", request_of(Signal.TRACES))
        assert status == expected
        described = status_pb2.Status.FromString(body).message
        assert described == ("internal error" if expected == 500 else str(error))
        status, body, _ = await servers.post("/v1/traces", b"{}", JSON)
        assert status == expected
        assert json.loads(body)["message"] == described
    refused = "otlp_streams_receiver_refused_requests_total"
    labels = {"signal": "traces", "transport": "http", "reason": "too_many_items"}
    assert servers.metric(refused, **labels) == 2


async def test_http_bad_data(servers: Servers, script: Script) -> None:
    script.answer = MalformedMessage("truncated field", 17)
    status, body, _ = await servers.post("/v1/metrics", b"\x0a\xff")
    assert status == 400
    (bad,) = details(status_pb2.Status.FromString(body), error_details_pb2.BadRequest)
    assert bad.field_violations[0].description == "truncated field at byte 17"
    status, body, _ = await servers.post("/v1/metrics", b"{", JSON)
    assert status == 400
    assert json.loads(body)["details"][0]["@type"].endswith("google.rpc.BadRequest")


async def test_http_throttling(servers: Servers, script: Script) -> None:
    for error, expected in ((Overloaded("full", 0.2), 429), (BrokerUnavailable("away", 7.2), 503)):
        script.answer = error
        status, _, headers = await servers.post("/v1/logs", request_of(Signal.LOGS))
        assert status == expected
        assert headers["Retry-After"] == {429: "1", 503: "8"}[expected]


async def test_http_other(servers: Servers, script: Script) -> None:
    status, body, _ = await servers.post("/v2/traces", b"")
    assert status == 404
    assert "/v1/traces" in status_pb2.Status.FromString(body).message
    for content_type in ("text/plain", "application/grpc", None):
        status, body, _ = await servers.post("/v1/traces", b"", content_type)
        assert status == 415
        assert PROTOBUF in status_pb2.Status.FromString(body).message
    status, body, _ = await servers.post("/v1/traces", b"x", Content_Encoding="br")
    assert status == 415
    assert "gzip" in status_pb2.Status.FromString(body).message
    assert not script.received


async def test_http_keep_alive(servers: Servers) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", servers.http.port)
    body = request_of(Signal.TRACES)
    head = (
        "POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    for _ in range(3):
        writer.write(head + body)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"Content-Length: 0" in answer
    writer.close()


@signals
async def test_same_port(servers: Servers, script: Script, signal: Signal) -> None:
    data = request_of(signal)
    assert (await servers.post(signal.http_path, data))[0] == 200
    assert (await servers.post(signal.http_path, b"{}", JSON))[0] == 200
    assert [received[1] for received in script.received] == [data, b""]


async def test_empty_envelopes(servers: Servers, script: Script) -> None:
    envelopes = ExportTraceServiceRequest()
    envelopes.resource_spans.add().scope_spans.add()
    envelopes.resource_spans.add()
    await servers.export(Signal.TRACES, envelopes.SerializeToString())
    assert (await servers.post("/v1/traces", envelopes.SerializeToString()))[0] == 200


async def test_unknown_protobuf_fields(servers: Servers, script: Script) -> None:
    data = request_of(Signal.TRACES) + b"\xfa\x3e\x03new"  # field 1007, length-delimited
    await servers.export(Signal.TRACES, data)
    assert (await servers.post("/v1/traces", data))[0] == 200
    assert [received[1] for received in script.received] == [data, data]

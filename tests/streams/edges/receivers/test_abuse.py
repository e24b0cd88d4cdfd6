"""Clients that are slow, silent, rude or broken; a server that is full."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import time
from collections.abc import AsyncIterator, Mapping

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from schemas.config import GrpcReceiver, HttpReceiver
from schemas.errors import ConfigurationError, MessageTooLarge
from schemas.signals import Signal
from streams.edges.receivers import (
    Accepted,
    Admission,
    GrpcServer,
    HttpServer,
    ReceiverMetrics,
)

from .conftest import JSON, PROTOBUF, Script, Servers, Start
from .http2 import bare_call, call_headers, frame, preface
from .requests import request_of

KIB = 1 << 10
HEAD = "POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\n"


class Held:
    """An acceptor that answers when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.waiting = asyncio.Semaphore(0)

    async def __call__(self, _: Signal, __: bytes, ___: Mapping[str, str]) -> Accepted:
        self.waiting.release()
        await self.go.wait()
        return Accepted()

    async def holds(self, requests: int) -> None:
        async with asyncio.timeout(10):
            for _ in range(requests):
                await self.waiting.acquire()


async def until(condition, timeout_s: float = 10.0) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for signals nothing
            await asyncio.sleep(0.005)


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server has closed."""
    async with asyncio.timeout(10):
        return await reader.read(-1)


async def is_alive(servers: Servers) -> None:
    assert (await servers.post("/v1/traces", request_of(Signal.TRACES)))[0] == 200
    await servers.export(Signal.TRACES, request_of(Signal.TRACES))


# ---- a full server


async def test_full_server_refuses_at_once_and_recovers(start: Start) -> None:
    held = Held()
    servers = await start(held, inflight_max_bytes=1000 * KIB)
    body = request_of(Signal.LOGS, 1, "x" * (400 * KIB))
    first = [
        asyncio.create_task(servers.post("/v1/logs", body)),
        asyncio.create_task(servers.export(Signal.LOGS, body)),
    ]
    await held.holds(2)
    assert servers.admission.healthy
    assert 800 * KIB < servers.admission.inflight_bytes <= 1000 * KIB
    assert servers.metric("otlp_streams_receiver_inflight_bytes") > 800 * KIB

    status, answer, headers = await servers.post("/v1/logs", body)
    assert (status, headers["Retry-After"]) == (429, "2")
    assert "ingest.inflight_max" in status_pb2.Status.FromString(answer).message
    code, details = await servers.refused(Signal.LOGS, body)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    info = error_details_pb2.RetryInfo()
    assert details is not None
    assert details.details[0].Unpack(info)
    assert info.retry_delay.ToMilliseconds() == 1500
    assert not servers.admission.healthy
    assert servers.admission.refused == 2
    for transport in ("http", "grpc"):
        assert servers.metric(
            "otlp_streams_receiver_refused_requests_total",
            signal="logs", transport=transport, reason="overloaded",
        ) == 1  # fmt: skip

    held.go.set()
    await asyncio.gather(*first)
    assert servers.admission.healthy
    assert servers.admission.inflight_bytes == 0
    assert (await servers.post("/v1/logs", body))[0] == 200


async def test_refused_before_the_body_is_sent(start: Start) -> None:
    servers = await start(Held(), max_request_bytes=100 * KIB, inflight_max_bytes=1000 * KIB)
    reader, writer = await asyncio.open_connection("127.0.0.1", servers.http.port)
    writer.write((HEAD + f"Content-Length: {10 << 30}\r\n\r\n").encode())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert answer.startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_expect_continue(start: Start, script: Script) -> None:
    servers = await start(script, max_request_bytes=1000)
    for size, expected in ((500, b"HTTP/1.1 100 "), (5000, b"HTTP/1.1 413 ")):
        reader, writer = await asyncio.open_connection("127.0.0.1", servers.http.port)
        writer.write((HEAD + f"Expect: 100-continue\r\nContent-Length: {size}\r\n\r\n").encode())
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert answer.startswith(expected)
        if size == 500:
            writer.write(bytes(500))
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert answer.startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_too_many_grpc_calls_at_once(start: Start) -> None:
    held = Held()
    servers = await start(held, grpc_={"max_concurrent_requests": 3})
    body = request_of(Signal.TRACES)
    calls = [asyncio.create_task(servers.export(Signal.TRACES, body)) for _ in range(3)]
    await held.holds(3)
    code, details = await servers.refused(Signal.TRACES, body)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details is not None
    assert "max_concurrent_requests" in details.message
    assert details.details[0].Is(error_details_pb2.RetryInfo.DESCRIPTOR)
    held.go.set()
    await asyncio.gather(*calls)
    await servers.export(Signal.TRACES, body)


# ---- slow, silent and vanishing clients


async def test_slow_body_is_cut_off(start: Start, script: Script) -> None:
    servers = await start(script, http={"request_timeout": 0.3})
    for body in (
        b"Content-Length: 1000\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", servers.http.port)
        writer.write(HEAD.encode() + body)
        answer = await rest_of(reader)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"ingest.http.request_timeout" in answer
        writer.close()
    assert servers.admission.inflight_bytes == 0
    assert not script.received
    await is_alive(servers)


async def test_slow_grpc_message_is_cut_off(start: Start, script: Script) -> None:
    servers = await start(script, grpc_={"request_timeout": 0.3})

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await servers.channel.stream_unary(Signal.TRACES.grpc_method)(nothing(), timeout=10)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "ingest.grpc.request_timeout" in (raised.value.details() or "")
    await until(lambda: servers.admission.inflight_bytes == 0)
    await is_alive(servers)


async def test_slow_clients_do_not_shut_out_fast_ones(start: Start, script: Script) -> None:
    """Idle sockets that promise more than there is; then one that sends much of it."""
    servers = await start(script, max_request_bytes=700 * KIB, inflight_max_bytes=1000 * KIB)
    fast = request_of(Signal.LOGS, 1, "x" * (400 * KIB))
    writers = []
    for _ in range(4):
        _, writer = await asyncio.open_connection("127.0.0.1", servers.http.port)
        writer.write((HEAD + f"Content-Length: {700 * KIB}\r\n\r\n").encode())
        writers.append(writer)
    await until(lambda: servers.admission.late_bytes == 4 * 64 * KIB)
    for _ in range(3):
        assert (await servers.post("/v1/logs", fast))[0] == 200
        await servers.export(Signal.LOGS, fast)
    for writer in writers[1:]:
        writer.transport.abort()
    await until(lambda: servers.admission.late_bytes == 64 * KIB)

    writers[0].write(bytes(400 * KIB))
    await until(lambda: servers.admission.late_bytes == 464 * KIB)
    for _ in range(3):
        assert (await servers.post("/v1/logs", fast))[0] == 200
        await servers.export(Signal.LOGS, fast)
    answers = [asyncio.create_task(promised(servers, 300 * KIB)) for _ in range(3)]
    for answer in await asyncio.gather(*answers):
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"Retry-After: 2" in answer
        assert b"slow to arrive" in answer
    # slow is not wrong: it is served once it is whole
    before = len(script.received)
    writers[0].write(bytes(300 * KIB))
    await until(lambda: len(script.received) > before)
    writers[0].close()
    await until(lambda: servers.admission.inflight_bytes == 0)
    assert servers.admission.late_bytes == 0
    assert servers.admission.healthy


async def promised(servers: Servers, size: int) -> bytes:
    """The answer to a request of which only the head and a little more is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", servers.http.port)
    writer.write((HEAD + f"Content-Length: {size}\r\n\r\n").encode() + bytes(10))
    try:
        return await rest_of(reader)
    finally:
        writer.close()


async def test_late_grpc_call_without_room_is_told_when_to_come_again(start: Start) -> None:
    servers = await start(Script())

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    with servers.admission.reservation() as slow:
        slow.late(at_least_bytes=100 << 20)
        for path in (Signal.TRACES.grpc_method, "/grpc.health.v1.Health/Check"):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await servers.channel.stream_unary(path)(nothing(), timeout=10)
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            trailers = dict(raised.value.trailing_metadata() or ())
            details = trailers["grpc-status-details-bin"]
            assert isinstance(details, bytes)
            status = status_pb2.Status.FromString(details)
            assert status.details[0].Is(error_details_pb2.RetryInfo.DESCRIPTOR)
        await is_alive(servers)
    assert servers.admission.late_bytes == 0


async def test_a_busy_loop_makes_nobody_late(start: Start, script: Script) -> None:
    """What came while the loop was busy is seen before its sender is called slow."""
    servers = await start(script)
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{servers.grpc.port}", [("a", n)]) for n in range(4)
    ]
    body = request_of(Signal.LOGS, 1, "x" * (300 * KIB))
    with servers.admission.reservation() as slow:
        slow.late(at_least_bytes=128 << 20)  # the whole share: whoever is late is refused
        for _ in range(3):
            calls = [
                asyncio.ensure_future(
                    channel.unary_unary(Signal.LOGS.grpc_method)(body, timeout=10)
                )
                for channel in channels
            ]
            while not all(call.done() for call in calls):
                await asyncio.sleep(0.002)
                time.sleep(0.15)  # noqa: ASYNC251 - what a large request does to a loop
            assert [call.exception() for call in calls] == [None] * 4
    for channel in channels:
        await channel.close()


@pytest.mark.parametrize("sent", [b"", b"POST /v1/tra", HEAD.encode()])
async def test_silent_connection_is_closed(start: Start, script: Script, sent: bytes) -> None:
    servers = await start(script, http={"request_timeout": 0.3})
    reader, writer = await asyncio.open_connection("127.0.0.1", servers.http.port)
    writer.write(sent)
    assert await rest_of(reader) == b""
    writer.close()


async def test_idle_connection_is_closed_and_not_before(start: Start, script: Script) -> None:
    servers = await start(script, http={"request_timeout": 0.1, "idle_timeout": 0.6})
    reader, writer = await asyncio.open_connection("127.0.0.1", servers.http.port)
    request = (HEAD + "Content-Length: 0\r\n\r\n").encode()
    for _ in range(2):
        writer.write(request)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        await asyncio.sleep(0.3)  # idle for longer than a request may take
    assert await rest_of(reader) == b""
    writer.close()


async def test_client_that_goes_away_frees_its_room(start: Start) -> None:
    held = Held()
    servers = await start(held)
    # in the middle of its body
    _, writer = await asyncio.open_connection("127.0.0.1", servers.http.port)
    writer.write((HEAD + "Content-Length: 50000\r\n\r\nabc").encode())
    await until(lambda: servers.admission.inflight_bytes == 50_000)
    writer.transport.abort()
    await until(lambda: servers.admission.inflight_bytes == 0)
    # while the acceptor has its request
    _, writer = await asyncio.open_connection("127.0.0.1", servers.http.port)
    writer.write((HEAD + "Content-Length: 3\r\n\r\nabc").encode())
    await held.holds(1)
    writer.transport.abort()
    await until(lambda: servers.admission.inflight_bytes == 0)
    # and over gRPC
    call = servers.channel.unary_unary(Signal.TRACES.grpc_method)(b"abc")
    calling = asyncio.ensure_future(call)
    await held.holds(1)
    call.cancel()
    await asyncio.wait([calling])
    await until(lambda: servers.admission.inflight_bytes == 0)
    for transport, code in (("http", "cancelled"), ("grpc", "CANCELLED")):
        labels = {"signal": "traces", "transport": transport, "code": code}
        assert servers.metric("otlp_streams_receiver_requests_total", **labels) >= 1
    held.go.set()
    await is_alive(servers)


# ---- broken clients


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),  # TLS on a plain port
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(50),
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD.encode() + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
        bytes(10_000),
    ],
)
async def test_what_is_no_http(servers: Servers, script: Script, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", servers.http.port)
    writer.write(sent)
    answer = b""
    with contextlib.suppress(OSError):  # the server may have cut us off already
        writer.write_eof()
        answer = await rest_of(reader)
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")
    writer.close()
    assert not script.received
    await is_alive(servers)


@pytest.mark.parametrize(
    "sent",
    [
        HEAD.encode() + b"a: " + b"b" * 9000 + b"\r\n\r\n",
        HEAD.encode() + b"Content-Length: -1\r\n\r\n",
        HEAD.encode() + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"what is this\r\n\r\n",
    ],
)
async def test_what_the_parser_refuses_gets_a_status_too(servers: Servers, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", servers.http.port)
    writer.write(sent)
    head, _, body = (await rest_of(reader)).partition(b"\r\n\r\n")
    writer.close()
    assert head.split()[1] == b"400"
    assert b"Content-Type: application/json" in head
    assert b"Server: otlp-streams\r\n" in head + b"\r\n"
    assert b"aiohttp" not in head + body
    status = json.loads(body)
    assert status["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert status["message"]
    assert len(body) < 2000
    assert servers.metric(
        "otlp_streams_receiver_refused_requests_total",
        signal="", transport="http", reason="malformed",
    ) == 1  # fmt: skip
    assert servers.metric(
        "otlp_streams_receiver_requests_total", signal="", transport="http", code="400"
    ) == 1  # fmt: skip
    await is_alive(servers)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        preface() + frame(1, 4, 1, b"\xff" * 50),  # broken HPACK
        preface() + frame(0, 0, 1, b"data without headers"),
        preface() + frame(99, 0, 1, b"a frame type that does not exist"),
        preface() + b"\xff\xff\xff" + bytes(100),  # a frame of 16 MiB
        bytes(10_000),
    ],
)
async def test_what_is_no_grpc(servers: Servers, script: Script, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", servers.grpc.port)
    writer.write(sent)
    with contextlib.suppress(OSError):  # the server may have cut us off already
        writer.write_eof()
        await rest_of(reader)
    writer.close()
    assert not script.received
    await is_alive(servers)


async def test_grpc_message_that_is_cut_short(servers: Servers, script: Script) -> None:
    """Its length says 1000 bytes, the stream ends after three."""
    reader, writer = await asyncio.open_connection("127.0.0.1", servers.grpc.port)
    message = b"\x00" + struct.pack(">I", 1000) + b"abc"
    writer.write(preface() + call_headers(Signal.TRACES.grpc_method) + frame(0, 1, 1, message))
    answer = await asyncio.wait_for(reader.readuntil(b"grpc-status"), 5)
    assert answer
    status = await asyncio.wait_for(reader.readexactly(3), 5)
    assert status != b"\x010\x00"
    writer.close()
    assert not script.received
    await until(lambda: servers.admission.inflight_bytes == 0)
    await is_alive(servers)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    pieces=st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.sampled_from(
                [
                    HEAD.encode(),
                    b"\r\n",
                    b"Content-Length: 5\r\n\r\n",
                    preface(),
                    frame(1, 4, 1, b""),
                ]
            ),
        ),
        max_size=6,
    )
)
def test_random_bytes_on_both_ports(pieces: list[bytes]) -> None:
    async def run() -> None:
        script = Script()
        admission = Admission(1 << 20)
        shared = {"max_request_bytes": 1 << 16, "admission": admission,
                  "metrics": ReceiverMetrics(CollectorRegistry())}  # fmt: skip
        http = HttpServer(HttpReceiver(endpoint="127.0.0.1:0", late_after=0.1), script, **shared)  # type: ignore[arg-type]
        grpc_server = GrpcServer(
            GrpcReceiver(endpoint="127.0.0.1:0", late_after=0.1), script, **shared
        )  # type: ignore[arg-type]
        await http.start()
        await grpc_server.start()
        try:
            for port in (http.port, grpc_server.port):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"".join(pieces))
                await writer.drain()
                writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
            writer.write((HEAD + "Content-Length: 0\r\n\r\n").encode())
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert answer.startswith(b"HTTP/1.1 200 ")
            writer.close()
            answer = await bare_call(grpc_server.port, Signal.LOGS.grpc_method, b"")
            assert b"grpc-status\x010" in answer
        finally:
            await http.stop(0)
            await grpc_server.stop(0)
        assert admission.inflight_bytes == 0

    asyncio.run(run())


@pytest.mark.parametrize("encoding", ["zstd", "snappy", "nonsense"])
async def test_grpc_encodings_without_a_name(
    servers: Servers, script: Script, encoding: str
) -> None:
    """gRPC refuses them itself, as INTERNAL: not to be retried, like UNIMPLEMENTED."""
    answer = await bare_call(
        servers.grpc.port, Signal.TRACES.grpc_method, b"x", encoding=encoding, compressed=True
    )
    assert b"grpc-status\x0213" in answer
    assert b"grpc-encoding" in answer
    assert not script.received
    answer = await bare_call(servers.grpc.port, Signal.TRACES.grpc_method, b"")
    assert b"grpc-accept-encoding\x17identity, deflate, gzip" in answer


async def test_grpc_bytes_that_only_look_like_zlib(servers: Servers, script: Script) -> None:
    """Field 15 as a varint begins like a zlib header; it does not inflate, so it is taken raw."""
    data = b"\x78\x01" + request_of(Signal.TRACES)
    await servers.export(Signal.TRACES, data)
    assert script.received[-1][1] == data
    assert servers.admission.inflight_bytes == 0


async def test_grpc_broken_gzip(servers: Servers) -> None:
    answer = await bare_call(
        servers.grpc.port, Signal.LOGS.grpc_method, b"\x1f\x8b\x08broken", encoding="gzip",
        compressed=True,
    )  # fmt: skip
    assert b"grpc-status\x013" in answer  # INVALID_ARGUMENT


async def test_grpc_call_without_a_message(servers: Servers) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        for message in ():
            yield message

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await servers.channel.stream_unary(Signal.TRACES.grpc_method)(nothing(), timeout=10)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_grpc_methods_that_are_not_there(servers: Servers) -> None:
    for method in ("/opentelemetry.proto.collector.trace.v1.TraceService/Import", "/a/b"):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await servers.channel.unary_unary(method)(b"", timeout=10)
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b'{"resourceSpans": NaN}',
        b"[]",
        b"1" * 10_000,
    ],
)
async def test_json_bombs(servers: Servers, body: bytes) -> None:
    status, answer, _ = await servers.post("/v1/traces", body, JSON)
    assert status == 400
    assert json.loads(answer)["message"]
    await is_alive(servers)


async def test_a_defect_of_the_acceptor_is_an_answer(servers: Servers, script: Script) -> None:
    script.answer = RuntimeError("secret detail")
    status, answer, _ = await servers.post("/v1/traces", b"")
    assert status == 500
    assert b"secret" not in answer
    code, details = await servers.refused(Signal.TRACES, b"")
    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in str(details)
    script.answer = Accepted()
    await is_alive(servers)


async def test_messages_are_bounded(servers: Servers, script: Script) -> None:
    """A gRPC client would drop an answer whose trailers are too long."""
    script.answer = MessageTooLarge(
        "span " + "\U0001f525" * 100_000, 2, "kafka.producer.max_message", 1
    )
    code, details = await servers.refused(Signal.TRACES, b"")
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details is not None
    assert len(details.message) == 300
    script.answer = Accepted(1, "ü" * 100_000)
    status, body, _ = await servers.post("/v1/traces", b"")
    assert (status, len(body) < 5_000) == (200, True)


async def test_ports_that_are_taken(servers: Servers, script: Script) -> None:
    shared = {"max_request_bytes": 1, "admission": Admission(1),
              "metrics": ReceiverMetrics(CollectorRegistry())}  # fmt: skip
    taken = f"127.0.0.1:{servers.http.port}"
    with pytest.raises(ConfigurationError, match=r"ingest\.http\.endpoint"):
        await HttpServer(HttpReceiver(endpoint=taken), script, **shared).start()  # type: ignore[arg-type]
    taken = f"127.0.0.1:{servers.grpc.port}"
    with pytest.raises(ConfigurationError, match=r"ingest\.grpc\.endpoint"):
        await GrpcServer(GrpcReceiver(endpoint=taken), script, **shared).start()  # type: ignore[arg-type]


async def test_stop_lets_requests_finish(start: Start) -> None:
    held = Held()
    servers = await start(held)
    requests = [
        asyncio.create_task(servers.post("/v1/traces", b"", PROTOBUF)),
        asyncio.create_task(servers.export(Signal.TRACES, b"")),
    ]
    await held.holds(2)
    stopping = asyncio.gather(servers.http.stop(5), servers.grpc.stop(5))
    await asyncio.sleep(0.05)
    held.go.set()
    (status, _, _), answer = await asyncio.gather(*requests)
    assert (status, answer) == (200, b"")
    async with asyncio.timeout(4):
        await stopping


async def test_stop_does_not_wait_for_ever(start: Start) -> None:
    held = Held()
    servers = await start(held)
    requests = [
        asyncio.create_task(servers.post("/v1/traces", b"")),
        asyncio.create_task(servers.export(Signal.TRACES, b"")),
    ]
    await held.holds(2)
    async with asyncio.timeout(5):
        await asyncio.gather(servers.http.stop(0.2), servers.grpc.stop(0.2))
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert all(isinstance(result, Exception) for result in results)
    assert servers.admission.inflight_bytes == 0

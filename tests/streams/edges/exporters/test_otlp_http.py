"""OTLP/HTTP against real servers: every kind of answer, and none."""

from __future__ import annotations

import asyncio
import gzip
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.metadata import version
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from prometheus_client import CollectorRegistry

from schemas.config import Backend, ClientTls, ServerTls
from schemas.errors import BackendRefused, BackendUnavailable
from schemas.signals import Signal
from streams.edges.exporters import Exported, ExporterMetrics
from streams.edges.exporters.otlp_http import HttpExporter
from streams.edges.security import server_context
from tests.certificates import Authority

from .servers import HttpBackend, retry_status, tcp_server

PROTOBUF = "application/x-protobuf"
DATA = b"\n\x06resource" * 40_000


def answer(status=200, body=b"", content_type=PROTOBUF, **headers):
    """A server that always says the same."""

    async def say(_request: web.Request) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, content_type=content_type, headers=named)

    return say


async def export(port, signal=Signal.TRACES, data=DATA, metrics=None, scheme="http", **settings):
    """One try of a fresh exporter."""
    backend = Backend(endpoint=f"{scheme}://127.0.0.1:{port}", **settings)
    exporter = HttpExporter(backend, metrics)
    await exporter.start()
    try:
        return await exporter.export(signal, data)
    finally:
        await exporter.stop()


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("signal", list(Signal))
async def test_what_arrives_is_what_was_given(compression, signal) -> None:
    metrics = ExporterMetrics(CollectorRegistry()).of("b")
    async with HttpBackend(answer()).running() as server:
        exported = await export(server.port, signal, metrics=metrics, compression=compression)
    assert exported == Exported()
    assert server.bodies == [DATA]
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", f"/v1/{signal.value}")
    assert request.headers["Content-Type"] == PROTOBUF
    assert request.headers.get("Content-Encoding", "none") == compression
    assert request.headers["Accept-Encoding"] == "gzip"
    agent = f"OTel-OTLP-Exporter-otlp-streams/{version('otlp-streams')}"
    assert request.headers["User-Agent"] == agent
    sent = metrics.signals[signal].sent_bytes._value.get()
    assert sent == int(request.headers["Content-Length"])
    assert (sent == len(DATA)) == (compression == "none")


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
async def test_large_bodies_take_the_other_way_and_arrive_too(compression) -> None:
    data = DATA * 12
    assert len(data) > 2 << 20
    async with HttpBackend(answer()).running() as server:
        await export(server.port, data=data, compression=compression)
    assert server.bodies == [data]


async def test_a_path_in_the_endpoint_is_kept_and_headers_are_sent() -> None:
    async with HttpBackend(answer()).running() as server:
        backend = Backend(
            endpoint=f"http://127.0.0.1:{server.port}/otlp/",
            headers={"Authorization": "Bearer s3cret-token", "X-Scope": "a b"},
        )
        exporter = HttpExporter(backend)
        await exporter.start()
        await exporter.export(Signal.LOGS, b"\n\x00")
        await exporter.stop()
    assert server.requests[0].path == "/otlp/v1/logs"
    assert server.requests[0].headers["Authorization"] == "Bearer s3cret-token"
    assert server.requests[0].headers["X-Scope"] == "a b"


async def test_partial_success_in_protobuf_json_and_gzip() -> None:
    partial = ExportLogsServiceResponse(
        partial_success={"rejected_log_records": 3, "error_message": "too old"}
    ).SerializeToString()
    json_body = b'{"partialSuccess": {"rejectedLogRecords": "3", "errorMessage": "too old"}}'
    for say in (
        answer(body=partial),
        answer(status=202, body=json_body, content_type="application/json"),
        answer(body=gzip.compress(partial), Content_Encoding="gzip"),
    ):
        async with HttpBackend(say).running() as server:
            assert await export(server.port, Signal.LOGS) == Exported(3, "too old")


@pytest.mark.parametrize(
    "say",
    [
        answer(body=b"\xff\xffok"),
        answer(body=b"{", content_type="application/json"),
        answer(body=b"x" * (3 << 20)),
        answer(body=gzip.compress(bytes(64 << 20)), Content_Encoding="gzip"),
    ],
    ids=["nonsense", "half json", "too long", "bomb"],
)
async def test_an_unreadable_answer_of_success_is_success_and_counted(say) -> None:
    metrics = ExporterMetrics(CollectorRegistry()).of("b")
    async with HttpBackend(say).running() as server:
        assert await export(server.port, metrics=metrics) == Exported()
    assert metrics.signals[Signal.TRACES].unreadable._value.get() == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_retryable_statuses(status) -> None:
    body = retry_status(14, "come back")
    async with HttpBackend(answer(status, body)).running() as server:
        with pytest.raises(BackendUnavailable, match=f"HTTP {status}: come back") as caught:
            await export(server.port)
    assert caught.value.retry_after_s is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 413, 415, 418, 500, 501, 505])
async def test_all_other_statuses_are_final(status) -> None:
    async with HttpBackend(answer(status, retry_status(3, "no"))).running() as server:
        with pytest.raises(BackendRefused, match=f"HTTP {status}: no") as caught:
            await export(server.port)
    assert caught.value.code == str(status)
    assert len(server.requests) == 1


async def test_retry_after_in_seconds_as_a_date_and_in_the_status() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    for say, low, high in (
        (answer(429, Retry_After="17"), 17, 17),
        (answer(503, Retry_After=later), 80, 100),
        (answer(503, retry_status(14, "", 2.5)), 2.5, 2.5),
        (answer(503, retry_status(14, "", 2.5), Retry_After="4"), 4, 4),
    ):
        async with HttpBackend(say).running() as server:
            with pytest.raises(BackendUnavailable) as caught:
                await export(server.port)
        assert caught.value.retry_after_s is not None
        assert low <= caught.value.retry_after_s <= high


@pytest.mark.parametrize("status", [307, 308])
async def test_redirects_with_method_and_body_are_followed_without_our_secrets(status) -> None:
    async with HttpBackend(answer()).running() as target:

        async def move(request: web.Request) -> web.Response:
            if request.path.startswith("/new"):
                return web.Response()
            here = request.path == "/v1/traces"
            to = "/new/v1/traces" if here else f"http://127.0.0.1:{target.port}/x/v1/logs"
            return web.Response(status=status, headers={"Location": to})

        async with HttpBackend(move).running() as server:
            headers = {"Authorization": "Bearer s3cret-token"}
            await export(server.port, Signal.TRACES, headers=headers)
            await export(server.port, Signal.LOGS, headers=headers)
    assert [request.path for request in server.requests] == [
        "/v1/traces", "/new/v1/traces", "/v1/logs",
    ]  # fmt: skip
    assert all("Authorization" in request.headers for request in server.requests)
    assert [request.path for request in target.requests] == ["/x/v1/logs"]
    assert "Authorization" not in target.requests[0].headers
    assert target.requests[0].method == "POST"
    assert target.bodies == [DATA]


async def test_redirects_that_are_not_followed() -> None:
    for say, message, count in (
        (answer(301, Location="http://elsewhere.example/?key=1"), "301: it has moved: http", 1),
        (answer(302, Location="/x"), "HTTP 302: it has moved: /x", 1),
        (answer(303), "HTTP 303", 1),
        (answer(307), "307 without a usable Location", 1),
        (answer(307, Location="ftp://elsewhere.example/"), "not HTTP", 1),
        (answer(308, Location="/v1/traces"), "more than 3 redirects", 4),
    ):
        async with HttpBackend(say).running() as server:
            with pytest.raises(BackendRefused, match=message) as caught:
                await export(server.port)
        assert len(server.requests) == count
        assert "key=1" not in str(caught.value)


async def test_a_redirect_to_plain_text_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    tls = server_context(ServerTls(cert_file=pair.cert_file, key_file=pair.key_file))
    say = answer(307, Location="http://127.0.0.1:9/v1/traces")
    async with HttpBackend(say).running(tls) as server:
        with pytest.raises(BackendRefused, match="from https to http"):
            await export(server.port, scheme="https", tls=ClientTls(ca_file=authority.ca_file))


async def test_silence_is_unavailable_after_the_timeout() -> None:
    async def silent(_request: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        raise AssertionError

    async with HttpBackend(silent).running() as server:
        with pytest.raises(BackendUnavailable, match=r"no answer within 0\.2 s"):
            await export(server.port, timeout=0.2)


async def test_nobody_there_is_unavailable() -> None:
    with socket.socket() as bound:  # bound and not listening: refused
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(BackendUnavailable, match="ClientConnectorError"):
            await export(bound.getsockname()[1])


HALVES = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 20",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n\x0a\x02",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "broken gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
}


@pytest.mark.parametrize("said", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_half_answers_are_unavailable(said, reset) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        if reset:
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    async with tcp_server(talk) as port:
        with pytest.raises(BackendUnavailable):
            await export(port, timeout=5, compression="zstd")


async def test_tls_and_mutual_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, client = authority.issue("server"), authority.issue("client")
    mutual = ServerTls(
        cert_file=pair.cert_file, key_file=pair.key_file, client_ca_file=authority.ca_file
    )
    known = ClientTls(
        ca_file=authority.ca_file, cert_file=client.cert_file, key_file=client.key_file
    )
    async with HttpBackend(answer()).running(server_context(mutual)) as server:
        assert await export(server.port, scheme="https", tls=known) == Exported()
        for tls in (ClientTls(), ClientTls(ca_file=authority.ca_file)):
            with pytest.raises(BackendUnavailable):
                await export(server.port, scheme="https", tls=tls)
        with pytest.raises(BackendUnavailable):
            await export(server.port, scheme="http")
    assert server.bodies == [DATA]


async def test_an_echoed_secret_is_masked_everywhere() -> None:
    async def echo(request: web.Request) -> web.Response:
        text = f"bad token {request.headers['Authorization']}, {request.headers['X-Key']}"
        return web.Response(status=401, text=text, reason="No")

    async with HttpBackend(echo).running() as server:
        with pytest.raises(BackendRefused) as caught:
            await export(
                server.port,
                headers={"Authorization": "Bearer s3cret-token", "X-Key": "k-12345"},
            )
    assert str(caught.value) == "HTTP 401: bad token ***, ***"
    assert caught.value.__cause__ is None


async def test_connections_are_pooled_and_bounded() -> None:
    peers, open_now, most = set(), 0, 0

    async def say(request: web.Request) -> web.Response:
        nonlocal open_now, most
        peers.add(request.transport.get_extra_info("peername"))
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.01)
        open_now -= 1
        return web.Response()

    async with HttpBackend(say).running() as server:
        exporter = HttpExporter(
            Backend(endpoint=f"http://127.0.0.1:{server.port}", max_connections=3)
        )
        await exporter.start()
        await asyncio.gather(*(exporter.export(Signal.TRACES, b"\n\x00") for _ in range(30)))
        await exporter.stop()
    assert len(server.bodies) == 30
    assert (most, len(peers)) == (3, 3)


async def test_waiting_for_a_connection_is_not_counted_as_silence() -> None:
    async def slow(_request: web.Request) -> web.Response:
        await asyncio.sleep(0.15)
        return web.Response()

    async with HttpBackend(slow).running() as server:
        exporter = HttpExporter(
            Backend(endpoint=f"http://127.0.0.1:{server.port}", max_connections=1, timeout=0.5)
        )
        await exporter.start()
        await asyncio.gather(*(exporter.export(Signal.TRACES, b"\n\x00") for _ in range(6)))
        await exporter.stop()
    assert len(server.bodies) == 6


async def test_a_connection_closed_between_requests_is_no_more_than_unavailable() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with tcp_server(talk) as port:
        exporter = HttpExporter(Backend(endpoint=f"http://127.0.0.1:{port}"))
        await exporter.start()
        outcomes = []
        for _ in range(5):
            try:
                outcomes.append(await exporter.export(Signal.TRACES, DATA))
            except BackendUnavailable:
                outcomes.append(None)
        await exporter.stop()
    assert outcomes[0] == Exported()

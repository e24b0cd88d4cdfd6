"""gRPC over HTTP/2 frame by frame, against a server that is scripted with h2's other half."""

from __future__ import annotations

import asyncio
import base64
import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from prometheus_client import CollectorRegistry

from schemas.config import Backend, ClientTls, ServerTls
from schemas.errors import BackendRefused, BackendUnavailable
from schemas.signals import Signal
from streams.edges.exporters import Exported, ExporterMetrics
from streams.edges.exporters.otlp_grpc import GrpcExporter
from streams.edges.security import server_context
from tests.certificates import Authority

from .servers import HttpBackend, retry_status, tcp_server, until

DATA = b"\n\x06resource" * 40_000
HEAD = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]
PARTIAL = b"\x0a\x09\x08\x01\x12\x05stale"


class Server:
    """Speaks HTTP/2; ``on_request(connection, stream, headers, body)`` says what to answer."""

    def __init__(
        self,
        on_request: Callable[[Server, int, dict[str, str], bytes], None],
        settings: dict[SettingCodes, int] | None = None,
        *,
        chunk_bytes: int = 1 << 16,
    ) -> None:
        self.on_request = on_request
        self.settings = settings or {}
        self.chunk_bytes = chunk_bytes
        self.connections = 0
        self.requests = 0
        self.resets: list[int] = []
        self.unsent: dict[int, tuple[bytes, list[tuple[str, str]]]] = {}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.update_settings(self.settings)
        self.writer = writer
        bodies: dict[int, bytes] = {}
        heads: dict[int, dict[str, str]] = {}
        self.flush()
        while data := await reader.read(1 << 16):
            for event in self.h2.receive_data(data):
                if isinstance(event, RequestReceived):
                    heads[event.stream_id] = dict(event.headers)
                    bodies[event.stream_id] = b""
                    self.requests += 1
                elif isinstance(event, DataReceived):
                    bodies[event.stream_id] += event.data
                    size = event.flow_controlled_length
                    if size:
                        self.h2.acknowledge_received_data(size, event.stream_id)
                elif isinstance(event, StreamEnded):
                    number = event.stream_id
                    self.on_request(self, number, heads.pop(number), bodies.pop(number))
                elif isinstance(event, StreamReset):
                    self.resets.append(event.stream_id)
            self.flush()

    def flush(self) -> None:
        self.pump()
        data = self.h2.data_to_send()
        for at in range(0, len(data), self.chunk_bytes):
            self.writer.write(data[at : at + self.chunk_bytes])

    def answer(
        self,
        number: int,
        message: bytes | None = b"",
        trailers: list[tuple[str, str]] | None = None,
        *,
        flag: int = 0,
    ) -> None:
        self.h2.send_headers(number, HEAD)
        data = b"" if message is None else struct.pack(">BI", flag, len(message)) + message
        self.unsent[number] = (data, OK if trailers is None else trailers)

    def pump(self) -> None:
        """Send of each answer what the client's windows allow."""
        for number, (data, trailers) in list(self.unsent.items()):
            sent = 0
            while size := min(self.h2.local_flow_control_window(number), 16_384, len(data) - sent):
                self.h2.send_data(number, data[sent : sent + size])
                sent += size
            self.unsent[number] = (data[sent:], trailers)
            if sent == len(data):
                self.h2.send_headers(number, trailers, end_stream=True)
                del self.unsent[number]


async def export(port: int, times: int = 1, metrics: Any = None, **settings: Any) -> list[Any]:
    """Outcomes of ``times`` requests at once over one connection."""
    settings = {"endpoint": f"127.0.0.1:{port}", "timeout": 5, "max_connections": 1, **settings}
    exporter = GrpcExporter(Backend(protocol="grpc", **settings), metrics)
    await exporter.start()
    try:
        return await asyncio.gather(
            *(exporter.export(Signal.LOGS, DATA) for _ in range(times)), return_exceptions=True
        )
    finally:
        await exporter.stop()


async def test_what_a_request_looks_like() -> None:
    seen: list[tuple[dict[str, str], bytes]] = []

    def on_request(server: Server, number: int, headers: dict[str, str], body: bytes) -> None:
        seen.append((headers, body))
        server.answer(number)

    async with tcp_server(Server(on_request).talk) as port:
        assert await export(port, headers={"X-Scope": "a b"}) == [Exported()]
    ((headers, body),) = seen
    assert list(headers)[:4] == [":method", ":scheme", ":path", ":authority"]
    assert headers.pop("user-agent").startswith("OTel-OTLP-Exporter-otlp-streams/")
    assert headers == {
        ":method": "POST",
        ":scheme": "http",
        ":path": Signal.LOGS.grpc_method,
        ":authority": f"127.0.0.1:{port}",
        "te": "trailers",
        "content-type": "application/grpc",
        "grpc-timeout": "5000m",
        "grpc-encoding": "gzip",
        "grpc-accept-encoding": "identity",
        "x-scope": "a b",
    }
    assert body[:5] == struct.pack(">BI", 1, len(body) - 5)
    assert gzip.decompress(body[5:]) == DATA


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 16])
async def test_frames_in_any_pieces(chunk_bytes: int) -> None:
    def on_request(server: Server, number: int, _headers: Any, _body: bytes) -> None:
        server.answer(number, PARTIAL)

    server = Server(on_request, chunk_bytes=chunk_bytes)
    async with tcp_server(server.talk) as port:
        assert await export(port, 5) == [Exported(1, "stale")] * 5


@pytest.mark.parametrize("window_bytes", [1, 100, 65_535, 1 << 24])
async def test_flow_control_of_any_width(window_bytes: int) -> None:
    """The body is larger than the connection's own window too."""
    got: list[bytes] = []

    def on_request(server: Server, number: int, _headers: Any, body: bytes) -> None:
        got.append(body[5:])
        server.answer(number)

    small = window_bytes < 65_535
    server = Server(on_request, {SettingCodes.INITIAL_WINDOW_SIZE: window_bytes})
    compression = "gzip" if small else "none"
    async with tcp_server(server.talk) as port:
        assert await export(port, 3, compression=compression) == [Exported()] * 3
    assert [gzip.decompress(body) if small else body for body in got] == [DATA] * 3


async def test_no_more_streams_than_the_server_allows() -> None:
    """h2's server ends the connection of a client that opens a third."""
    held: list[int] = []
    pairs = 0

    def on_request(server: Server, number: int, _headers: Any, _body: bytes) -> None:
        nonlocal pairs
        held.append(number)
        if number == 1 or len(held) == 2:
            pairs += len(held) == 2
            while held:
                server.answer(held.pop())

    server = Server(on_request, {SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    async with tcp_server(server.talk) as port:
        exporter = GrpcExporter(
            Backend(protocol="grpc", endpoint=f"127.0.0.1:{port}", max_connections=1)
        )
        await exporter.start()
        await exporter.export(Signal.LOGS, DATA)  # its settings are known from here on
        await asyncio.gather(*(exporter.export(Signal.LOGS, DATA) for _ in range(20)))
        await exporter.stop()
    assert (server.connections, pairs) == (1, 10)


async def test_a_server_that_goes_away_lets_running_calls_end() -> None:
    """GOAWAY names the last stream it serves; h2 alone would drop all of them."""
    waiting: list[int] = []

    def on_request(server: Server, number: int, _headers: Any, _body: bytes) -> None:
        waiting.append(number)
        if len(waiting) < 3:
            return
        if len(waiting) == 3:
            last = sorted(waiting)[1]
            server.flush()
            goaway = struct.pack(">II", last, ErrorCodes.NO_ERROR)
            server.writer.write(len(goaway).to_bytes(3, "big") + b"\x07\x00" + bytes(4) + goaway)
            for served in sorted(waiting)[:2]:
                server.answer(served)
        else:
            server.answer(number)

    server = Server(on_request)
    async with tcp_server(server.talk) as port:
        exporter = GrpcExporter(
            Backend(protocol="grpc", endpoint=f"127.0.0.1:{port}", max_connections=1)
        )
        await exporter.start()
        outcomes = await asyncio.gather(
            *(exporter.export(Signal.LOGS, DATA) for _ in range(3)), return_exceptions=True
        )
        assert outcomes[:2] == [Exported(), Exported()]
        assert isinstance(outcomes[2], BackendUnavailable)
        assert "goes away (NO_ERROR)" in str(outcomes[2])
        assert await exporter.export(Signal.LOGS, DATA) == Exported()
        assert server.connections == 2
        await exporter.stop()


@pytest.mark.parametrize(
    "code", [ErrorCodes.REFUSED_STREAM, ErrorCodes.INTERNAL_ERROR, ErrorCodes.ENHANCE_YOUR_CALM, 99]
)
async def test_a_reset_stream_is_unavailable_and_the_connection_lives(code: int) -> None:
    seen: list[int] = []

    def on_request(server: Server, number: int, _headers: Any, _body: bytes) -> None:
        seen.append(number)
        if len(seen) == 1:
            server.h2.reset_stream(number, code)
        else:
            server.answer(number)

    server = Server(on_request)
    async with tcp_server(server.talk) as port:
        first, *others = await export(port, 4)
        assert isinstance(first, BackendUnavailable)
        assert "reset the stream" in str(first)
        assert others == [Exported()] * 3
    assert server.connections == 1


def trailers_only(*fields: tuple[str, str], status: str = "200", body: bytes = b""):
    def on_request(server: Server, number: int, _headers: Any, _body: bytes) -> None:
        head = [(":status", status), ("content-type", "application/grpc"), *fields]
        server.h2.send_headers(number, head, end_stream=not body)
        if body:
            server.h2.send_data(number, body, end_stream=True)

    return on_request


def details(status: bytes) -> tuple[str, str]:
    return ("grpc-status-details-bin", base64.b64encode(status).decode().rstrip("="))


VERDICTS = {
    "trailers only": (
        trailers_only(("grpc-status", "3"), ("grpc-message", "bad%20id%3A %E2%9C%97")),
        (BackendRefused, "INVALID_ARGUMENT: bad id: ✗", None),
    ),
    "a hint": (
        trailers_only(("grpc-status", "14"), details(retry_status(14, "", 1.5))),
        (BackendUnavailable, "UNAVAILABLE: no reason given", 1.5),
    ),
    "a broken hint": (
        trailers_only(("grpc-status", "8"), ("grpc-status-details-bin", "=?=")),
        (BackendRefused, "RESOURCE_EXHAUSTED: no reason given", None),
    ),
    "an unknown code": (
        trailers_only(("grpc-status", "77")),
        (BackendRefused, "UNKNOWN: no reason given", None),
    ),
    "no grpc-status": (
        trailers_only(body=b"<html>"),
        (BackendUnavailable, "the answer has no grpc-status", None),
    ),
    "nonsense for a grpc-status": (
        trailers_only(("grpc-status", "fine")),
        (BackendUnavailable, "the answer has no grpc-status", None),
    ),
    "a proxy's 503": (
        trailers_only(status="503"),
        (BackendUnavailable, "UNAVAILABLE: HTTP 503", None),
    ),
    "a proxy's 401": (
        trailers_only(status="401"),
        (BackendRefused, "UNAUTHENTICATED: HTTP 401", None),
    ),
    "a proxy's 418": (trailers_only(status="418"), (BackendRefused, "UNKNOWN: HTTP 418", None)),
}


@pytest.mark.parametrize(("on_request", "expected"), VERDICTS.values(), ids=VERDICTS)
async def test_verdicts(on_request, expected) -> None:
    kind, message, wish_s = expected
    async with tcp_server(Server(on_request).talk) as port:
        (outcome,) = await export(port)
    assert type(outcome) is kind
    assert message in str(outcome)
    assert getattr(outcome, "retry_after_s", None) == wish_s


UNREADABLE = {
    "absent": lambda server, number: server.answer(number, None),
    "compressed": lambda server, number: server.answer(number, PARTIAL, flag=1),
    "too long": lambda server, number: server.answer(number, bytes(5 << 20)),
    "no message": lambda server, number: server.answer(number, b"\xff"),
}


@pytest.mark.parametrize("answer", UNREADABLE.values(), ids=UNREADABLE)
async def test_success_is_success_whatever_the_message(answer) -> None:
    def on_request(server: Server, number: int, _headers: Any, _body: bytes) -> None:
        answer(server, number)

    metrics = ExporterMetrics(CollectorRegistry()).of("b")
    async with tcp_server(Server(on_request).talk) as port:
        (outcome,) = await export(port, metrics=metrics)
    assert outcome == Exported()
    assert metrics.signals[Signal.LOGS].unreadable._value.get() == 1


async def test_a_cancelled_call_resets_its_stream() -> None:
    server = Server(lambda *_: None)
    async with tcp_server(server.talk) as port:
        exporter = GrpcExporter(
            Backend(protocol="grpc", endpoint=f"127.0.0.1:{port}", max_connections=1)
        )
        await exporter.start()
        call = asyncio.create_task(exporter.export(Signal.LOGS, DATA))
        await until(lambda: server.requests)
        call.cancel()
        await until(lambda: server.resets)
        with pytest.raises(asyncio.CancelledError):
            await call
        await exporter.stop()


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff\xff\xff\x04\x00\x00\x00\x00\x00",
        b"\x00\x00\x01\x07\x00\x00\x00\x00\x00\x00",
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x05\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff\xff",
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00",
    ],
    ids=["HTTP/1.1", "endless frame", "short GOAWAY", "headers nobody can read", "DATA on 0"],
)
async def test_nonsense_ends_the_connection_at_once(said: bytes) -> None:
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(24)
        writer.write(said)
        while await reader.read(1 << 16):
            pass
        ended.set()

    async with tcp_server(talk) as port:
        (outcome,) = await export(port)
        assert isinstance(outcome, BackendUnavailable)
        assert "no valid HTTP/2" in str(outcome)
        await asyncio.wait_for(ended.wait(), 10)


async def test_a_tls_server_without_http2_is_unavailable(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    tls = server_context(ServerTls(cert_file=pair.cert_file, key_file=pair.key_file))
    tls.set_alpn_protocols(["http/1.1"])

    async def say(_request: Any) -> Any:
        raise AssertionError

    async with HttpBackend(say).running(tls) as server:
        (outcome,) = await export(
            0,
            endpoint=f"https://127.0.0.1:{server.port}",
            tls=ClientTls(ca_file=authority.ca_file),
        )
    assert isinstance(outcome, BackendUnavailable)
    assert "speaks no HTTP/2" in str(outcome)

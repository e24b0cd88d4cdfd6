"""Both servers on free ports, and clients that say exactly what a test wants said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import aiohttp
import grpc
import pytest
import uvloop
from google.rpc import status_pb2
from prometheus_client import CollectorRegistry

from schemas.config import GrpcReceiver, HttpReceiver
from schemas.signals import Signal
from streams.edges.receivers import (
    Accepted,
    Acceptor,
    Admission,
    CollectingAcceptor,
    GrpcServer,
    HttpServer,
    ReceiverMetrics,
)

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the stages run on."""
    return {"uvloop": uvloop.new_event_loop}


class Script:
    """An acceptor that answers what a test has told it; raises it if it is an error."""

    def __init__(self) -> None:
        self.answer: Accepted | Exception = Accepted()
        self.received: list[tuple[Signal, bytes, Mapping[str, str]]] = []

    async def __call__(self, signal: Signal, data: bytes, headers: Mapping[str, str]) -> Accepted:
        self.received.append((signal, data, headers))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class Servers:
    grpc: GrpcServer
    http: HttpServer
    admission: Admission
    registry: CollectorRegistry
    session: aiohttp.ClientSession
    channel: grpc.aio.Channel

    async def post(
        self,
        path: str,
        data: bytes | AsyncIterator[bytes],
        content_type: str | None = PROTOBUF,
        **headers: str,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        skip = ["Content-Type"] if content_type is None else []
        if content_type is not None:
            named["Content-Type"] = content_type
        url = f"http://127.0.0.1:{self.http.port}{path}"
        async with self.session.post(
            url, data=data, headers=named, skip_auto_headers=skip
        ) as answer:
            return answer.status, await answer.read(), answer.headers

    async def export(
        self, signal: Signal, data: bytes, compression: grpc.Compression | None = None
    ) -> bytes:
        call = self.channel.unary_unary(signal.grpc_method)
        return bytes(await call(data, compression=compression, timeout=20))

    async def refused(
        self, signal: Signal, data: bytes, compression: grpc.Compression | None = None
    ) -> tuple[grpc.StatusCode, status_pb2.Status | None]:
        """The code of a gRPC refusal and its status details."""
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.export(signal, data, compression)
        details = dict(raised.value.trailing_metadata() or ()).get("grpc-status-details-bin")
        return (
            raised.value.code(),
            status_pb2.Status.FromString(details) if isinstance(details, bytes) else None,
        )

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


Start = Callable[..., Awaitable[Servers]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts both servers: ``await start(acceptor, max_request_bytes=..., http={...})``."""
    running: list[Servers] = []

    async def run(
        acceptor: Acceptor,
        *,
        max_request_bytes: int = 64 << 20,
        inflight_max_bytes: int = 256 << 20,
        http: Mapping[str, object] | None = None,
        grpc_: Mapping[str, object] | None = None,
    ) -> Servers:
        admission = Admission(inflight_max_bytes, retry_after_s=1.5)
        registry = CollectorRegistry()
        metrics = ReceiverMetrics(registry)
        grpc_server = GrpcServer(
            GrpcReceiver.model_validate(
                {"endpoint": "127.0.0.1:0", "late_after": 0.1, **(grpc_ or {})}
            ),
            acceptor,
            max_request_bytes=max_request_bytes,
            admission=admission,
            metrics=metrics,
        )
        http_server = HttpServer(
            HttpReceiver.model_validate(
                {"endpoint": "127.0.0.1:0", "late_after": 0.1, **(http or {})}
            ),
            acceptor,
            max_request_bytes=max_request_bytes,
            admission=admission,
            metrics=metrics,
        )
        await grpc_server.start()
        await http_server.start()
        servers = Servers(
            grpc_server,
            http_server,
            admission,
            registry,
            aiohttp.ClientSession(auto_decompress=False),
            grpc.aio.insecure_channel(
                f"127.0.0.1:{grpc_server.port}", [("grpc.max_send_message_length", -1)]
            ),
        )
        running.append(servers)
        return servers

    yield run
    for servers in running:
        await servers.session.close()
        await servers.channel.close()
        await servers.grpc.stop(0.5)
        await servers.http.stop(0.5)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def servers(start: Start, script: Script) -> Servers:
    """Both servers with defaults, in front of ``script``."""
    return await start(script)


@pytest.fixture
def collecting() -> CollectingAcceptor:
    return CollectingAcceptor()

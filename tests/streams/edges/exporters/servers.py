"""Backends over real sockets that answer as a test says."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import zstandard
from aiohttp import web
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

__all__ = ["GrpcBackend", "HttpBackend", "retry_status", "tcp_server", "until"]


async def until(condition: Callable[[], object], timeout_s: float = 10) -> None:
    """Return as soon as ``condition()`` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the condition lies in what is under test
            await asyncio.sleep(0.005)


def retry_status(code: int, message: str, delay_s: float | None = None) -> bytes:
    """A serialized Status, with RetryInfo when a delay is given."""
    status = Status(code=code, message=message)
    if delay_s is not None:
        info = RetryInfo(
            retry_delay=Duration(seconds=int(delay_s), nanos=round(delay_s % 1 * 1_000_000_000))
        )
        detail = AnyMessage()
        detail.Pack(info)
        status.details.append(detail)
    return status.SerializeToString()


@dataclass
class HttpBackend:
    """An aiohttp server; ``answer`` gets each request after its body has been read."""

    answer: Callable[[web.Request], Awaitable[web.Response]]
    requests: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    port: int = 0

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        encoding = request.headers.get("Content-Encoding")
        if encoding == "gzip":
            body = gzip.decompress(body)
        elif encoding == "zstd":
            body = zstandard.ZstdDecompressor().decompress(body)
        self.requests.append(request)
        self.bodies.append(body)
        return await self.answer(request)

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[HttpBackend]:
        """Listening on a free port."""
        app = web.Application(client_max_size=64 << 20, handler_args={"auto_decompress": False})
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=tls)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()


@dataclass
class GrpcBackend:
    """A grpc.aio server over raw bytes."""

    answer: Callable[[bytes, grpc.aio.ServicerContext[Any, Any]], Awaitable[bytes]]
    methods: list[str] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    peers: set[str] = field(default_factory=set)
    port: int = 0

    @asynccontextmanager
    async def running(
        self, credentials: grpc.ServerCredentials | None = None
    ) -> AsyncIterator[GrpcBackend]:
        """Listening on a free port."""
        backend = self

        class Handler(grpc.GenericRpcHandler):
            def service(self, details: Any) -> Any:
                async def call(data: bytes, context: Any) -> bytes:
                    backend.methods.append(details.method)
                    backend.metadata.append(dict(context.invocation_metadata()))
                    backend.bodies.append(data)
                    backend.peers.add(context.peer())
                    return await backend.answer(data, context)

                return grpc.unary_unary_rpc_method_handler(call)

        server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])
        server.add_generic_rpc_handlers((Handler(),))
        address = f"127.0.0.1:{self.port}"
        if credentials is None:
            self.port = server.add_insecure_port(address)
        else:
            self.port = server.add_secure_port(address, credentials)
        await server.start()
        try:
            yield self
        finally:
            await server.stop(0)


@asynccontextmanager
async def tcp_server(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A port on which ``talk`` may say anything; the connection is closed after it."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await server.wait_closed()

"""OTLP/gRPC: the Export methods of the three collector services, on raw bytes.

Source: OTLP specification, section OTLP/gRPC.

What is bounded, and by what:

- bodies read and inflated: the shared :class:`Admission`. A call is refused before its message
  is read when nothing is left of it; a call that is not read holds 64 KiB at most.
- one message: ``max_request_bytes``, compressed (by gRPC itself, while it arrives) and inflated
  (here). gRPC would inflate a whole message before it looks at the size, so its decompression
  is off and the handler gets the bytes as they came.
- calls at once: ``max_concurrent_requests``; further ones are told RESOURCE_EXHAUSTED, with a
  retry hint, unread.
- messages that are still arriving lie in gRPC's own buffers, and once a message is being read
  gRPC lets all of it come. Nobody can tell how much has come, so that one that is not whole
  after ``late_after`` holds ``max_request_bytes`` from the half of the admission that late
  bodies share (at most that half, where one message may be larger); without room there the call
  is refused, with a retry hint, and its buffers are given up (:class:`.arrival.Arrival`). Before
  that, what lies there is bounded only by what all clients can send within ``late_after``, at
  most ``max_concurrent_requests`` times ``max_request_bytes``.
- outside of the admission: 64 KiB a call of what comes after its message, which nobody reads;
  for a moment, while gRPC makes bytes of its slices, a second copy of the message; health
  checks, which are read by the same rule and hold nothing until they are late.

A call with a ``grpc-encoding`` that gRPC has no name for (zstd, snappy) is refused by gRPC itself
before any handler, with INTERNAL; both INTERNAL and UNIMPLEMENTED mean "do not retry".
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, NoReturn

import grpc

from schemas.config import GrpcReceiver
from schemas.config.ingest import split_endpoint
from schemas.errors import (
    ConfigurationError,
    MalformedMessage,
    OtlpStreamsError,
    Overloaded,
)
from schemas.signals import Signal
from streams.edges.security import grpc_server_credentials

from .acceptor import Accepted, Acceptor
from .admission import Admission, Reservation
from .answers import Refusal, refusal_of, success
from .arrival import Arrival
from .health import CHECK, health_answer
from .inflate import grpc_encoding, inflate
from .metrics import ReceiverMetrics

__all__ = ["GrpcServer"]

_TRANSPORT = "grpc"
_UNREAD_BYTES = 64 << 10
"""What a client may send before its call is read: reserved then, the rest once it has come."""

_HANDSHAKE_MS = 20_000
_KEEPALIVE_MS = 60_000
_KEEPALIVE_TIMEOUT_MS = 20_000
_PING_INTERVAL_MIN_MS = 10_000

_log = logging.getLogger(__name__)

_Context = grpc.aio.ServicerContext[bytes, bytes]
_Method = Callable[[Any, _Context], Awaitable[bytes]]


class GrpcServer:
    """An OTLP/gRPC server.

    Args:
        settings: address, TLS, limits.
        acceptor: takes each request, see :data:`Acceptor`.
        max_request_bytes: largest message, before and after decompression.
        admission: the bound shared with the other server.
        metrics: where requests are counted.
        reuse_port: let other processes listen on the same port (SO_REUSEPORT).
        ready: what health checks (grpc.health.v1) are told; by default whether there is room.
    """

    def __init__(
        self,
        settings: GrpcReceiver,
        acceptor: Acceptor,
        *,
        max_request_bytes: int,
        admission: Admission,
        metrics: ReceiverMetrics,
        reuse_port: bool = False,
        ready: Callable[[], bool] | None = None,
    ) -> None:
        self._settings = settings
        self._acceptor = acceptor
        self._max_request_bytes = max_request_bytes
        self._admission = admission
        self._metrics = metrics
        self._reuse_port = reuse_port
        self._ready = ready or (lambda: admission.healthy)
        self._server: grpc.aio.Server | None = None
        self._port = 0
        self._calls = 0

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        return self._port

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address or the TLS files cannot be used.
        """
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._max_request_bytes),
                ("grpc.per_message_decompression", 0),
                ("grpc.so_reuseport", int(self._reuse_port)),
                # A call that nobody reads may not fill a window of megabytes; one that is read
                # opens it for the whole message, so this costs large messages a round trip.
                ("grpc.http2.lookahead_bytes", _UNREAD_BYTES),
                ("grpc.http2.bdp_probe", 0),
                # Half-open connections: no handshake, or no answer to our ping, and they are cut.
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
                ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
                # Clients may keep idle connections alive without being told to calm down.
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", _PING_INTERVAL_MIN_MS),
            ]
        )
        methods = {signal.grpc_method: self._method(signal) for signal in Signal}
        server.add_generic_rpc_handlers((_Methods({**methods, CHECK: self._check}),))
        host, port = split_endpoint(self._settings.endpoint)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._settings.tls is None:
                self._port = server.add_insecure_port(address)
            else:
                credentials = grpc_server_credentials(self._settings.tls)
                self._port = server.add_secure_port(address, credentials)
        except RuntimeError:
            raise ConfigurationError(
                f"ingest.grpc.endpoint: cannot listen on {self._settings.endpoint}"
            ) from None
        await server.start()
        self._server = server
        self._metrics.watch(self._admission)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls; those under way have ``grace_s`` to finish."""
        if self._server is not None:
            await self._server.stop(grace_s)
            self._server = None

    def _method(self, signal: Signal) -> _Method:
        async def export(_: Any, context: _Context) -> bytes:
            return await self._export(signal, context)

        return export

    async def _check(self, _: Any, context: _Context) -> bytes:
        try:
            with self._admission.reservation() as reservation:
                request = await self._read(context, reservation)
        except OtlpStreamsError as error:
            await _abort(context, refusal_of(error))
        answer = health_answer(request if isinstance(request, bytes) else b"", self._ready)
        if isinstance(answer, grpc.StatusCode):
            await context.abort(answer, "no such service")
        return answer

    async def _export(self, signal: Signal, context: _Context) -> bytes:
        started = perf_counter()
        code = grpc.StatusCode.CANCELLED
        self._calls += 1
        try:
            with self._admission.reservation() as reservation:
                try:
                    accepted = await self._serve(signal, context, reservation)
                    answer = success(signal, accepted)
                    code = grpc.StatusCode.OK
                except Exception as error:
                    # One bad request must never end the server: whatever it is, it is answered.
                    refusal = self._refusal(error, signal)
                    code = refusal.grpc
                    self._metrics.refusal(signal, _TRANSPORT, refusal.reason)
                    await _abort(context, refusal)
                return answer
        finally:
            self._calls -= 1
            self._metrics.answered(signal, _TRANSPORT, code.name, perf_counter() - started)

    async def _serve(self, signal: Signal, context: _Context, reservation: Reservation) -> Accepted:
        """From an unread call to the acceptor's word.

        1. refuse unread if there are too many calls or no room
        2. read the message, as it came
        3. reserve its room; inflate
        4. hand it on
        """
        if self._calls > self._settings.max_concurrent_requests:
            raise Overloaded(
                "ingest.grpc.max_concurrent_requests is reached", self._admission.retry_after_s
            )
        reservation.grow(_UNREAD_BYTES)
        data = await self._read(context, reservation)
        if not isinstance(data, bytes):
            raise MalformedMessage("the call carries no message")
        reservation.shrink(reservation.size_bytes)
        reservation.grow(len(data))
        body = await self._inflate(data, reservation)
        self._metrics.received(signal, _TRANSPORT, len(data), len(body))
        accepted = await self._acceptor(signal, body, _headers(context))
        if accepted.rejected:
            self._metrics.rejected(signal, _TRANSPORT, accepted.rejected)
        return accepted

    async def _read(self, context: _Context, reservation: Reservation) -> object:
        async with Arrival(
            reservation,
            grace_s=self._settings.late_after,
            timeout_s=self._settings.request_timeout,
            limit="ingest.grpc.request_timeout",
            late_bytes=self._max_request_bytes,
        ):
            return await context.read()

    async def _inflate(self, data: bytes, reservation: Reservation) -> bytes:
        encoding = grpc_encoding(data)
        before_bytes = reservation.size_bytes
        try:
            return await inflate(
                data, encoding, max_bytes=self._max_request_bytes, reservation=reservation
            )
        except MalformedMessage:
            if encoding != "deflate":
                raise
            # Looked like zlib and was not: an uncompressed message that begins oddly.
            reservation.shrink(reservation.size_bytes - before_bytes)
            return data

    def _refusal(self, error: Exception, signal: Signal) -> Refusal:
        if not isinstance(error, OtlpStreamsError):
            _log.error("a %s request failed", signal.value, exc_info=error)
        return refusal_of(error)


class _Methods(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # not subscriptable at run time
    """Our methods by path.

    Streaming on the request's side only so that a call can be refused before gRPC reads its
    message.
    """

    def __init__(self, methods: Mapping[str, _Method]) -> None:
        self._handlers = {
            path: grpc.stream_unary_rpc_method_handler(method) for path, method in methods.items()
        }

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._handlers.get(details.method)


async def _abort(context: _Context, refusal: Refusal) -> NoReturn:
    await context.abort(
        refusal.grpc,
        refusal.message,
        (("grpc-status-details-bin", refusal.status().SerializeToString()),),
    )


def _headers(context: _Context) -> dict[str, str]:
    """Metadata that is text; names are lower-case in HTTP/2."""
    return {
        name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)
    }

"""OTLP/HTTP: protobuf and JSON on one port.

Source: OTLP specification, section OTLP/HTTP.

A body is bounded while it is read: a Content-Length above ``max_request_bytes``, or for which
the shared :class:`Admission` has no room now, is refused unread; room is reserved as the body
arrives, ``_AHEAD_BYTES`` ahead. One that is not whole after ``late_after`` is late, and late
bodies hold half of the admission at most (:class:`.arrival.Arrival`). Transcoding JSON takes
some ten times its size, which is reserved too: with the default ``inflight_max`` about 20 MiB of
JSON is the most. Outside of the admission: what aiohttp itself buffers per connection, bounded
by its flow control (twice ``_READ_BYTES``), and for a moment the join of a body's pieces.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from time import perf_counter

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from schemas.config import HttpReceiver
from schemas.config.ingest import split_endpoint
from schemas.errors import (
    ConfigurationError,
    MalformedMessage,
    MessageTooLarge,
    OtlpStreamsError,
    UnsupportedEncoding,
)
from schemas.signals import Signal
from streams.edges.security import server_context
from streams.wire import json as otlp_json

from .acceptor import Acceptor
from .admission import Admission, Reservation
from .answers import ConnectionReset, Refusal, failure, refusal_of, success
from .arrival import Arrival
from .connection import Connections
from .cors import CorsPolicy
from .inflate import inflate
from .metrics import ReceiverMetrics

__all__ = ["HttpServer"]

_TRANSPORT = "http"
_PROTOBUF = "application/x-protobuf"
_JSON = "application/json"
_ROUTES = {signal.http_path: signal for signal in Signal}
_SERVER = {"Server": "otlp-streams"}
_READ_BYTES = 256 << 10
_AHEAD_BYTES = 64 << 10
"""Reserved beyond what of a body has come."""
_BACKLOG = 1024
_INLINE_JSON_BYTES = 64 << 10
"""Larger JSON bodies are transcoded on a thread, so that the loop stays responsive."""
_LINGER_S = 2.0
"""A refused client may go on sending for so long, so that it gets to read the answer."""

_log = logging.getLogger(__name__)


class _NotServed(OtlpStreamsError):
    """A request for something that is not here."""

    def __init__(self, http: HTTPStatus, message: str, headers: dict[str, str]) -> None:
        super().__init__(message)
        self.http = http
        self.headers = headers


class HttpServer:
    """An OTLP/HTTP server.

    Args:
        settings: address, TLS, CORS, timeouts.
        acceptor: takes each request, see :data:`Acceptor`.
        max_request_bytes: largest body, before and after decompression.
        admission: the bound shared with the other server.
        metrics: where requests are counted.
        reuse_port: let other processes listen on the same port (SO_REUSEPORT).
    """

    def __init__(
        self,
        settings: HttpReceiver,
        acceptor: Acceptor,
        *,
        max_request_bytes: int,
        admission: Admission,
        metrics: ReceiverMetrics,
        reuse_port: bool = False,
    ) -> None:
        self._settings = settings
        self._acceptor = acceptor
        self._max_request_bytes = max_request_bytes
        self._admission = admission
        self._metrics = metrics
        self._reuse_port = reuse_port
        self._cors = CorsPolicy(settings.cors)
        self._connections: Connections | None = None
        self._runner: web.ServerRunner | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        return self._port

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address or the TLS files cannot be used.
        """
        tls = server_context(self._settings.tls) if self._settings.tls else None
        connections = Connections(
            self._handle,
            self._garbage,
            first_request_timeout_s=self._settings.request_timeout,
            keepalive_timeout=self._settings.idle_timeout,
            lingering_time=_LINGER_S,
            read_bufsize=_READ_BYTES,
            auto_decompress=False,
            # A client that has gone holds no room; gRPC does the same.
            handler_cancellation=True,
            access_log=None,
        )
        # Stopping has waited for requests already when the runner cleans up, see stop().
        runner = web.ServerRunner(connections, shutdown_timeout=0.0)
        await runner.setup()
        host, port = split_endpoint(self._settings.endpoint)
        site = web.TCPSite(
            runner, host, port, ssl_context=tls, backlog=_BACKLOG, reuse_port=self._reuse_port
        )
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigurationError(
                f"ingest.http.endpoint: cannot listen on {self._settings.endpoint}: "
                f"{error.strerror}"
            ) from None
        self._connections = connections
        self._runner = runner
        self._port = runner.addresses[0][1]
        self._metrics.watch(self._admission)

    async def stop(self, grace_s: float) -> None:
        """Take no more connections; requests under way have ``grace_s`` to finish."""
        if self._runner is None or self._connections is None:
            return
        for site in self._runner.sites:
            await site.stop()
        self._connections.pre_shutdown()
        await self._connections.shutdown(grace_s)
        await self._runner.cleanup()
        self._runner = self._connections = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        started = perf_counter()
        content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        json = content_type == _JSON
        signal = _ROUTES.get(request.path)
        status: HTTPStatus | None = None  # stays so if the client goes away meanwhile
        headers = {**_SERVER, **self._cors.headers(request.headers)}
        try:
            if request.method == "OPTIONS" and signal and self._is_preflight(request):
                status = HTTPStatus.NO_CONTENT
                return web.Response(
                    status=status, headers=headers | self._cors.preflight(request.headers)
                )
            with self._admission.reservation() as reservation:
                try:
                    body = await self._serve(request, signal, content_type, reservation)
                    status = HTTPStatus.OK
                except ConnectionReset:
                    status = HTTPStatus.BAD_GATEWAY
                    if request.transport is not None:
                        request.transport.abort()
                    return web.Response(status=status)
                except Exception as error:
                    # One bad request must never end the server: whatever it is, it is answered.
                    refusal = self._refusal(error, signal)
                    status = refusal.http
                    if isinstance(error, _NotServed):
                        headers |= error.headers
                    if refusal.retry_after_s is not None:
                        headers["Retry-After"] = refusal.retry_after_header
                    body = failure(refusal, json=json)
            answer = web.Response(
                status=status, body=body, headers=headers, content_type=_JSON if json else _PROTOBUF
            )
            if status is HTTPStatus.REQUEST_TIMEOUT:
                answer.force_close()
            return answer
        finally:
            code = str(status.value) if status else "cancelled"
            self._metrics.answered(signal, _TRANSPORT, code, perf_counter() - started)

    def _garbage(self, message: str) -> web.Response:
        """The answer to what aiohttp cannot parse; its content type is not known."""
        refusal = self._refusal(MalformedMessage(f"not HTTP: {message}"), None)
        self._metrics.answered(None, _TRANSPORT, str(refusal.http.value), 0.0)
        return web.Response(
            status=refusal.http,
            body=failure(refusal, json=True),
            headers=_SERVER,
            content_type=_JSON,
        )

    async def _serve(
        self,
        request: web.BaseRequest,
        signal: Signal | None,
        content_type: str,
        reservation: Reservation,
    ) -> bytes:
        """From the headers to the answer's body.

        1. route: path, method, content type
        2. read the body, room reserved before
        3. inflate, room reserved before
        4. transcode JSON
        5. hand it on
        """
        if signal is None:
            known = ", ".join(_ROUTES)
            raise _NotServed(HTTPStatus.NOT_FOUND, f"no such path; served: {known}", {})
        if request.method != "POST":
            allow = "POST, OPTIONS" if self._cors.enabled else "POST"
            message = f"method {request.method} is not served; use POST"
            raise _NotServed(HTTPStatus.METHOD_NOT_ALLOWED, message, {"Allow": allow})
        if content_type not in (_PROTOBUF, _JSON):
            raise UnsupportedEncoding(
                f"Content-Type {content_type!r} is not supported; supported: {_PROTOBUF}, {_JSON}"
            )
        encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
        data = await self._read(request, reservation)
        body = await inflate(
            data,
            {"": "identity", "x-gzip": "gzip"}.get(encoding, encoding),
            max_bytes=self._max_request_bytes,
            reservation=reservation,
        )
        self._metrics.received(signal, _TRANSPORT, len(data), len(body))
        if content_type == _JSON:
            body = await self._transcode(signal, body, reservation)
        headers = {name.lower(): value for name, value in request.headers.items()}
        accepted = await self._acceptor(signal, body, headers)
        if accepted.rejected:
            self._metrics.rejected(signal, _TRANSPORT, accepted.rejected)
        return success(signal, accepted, json=content_type == _JSON)

    async def _read(self, request: web.BaseRequest, reservation: Reservation) -> bytes:
        length = request.content_length
        if length is not None:
            self._check_size(length)
            reservation.check(length)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        chunks: list[bytes] = []
        size = 0
        most = self._max_request_bytes if length is None else length
        try:
            if request.content.is_eof():  # all of it came with the headers: no timeout to set
                data = request.content.read_nowait()
                self._check_size(len(data))
                reservation.grow(len(data))
                return data
            reservation.grow(min(most, _AHEAD_BYTES))
            async with Arrival(
                reservation,
                grace_s=self._settings.late_after,
                timeout_s=self._settings.request_timeout,
                limit="ingest.http.request_timeout",
            ):
                while chunk := await request.content.readany():
                    chunks.append(chunk)
                    size += len(chunk)
                    self._check_size(size)
                    wanted = min(most, size + _AHEAD_BYTES)
                    if wanted > reservation.size_bytes:
                        reservation.grow(wanted - reservation.size_bytes)
        except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
            raise MalformedMessage(f"the body broke off: {error}", size) from None
        reservation.shrink(reservation.size_bytes - size)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._max_request_bytes:
            raise MessageTooLarge(
                "request", size_bytes, "ingest.max_request", self._max_request_bytes
            )

    async def _transcode(self, signal: Signal, body: bytes, reservation: Reservation) -> bytes:
        working_bytes = otlp_json.working_bytes(body)
        reservation.grow(working_bytes)
        if len(body) <= _INLINE_JSON_BYTES:
            message = otlp_json.decode(signal, body)
        else:
            message = await asyncio.to_thread(otlp_json.decode, signal, body)
        reservation.shrink(working_bytes - min(len(message), working_bytes))
        return message

    def _is_preflight(self, request: web.BaseRequest) -> bool:
        asked = request.headers.get("Access-Control-Request-Method")
        return asked is not None and self._cors.allows(request.headers.get("Origin"))

    def _refusal(self, error: Exception, signal: Signal | None) -> Refusal:
        if isinstance(error, _NotServed):
            reason = error.http.phrase.lower().replace(" ", "_")
            refusal = refusal_of(UnsupportedEncoding(str(error)))
            refusal = refusal._replace(http=error.http, reason=reason)
        else:
            refusal = refusal_of(error)
            if not isinstance(error, OtlpStreamsError):
                _log.error("a request for %s failed", signal, exc_info=error)
        self._metrics.refusal(signal, _TRANSPORT, refusal.reason)
        return refusal

"""OTLP/gRPC over raw bytes: what lies on the bus is the request message, as it is.

Source: OTLP specification, section OTLP/gRPC; for answers without a gRPC status,
grpc/doc/http-grpc-status-mapping.md.
"""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

from schemas.config import Backend
from schemas.errors import BackendRefused, BackendUnavailable
from schemas.signals import Signal
from streams.edges.security import client_context

from .answers import (
    GRPC_CODES,
    RETRYABLE_GRPC,
    Exported,
    Masking,
    parse_status,
    parse_success,
    retry_info_s,
)
from .compression import Compressor
from .grpc_connection import Answer, GrpcConnection
from .identity import USER_AGENT
from .metrics import BackendMetrics

__all__ = ["GrpcExporter"]

_STALE_TIMEOUTS = 2
"""Requests in a row that a connection may lose to silence before it is made anew."""

_HTTP_CODES = {
    400: "INTERNAL", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "UNIMPLEMENTED",
    429: "UNAVAILABLE", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "UNAVAILABLE",
}  # fmt: skip


class _Link:
    """A place for one connection: made when first needed, made anew when it is gone."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self.inflight = 0
        self.timeouts = 0
        self._where = (host, port, tls)
        self._connection: GrpcConnection | None = None
        self._connecting = asyncio.Lock()
        self._closed = False

    async def connection(self) -> GrpcConnection:
        """A usable connection. Raises OSError."""
        async with self._connecting:
            if self._connection is None or not self._connection.usable:
                self._connection = await GrpcConnection.connect(*self._where)
                self.timeouts = 0
                if self._closed:
                    self._connection.close()
            return self._connection

    def silent(self) -> None:
        """Note a call that got no answer, and leave a connection that gives none any more.

        TCP would take a peer that vanished for alive for minutes.
        """
        self.timeouts += 1
        if self.timeouts >= _STALE_TIMEOUTS and self._connection is not None:
            self._connection.retire()  # its other calls may yet be answered

    def close(self) -> None:
        """Close for good; calls under way fail."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()


class GrpcExporter:
    """Sends to one backend over ``max_connections`` connections, each time the least loaded."""

    def __init__(self, backend: Backend, metrics: BackendMetrics | None = None) -> None:
        endpoint = backend.endpoint
        url = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
        self._where = (url.hostname or "", url.port or 0)
        self._tls: ssl.SSLContext | None = None
        if backend.tls.enabled or url.scheme == "https":
            self._tls = client_context(backend.tls)
            self._tls.set_alpn_protocols(["h2"])
        self._backend = backend
        self._metrics = metrics
        self._compressor = Compressor(backend.compression)
        self._masking = Masking(v.get_secret_value() for v in backend.headers.values())
        self._headers = {signal: self._headers_of(signal, url.netloc) for signal in Signal}
        self._links: list[_Link] = []

    async def start(self) -> None:
        """Make places for connections; connects nothing yet."""
        self._links = [_Link(*self._where, self._tls) for _ in range(self._backend.max_connections)]

    async def stop(self) -> None:
        """Close all connections; requests under way fail as BackendUnavailable."""
        links, self._links = self._links, []
        for link in links:
            link.close()

    async def export(self, signal: Signal, data: bytes) -> Exported:
        """One try. Raises BackendUnavailable or BackendRefused; the latter's code is gRPC's."""
        if not self._links:
            raise RuntimeError("export() before start()")
        # min() keeps the first of equals, so that light traffic stays on one connection.
        link = min(self._links, key=lambda link: link.inflight)
        link.inflight += 1
        try:
            message = await self._compressor.compress(data)
            del data  # not to be kept while the answer is waited for
            if self._metrics is not None:
                self._metrics.signals[signal].sent_bytes.inc(len(message))
            async with asyncio.timeout(self._backend.timeout):
                connection = await link.connection()
                answer = await connection.unary(
                    self._headers[signal],
                    message,
                    compressed=self._compressor.content_encoding is not None,
                )
        except TimeoutError:
            link.silent()
            raise BackendUnavailable(
                f"DEADLINE_EXCEEDED: no answer within {self._backend.timeout:g} s"
            ) from None
        except OSError as error:
            what = self._masking(error.strerror or str(error)) or type(error).__name__
            raise BackendUnavailable(f"UNAVAILABLE: {what}") from None
        finally:
            link.inflight -= 1
        link.timeouts = 0
        return self._verdict(signal, answer)

    def _verdict(self, signal: Signal, answer: Answer) -> Exported:
        if answer.status != 0:
            raise self._failure(answer)
        try:
            if answer.body is not None:
                exported = parse_success(signal, answer.body)
                return Exported(exported.rejected, self._masking(exported.message))
        except ValueError:
            pass
        # The backend has the data; sending again would only make it twice.
        if self._metrics is not None:
            self._metrics.signals[signal].unreadable.inc()
        return Exported()

    def _failure(self, answer: Answer) -> BackendRefused | BackendUnavailable:
        if answer.status is not None:
            code = GRPC_CODES.get(answer.status, "UNKNOWN")
            text = self._masking(answer.message) or "no reason given"
        elif answer.http_status == 200:
            # Half an answer, or a server of another kind. Neither has refused anything.
            return BackendUnavailable("UNAVAILABLE: the answer has no grpc-status")
        else:
            code = _HTTP_CODES.get(answer.http_status, "UNKNOWN")
            text = f"HTTP {answer.http_status} without a grpc-status"
        wish_s = retry_info_s(parse_status(answer.details)) if answer.details else None
        if code in RETRYABLE_GRPC or (code == "RESOURCE_EXHAUSTED" and wish_s is not None):
            return BackendUnavailable(f"{code}: {text}", wish_s)
        return BackendRefused(f"{code}: {text}", code)

    def _headers_of(self, signal: Signal, authority: str) -> list[tuple[bytes, bytes]]:
        encoding = self._compressor.content_encoding
        fields = [
            (":method", "POST"),
            (":scheme", "https" if self._tls is not None else "http"),
            (":path", signal.grpc_method),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            # A unit of its own: at most eight digits are allowed.
            ("grpc-timeout", f"{round(self._backend.timeout * 1000)}m"),
            *((("grpc-encoding", encoding),) if encoding is not None else ()),
            ("grpc-accept-encoding", "identity"),
            ("user-agent", USER_AGENT),
            *((n.lower(), v.get_secret_value()) for n, v in self._backend.headers.items()),
        ]
        return [(name.encode(), value.encode()) for name, value in fields]

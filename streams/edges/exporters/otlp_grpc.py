"""OTLP/gRPC over raw bytes: what lies on the bus is the request message, as it is.

Source: OTLP specification, section OTLP/gRPC.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

import grpc
import grpc.aio

from schemas.config import Backend
from schemas.errors import BackendRefused, BackendUnavailable
from schemas.signals import Signal
from streams.edges.security import grpc_channel_credentials

from .answers import (
    RETRYABLE_GRPC,
    Exported,
    Masking,
    parse_status,
    parse_success,
    retry_info_s,
)
from .identity import USER_AGENT
from .metrics import BackendMetrics

__all__ = ["GrpcExporter"]

_STALE_TIMEOUTS = 2
"""Requests in a row that a channel may lose to silence before its connection is made anew."""

_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.use_local_subchannel_pool", 1),  # else all channels would share one connection
    ("grpc.max_send_message_length", -1),  # what is too large is the backend's to say
    ("grpc.enable_retries", 0),  # one try is one try
    ("grpc.primary_user_agent", USER_AGENT),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5000),  # our own backoff decides when to ask
)


class _Link:
    """One channel, which is one connection, and how busy it is."""

    def __init__(self, channel: grpc.aio.Channel, compression: grpc.Compression) -> None:
        self.channel = channel
        self.inflight = 0
        self.timeouts = 0
        self.calls: dict[Signal, Callable[..., Any]] = {
            signal: channel.unary_unary(signal.grpc_method)  # type: ignore[call-arg]
            for signal in Signal
        }
        self.compression = compression


class GrpcExporter:
    """Sends to one backend over ``max_connections`` channels, each time the least loaded."""

    def __init__(self, backend: Backend, metrics: BackendMetrics | None = None) -> None:
        self._target, tls = _target(backend)
        self._credentials = grpc_channel_credentials(backend.tls) if tls else None
        self._backend = backend
        self._metrics = metrics
        self._gzip = backend.compression == "gzip"
        self._metadata = tuple(
            (name.lower(), value.get_secret_value()) for name, value in backend.headers.items()
        )
        self._masking = Masking(value for _, value in self._metadata)
        self._links: list[_Link] = []
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Make the channels; connects nothing yet."""
        self._links = [self._connect() for _ in range(self._backend.max_connections)]

    async def stop(self) -> None:
        """Close all connections; requests under way fail."""
        links, self._links = self._links, []
        await asyncio.gather(*(link.channel.close(None) for link in links))
        for closing in self._closing:
            closing.cancel()

    async def export(self, signal: Signal, data: bytes) -> Exported:
        """One try. Raises BackendUnavailable or BackendRefused; the latter's code is gRPC's."""
        if not self._links:
            raise RuntimeError("export() before start()")
        # min() keeps the first of equals, so that light traffic stays on one connection.
        link = min(self._links, key=lambda link: link.inflight)
        if self._metrics is not None and not self._gzip:
            self._metrics.signals[signal].sent_bytes.inc(len(data))
        link.inflight += 1
        try:
            answer = await link.calls[signal](
                data,
                timeout=self._backend.timeout,
                metadata=self._metadata,
                compression=link.compression,
            )
        except grpc.aio.AioRpcError as error:
            self._note_silence(link, error)
            raise self._failure(error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # gRPC says so when the channel was closed under a call: nobody cancelled us.
            raise BackendUnavailable("the connection was closed") from None
        finally:
            link.inflight -= 1
        link.timeouts = 0
        try:
            exported = parse_success(signal, answer)
        except ValueError:
            # The backend has the data; sending again would only make it twice.
            if self._metrics is not None:
                self._metrics.signals[signal].unreadable.inc()
            return Exported()
        return Exported(exported.rejected, self._masking(exported.message))

    def _connect(self) -> _Link:
        if self._credentials is None:
            channel = grpc.aio.insecure_channel(self._target, options=_OPTIONS)
        else:
            channel = grpc.aio.secure_channel(self._target, self._credentials, options=_OPTIONS)
        compression = grpc.Compression.Gzip if self._gzip else grpc.Compression.NoCompression
        return _Link(channel, compression)

    def _note_silence(self, link: _Link, error: grpc.aio.AioRpcError) -> None:
        """Leave a connection that has gone silent: TCP would take it for alive for minutes."""
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            link.timeouts = 0
            return
        link.timeouts += 1
        if link.timeouts >= _STALE_TIMEOUTS and link in self._links:
            self._links[self._links.index(link)] = self._connect()
            # Its other requests may yet be answered, but none later than the timeout.
            closing = asyncio.create_task(link.channel.close(grace=self._backend.timeout))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _failure(self, error: grpc.aio.AioRpcError) -> BackendRefused | BackendUnavailable:
        code = error.code().name
        message = f"{code}: {self._masking(error.details() or '') or 'no reason given'}"
        wish_s = None
        details = dict(cast("Iterable[tuple[str, Any]]", error.trailing_metadata() or ()))
        if "grpc-status-details-bin" in details:
            wish_s = retry_info_s(parse_status(details["grpc-status-details-bin"]))
        if code in RETRYABLE_GRPC or (code == "RESOURCE_EXHAUSTED" and wish_s is not None):
            return BackendUnavailable(message, wish_s)
        return BackendRefused(message, code)


def _target(backend: Backend) -> tuple[str, bool]:
    """The target in gRPC's words, and whether to speak TLS; an https endpoint enables it."""
    scheme, separator, rest = backend.endpoint.rpartition("://")
    return rest.rstrip("/"), backend.tls.enabled or (bool(separator) and scheme == "https")

"""HTTP connections that may not stay silent, and whose garbage is answered like other errors."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

__all__ = ["Connections"]

_KEEPALIVE_IDLE_S = 60
_KEEPALIVE_INTERVAL_S = 15
_KEEPALIVE_PROBES = 4

_log = logging.getLogger(__name__)


class Connections(web.Server):
    """The connections of one port.

    Args:
        handler: answers a request.
        garbage: the answer to what is no HTTP; gets what is wrong with it.
        first_request_timeout_s: connections that send no request by then are cut.
        handler_cancellation: end the handler when its client has gone.
        options: of aiohttp's connections.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        garbage: Callable[[str], web.Response],
        *,
        first_request_timeout_s: float,
        handler_cancellation: bool,
        **options: Any,
    ) -> None:
        super().__init__(handler, handler_cancellation=handler_cancellation)
        self._garbage = garbage
        self._first_request_timeout_s = first_request_timeout_s
        self._options = options

    def __call__(self) -> RequestHandler:
        """One connection's protocol."""
        loop = asyncio.get_running_loop()
        return _Connection(
            self, self._garbage, self._first_request_timeout_s, loop=loop, **self._options
        )


class _Connection(RequestHandler):
    __slots__ = ("_first_request_timeout_s", "_garbage", "_silence")

    def __init__(
        self,
        manager: web.Server,
        garbage: Callable[[str], web.Response],
        first_request_timeout_s: float,
        *,
        loop: asyncio.AbstractEventLoop,
        **options: Any,
    ) -> None:
        super().__init__(manager, loop=loop, **options)
        self._garbage = garbage
        self._first_request_timeout_s = first_request_timeout_s
        self._silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._silence = self._loop.call_later(self._first_request_timeout_s, self._cut)
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_KEEPIDLE"):
            # The peer of a half-open connection is found missing within two minutes.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        super().connection_lost(exc)

    def _cut(self) -> None:
        if self._request_count == 0:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What the parser refuses; aiohttp would name its version in plain text."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way already")
        # The first line says it; the others quote what was sent.
        answer = self._garbage((message or "").partition("\n")[0].strip() or "bad request")
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **options: Any) -> None:
        """What aiohttp reports here is what a client did (no HTTP, broken chunks): no error."""
        _log.debug(*args, **options)

"""The admin port: ``/livez``, ``/readyz``, ``/metrics``.

A supervisor that asked for a free port must learn which one it became: when the environment
names a file descriptor in ``OTLP_STREAMS_ADMIN_FD``, the address is written there as one line.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from schemas.config import split_endpoint
from schemas.errors import ConfigurationError

__all__ = ["ADMIN_FD", "AdminServer", "Reasons"]

ADMIN_FD = "OTLP_STREAMS_ADMIN_FD"

Reasons = Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]
"""What is not well, by part; empty when all is. May be asked at any time."""


def _nothing() -> Mapping[str, str]:
    return {}


class AdminServer:
    """Serves health and metrics on ``endpoint`` (host:port, port 0 for a free one).

    ``registry`` is a registry, or a function that yields one for each scrape. ``readiness``
    tells why the process should get no traffic now, ``liveness`` why it should be restarted;
    ``warnings`` what somebody should look at while it is ready: ``/readyz`` tells of it.
    ``pages`` adds JSON documents by path.
    """

    def __init__(
        self,
        endpoint: str,
        registry: CollectorRegistry | Callable[[], Awaitable[CollectorRegistry]],
        readiness: Reasons = _nothing,
        liveness: Reasons = _nothing,
        *,
        warnings: Reasons = _nothing,
        pages: Mapping[str, Callable[[], Awaitable[Any]]] | None = None,
    ) -> None:
        self._host, self._port = split_endpoint(endpoint)
        self._registry = registry
        app = web.Application()
        app.router.add_get("/livez", _health("alive", liveness))
        app.router.add_get("/readyz", _health("ready", readiness, warnings))
        app.router.add_get("/metrics", self._metrics)
        for path, page in (pages or {}).items():
            app.router.add_get(path, _document(page))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    @property
    def port(self) -> int:
        """The port that is really listened on; valid after :meth:`start`."""
        return self._port

    @property
    def endpoint(self) -> str:
        """``host:port`` as it can be connected to."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises ConfigurationError when the address cannot be had."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigurationError(
                f"telemetry.endpoint: cannot listen on {self.endpoint}: {error.strerror or error}"
            ) from None
        self._port = self._runner.addresses[0][1]
        _announce(self.endpoint)

    async def stop(self) -> None:
        """Close the port."""
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        registry = self._registry
        if not isinstance(registry, CollectorRegistry):
            registry = await registry()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})


def _announce(endpoint: str) -> None:
    # Popped: a process that this one starts must not write there again.
    descriptor = os.environ.pop(ADMIN_FD, "")
    if descriptor.isascii() and descriptor.isdigit():
        with contextlib.suppress(OSError), os.fdopen(int(descriptor), "w") as pipe:
            pipe.write(f"{endpoint}\n")


async def _asked(reasons: Reasons) -> Mapping[str, str]:
    found = reasons()
    return await found if isinstance(found, Awaitable) else found


def _health(
    word: str, reasons: Reasons, warnings: Reasons = _nothing
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        found = await _asked(reasons)
        body = {word: not found, "reasons": dict(found)}
        if more := await _asked(warnings):
            body["warnings"] = dict(more)
        return web.json_response(body, status=503 if found else 200)

    return answer


def _document(
    page: Callable[[], Awaitable[Any]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(await page())

    return answer

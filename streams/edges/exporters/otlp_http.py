"""OTLP/HTTP with protobuf bodies.

Source: OTLP specification, section OTLP/HTTP. What it leaves to HTTP is done as RFC 9110 says:
307 and 308 are followed with method and body; 301, 302 and 303, after which a client may turn
a POST into a GET, are refusals that name the new place.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from datetime import UTC, datetime

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from schemas.config import Backend
from schemas.errors import BackendRefused, BackendUnavailable
from schemas.signals import Signal
from streams.edges.security import client_context

from .answers import (
    RETRYABLE_HTTP,
    Exported,
    Masking,
    http_failure_message,
    parse_json_success,
    parse_retry_after,
    parse_status,
    parse_success,
    retry_info_s,
)
from .compression import Compressor
from .identity import USER_AGENT
from .metrics import BackendMetrics

__all__ = ["HttpExporter"]

_ANSWER_MAX_BYTES = 1 << 20
"""Longest answer that is read, after decompression; beyond it only the status counts."""

_REDIRECTS_MAX = 3
_KEEPALIVE_S = 30.0
_PROTOBUF = "application/x-protobuf"


class HttpExporter:
    """Sends to one backend over at most ``max_connections`` kept-alive connections."""

    def __init__(self, backend: Backend, metrics: BackendMetrics | None = None) -> None:
        base = URL(backend.endpoint.rstrip("/"))
        self._urls = {signal: URL(str(base) + signal.http_path) for signal in Signal}
        self._origin = base.origin()
        self._backend = backend
        self._metrics = metrics
        self._compressor = Compressor(backend.compression)
        self._masking = Masking(v.get_secret_value() for v in backend.headers.values())
        self._ssl: ssl.SSLContext | bool = True
        if self._origin.scheme == "https":
            self._ssl = client_context(backend.tls)
        own = {"Content-Type": _PROTOBUF, "Accept-Encoding": "gzip", "User-Agent": USER_AGENT}
        if self._compressor.content_encoding is not None:
            own["Content-Encoding"] = self._compressor.content_encoding
        self._bare_headers = CIMultiDict(own)
        self._headers = CIMultiDict(
            {name: value.get_secret_value() for name, value in backend.headers.items()}
        )
        self._headers.update(own)
        # Waiting for a connection must not eat a request's time, so requests wait here and
        # never in the pool; bodies are compressed after the wait and so few are in memory.
        self._slots = asyncio.Semaphore(backend.max_connections)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make the connection pool; connects nothing yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._backend.max_connections,
                keepalive_timeout=_KEEPALIVE_S,
                ssl=self._ssl,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._backend.timeout),
        )

    async def stop(self) -> None:
        """Close all connections; requests under way fail as BackendUnavailable."""
        if self._session is not None:
            await self._session.close()

    async def export(self, signal: Signal, data: bytes) -> Exported:
        """One try. Raises BackendUnavailable or BackendRefused; the latter's code is the status."""
        async with self._slots:
            body = await self._compressor.compress(data)
            del data  # not to be kept while the answer is waited for
            if self._metrics is not None:
                self._metrics.signals[signal].sent_bytes.inc(len(body))
            try:
                return await self._post(signal, body)
            except TimeoutError:
                raise BackendUnavailable(f"no answer within {self._backend.timeout:g} s") from None
            except (aiohttp.ClientError, OSError) as error:
                # No cause is kept: aiohttp's errors carry the request, headers and all.
                what = self._masking(str(error)) or "no further word"
                raise BackendUnavailable(f"{type(error).__name__}: {what}") from None

    async def _post(self, signal: Signal, body: bytes) -> Exported:
        if self._session is None:
            raise RuntimeError("export() before start()")
        url = self._urls[signal]
        for _ in range(_REDIRECTS_MAX + 1):
            # Another origin gets the telemetry that its predecessor vouches for, not our secrets.
            headers = self._headers if url.origin() == self._origin else self._bare_headers
            async with self._session.post(
                url,
                # aiohttp hands more than 1 MiB to the transport in pieces only from a file.
                data=body if len(body) <= 1 << 20 else io.BytesIO(body),
                headers=headers,
                allow_redirects=False,
            ) as answer:
                if answer.status not in (307, 308):
                    return await self._verdict(signal, answer)
                url = self._next(url, answer)
        raise BackendRefused(f"more than {_REDIRECTS_MAX} redirects", str(answer.status))

    def _next(self, url: URL, answer: aiohttp.ClientResponse) -> URL:
        """Where a 307 or 308 leads."""
        code = str(answer.status)
        try:
            to = url.join(URL(answer.headers["Location"]))
        except (KeyError, ValueError):
            raise BackendRefused(f"HTTP {code} without a usable Location", code) from None
        if to.scheme not in ("http", "https") or to.host is None:
            raise BackendRefused(f"HTTP {code} to something that is not HTTP", code)
        if url.scheme == "https" and to.scheme == "http":
            raise BackendRefused(f"HTTP {code} from https to http is not followed", code)
        return to

    async def _verdict(self, signal: Signal, answer: aiohttp.ClientResponse) -> Exported:
        body = await _read(answer)
        if 200 <= answer.status < 300:
            return self._success(signal, answer, body)
        code = str(answer.status)
        text = self._masking(http_failure_message(answer.content_type, body or b""))
        if 300 <= answer.status < 400:
            place = self._masking(answer.headers.get("Location", "").partition("?")[0])
            text = f"it has moved: {place}" if place else text
        message = f"HTTP {code}: {text or answer.reason or 'no reason given'}"
        if answer.status not in RETRYABLE_HTTP:
            raise BackendRefused(message, code)
        wish_s = parse_retry_after(answer.headers.get("Retry-After"), datetime.now(UTC))
        if wish_s is None and answer.content_type == _PROTOBUF:
            wish_s = retry_info_s(parse_status(body or b""))
        raise BackendUnavailable(message, wish_s)

    def _success(
        self, signal: Signal, answer: aiohttp.ClientResponse, body: bytes | None
    ) -> Exported:
        # The backend has the data, whatever it says next: an answer that cannot be read is
        # counted, never a reason to send again.
        if body == b"":
            return Exported()
        parse = parse_json_success if "json" in answer.content_type else parse_success
        try:
            exported = parse(signal, body) if body is not None else None
        except ValueError:
            exported = None
        if exported is None:
            if self._metrics is not None:
                self._metrics.signals[signal].unreadable.inc()
            return Exported()
        return Exported(exported.rejected, self._masking(exported.message))


async def _read(answer: aiohttp.ClientResponse) -> bytes | None:
    """The body; None, and the connection closed, when it exceeds _ANSWER_MAX_BYTES."""
    if answer.content_length == 0:
        return b""
    parts, size = [], 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > _ANSWER_MAX_BYTES:
            answer.close()
            return None
        parts.append(part)
    return b"".join(parts)

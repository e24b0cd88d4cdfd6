"""JSON to a target by POST, one try, and what the answer means.

Taken: 2xx. Again later, after ``Retry-After`` if it is there: 408, 429, any 5xx, and no answer.
Everything else is final. Sources: Alertmanager, API v2 (400 for what is wrong, 500 for what may
pass) and notify/util.go; Slack, Incoming webhooks, Handling errors; PagerDuty, Events API v2,
Response codes and retry logic. Redirects are not followed: they would take secrets elsewhere.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp

from schemas.config.notify import Target
from schemas.errors import BackendRefused, BackendUnavailable
from streams.edges.exporters.answers import Masking, http_failure_message, parse_retry_after
from streams.edges.exporters.identity import USER_AGENT
from streams.edges.security import client_context

__all__ = ["Poster", "secrets_of"]

_ANSWER_MAX_BYTES = 1 << 16
_AGAIN = frozenset((408, 429))


class Poster:
    """Posts to the URLs of one target.

    Args:
        target: its settings.
        urls: that :meth:`post` will be called with.
        headers: sent with each request; values are secrets.
        secrets: what else must not be shown.
    """

    def __init__(
        self,
        target: Target,
        urls: Iterable[str],
        headers: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        self._target = target
        self._headers = {
            **(headers or {}), "Content-Type": "application/json", "User-Agent": USER_AGENT,
        }  # fmt: skip
        self._masking = Masking([*(headers or {}).values(), *secrets])
        self._ssl: ssl.SSLContext | bool = True
        if any(url.startswith("https:") for url in urls):
            self._ssl = client_context(target.tls)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make the connection pool; connects nothing yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._target.timeout),
        )

    async def stop(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def post(self, url: str, content: Any) -> None:
        """Send ``content`` as JSON. Raises BackendUnavailable or BackendRefused."""
        if self._session is None:
            raise RuntimeError("post() before start()")
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "replace"
        )
        try:
            async with self._session.post(
                url, data=body, headers=self._headers, allow_redirects=False
            ) as answer:
                if not 200 <= answer.status < 300:
                    raise self._failure(answer, await answer.content.read(_ANSWER_MAX_BYTES))
        except TimeoutError:
            raise BackendUnavailable(f"no answer within {self._target.timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            # No cause is kept: aiohttp's errors carry the request, URL and all.
            what = self._masking(str(error)) or "no further word"
            raise BackendUnavailable(f"{type(error).__name__}: {what}") from None

    def _failure(self, answer: aiohttp.ClientResponse, body: bytes) -> Exception:
        text = http_failure_message(answer.content_type, body) or body.decode("utf-8", "replace")
        text = self._masking(text) or answer.reason or "no reason given"
        message = f"HTTP {answer.status}: {text}"
        if answer.status in _AGAIN or answer.status >= 500:
            wish_s = parse_retry_after(answer.headers.get("Retry-After"), datetime.now(UTC))
            return BackendUnavailable(message, wish_s)
        return BackendRefused(message, str(answer.status))


def secrets_of(url: str) -> list[str]:
    """What of a URL that is a secret must not be shown: Slack's is one from the host on."""
    parts = urlsplit(url)
    words = [*parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    return [url, parts.path, parts.path.strip("/"), parts.query, *words]

"""OAuth 2.0 client credentials grant (RFC 6749 section 4.4), renewed ahead of expiry.

A token is asked for once and shared until shortly before it expires. While the provider is
away, the token in hand is used for as long as it is good.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus
from weakref import WeakKeyDictionary

import aiohttp
import structlog

from schemas.errors import ConfigurationError, OtlpStreamsError, RetryableError

if TYPE_CHECKING:
    from schemas.config import OAuth

__all__ = ["ClientCredentials", "TokenUnavailable"]

_TIMEOUT_S = 10.0
_ANSWER_MAX_BYTES = 1 << 20

_log = structlog.get_logger(__name__)


class TokenUnavailable(RetryableError):
    """The token endpoint did not answer, or not with a token."""

    reason = "token_unavailable"


class ClientCredentials:
    """Access tokens of one client. May be used from several event loops.

    Args:
        oauth: endpoint, client and secret.
        clock: seconds that only grow.
    """

    def __init__(self, oauth: OAuth, clock: Callable[[], float] = time.monotonic) -> None:
        self._oauth = oauth
        self._clock = clock
        self._token = ""
        self._renew_at_s = 0.0
        self._expires_at_s = 0.0
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )

    async def token(self) -> str:
        """A token that is good now.

        Raises:
            ConfigurationError: the endpoint knows no such client, or refuses the grant.
            TokenUnavailable: no answer, or one that is no token.
        """
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self._clock() < self._renew_at_s:
                return self._token
            try:
                await self._renew()
            except OtlpStreamsError as error:
                if self._clock() >= self._expires_at_s:
                    raise
                _log.warning("OAuth token not renewed, the old one is still good", cause=str(error))
            return self._token

    async def _renew(self) -> None:
        asked_at_s = self._clock()
        answer = await self._ask()
        token, lifetime = answer.get("access_token"), answer.get("expires_in", 0)
        if not isinstance(token, str) or not token:
            raise TokenUnavailable(f"{self._where} answered without an access_token")
        if str(answer.get("token_type", "bearer")).lower() != "bearer":
            raise TokenUnavailable(f"{self._where} answered with a token that is no bearer token")
        try:
            lifetime_s = max(0.0, float(lifetime))  # some send it as text
        except (TypeError, ValueError):
            lifetime_s = 0.0  # unknown: good for this once
        margin_s = min(self._oauth.refresh_before_expiry, lifetime_s / 2)
        self._token = token
        self._expires_at_s = asked_at_s + lifetime_s
        self._renew_at_s = self._expires_at_s - margin_s

    async def _ask(self) -> dict[str, Any]:
        form = {"grant_type": "client_credentials"}
        if self._oauth.scope:
            form["scope"] = self._oauth.scope
        # Section 2.3.1: both are form-encoded before they become a user and a password.
        client = quote_plus(self._oauth.client_id)
        secret = quote_plus(self._oauth.client_secret.get_secret_value())
        login = base64.b64encode(f"{client}:{secret}".encode()).decode()
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    str(self._oauth.token_url),
                    data=form,
                    headers={"Accept": "application/json", "Authorization": f"Basic {login}"},
                    allow_redirects=False,  # the secret goes where the setting says, only
                ) as answer,
            ):
                body = await answer.content.read(_ANSWER_MAX_BYTES)
                while body and (more := await answer.content.read(_ANSWER_MAX_BYTES)):
                    body += more
                    if len(body) > _ANSWER_MAX_BYTES:
                        raise TokenUnavailable(f"{self._where} answered with too much")
                return self._read(answer.status, body)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TokenUnavailable(f"{self._where}: {type(error).__name__}") from None

    def _read(self, status: int, body: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            answer = {}
        if status == 200:
            return answer
        # Section 5.2: these errors are about the client, not about the moment.
        if status in (400, 401, 403) and isinstance(answer.get("error", ""), str):
            raise ConfigurationError(
                f"{self._where} refused client {self._oauth.client_id!r}: "
                f"{answer.get('error') or f'status {status}'}"
            )
        raise TokenUnavailable(f"{self._where} answered with status {status}")

    @property
    def _where(self) -> str:
        return f"OAuth token endpoint {self._oauth.token_url.host}:{self._oauth.token_url.port}"

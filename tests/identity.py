"""An OAuth 2.0 token endpoint on loopback (RFC 6749 section 4.4), as faulty as asked."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import web

__all__ = ["CLIENT", "SECRET", "Provider", "serve"]

CLIENT, SECRET = "pipeline", "s3cret+/"
_LOGIN = "Basic " + base64.b64encode(b"pipeline:s3cret%2B%2F").decode()


@dataclass
class Provider:
    """What it answers, and what it was asked."""

    url: str = ""
    lifetime_s: float = 3600
    status: int = 200
    body: object = None
    """Answer this instead of a token."""
    requests: list[dict[str, str]] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.requests.append(form)
        if self.body is not None or self.status != 200:
            return web.json_response(self.body, status=self.status)
        if request.headers["Authorization"] != _LOGIN:
            return web.json_response({"error": "invalid_client"}, status=401)
        token = _unsigned_token(CLIENT, self.lifetime_s, len(self.issued))
        self.issued.append(token)
        return web.json_response(
            {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime_s}
        )


@contextlib.asynccontextmanager
async def serve() -> AsyncIterator[Provider]:
    """A provider on a free port."""
    provider = Provider()
    app = web.Application()
    app.router.add_post("/token", provider.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
        yield provider
    finally:
        await runner.cleanup()


def _unsigned_token(subject: str, lifetime_s: float, number: int) -> str:
    """An unsecured JWS (RFC 7515 appendix A.5), which the local broker accepts."""
    now = time.time()
    claims = {"sub": subject, "iat": now, "exp": now + lifetime_s, "jti": str(number)}
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    encoded = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, ""])

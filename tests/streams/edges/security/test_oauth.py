"""The client credentials grant against a real token endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from schemas.config import OAuth
from schemas.errors import ConfigurationError
from streams.edges.security.oauth import ClientCredentials, TokenUnavailable
from tests.identity import CLIENT, SECRET, Provider, serve


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with serve() as provider:
        yield provider


def credentials(provider: Provider, clock: Clock | None = None, **more: Any) -> ClientCredentials:
    given = {"token_url": provider.url, "client_id": CLIENT, "client_secret": SECRET, **more}
    return ClientCredentials(OAuth.model_validate(given), clock or Clock())


async def test_one_token_for_many_callers(provider: Provider) -> None:
    ours = credentials(provider)
    tokens = await asyncio.gather(*(ours.token() for _ in range(20)))
    assert set(tokens) == set(provider.issued)
    assert len(provider.issued) == 1


async def test_renewed_ahead_of_expiry(provider: Provider) -> None:
    clock = Clock()
    ours = credentials(provider, clock, refresh_before_expiry="60s")
    first = await ours.token()
    clock.now_s += 3600 - 61
    assert await ours.token() == first
    clock.now_s += 2
    assert await ours.token() != first
    assert len(provider.issued) == 2


async def test_a_short_life_is_used_for_half_of_it(provider: Provider) -> None:
    provider.lifetime_s = 10
    clock = Clock()
    ours = credentials(provider, clock, refresh_before_expiry="60s")
    first = await ours.token()
    clock.now_s += 4.9
    assert await ours.token() == first
    clock.now_s += 0.2
    assert await ours.token() != first


async def test_without_a_lifetime_a_token_is_used_once(provider: Provider) -> None:
    provider.body = {"access_token": "opaque", "token_type": "bearer"}
    ours = credentials(provider)
    assert [await ours.token(), await ours.token()] == ["opaque", "opaque"]
    assert len(provider.requests) == 2


async def test_while_the_provider_is_away_the_old_token_serves(provider: Provider) -> None:
    clock = Clock()
    ours = credentials(provider, clock)
    first = await ours.token()
    provider.status = 503
    clock.now_s += 3590
    assert await ours.token() == first
    clock.now_s += 11
    with pytest.raises(TokenUnavailable, match="answered with status 503"):
        await ours.token()
    provider.status = 200
    assert await ours.token() == provider.issued[-1] != first


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (401, {"error": "invalid_client"}, ConfigurationError, "refused client 'pipeline'"),
        (400, {"error": "invalid_scope"}, ConfigurationError, "invalid_scope"),
        (403, "go away", ConfigurationError, "status 403"),
        (500, {}, TokenUnavailable, "status 500"),
        (302, {}, TokenUnavailable, "status 302"),
        (200, {"token_type": "bearer"}, TokenUnavailable, "without an access_token"),
        (200, ["token"], TokenUnavailable, "without an access_token"),
        (200, {"access_token": "t", "token_type": "mac"}, TokenUnavailable, "no bearer"),
        (200, {"access_token": "x" * (3 << 20)}, TokenUnavailable, "too much"),
    ],
)
async def test_answers_that_are_no_token(
    provider: Provider, status: int, body: object, error: type[Exception], message: str
) -> None:
    provider.status, provider.body = status, body
    with pytest.raises(error, match=message) as caught:
        await credentials(provider).token()
    assert SECRET not in repr(caught.value)


async def test_nobody_at_the_endpoint(unused_tcp_port: int) -> None:
    absent = Provider(url=f"http://127.0.0.1:{unused_tcp_port}/token")
    with pytest.raises(TokenUnavailable, match=rf"127.0.0.1:{unused_tcp_port}: Client"):
        await credentials(absent).token()


def test_from_several_event_loops(provider_in_thread: Provider) -> None:
    ours = credentials(provider_in_thread)

    async def ask() -> list[str]:
        return list(await asyncio.gather(ours.token(), ours.token()))

    assert asyncio.run(ask()) == asyncio.run(ask())
    assert len(provider_in_thread.issued) == 1


@pytest.fixture
def provider_in_thread() -> Any:
    import threading

    ready: list[Provider] = []
    started, end = threading.Event(), threading.Event()

    async def run() -> None:
        async with serve() as provider:
            ready.append(provider)
            started.set()
            await asyncio.to_thread(end.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert started.wait(10)
    yield ready[0]
    end.set()
    thread.join(10)

"""grpc.health.v1.Health/Check."""

from __future__ import annotations

import grpc
import pytest

from schemas.signals import Signal

from .conftest import Servers, Start

CHECK = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


def asking(service: str) -> bytes:
    return b"\x0a" + bytes([len(service)]) + service.encode()


async def test_serving(servers: Servers) -> None:
    check = servers.channel.unary_unary(CHECK)
    for request in (b"", b"\x0a\x00", *(asking(signal.grpc_service) for signal in Signal)):
        assert await check(request, timeout=5) == SERVING


async def test_not_serving_while_full(start: Start, script: object) -> None:
    servers = await start(script, inflight_max_bytes=100)  # type: ignore[arg-type]
    check = servers.channel.unary_unary(CHECK)
    with servers.admission.reservation() as held:
        held.grow(90)
        assert (await servers.post("/v1/traces", bytes(50)))[0] == 429
        assert await check(b"", timeout=5) == NOT_SERVING
    assert await check(b"", timeout=5) == SERVING


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (asking("nobody"), grpc.StatusCode.NOT_FOUND),
        (b"\x0a", grpc.StatusCode.INVALID_ARGUMENT),
        (b"\x0a\x05abc", grpc.StatusCode.INVALID_ARGUMENT),
        (b"\x08\x01", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_refused(servers: Servers, request_: bytes, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await servers.channel.unary_unary(CHECK)(request_, timeout=5)
    assert raised.value.code() is code

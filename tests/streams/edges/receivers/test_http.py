"""OTLP/HTTP beyond the specification's sentences: codings, CORS, TLS, headers, counters."""

from __future__ import annotations

import gzip
import ssl
import zlib
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import grpc
import pytest
import zstandard

from schemas.errors import Overloaded
from schemas.signals import Signal
from streams.edges.receivers import Accepted
from tests.certificates import Authority

from .conftest import JSON, PROTOBUF, Script, Servers, Start
from .requests import request_of

SHOP = "https://shop.example"


def zstd_without_size(data: bytes) -> bytes:
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(data) + stream.flush()


# ---- codings


@pytest.mark.parametrize("items", [3, 20_000])
async def test_content_codings(servers: Servers, script: Script, items: int) -> None:
    data = request_of(Signal.TRACES, items)
    bare = zlib.compressobj(wbits=-15)
    for coding, body in (
        ("gzip", gzip.compress(data)),
        ("GZIP", gzip.compress(data)),
        ("x-gzip", gzip.compress(data)),
        ("deflate", zlib.compress(data)),
        ("deflate", bare.compress(data) + bare.flush()),
        ("zstd", zstandard.compress(data)),
        ("zstd", zstd_without_size(data)),
        ("identity", data),
        ("", data),
    ):
        status, _, _ = await servers.post("/v1/traces", body, Content_Encoding=coding)
        assert status == 200
        assert script.received.pop()[1] == data
    assert servers.admission.inflight_bytes == 0


async def test_json_may_be_compressed(servers: Servers, script: Script) -> None:
    body = gzip.compress(b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"}]}]}]}')
    status, _, _ = await servers.post("/v1/traces", body, JSON, Content_Encoding="gzip")
    assert status == 200
    assert b"a" in script.received[0][1]


@pytest.mark.parametrize("coding", ["br", "compress", "gzip, gzip", "nonsense"])
async def test_other_codings(servers: Servers, coding: str) -> None:
    status, body, _ = await servers.post("/v1/traces", b"x", Content_Encoding=coding)
    assert status == 415
    assert b"gzip, deflate, zstd" in body


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
async def test_a_body_that_is_not_in_its_coding(servers: Servers, coding: str) -> None:
    status, _, _ = await servers.post("/v1/traces", b"\x07 no such thing", Content_Encoding=coding)
    assert status == 400


async def test_chunked_bodies(servers: Servers, script: Script) -> None:
    data = request_of(Signal.LOGS, 5_000, "x" * 100)

    async def chunks():  # type: ignore[no-untyped-def]
        for at in range(0, len(data), 7_001):
            yield data[at : at + 7_001]

    status, _, _ = await servers.post("/v1/logs", chunks())
    assert status == 200
    assert script.received[0][1] == data
    assert servers.admission.inflight_bytes == 0


# ---- what the acceptor gets and what is counted


async def test_headers_reach_the_acceptor_in_lower_case(servers: Servers, script: Script) -> None:
    await servers.post("/v1/traces", b"", X_Scope_OrgID="shop")
    assert script.received[0][2]["x-scope-orgid"] == "shop"
    call = servers.channel.unary_unary(Signal.TRACES.grpc_method)
    await call(b"", metadata=(("x-scope-orgid", "shop"), ("trace-bin", b"\x00\xff")))
    assert script.received[1][2]["x-scope-orgid"] == "shop"
    assert "trace-bin" not in script.received[1][2]


async def test_counters(servers: Servers, script: Script) -> None:
    data = request_of(Signal.METRICS, 1_000)
    body = gzip.compress(data)
    script.answer = Accepted(2, "two")
    await servers.post("/v1/metrics", body, Content_Encoding="gzip")
    await servers.export(Signal.METRICS, data, grpc.Compression.Gzip)
    script.answer = Overloaded("full")
    await servers.post("/v1/metrics", body, Content_Encoding="gzip")
    await servers.refused(Signal.METRICS, data)
    await servers.post("/nowhere", b"")
    ok = {"http": "200", "grpc": "OK"}
    full = {"http": "429", "grpc": "RESOURCE_EXHAUSTED"}
    prefix = "otlp_streams_receiver"
    for transport in ("http", "grpc"):
        labels = {"signal": "metrics", "transport": transport}
        assert servers.metric(f"{prefix}_requests_total", **labels, code=ok[transport]) == 1
        assert servers.metric(f"{prefix}_requests_total", **labels, code=full[transport]) == 1
        assert servers.metric(f"{prefix}_rejected_items_total", **labels) == 2
        assert servers.metric(f"{prefix}_inflated_bytes_total", **labels) == 2 * len(data)
        assert servers.metric(f"{prefix}_request_seconds_count", **labels) == 2
        assert (
            servers.metric(f"{prefix}_refused_requests_total", **labels, reason="overloaded") == 1
        )
    wire = servers.metric(f"{prefix}_wire_bytes_total", signal="metrics", transport="http")
    assert wire == 2 * len(body)
    assert servers.metric(f"{prefix}_requests_total", signal="", transport="http", code="404") == 1
    assert servers.metric(f"{prefix}_inflight_bytes") == 0


# ---- CORS


async def preflight(servers: Servers, origin: str) -> tuple[int, Mapping[str, str]]:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-shop",
    }
    url = f"http://127.0.0.1:{servers.http.port}/v1/traces"
    async with servers.session.options(url, headers=headers) as answer:
        return answer.status, answer.headers


async def test_cors_of_an_allowed_origin(start: Start, script: Script) -> None:
    cors = {"allowed_origins": [SHOP], "allowed_headers": ["X-Shop"], "max_age": "10m"}
    servers = await start(script, http={"cors": cors})
    status, headers = await preflight(servers, SHOP)
    assert status == 204
    assert headers["Access-Control-Allow-Origin"] == SHOP
    assert headers["Access-Control-Allow-Methods"] == "POST"
    allowed = headers["Access-Control-Allow-Headers"].split(", ")
    assert {"content-type", "content-encoding", "x-shop"} <= set(allowed)
    assert headers["Access-Control-Max-Age"] == "600"
    assert headers["Vary"] == "Origin"
    assert not script.received

    for answer, expected in ((Accepted(), 200), (Overloaded("full"), 429)):
        script.answer = answer
        status, _, headers = await servers.post("/v1/traces", b"", Origin=SHOP)
        assert status == expected
        assert headers["Access-Control-Allow-Origin"] == SHOP
        assert headers["Access-Control-Expose-Headers"] == "Retry-After"


async def test_cors_of_another_origin(start: Start, script: Script) -> None:
    servers = await start(script, http={"cors": {"allowed_origins": [SHOP]}})
    status, headers = await preflight(servers, "https://elsewhere.example")
    assert status == 405
    assert headers["Allow"] == "POST, OPTIONS"
    assert "Access-Control-Allow-Origin" not in headers
    _, _, headers = await servers.post("/v1/traces", b"", Origin="https://elsewhere.example")
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["Vary"] == "Origin"  # a cache must not show this answer to the shop


async def test_cors_of_any_origin(start: Start, script: Script) -> None:
    servers = await start(script, http={"cors": {"allowed_origins": ["*"]}})
    status, headers = await preflight(servers, SHOP)
    assert (status, headers["Access-Control-Allow-Origin"]) == (204, "*")
    _, _, headers = await servers.post("/v1/traces", b"", Origin=SHOP)
    assert headers["Access-Control-Allow-Origin"] == "*"


async def test_no_cors_unless_asked_for(servers: Servers) -> None:
    status, headers = await preflight(servers, SHOP)
    assert status == 405
    _, _, more = await servers.post("/v1/traces", b"", Origin=SHOP)
    assert not [name for name in (*headers, *more) if name.startswith("Access-Control")]


# ---- TLS


@pytest.mark.parametrize("mutual", [False, True])
async def test_tls(start: Start, script: Script, tmp_path: Path, mutual: bool) -> None:
    authority = Authority(tmp_path)
    server, client = authority.issue("server"), authority.issue("client")
    tls = {"cert_file": server.cert_file, "key_file": server.key_file}
    if mutual:
        tls["client_ca_file"] = authority.ca_file
    servers = await start(script, http={"tls": tls}, grpc_={"tls": tls})
    url = f"https://127.0.0.1:{servers.http.port}/v1/traces"
    anonymous = ssl.create_default_context(cafile=authority.ca_file)
    known = ssl.create_default_context(cafile=authority.ca_file)
    known.load_cert_chain(client.cert_file, client.key_file)
    ca = authority.ca_file.read_bytes()
    plain = grpc.ssl_channel_credentials(ca)
    named = grpc.ssl_channel_credentials(
        ca, client.key_file.read_bytes(), client.cert_file.read_bytes()
    )

    async def post(context: ssl.SSLContext) -> int:
        headers = {"Content-Type": PROTOBUF}
        async with servers.session.post(url, data=b"", ssl=context, headers=headers) as answer:
            return answer.status

    async def export(credentials: grpc.ChannelCredentials) -> bytes:
        address = f"127.0.0.1:{servers.grpc.port}"
        async with grpc.aio.secure_channel(address, credentials) as channel:
            return bytes(await channel.unary_unary(Signal.TRACES.grpc_method)(b"", timeout=10))

    assert await post(known) == 200
    assert await export(named) == b""
    if mutual:
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await post(anonymous)
        with pytest.raises(grpc.aio.AioRpcError):
            await export(plain)
    else:
        assert await post(anonymous) == 200
        assert await export(plain) == b""
    with pytest.raises(aiohttp.ClientError):
        await post(ssl.create_default_context())

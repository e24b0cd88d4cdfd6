"""OTLP/gRPC against real servers: every code, and none."""

from __future__ import annotations

import asyncio
import socket
from importlib.metadata import version
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from prometheus_client import CollectorRegistry

from schemas.config import Backend, ClientTls, ServerTls
from schemas.errors import BackendRefused, BackendUnavailable
from schemas.signals import Signal
from streams.edges.exporters import Exported, ExporterMetrics
from streams.edges.exporters.otlp_grpc import GrpcExporter
from streams.edges.security import grpc_server_credentials
from tests.certificates import Authority

from .servers import GrpcBackend, retry_status, tcp_server, until

DATA = b"\n\x06resource" * 40_000
RETRYABLE = {
    "CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS",
}  # fmt: skip
ALWAYS_FINAL = {
    code.name for code in grpc.StatusCode if code.name not in {"OK", "RESOURCE_EXHAUSTED"}
} - RETRYABLE


def answer(body=b""):
    async def say(_data, _context):
        return body

    return say


def fail(code: str, message: str = "no", status: bytes | None = None):
    async def say(_data, context):
        trailing = (("grpc-status-details-bin", status),) if status is not None else ()
        await context.abort(grpc.StatusCode[code], message, trailing)

    return say


async def export(port, signal=Signal.TRACES, data=DATA, metrics=None, **settings):
    """One try of a fresh exporter."""
    settings.setdefault("endpoint", f"127.0.0.1:{port}")
    exporter = GrpcExporter(Backend(protocol="grpc", max_connections=1, **settings), metrics)
    await exporter.start()
    try:
        return await exporter.export(signal, data)
    finally:
        await exporter.stop()


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("signal", list(Signal))
async def test_what_arrives_is_what_was_given(compression, signal) -> None:
    async with GrpcBackend(answer()).running() as server:
        exported = await export(
            server.port,
            signal,
            compression=compression,
            headers={"Authorization": "Bearer s3cret-token"},
        )
    assert exported == Exported()
    assert server.bodies == [DATA]
    assert server.methods == [signal.grpc_method]
    (metadata,) = server.metadata
    assert metadata["authorization"] == "Bearer s3cret-token"
    agent = f"OTel-OTLP-Exporter-otlp-streams/{version('otlp-streams')}"
    assert metadata["user-agent"].split()[0] == agent


@pytest.mark.parametrize("compression", ["none", "gzip"])
async def test_gzip_is_on_the_wire_when_asked_for(compression) -> None:
    """A relay between both counts the bytes."""
    counted = 0

    async with GrpcBackend(answer()).running() as server:

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", server.port)

            async def back() -> None:
                while part := await to_reader.read(1 << 16):
                    writer.write(part)

            task = asyncio.create_task(back())
            nonlocal counted
            while part := await reader.read(1 << 16):
                counted += len(part)
                to_writer.write(part)
            to_writer.close()
            await task

        async with tcp_server(relay) as port:
            await export(port, compression=compression)
    assert server.bodies == [DATA]
    assert (counted < len(DATA) / 10) == (compression == "gzip")


async def test_messages_beyond_the_default_limit_of_grpc_are_sent() -> None:
    data = b"\n\x06resource" * 1_000_000
    async with GrpcBackend(answer()).running() as server:
        await export(server.port, data=data)
    assert server.bodies == [data]


async def test_partial_success() -> None:
    body = ExportMetricsServiceResponse(
        partial_success={"rejected_data_points": 7, "error_message": "too\nold"}
    ).SerializeToString()
    async with GrpcBackend(answer(body)).running() as server:
        assert await export(server.port, Signal.METRICS) == Exported(7, "too old")


async def test_an_unreadable_answer_of_success_is_success_and_counted() -> None:
    metrics = ExporterMetrics(CollectorRegistry()).of("b")
    async with GrpcBackend(answer(b"\xff\xff")).running() as server:
        assert await export(server.port, metrics=metrics) == Exported()
    assert metrics.signals[Signal.TRACES].unreadable._value.get() == 1


@pytest.mark.parametrize("code", sorted(RETRYABLE))
async def test_retryable_codes(code) -> None:
    async with GrpcBackend(fail(code, "come back")).running() as server:
        with pytest.raises(BackendUnavailable, match=f"{code}: come back") as caught:
            await export(server.port)
    assert caught.value.retry_after_s is None
    assert len(server.bodies) == 1


@pytest.mark.parametrize("code", sorted(ALWAYS_FINAL))
async def test_all_other_codes_are_final_even_with_a_hint(code) -> None:
    status = retry_status(grpc.StatusCode[code].value[0], "no", 1)
    async with GrpcBackend(fail(code, status=status)).running() as server:
        with pytest.raises(BackendRefused, match=f"{code}: no") as caught:
            await export(server.port)
    assert caught.value.code == code
    assert len(server.bodies) == 1


async def test_exhaustion_is_retryable_with_a_hint_only() -> None:
    for status in (None, retry_status(8, "quota"), b"\xff"):
        async with GrpcBackend(fail("RESOURCE_EXHAUSTED", "quota", status)).running() as server:
            with pytest.raises(BackendRefused, match="RESOURCE_EXHAUSTED: quota"):
                await export(server.port)
    status = retry_status(8, "quota", 2.5)
    async with GrpcBackend(fail("RESOURCE_EXHAUSTED", "quota", status)).running() as server:
        with pytest.raises(BackendUnavailable) as caught:
            await export(server.port)
    assert caught.value.retry_after_s == 2.5


async def test_unavailable_with_a_hint() -> None:
    status = retry_status(14, "later", 12)
    async with GrpcBackend(fail("UNAVAILABLE", "later", status)).running() as server:
        with pytest.raises(BackendUnavailable) as caught:
            await export(server.port)
    assert caught.value.retry_after_s == 12


async def silent(_data, _context):
    await asyncio.sleep(3600)


async def test_silence_is_unavailable_after_the_timeout() -> None:
    async with GrpcBackend(silent).running() as server:
        with pytest.raises(BackendUnavailable, match="DEADLINE_EXCEEDED"):
            await export(server.port, timeout=0.2)


async def test_a_connection_that_stays_silent_is_made_anew() -> None:
    async with GrpcBackend(silent).running() as server:
        exporter = GrpcExporter(
            Backend(
                protocol="grpc",
                endpoint=f"127.0.0.1:{server.port}",
                max_connections=1,
                timeout=0.2,
            )
        )
        await exporter.start()
        for _ in range(2):
            with pytest.raises(BackendUnavailable):
                await exporter.export(Signal.TRACES, DATA)
        server.answer = answer()
        assert await exporter.export(Signal.TRACES, DATA) == Exported()
        assert len(server.peers) == 2
        await exporter.stop()


async def test_closing_under_a_request_makes_it_unavailable() -> None:
    async with GrpcBackend(silent).running() as server:
        exporter = GrpcExporter(Backend(protocol="grpc", endpoint=f"127.0.0.1:{server.port}"))
        await exporter.start()
        request = asyncio.create_task(exporter.export(Signal.TRACES, DATA))
        await until(lambda: server.bodies)
        await exporter.stop()
        with pytest.raises(BackendUnavailable, match="connection was closed"):
            await request


async def test_a_cancelled_request_is_cancelled() -> None:
    async with GrpcBackend(silent).running() as server:
        request = asyncio.create_task(export(server.port))
        await until(lambda: server.bodies)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request


async def test_nobody_there_is_unavailable() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(BackendUnavailable, match="UNAVAILABLE"):
            await export(bound.getsockname()[1], timeout=5)


PREFACE = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # an empty SETTINGS frame


@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", PREFACE, PREFACE + b"\x00\x00\x10\x01\x04\x00"],
    ids=["nothing", "HTTP/1.1", "preface", "half a header frame"],
)
async def test_half_answers_are_unavailable(said) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(24)
        writer.write(said)
        await writer.drain()
        await asyncio.sleep(0.05)

    async with tcp_server(talk) as port:
        with pytest.raises(BackendUnavailable):
            await export(port, timeout=1)


async def test_tls_and_mutual_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, client = authority.issue("server"), authority.issue("client")
    mutual = ServerTls(
        cert_file=pair.cert_file, key_file=pair.key_file, client_ca_file=authority.ca_file
    )
    known = ClientTls(
        ca_file=authority.ca_file, cert_file=client.cert_file, key_file=client.key_file
    )
    async with GrpcBackend(answer()).running(grpc_server_credentials(mutual)) as server:
        https = f"https://localhost:{server.port}"
        assert await export(0, endpoint=https, tls=known) == Exported()
        enabled = known.model_copy(update={"enabled": True})
        assert await export(server.port, tls=enabled) == Exported()
        for tls in (ClientTls(), ClientTls(ca_file=authority.ca_file)):
            with pytest.raises(BackendUnavailable):
                await export(0, endpoint=https, tls=tls, timeout=2)
        with pytest.raises(BackendUnavailable):
            await export(0, endpoint=f"http://localhost:{server.port}", timeout=2)
    assert server.bodies == [DATA, DATA]


async def test_an_echoed_secret_is_masked() -> None:
    async def echo(_data, context):
        token = dict(context.invocation_metadata())["authorization"]
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"bad token {token}")

    async with GrpcBackend(echo).running() as server:
        with pytest.raises(BackendRefused) as caught:
            await export(server.port, headers={"Authorization": "Bearer s3cret-token"})
    assert str(caught.value) == "UNAUTHENTICATED: bad token ***"


async def test_connections_are_used_by_load() -> None:
    release = asyncio.Event()

    async def wait(_data, _context):
        await release.wait()
        return b""

    async with GrpcBackend(answer()).running() as server:
        exporter = GrpcExporter(
            Backend(protocol="grpc", endpoint=f"127.0.0.1:{server.port}", max_connections=3)
        )
        await exporter.start()
        for _ in range(4):
            await exporter.export(Signal.TRACES, b"\n\x00")
        assert len(server.peers) == 1, "light traffic stays on one connection"
        server.answer = wait
        requests = [
            asyncio.create_task(exporter.export(Signal.TRACES, b"\n\x00")) for _ in range(9)
        ]
        await until(lambda: len(server.bodies) == 13)
        assert len(server.peers) == 3
        release.set()
        await asyncio.gather(*requests)
        await exporter.stop()

"""Memory under hostile and under large requests, measured in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
import grpc
import pytest
import zstandard
from google.rpc import status_pb2

from schemas.signals import Signal

from .conftest import JSON, PROTOBUF
from .http2 import bare_call
from .requests import request_of

MIB = 1 << 20
INFLATED_BYTES = 1024 * MIB
MAX_REQUEST_BYTES = 16 * MIB
AT_ONCE = 4
INFLIGHT_MAX_BYTES = 96 * MIB  # enough for as many to be found too large, not overloading


@dataclass
class Measured:
    process: subprocess.Popen[str]
    grpc_port: int
    http_port: int

    def peak_bytes(self) -> int:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def start(max_request_bytes: int, inflight_max_bytes: int) -> Iterator[Measured]:
    module = "tests.streams.edges.receivers.measured_server"
    with subprocess.Popen(
        [sys.executable, "-m", module, str(max_request_bytes), str(inflight_max_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        ports = process.stdout.readline().split()
        yield Measured(process, int(ports[0]), int(ports[1]))
        assert process.stdin
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.fixture(scope="module")
def small() -> Iterator[Measured]:
    """A server that takes 16 MiB at most, 96 MiB altogether."""
    yield from start(MAX_REQUEST_BYTES, INFLIGHT_MAX_BYTES)


@pytest.fixture
def slow() -> Iterator[Measured]:
    """The same, whose peak nobody else has raised."""
    yield from start(MAX_REQUEST_BYTES, INFLIGHT_MAX_BYTES)


@pytest.fixture
def large() -> Iterator[Measured]:
    """A server with the default limits."""
    yield from start(64 * MIB, 256 * MIB)


def zlib_bomb(window_bits: int) -> bytes:
    """One stream: after a full flush equal input has equal output, so that it can be repeated."""
    stream = zlib.compressobj(9, wbits=window_bits)
    head = stream.compress(bytes(MIB)) + stream.flush(zlib.Z_FULL_FLUSH)
    again = stream.compress(bytes(MIB)) + stream.flush(zlib.Z_FULL_FLUSH)
    return head + again * (INFLATED_BYTES // MIB - 1)


def zstd_bomb() -> bytes:
    stream = zstandard.ZstdCompressor().compressobj()
    zeros = bytes(MIB)
    return b"".join(stream.compress(zeros) for _ in range(INFLATED_BYTES // MIB)) + stream.flush()


def zstd_bomb_of_frames() -> bytes:
    return zstandard.compress(bytes(8 * MIB)) * (INFLATED_BYTES // (8 * MIB))


BOMBS = {
    "gzip": ("gzip", lambda: zlib_bomb(31)),
    "deflate": ("deflate", lambda: zlib_bomb(15)),
    "zstd": ("zstd", zstd_bomb),
    "zstd frames": ("zstd", zstd_bomb_of_frames),
    "zstd that says its size": ("zstd", lambda: zstandard.compress(bytes(INFLATED_BYTES // 8))),
}


@pytest.mark.parametrize("name", list(BOMBS))
async def test_http_zip_bomb(small: Measured, name: str) -> None:
    encoding, make = BOMBS[name]
    bomb = make()
    assert len(bomb) < INFLATED_BYTES / 500
    before = small.peak_bytes()
    headers = {"Content-Type": PROTOBUF, "Content-Encoding": encoding}
    async with aiohttp.ClientSession() as session:

        async def post() -> int:
            url = f"http://127.0.0.1:{small.http_port}/v1/traces"
            async with session.post(url, data=bomb, headers=headers) as answer:
                message = status_pb2.Status.FromString(await answer.read()).message
                assert "ingest.max_request" in message
                return answer.status

        answers = await asyncio.gather(*(post() for _ in range(AT_ONCE)))
    assert answers == [413] * AT_ONCE
    grown = small.peak_bytes() - before
    assert grown < 2 * INFLIGHT_MAX_BYTES, f"{grown / MIB:.0f} MiB for {INFLATED_BYTES / MIB:.0f}"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_grpc_zip_bomb(small: Measured, encoding: str) -> None:
    bomb = zlib_bomb(31 if encoding == "gzip" else 15)
    before = small.peak_bytes()
    answers = await asyncio.gather(
        *(
            bare_call(
                small.grpc_port, Signal.LOGS.grpc_method, bomb, encoding=encoding, compressed=True
            )
            for _ in range(AT_ONCE)
        )
    )
    for answer in answers:
        assert b"grpc-status\x018" in answer  # RESOURCE_EXHAUSTED
        assert b"ingest.max_request" in answer
    grown = small.peak_bytes() - before
    assert grown < 2 * INFLIGHT_MAX_BYTES, f"{grown / MIB:.0f} MiB for {INFLATED_BYTES / MIB:.0f}"


JSON_SHAPES = {
    "empty objects": b'{"resourceSpans":[' + b"{}," * 1_000_000 + b"{}]}",
    "unknown numbers": b'{"x":[' + b"1," * 2_000_000 + b"1]}",
    "unknown names": b"{" + b",".join(b'"%x":0' % number for number in range(400_000)) + b"}",
    "one character of four bytes": b'{"x":"' + "\U0001f525".encode() + b"x" * (14 * MIB) + b'"}',
}


@pytest.mark.parametrize("shape", list(JSON_SHAPES))
async def test_json_that_grows(small: Measured, shape: str) -> None:
    """Trees of small objects take much more than their text; that is reserved beforehand."""
    body = JSON_SHAPES[shape]
    before = small.peak_bytes()
    async with aiohttp.ClientSession() as session:

        async def post() -> int:
            url = f"http://127.0.0.1:{small.http_port}/v1/traces"
            async with session.post(url, data=body, headers={"Content-Type": JSON}) as answer:
                await answer.read()
                return answer.status

        answers = await asyncio.gather(*(post() for _ in range(AT_ONCE)))
    assert set(answers) <= {200, 413, 429}
    grown = small.peak_bytes() - before
    assert grown < 2 * INFLIGHT_MAX_BYTES, f"{grown / MIB:.0f} MiB"


async def test_one_request_of_60_mib(large: Measured) -> None:
    data = request_of(Signal.LOGS, 1, "x" * (60 * MIB))
    before = large.peak_bytes()
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{large.http_port}/v1/logs"
        for encoding, body in (("identity", data), ("gzip", zlib.compress(data, 1, 31))):
            headers = {"Content-Type": PROTOBUF, "Content-Encoding": encoding}
            async with session.post(url, data=body, headers=headers) as answer:
                assert answer.status == 200
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{large.grpc_port}", options) as channel:
        await channel.unary_unary(Signal.LOGS.grpc_method)(data, timeout=20)
    grown = large.peak_bytes() - before
    # The chunks and their join, for a moment; gRPC's slices and the bytes made of them.
    assert grown < 4 * 60 * MIB, f"{grown / MIB:.0f} MiB"


async def test_grpc_messages_whose_end_never_comes(slow: Measured) -> None:
    """gRPC opens the window for a whole message as soon as it is read."""
    message = bytes(MAX_REQUEST_BYTES - 200)
    before = slow.peak_bytes()
    waves: list[asyncio.Task[bytes]] = []
    target = f"127.0.0.1:{slow.grpc_port}"
    async with grpc.aio.insecure_channel(target, [("grpc.max_send_message_length", -1)]) as channel:
        fast = channel.unary_unary(Signal.LOGS.grpc_method)
        for wave in range(1, 4):
            waves += [
                asyncio.create_task(bare_call(slow.grpc_port, path, message, missing_bytes=100))
                for path in (*[Signal.LOGS.grpc_method] * 20, *["/grpc.health.v1.Health/Check"] * 5)
            ]
            await fast(request_of(Signal.LOGS), timeout=10)  # served meanwhile
            async with asyncio.timeout(20):
                # 96 MiB in all, 48 MiB for late ones: three of 16 MiB
                while sum(not call.done() for call in waves) > 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            refused = [call.result() for call in waves if call.done()]
            assert len(refused) == 25 * wave - 3
            for answer in refused:
                assert b"grpc-status\x018" in answer  # RESOURCE_EXHAUSTED
                assert b"slow to arrive" in answer
            await fast(request_of(Signal.LOGS, 1, "x" * 4 * MIB), timeout=10)
    grown = slow.peak_bytes() - before
    for call in waves:
        call.cancel()
    await asyncio.wait(waves)
    assert grown < 2 * INFLIGHT_MAX_BYTES, (
        f"{grown / MIB:.0f} MiB of {75 * MAX_REQUEST_BYTES / MIB}"
    )

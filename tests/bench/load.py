"""A client that sends a file of requests as fast as it is answered, and prints what it saw.

python -m tests.bench.load FILE grpc|http ENDPOINT CONCURRENCY
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import grpc
import grpc.aio
import uvloop

from schemas.signals import Signal

from .frames import read_frames

_CHANNELS = 4


async def _drive(
    requests: list[bytes], send: Callable[[bytes], Awaitable[bool]], width: int
) -> dict[str, float]:
    pending = iter(requests)
    latencies: list[float] = []
    refused = 0

    async def worker() -> None:
        nonlocal refused
        for request in pending:
            started = time.perf_counter()
            while not await send(request):
                refused += 1
                await asyncio.sleep(0.05)
            latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(width)))
    latencies.sort()
    return {
        "requests": len(latencies),
        "refused": refused,
        "wall_s": time.perf_counter() - started,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
    }


async def _main(path: str, protocol: str, endpoint: str, width: int) -> None:
    requests = read_frames(Path(path))
    if protocol == "grpc":
        channels = [
            grpc.aio.insecure_channel(
                endpoint,
                options=[
                    ("grpc.max_send_message_length", -1),
                    ("grpc.use_local_subchannel_pool", 1),
                ],
            )
            for _ in range(_CHANNELS)
        ]
        calls = [channel.unary_unary(Signal.TRACES.grpc_method) for channel in channels]
        turn = 0

        async def send_grpc(request: bytes) -> bool:
            nonlocal turn
            turn += 1
            try:
                await calls[turn % _CHANNELS](request, wait_for_ready=True)
            except grpc.aio.AioRpcError:
                return False
            return True

        result = await _drive(requests, send_grpc, width)
        for channel in channels:
            await channel.close()
    else:
        headers = {"Content-Type": "application/x-protobuf"}
        async with aiohttp.ClientSession() as session:

            async def send_http(request: bytes) -> bool:
                async with session.post(
                    f"http://{endpoint}{Signal.TRACES.http_path}", data=request, headers=headers
                ) as response:
                    await response.read()
                    return response.status == 200

            result = await _drive(requests, send_http, width)
    print(json.dumps(result))


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))

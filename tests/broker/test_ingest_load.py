"""Ingest under many requests and under a large one: all of it on the log, memory bounded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import grpc
import grpc.aio

from schemas.signals import Signal
from tests.conftest import MakeTopic
from topologies.localkafka import LocalKafka

from .stage_process import StageProcess
from .test_ingest import configuration, on_log
from .traffic import ids, request

TINY_GROWN_MAX_BYTES = 64 << 20
"""More than an idle process, after 10,000 tiny requests."""
LARGE_GROWN_MAX_BYTES = 5 * (60 << 20)
"""After one of 60 MiB: its pieces and their join, its messages, and Kafka's batches of them."""


async def test_ten_thousand_tiny_requests_and_a_huge_one(
    kafka: LocalKafka, make_topic: MakeTopic, tmp_path: Path
) -> None:
    spans_topic = make_topic(4)
    config = configuration(kafka.bootstrap, spans_topic)
    url = f"http://{config['ingest']['http']['endpoint']}{Signal.TRACES.http_path}"
    numbers = iter(range(1, 10_001))
    async with (
        StageProcess(tmp_path, "ingest", config) as ingest,
        aiohttp.ClientSession(headers={"Content-Type": "application/x-protobuf"}) as session,
        grpc.aio.insecure_channel(config["ingest"]["grpc"]["endpoint"]) as channel,
    ):
        export = channel.unary_unary(Signal.TRACES.grpc_method)

        async def post(body: bytes) -> None:
            async with session.post(url, data=body) as answer:
                assert answer.status == 200, await answer.read()

        async def client(send: Callable[[bytes], Awaitable[object]]) -> int:
            sent = 0
            for number in numbers:
                await send(request(number, spans=1))
                sent += 1
            return sent

        await ingest.ready()
        idle_bytes = ingest.peak_bytes
        over = await asyncio.gather(*(client(send) for send in (post, export) * 32))
        assert sum(over) == 10_000
        assert min(sum(over[::2]), sum(over[1::2])) > 1_000  # both ports
        grown_bytes = ingest.peak_bytes - idle_bytes
        assert grown_bytes < TINY_GROWN_MAX_BYTES, f"{grown_bytes / 2**20:.0f} MiB"

        huge = b"".join(request(n, spans=1, name="n" * 500_000) for n in range(20_001, 20_126))
        assert len(huge) > 59 << 20
        await post(huge)
        grown_bytes = ingest.peak_bytes - idle_bytes
        assert grown_bytes < LARGE_GROWN_MAX_BYTES, f"{grown_bytes / 2**20:.0f} MiB"

        await post(request(30_001, spans=1))  # alive
        await export(request(30_002, spans=1))
        assert await ingest.unready() == {}
        assert await ingest.stop() == 0, ingest.log()
    log = await on_log(kafka.bootstrap, spans_topic)
    seen = Counter(n for _, value, _ in log for n in ids(value))
    assert seen == Counter([*range(1, 10_001), *range(20_001, 20_126), 30_001, 30_002])

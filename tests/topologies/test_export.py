"""The export sink alone: merging, and what max_elapsed means for messages that were merged."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from schemas.batches import Batch
from schemas.config import Backend, Config, Export, Retry
from schemas.errors import BackendRefused, RetriesExhausted
from schemas.signals import Signal
from streams.edges.exporters import Delivery, ExporterMetrics
from tests.streams.edges.exporters.servers import HttpBackend
from topologies.export import ExportSink, stage


def batch(offset: int, value: bytes) -> Batch:
    return Batch("otlp_logs", 0, offset, 0, None, value, ())


@asynccontextmanager
async def sink(status: int, **retry: float) -> AsyncIterator[tuple[ExportSink, HttpBackend]]:
    """A sink on a backend that answers with ``status``."""

    async def say(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    async with HttpBackend(say).running() as server:
        delivery = Delivery(
            "b",
            Backend(
                endpoint=f"http://127.0.0.1:{server.port}",
                retry=Retry(initial=0.001, maximum=0.001, **retry),
            ),
            ExporterMetrics(CollectorRegistry()).of("b"),
        )
        await delivery.start()
        try:
            yield ExportSink(Signal.LOGS, delivery), server
        finally:
            await delivery.stop()


async def test_values_are_sent_one_after_the_other_in_one_request() -> None:
    async with sink(200) as (it, server):
        await it.deliver([batch(1, b"\n\x01a"), batch(2, b""), batch(3, b"\n\x01b")])
        await it.deliver([batch(4, b"")])
    assert server.bodies == [b"\n\x01a\n\x01b"]
    assert server.requests[0].path == "/v1/logs"


async def test_a_refusal_is_the_runtimes_to_take_apart() -> None:
    async with sink(413) as (it, server):
        with pytest.raises(BackendRefused, match="HTTP 413"):
            await it.deliver([batch(1, b"\n\x01a"), batch(2, b"\n\x01b")])
    assert len(server.bodies) == 1


async def test_max_elapsed_does_not_begin_anew_for_parts_of_a_group() -> None:
    async with sink(503, max_elapsed=0.2) as (it, server):
        group = [batch(n, b"\n\x01a") for n in range(4)]
        with pytest.raises(RetriesExhausted):
            await it.deliver(group)
        together = len(server.bodies)
        assert together >= 3
        parts = [group[:2], group[:1], group[1:2], group[2:], group[2:3], group[3:]]
        for part in parts:
            with pytest.raises(RetriesExhausted):
                await it.deliver(part)
        assert len(server.bodies) <= together + len(parts)
        began_s = time.monotonic()
        with pytest.raises(RetriesExhausted):
            await it.deliver([batch(5, b"\n\x01c")])
        assert time.monotonic() - began_s > 0.1, "a new message has all its time"


async def test_the_table_of_a_backend() -> None:
    backend = Backend(signals=(Signal.LOGS, Signal.TRACES), max_inflight=7, max_request=2048)
    config = Config(export=Export(backends={"shop": backend}))
    delivery = Delivery("shop", backend, ExporterMetrics(CollectorRegistry()).of("shop"))
    table = stage(config, "shop", delivery)
    assert table.name == "export.shop"
    assert table.topics == ("otlp_logs", "otlp_spans")
    assert (table.max_inflight, table.merge_max_bytes) == (7, 2048)

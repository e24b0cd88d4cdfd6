"""The export sink alone: merging, and what max_elapsed means for messages that were merged."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from prometheus_client import CollectorRegistry

from schemas.batches import Batch
from schemas.config import Backend, Config, Export, Retry
from schemas.errors import BackendRefused, MalformedMessage, RetriesExhausted
from schemas.signals import Signal
from streams.edges.exporters import Delivery, ExporterMetrics
from tests.streams.edges.exporters.servers import HttpBackend
from topologies.export import ExportSink, stage


def records(*texts: str) -> bytes:
    scope = ScopeLogs(log_records=[LogRecord(severity_text=text) for text in texts])
    return ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(scope_logs=[scope])]
    ).SerializeToString()


A, B = records("a"), records("b", "c")


def batch(offset: int, value: bytes) -> Batch:
    return Batch("otlp_logs.out", 0, offset, 0, None, value, ())


@asynccontextmanager
async def sink(
    status: int, rejected: int = 0, **retry: float
) -> AsyncIterator[tuple[ExportSink, HttpBackend]]:
    """A sink on a backend that answers with ``status``."""

    async def say(_request: web.Request) -> web.Response:
        partial = ExportLogsPartialSuccess(rejected_log_records=rejected)
        answer = ExportLogsServiceResponse(partial_success=partial if rejected else None)
        body = answer.SerializeToString()
        return web.Response(status=status, body=body, content_type="application/x-protobuf")

    async with HttpBackend(say).running() as server:
        metrics = ExporterMetrics(CollectorRegistry()).of("b")
        delivery = Delivery(
            "b",
            Backend(
                endpoint=f"http://127.0.0.1:{server.port}",
                retry=Retry(initial=0.001, maximum=0.001, **retry),
            ),
            metrics,
        )
        await delivery.start()
        try:
            yield ExportSink(Signal.LOGS, delivery, metrics), server
        finally:
            await delivery.stop()


async def test_values_are_sent_one_after_the_other_in_one_request() -> None:
    async with sink(200) as (it, server):
        await it.deliver([batch(1, A), batch(2, b""), batch(3, B)])
        await it.deliver([batch(4, b"")])
    assert server.bodies == [A + B]
    assert server.requests[0].path == "/v1/logs"


async def test_a_refusal_is_the_runtimes_to_take_apart() -> None:
    async with sink(413) as (it, server):
        with pytest.raises(BackendRefused, match="HTTP 413"):
            await it.deliver([batch(1, A), batch(2, B)])
    assert len(server.bodies) == 1


@pytest.mark.parametrize("cut", [b"\x7a" + bytes([len(A)]), A[:-1], b"\x0b"])
async def test_what_is_cut_off_is_never_joined_with_a_neighbour(cut: bytes) -> None:
    async with sink(200) as (it, server):
        for group in ([batch(1, cut), batch(2, A)], [batch(1, A), batch(2, cut)], [batch(1, cut)]):
            with pytest.raises(MalformedMessage):
                await it.deliver(group)
        assert not server.bodies
        await it.deliver([batch(2, A)])
    assert server.bodies == [A]


def outcomes(it: ExportSink) -> tuple[float, ...]:
    """Items delivered, rejected, dead-lettered."""
    return tuple(counter._value.get() for counter in it._items)


async def test_items_are_counted_once_whatever_they_went_through() -> None:
    async with sink(200) as (it, _):
        await it.deliver([batch(1, A), batch(2, B)])
        with pytest.raises(MalformedMessage):
            await it.deliver([batch(3, b"\n")])
        assert outcomes(it) == (3, 0, 0)
    async with sink(200, rejected=1) as (it, _):
        await it.deliver([batch(1, A), batch(2, B)])
        assert outcomes(it) == (2, 1, 0)
    async with sink(200, rejected=9) as (it, _):
        await it.deliver([batch(1, A)])
        assert outcomes(it) == (0, 1, 0)
    async with sink(400) as (it, _):
        for group in ([batch(1, A), batch(2, B)], [batch(1, A)], [batch(2, B)]):
            with pytest.raises(BackendRefused):
                await it.deliver(group)
        assert outcomes(it) == (0, 0, 3)


async def test_max_elapsed_does_not_begin_anew_for_parts_of_a_group() -> None:
    async with sink(503, max_elapsed=0.2) as (it, server):
        group = [batch(n, A) for n in range(4)]
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
            await it.deliver([batch(5, B)])
        assert time.monotonic() - began_s > 0.1, "a new message has all its time"


async def test_the_table_of_a_backend() -> None:
    backend = Backend(signals=(Signal.LOGS, Signal.TRACES), max_inflight=7, max_request=2048)
    config = Config(export=Export(backends={"shop": backend}))
    metrics = ExporterMetrics(CollectorRegistry()).of("shop")
    table = stage(config, "shop", Delivery("shop", backend, metrics), metrics)
    assert table.name == "export.shop"
    assert table.topics == ("otlp_logs.out", "otlp_spans.out")
    assert (table.max_inflight, table.merge_max_bytes) == (7, 2048)

"""Retry, circuit and metrics around real exporters and real servers."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest
import structlog
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from prometheus_client import CollectorRegistry

from schemas.config import Backend, Retry
from schemas.errors import BackendRefused, RetriesExhausted
from schemas.signals import Signal
from streams.edges.exporters import Delivery, Exported, ExporterMetrics

from .servers import HttpBackend, until

QUICK = Retry(initial=0.01, multiplier=1.5, maximum=0.05)
DATA = b"\n\x00"


class Made:
    """A delivery and what it counts."""

    def __init__(self, port: int, **settings) -> None:
        settings.setdefault("retry", QUICK)
        self.registry = CollectorRegistry()
        self.delivery = Delivery(
            "shop",
            Backend(endpoint=f"http://127.0.0.1:{port}", **settings),
            ExporterMetrics(self.registry).of("shop"),
            rng=random.Random(1),
        )

    def value(self, name: str, **labels: str) -> float:
        labels = {"backend": "shop", **labels}
        return self.registry.get_sample_value(f"otlp_streams_export_{name}", labels) or 0.0

    async def __aenter__(self) -> Made:
        await self.delivery.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.delivery.stop()


async def test_it_goes_on_until_the_backend_has_it() -> None:
    codes = iter([503, 429, 502, 504, 503, 503, 200])

    async def say(_request: web.Request) -> web.Response:
        return web.Response(status=next(codes))

    async with HttpBackend(say).running() as server, Made(server.port) as made:
        assert await made.delivery.deliver(Signal.TRACES, [DATA]) == Exported()
    assert server.bodies == [DATA] * 7
    assert made.value("requests_total", signal="traces", outcome="unavailable") == 6
    assert made.value("requests_total", signal="traces", outcome="ok") == 1
    assert made.value("retries_total", signal="traces") == 6
    assert made.value("request_seconds_count", signal="traces") == 7
    assert made.value("uncompressed_bytes_total", signal="traces") == 7 * len(DATA)
    assert made.value("inflight_requests") == 0
    assert made.value("circuit_opened_total") == 1
    assert made.value("backend_up") == 1


async def test_a_refusal_is_not_tried_again() -> None:
    async def say(_request: web.Request) -> web.Response:
        return web.Response(status=400, text="bad id")

    async with HttpBackend(say).running() as server, Made(server.port) as made:
        with pytest.raises(BackendRefused, match="HTTP 400: bad id"):
            await made.delivery.deliver(Signal.LOGS, [DATA])
    assert len(server.bodies) == 1
    assert made.value("requests_total", signal="logs", outcome="refused") == 1


async def test_partial_success_is_counted_logged_seldom_and_never_sent_again() -> None:
    body = ExportTraceServiceResponse(
        partial_success={"rejected_spans": 2, "error_message": "too old"}
    ).SerializeToString()

    async def say(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/x-protobuf")

    async with HttpBackend(say).running() as server, Made(server.port) as made:
        with structlog.testing.capture_logs() as logs:
            for _ in range(5):
                assert await made.delivery.deliver(Signal.TRACES, [DATA]) == (2, "too old")
    assert len(server.bodies) == 5
    assert made.value("rejected_items_total", signal="traces") == 10
    assert made.value("requests_total", signal="traces", outcome="partial") == 5
    assert made.value("retries_total", signal="traces") == 0
    (line,) = logs
    assert (line["message"], line["rejected"], line["backend"]) == ("too old", 2, "shop")


async def test_a_dead_backend_is_probed_by_one_request_and_found_again() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        async with Made(port, retry=Retry(initial=0.05, multiplier=1, maximum=0.05)) as made:
            requests = [
                asyncio.create_task(made.delivery.deliver(Signal.TRACES, [b"\n\x00"] * n))
                for n in range(1, 49)
            ]
            await until(lambda: not made.value("backend_up"))
            assert not made.delivery.is_up
            tried = made.value("requests_total", signal="traces", outcome="unavailable")
            await asyncio.sleep(0.3)
            again = made.value("requests_total", signal="traces", outcome="unavailable")
            # 48 requests with pauses of 0 to 50 ms would be some 500 tries in this time.
            assert again - tried < 60
            assert made.value("inflight_requests") <= 1
            bound.close()

            async def say(_request: web.Request) -> web.Response:
                return web.Response()

            backend = HttpBackend(say, port=port)
            async with backend.running(), asyncio.timeout(10):
                await asyncio.gather(*requests)
    assert sorted(map(len, backend.bodies)) == [2 * n for n in range(1, 49)]
    assert made.value("backend_up") == 1
    assert made.value("circuit_opened_total") == 1


async def test_it_gives_up_after_max_elapsed_whether_trying_or_waiting() -> None:
    async def say(_request: web.Request) -> web.Response:
        return web.Response(status=503, text="closed today")

    retry = Retry(initial=0.01, maximum=0.05, max_elapsed=0.3)
    async with HttpBackend(say).running() as server, Made(server.port, retry=retry) as made:
        outcomes = await asyncio.gather(
            *(made.delivery.deliver(Signal.TRACES, [DATA]) for _ in range(10)),
            return_exceptions=True,
        )
        assert all(isinstance(outcome, RetriesExhausted) for outcome in outcomes)
        assert "not taken within 0.3 s; last: HTTP 503: closed today" in str(outcomes[0])
        before = len(server.bodies)
        started_s = asyncio.get_running_loop().time() - 60
        with pytest.raises(RetriesExhausted):
            await made.delivery.deliver(Signal.TRACES, [DATA], started_s=started_s)
        assert len(server.bodies) <= before + 1

"""The admin port, asked over a real socket."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from schemas.errors import ConfigurationError
from streams.edges.platform import AdminServer, create_registry
from streams.edges.platform.federation import Federation
from streams.edges.platform.health import ADMIN_FD


@asynccontextmanager
async def serving(*arguments: Any, **more: Any) -> AsyncIterator[AdminServer]:
    server = AdminServer("127.0.0.1:0", *arguments, **more)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def get(server: AdminServer, path: str, accept: str = "*/*") -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{server.endpoint}{path}", headers={"Accept": accept}) as response,
    ):
        return response.status, await response.text(), response.headers["Content-Type"]


async def test_readiness_says_who_is_not_and_why() -> None:
    reasons: dict[str, str] = {"kafka": "broker unreachable"}
    async with serving(CollectorRegistry(), readiness=lambda: reasons) as server:
        status, body, content_type = await get(server, "/readyz")
        assert status == 503
        assert body == '{"ready": false, "reasons": {"kafka": "broker unreachable"}}'
        assert content_type.startswith("application/json")
        assert (await get(server, "/livez"))[0] == 200
        reasons.clear()
        assert (await get(server, "/readyz"))[:2] == (200, '{"ready": true, "reasons": {}}')


async def test_who_is_ready_may_be_worth_a_look() -> None:
    reasons: dict[str, str] = {}
    warnings: dict[str, str] = {"sample": "spans on the wrong partition"}
    async with serving(
        CollectorRegistry(), readiness=lambda: reasons, warnings=lambda: warnings
    ) as server:
        wanted = {"ready": True, "reasons": {}, "warnings": warnings}
        status, body, _ = await get(server, "/readyz")
        assert (status, json.loads(body)) == (200, wanted)
        reasons["kafka"] = "away"
        status, body, _ = await get(server, "/readyz")
        assert (status, json.loads(body)["warnings"]) == (503, warnings)
        assert "warnings" not in (await get(server, "/livez"))[1]


async def test_liveness_and_pages() -> None:
    async def page() -> dict[str, int]:
        return {"a": 1}

    async def stuck() -> dict[str, str]:
        return {"loop": "stuck"}

    async with serving(CollectorRegistry(), liveness=stuck, pages={"/status": page}) as server:
        assert (await get(server, "/livez"))[0] == 503
        assert (await get(server, "/status"))[:2] == (200, '{"a": 1}')
        assert (await get(server, "/nothing"))[0] == 404


async def test_metrics_in_both_formats() -> None:
    registry = create_registry()
    Counter("otlp_streams_x", "X.", registry=registry).inc(3)
    async with serving(registry) as server:
        _, text, content_type = await get(server, "/metrics")
        assert content_type.startswith("text/plain; version=")
        samples = {s.name: s.value for f in text_string_to_metric_families(text) for s in f.samples}
        assert samples["otlp_streams_x_total"] == 3
        assert samples["process_resident_memory_bytes"] > 1 << 20
        assert samples["process_cpu_seconds_total"] > 0
        assert samples["otlp_streams_build_info"] == 1
        _, text, content_type = await get(server, "/metrics", "application/openmetrics-text")
        assert content_type.startswith("application/openmetrics-text")
        assert text.endswith("# EOF\n")


async def test_a_taken_port_is_a_configuration_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = AdminServer(f"127.0.0.1:{port}", CollectorRegistry())
        with pytest.raises(ConfigurationError, match=f"telemetry.endpoint: .*127.0.0.1:{port}"):
            await server.start()


async def test_the_address_is_announced_once_through_a_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_end, write_end = os.pipe()
    monkeypatch.setenv(ADMIN_FD, str(write_end))
    with os.fdopen(read_end) as announced:
        async with serving(CollectorRegistry()) as server:
            assert announced.read() == f"{server.endpoint}\n", "written, and the pipe closed"
            assert ADMIN_FD not in os.environ


def test_metrics_of_several_processes_are_told_apart() -> None:
    text = (
        "# HELP otlp_streams_x_total X.\n# TYPE otlp_streams_x_total counter\n"
        'otlp_streams_x_total{{stage="own",signal="a"}} {}\n'
        "# HELP h H.\n# TYPE h histogram\n"
        'h_bucket{{le="1.0"}} 1\nh_bucket{{le="+Inf"}} 2\nh_count 2\nh_sum 3\n'
    )
    federation = Federation()
    federation.add(text.format(1), {"stage": "ingest", "worker": "0"})
    federation.add(text.format(2), {"stage": "ingest", "worker": "1"})
    federation.counter("c", "C.", {"worker": "0"}, 4)
    registry = CollectorRegistry()
    registry.register(federation)
    get = registry.get_sample_value
    labels = {"stage": "own", "signal": "a"}
    assert get("otlp_streams_x_total", {**labels, "worker": "0"}) == 1
    assert get("otlp_streams_x_total", {**labels, "worker": "1"}) == 2
    assert get("h_bucket", {"le": "1.0", "stage": "ingest", "worker": "1"}) == 1
    assert get("c_total", {"worker": "0"}) == 4
    names = [family.name for family in registry.collect()]
    assert names == sorted(set(names)), "each family once"

"""From the answer that a client of ingest gets to the record that a reader of ``*.out`` sees."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.table import Table

from schemas.signals import Signal
from streams import wire
from topologies.localkafka.probe import free_ports

from . import lane_load
from .generate import span_requests
from .lane_bench import Bench
from .workers import CLI, Worker

INTERVALS_S = (0.1, 0.2, 1.0)
LANES = 12
SPANS_PER_S = 2000
SPANS_PER_REQUEST = 50
WINDOW_S = 15.0
WARM_S = 3.0


def _requests(seed: int) -> Iterator[tuple[bytes, bytes]]:
    """(trace id, request): one trace each, which therefore stays in one piece."""
    request = ExportTraceServiceRequest.FromString(next(span_requests("rich", 1)))
    group = request.resource_spans[0]
    scopes = [scope for each in request.resource_spans for scope in each.scope_spans]
    spans = [span for scope in scopes for span in scope.spans]
    del group.scope_spans[1:]
    chosen = spans[:SPANS_PER_REQUEST]
    marker = bytes(range(1, 17))
    for span in chosen:
        span.trace_id = marker
    scope = type(group.scope_spans[0])(scope=group.scope_spans[0].scope, spans=chosen)
    group.scope_spans[0].CopyFrom(scope)
    template = ExportTraceServiceRequest(resource_spans=[group]).SerializeToString()
    rng = random.Random(seed)
    while True:
        trace_id = rng.randbytes(16)
        yield trace_id, template.replace(marker, trace_id)


class _Times:
    """When each trace was answered, and seen."""

    def __init__(self) -> None:
        self.answered: dict[bytes, float] = {}
        self.visible: dict[bytes, float] = {}

    def see(self, record: Any, now_s: float) -> None:
        """Whose traces are in it."""
        scan = wire.scan_traces(record.value)
        for high, low in zip(scan.trace_id_high.tolist(), scan.trace_id_low.tolist(), strict=True):
            mask = (1 << 64) - 1
            trace_id = (high & mask).to_bytes(8, "big") + (low & mask).to_bytes(8, "big")
            self.visible.setdefault(trace_id, now_s)

    async def all_visible(self) -> bool:
        """Every answered trace was seen."""
        return not self.answered.keys() - self.visible.keys()

    def latencies_s(self) -> list[float]:
        """Sorted, of the answered ones."""
        found = [self.visible[each] - at for each, at in self.answered.items()]
        return sorted(found)


async def _send(endpoint: str, times: _Times, seed: int) -> None:
    url = f"http://{endpoint}{Signal.TRACES.http_path}"
    headers = {"Content-Type": "application/x-protobuf"}
    per_s = SPANS_PER_S / SPANS_PER_REQUEST
    async with aiohttp.ClientSession() as session:

        async def post(trace_id: bytes, request: bytes, *, count: bool) -> None:
            async with session.post(url, data=request, headers=headers) as answer:
                await answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"ingest answers {answer.status}")
            if count:
                times.answered[trace_id] = time.monotonic()

        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, (trace_id, request) in enumerate(_requests(seed)):
                due_s = number / per_s
                if due_s > WARM_S + WINDOW_S:
                    break
                await asyncio.sleep(began_s + due_s - time.monotonic())
                group.create_task(post(trace_id, request, count=due_s > WARM_S))


async def _run(bootstrap: str, directory: Path, name: str, interval_s: float) -> list[float]:
    source = f"{name}.in"
    await lane_load.create(bootstrap, source, LANES)
    settings = lane_load.settings(bootstrap, source, name, LANES, interval_s)
    ports = {protocol: free_ports(1)[0] for protocol in ("grpc", "http")}
    endpoints = {each: {"endpoint": f"127.0.0.1:{port}"} for each, port in ports.items()}
    ingest = Worker(directory, "ingest", {**settings, "ingest": endpoints}, program=CLI)
    shape = Worker(directory, "shape", settings)
    times = _Times()
    try:
        for worker in (ingest, shape):
            await worker.start()
        for worker in (ingest, shape):
            await worker.ready()
        async with lane_load.seen(bootstrap, f"{name}.out", LANES, times.see):
            await _send(f"127.0.0.1:{ports['http']}", times, seed=7)
            await lane_load.until(times.all_visible, "last outputs", 20)
    finally:
        await asyncio.gather(ingest.stop(), shape.stop())
    return times.latencies_s()


async def table(bench: Bench) -> Table:
    """Measure and lay out."""
    await asyncio.to_thread(wire.warm_up)
    found = Table(
        title=f"From ingest's answer to *.out, read_committed: {SPANS_PER_S:,} spans/s in "
        f"{SPANS_PER_S // SPANS_PER_REQUEST} requests/s, {LANES} lanes"
    )
    for column in ("commit interval ms", "p50 ms", "p99 ms", "max ms", "p99 - interval", "traces"):
        found.add_column(column, justify="right")
    for interval_s in INTERVALS_S:
        figures = []
        for run in range(bench.runs):
            name = f"latency-{interval_s:g}-{run}"
            all_s = await _run(bench.bootstrap, bench.directory, name, interval_s)
            count = len(all_s)
            figures.append((all_s[count // 2], all_s[int(count * 0.99)], all_s[-1], count))
        p50, p99, most, count = (statistics.median(each[i] for each in figures) for i in range(4))
        found.add_row(
            f"{interval_s * 1e3:.0f}",
            f"{p50 * 1e3:.0f}",
            f"{p99 * 1e3:.0f}",
            f"{most * 1e3:.0f}",
            f"{(p99 - interval_s) * 1e3:+.0f}",
            f"{count:.0f}",
        )
    return found

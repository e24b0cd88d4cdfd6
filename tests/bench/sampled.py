"""Tail sampling on a real Kafka: CPU of ``sample`` and ``emit`` together, memory by open traces.

python -m tests.bench.sampled [--runs 3] [--spans 1000000] [--open 100000 1000000 5000000]

The cost: one span in ten and all errors are kept, after a wait of 5 s. Workers stand ready and are
stopped while the topic is filled, so that nothing but the work itself is counted. The memory: spans
of a trace each, none of them decided. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console
from rich.table import Table

from streams import wire
from topologies.localkafka import LocalKafka

from . import road
from .frames import read_frames, write_frames
from .generate import Shape, span_requests
from .lane_load import until
from .workers import CLI, Worker

STAGES = ("sample", "emit")
PARTITIONS = 12
_SIZES = {"rich": "528 B", "small": "93 B"}
_POLICIES = [
    {"name": "errors", "match": {"status": "error"}, "always": True},
    {"name": "tenth", "probability": 0.1},
]
_PATIENCE_S = 240.0
_LOOK_S = 0.3
"""To be looked at costs a worker milliseconds."""
_SPANS_PER_MESSAGE = 5000


class _Run(NamedTuple):
    """One drain."""

    spans: int
    cpu_s: dict[str, float]
    peak_rss_bytes: dict[str, int]
    kept: float

    @property
    def per_cpu_s(self) -> float:
        """Spans a CPU-second of both processes."""
        return self.spans / sum(self.cpu_s.values())


class Bench:
    """A broker, and files with requests."""

    def __init__(self, directory: Path, bootstrap: str, spans: int) -> None:
        self._directory = directory
        self._bootstrap = bootstrap
        self._spans = spans
        self._numbers = itertools.count()

    def _config(self, partitions: int, **sampling: Any) -> dict[str, Any]:
        topic = f"sampled-{next(self._numbers)}"
        config: dict[str, Any] = json.loads(
            json.dumps(road.base_config(self._bootstrap, topic, partitions, "zstd"))
        )
        config["topics"]["names"]["decisions"] = f"{topic}.decisions"
        # Whoever is stopped while the topic is filled stays a member of the group.
        config["kafka"]["consumer"] = {"session_timeout": "300s"}
        config["sampling"] = {"enabled": True, **sampling}
        return config

    def _file(self, shape: str) -> tuple[Path, int]:
        path = self._directory / f"{shape}.bin"
        if not path.exists():
            write_frames(path, span_requests(cast("Shape", shape), self._spans))
        return path, sum(wire.scan_traces(message).items for message in read_frames(path))

    async def cost(self, shape: str) -> _Run:
        """One drain by both stages."""
        path, spans = self._file(shape)
        config = self._config(PARTITIONS, decision_wait="5s", policies=_POLICIES)
        workers = {stage: Worker(self._directory, stage, config, program=CLI) for stage in STAGES}
        try:
            for worker in workers.values():
                await worker.start()
            for worker in workers.values():
                await worker.ready()
                worker.signal(signal.SIGSTOP)
            filled = await asyncio.to_thread(
                road.receive, config, "http", path, spans, self._directory
            )
            before = {stage: worker.cpu_s for stage, worker in workers.items()}
            for worker in workers.values():
                worker.signal(signal.SIGCONT)
            peaks = await self._watch(workers, filled.messages)
            cpu_s = {stage: worker.cpu_s - before[stage] for stage, worker in workers.items()}
            kept = await workers["emit"].total("otlp_streams_sampling_emit_spans_total")
        finally:
            await asyncio.gather(*(worker.stop() for worker in workers.values()))
        return _Run(spans, cpu_s, peaks, kept / spans)

    async def _watch(self, workers: dict[str, Worker], messages: int) -> dict[str, int]:
        """Until nothing is open and every order is done; peaks of resident memory."""
        peaks = dict.fromkeys(workers, 0)
        sample, emit = workers["sample"], workers["emit"]

        async def done() -> bool:
            await asyncio.sleep(_LOOK_S)
            for stage, worker in workers.items():
                peaks[stage] = max(peaks[stage], worker.rss_bytes)
            if await sample.total("otlp_streams_messages_in_total") < messages:
                return False
            if await sample.total("otlp_streams_sampling_open_traces"):
                return False
            orders = await sample.total("otlp_streams_sampling_orders_total")
            return await emit.total("otlp_streams_sampling_emit_orders_total") >= orders

        await until(done, "the last work order", _PATIENCE_S)
        return peaks

    async def memory(self, traces: int) -> tuple[int, int, int]:
        """Resident bytes idle, with so many open traces, and at most on the way there."""
        config = self._config(
            1,
            decision_wait="10m",
            root_wait="0s",
            decision_memory="15m",
            max_open_traces=traces + 1000,
        )
        worker = Worker(self._directory, "sample", config, program=CLI)
        try:
            await worker.start()
            await worker.ready()
            await asyncio.sleep(2)
            idle = peak = worker.rss_bytes
            topic = config["topics"]["names"]["spans"]
            filling = asyncio.create_task(
                asyncio.to_thread(_open, self._bootstrap, topic, traces, worker.pid)
            )

            async def taken() -> bool:
                nonlocal peak
                await asyncio.sleep(_LOOK_S)
                peak = max(peak, worker.rss_bytes)
                return await worker.total("otlp_streams_sampling_open_traces") >= traces

            await until(taken, f"{traces} open traces", _PATIENCE_S)
            await filling
            await asyncio.sleep(2)
            return idle, worker.rss_bytes, max(peak, worker.rss_bytes)
        finally:
            await worker.stop()


def _open(bootstrap: str, topic: str, traces: int, seed: int) -> None:
    """Fill a topic with spans of a trace each."""
    count = _SPANS_PER_MESSAGE
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "bench"
    spans = group.scope_spans.add().spans
    now_ns = time.time_ns()
    for number in range(count):
        span = spans.add(name="GET /orders", start_time_unix_nano=now_ns)
        span.trace_id = b"\xee" * 12 + number.to_bytes(4, "big")
        span.span_id = b"\x01" * 8
        span.end_time_unix_nano = now_ns + 1_000_000
    message = np.frombuffer(request.SerializeToString(), np.uint8)
    data = message.tobytes()
    places = np.array([data.index(span.trace_id) for span in spans])[:, None] + np.arange(16)
    rng = np.random.default_rng(seed)

    def fresh() -> bytes:
        made = message.copy()
        made[places] = rng.integers(0, 256, (count, 16), np.uint8)
        return made.tobytes()

    road.fill(bootstrap, topic, 1, (fresh() for _ in range(-(-traces // count))), "zstd")


async def cost(bench: Bench, runs: int) -> Table:
    """CPU of both stages."""
    table = Table(title="sample + emit: 10 % and errors, waiting 5 s, 12 partitions, zstd")
    table.add_column("span")
    for name in ("k spans/CPU-s, both", "min - max", "sample us/span", "emit us/span",
                 "peak RSS MiB, sample / emit", "spans kept"):  # fmt: skip
        table.add_column(name, justify="right")
    for shape, size in _SIZES.items():
        found = [await bench.cost(shape) for _ in range(runs)]
        rates = [run.per_cpu_s / 1e3 for run in found]
        each = [
            f"{statistics.median(run.cpu_s[stage] / run.spans for run in found) * 1e6:.2f}"
            for stage in STAGES
        ]
        rss = [
            f"{statistics.median(run.peak_rss_bytes[stage] for run in found) / 2**20:.0f}"
            for stage in STAGES
        ]
        table.add_row(
            size, f"{statistics.median(rates):,.0f}", f"{min(rates):,.0f} - {max(rates):,.0f}",
            *each, " / ".join(rss), f"{statistics.median(run.kept for run in found):.1%}",
        )  # fmt: skip
    return table


async def memory(bench: Bench, counts: list[int]) -> Table:
    """Resident memory of ``sample``."""
    table = Table(title="sample, one partition: resident memory by open traces")
    for name in ("open traces", "idle MiB", "with them MiB", "most MiB", "bytes a trace on top",
                 "beyond idle + 60 MB, at most"):  # fmt: skip
        table.add_column(name, justify="right")
    for traces in counts:
        idle, full, peak = await bench.memory(traces)
        beyond = max(0.0, peak - idle - 60e6)
        table.add_row(
            f"{traces:,}", f"{idle / 2**20:.0f}", f"{full / 2**20:.0f}", f"{peak / 2**20:.0f}",
            f"{(full - idle) / traces:.0f}", f"{beyond / traces:.0f} B a trace",
        )  # fmt: skip
    return table


async def _main(spans: int, runs: int, counts: list[int]) -> None:
    console = Console(width=None if Console().is_terminal else 140)
    with tempfile.TemporaryDirectory() as directory, LocalKafka(keep=False) as kafka:
        bench = Bench(Path(directory), kafka.bootstrap, spans)
        if runs:
            console.print(await cost(bench, runs))
        if counts:
            console.print(await memory(bench, counts))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sampled")
    parser.add_argument("--runs", type=int, default=3, help="0: no cost")
    parser.add_argument("--spans", type=int, default=1_000_000, help="a run")
    parser.add_argument(
        "--open", type=int, nargs="*", default=[100_000, 1_000_000, 5_000_000], help="open traces"
    )
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.spans, arguments.runs, arguments.open))


if __name__ == "__main__":
    main()

"""``make bench``: items per CPU-second of our own processes and their peak memory, as a table.

    python -m tests.bench [--runs 3] [--spans 400000] [--only NAME...] [--skip-kernels]

Each scenario runs several times on a real Kafka and the median is printed. Nothing is asserted:
machines differ and are shared; ratios within one run are what counts.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from rich.console import Console
from rich.table import Table

from streams import wire
from topologies.localkafka import LocalKafka
from topologies.localkafka.probe import free_ports

from . import kernels, road
from .frames import read_frames, write_frames
from .generate import Shape, recorded_requests, span_requests
from .road import Figure

SMALL, RICH, RECORDED = "small", "rich", "recorded"
SIZES = {SMALL: "93 B", RICH: "528 B", RECORDED: "93 B"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the table."""

    name: str
    shape: str
    codec: str = "zstd"
    partitions: int = 12
    protocol: str = "http"
    compression: str = "none"


RECEIVE = [
    Scenario(name=f"receive {protocol}", shape=shape, codec=codec, protocol=protocol)
    for shape in (RICH, SMALL)
    for protocol in ("grpc", "http")
    for codec in ("none", "zstd")
] + [
    Scenario(name="receive grpc, the recording's own requests", shape=RECORDED, protocol="grpc"),
    Scenario(name="receive http, the recording's own requests", shape=RECORDED),
    Scenario(name="receive http", shape=RICH, partitions=64),
]
EXPORT = [
    Scenario(
        name=f"export {protocol} {compression}",
        shape=shape,
        protocol=protocol,
        compression=compression,
    )
    for shape in (RICH, SMALL)
    for protocol, compression in (
        ("http", "zstd"),
        ("http", "gzip"),
        ("grpc", "gzip"),
        ("grpc", "none"),
    )
] + [Scenario(name="export http zstd", shape=RICH, partitions=64, compression="zstd")]
SHAPE = [Scenario(name="shape", shape=shape) for shape in (RICH, SMALL)]
SOURCE = [
    Scenario(name="rekey one trace a message from Kafka", shape=shape, protocol="kafka")
    for shape in (RICH, SMALL)
]  # fmt: skip


class Bench:
    """Files and a broker that all scenarios share."""

    def __init__(self, directory: Path, bootstrap: str, spans: int) -> None:
        self._directory = directory
        self._bootstrap = bootstrap
        self._spans = spans
        self._numbers = iter(range(1_000_000))

    @functools.cached_property
    def idle_cpu_s(self) -> dict[str, float]:
        """CPU seconds of a worker until it is ready, by stage: what a drain takes off."""
        found = {}
        for stage in ("export:bench", "ingest", "shape"):
            config = self._config(Scenario(name="", shape=""), f"idle-{next(self._numbers)}")
            config |= {"export": {"backends": {"bench": {"endpoint": "http://127.0.0.1:9"}}}}
            empty = f"empty-{next(self._numbers)}"
            road.fill(self._bootstrap, empty, 1, [], "none")
            config |= {"ingest": self._ports() | {"sources": [_source(empty)]}}
            with road.worker(stage, config, self._directory) as process:
                found[stage] = road.cpu_s(process.pid)
        return found

    def run(self, scenario: Scenario) -> Figure:
        """One run of one scenario."""
        topic = f"bench-{next(self._numbers)}"
        config = self._config(scenario, topic)
        path, items = self._file(scenario.shape)
        if scenario.protocol == "kafka":
            return self._rekey(scenario, config, path, items)
        if scenario.name.startswith("receive"):
            return road.receive(config, scenario.protocol, path, items, self._directory)
        # What ingest itself makes of the requests is what the others have to read.
        road.receive(config, "http", path, items, self._directory)
        if scenario.name == "shape":
            return road.drain(
                "shape", config, f"{topic}.shape", topic, items,
                self._directory, self._bootstrap, self.idle_cpu_s["shape"],
            )  # fmt: skip
        names: dict[str, object] = config["topics"]["names"]  # type: ignore[index]
        names |= {"spans": f"{topic}.in", "spans_out": topic}
        with road.sink(scenario.protocol) as endpoint:
            backend = {
                "protocol": scenario.protocol,
                "endpoint": endpoint,
                "compression": scenario.compression,
                "signals": ["traces"],
            }
            config |= {"export": {"backends": {"bench": backend}}}
            return road.drain(
                "export:bench", config, f"{topic}.export.bench", topic, items,
                self._directory, self._bootstrap, self.idle_cpu_s["export:bench"],
            )  # fmt: skip

    def _rekey(
        self, scenario: Scenario, config: dict[str, object], path: Path, items: int
    ) -> Figure:
        source = f"foreign-{next(self._numbers)}"
        traces = list(_one_trace_each(read_frames(path)))
        road.fill(self._bootstrap, source, scenario.partitions, traces, scenario.codec)
        config |= {"ingest": self._ports() | {"sources": [_source(source)]}}
        names: dict[str, object] = config["topics"]["names"]  # type: ignore[index]
        return road.drain(
            "ingest", config, f"{names['spans']}.ingest.{source}", source, items,
            self._directory, self._bootstrap, self.idle_cpu_s["ingest"],
        )  # fmt: skip

    def _ports(self) -> dict[str, object]:
        ports = zip(("grpc", "http"), free_ports(2), strict=True)
        return {name: {"endpoint": f"127.0.0.1:{port}"} for name, port in ports}

    def _config(self, scenario: Scenario, topic: str) -> dict[str, object]:
        return road.base_config(self._bootstrap, topic, scenario.partitions, scenario.codec)

    def _file(self, shape: str) -> tuple[Path, int]:
        path = self._directory / f"{shape.replace(' ', '-')}.bin"
        if not path.exists():
            write_frames(path, self._requests(shape))
        return path, sum(wire.scan_traces(message).items for message in read_frames(path))

    def _requests(self, shape: str) -> Iterable[bytes]:
        if shape != RECORDED:
            return span_requests(cast("Shape", shape), self._spans)
        requests = recorded_requests()
        spans = sum(wire.scan_traces(request).items for request in requests)
        return requests * max(1, self._spans // spans // 4)


def _source(topic: str) -> dict[str, str]:
    return {"topic": topic, "signal": "traces"}


def _one_trace_each(requests: list[bytes]) -> Iterator[bytes]:
    for request in requests:
        scan = wire.scan_traces(request)
        numbers: dict[tuple[int, int], int] = {}
        ids = zip(scan.trace_id_high.tolist(), scan.trace_id_low.tolist(), strict=True)
        part = np.array([numbers.setdefault(each, len(numbers)) for each in ids], np.int32)
        for _, message in wire.split(request, scan, part, len(numbers)):
            yield message


def _row(scenario: Scenario, figures: list[Figure]) -> list[str]:
    per_cpu_s = [figure.per_cpu_s / 1e3 for figure in figures]
    return [
        scenario.name,
        f"{SIZES[scenario.shape]}",
        scenario.codec,
        str(scenario.partitions),
        f"{statistics.median(per_cpu_s):,.0f}",
        f"{min(per_cpu_s):,.0f} - {max(per_cpu_s):,.0f}",
        f"{statistics.median(figure.peak_rss_bytes for figure in figures) / 2**20:.0f}",
        f"{statistics.median(figure.items_per_message for figure in figures):.0f}",
        figures[-1].note,
    ]


def _table() -> Table:
    table = Table(title="Spans per CPU-second of our own process; median of the runs")
    for column in ("scenario", "span", "bus codec"):
        table.add_column(column)
    for column in (
        "partitions", "k spans/CPU-s", "min - max", "peak RSS MiB", "spans/message",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    table.add_column("note")
    return table


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--spans", type=int, default=400_000, help="per run")
    parser.add_argument("--only", nargs="*", default=[], help="scenarios whose name has this")
    parser.add_argument("--skip-kernels", action="store_true")
    arguments = parser.parse_args()
    console = Console(width=None if Console().is_terminal else 160)
    console.print(f"{road.cores()} cores; fetch_max 1MiB; {arguments.spans:,} spans a run")
    if not arguments.skip_kernels:
        kernels.main()
    chosen = [
        scenario
        for scenario in (*RECEIVE, *SHAPE, *EXPORT, *SOURCE)
        if not arguments.only or any(word in scenario.name for word in arguments.only)
    ]
    table = _table()
    with tempfile.TemporaryDirectory() as directory, LocalKafka(keep=False) as kafka:
        bench = Bench(Path(directory), kafka.bootstrap, arguments.spans)
        for scenario in chosen:
            figures = [bench.run(scenario) for _ in range(arguments.runs)]
            table.add_row(*(row := _row(scenario, figures)))
            console.print(" | ".join(row), style="dim")
    console.print(table)


if __name__ == "__main__":
    main()

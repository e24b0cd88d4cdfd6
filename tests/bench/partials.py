"""What partials cost beside the scan: CPU microseconds an item, by default rules.

    python -m tests.bench.partials [--laps 5]

Spans of 93 and 528 bytes, the recording's log records and metrics, and made-up histograms and
cumulative sums; messages of about 512 items. ``recorded``: with the recording's times, where a
commit covers many panes; ``live``: as they come, within the ten seconds before their message. A
commit is every 50,000 items. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m
from rich.console import Console
from rich.table import Table

from schemas.batches import Batch
from schemas.config import WindowRule, Windows
from schemas.operators import Scanned
from schemas.signals import Signal
from streams import wire
from streams.windows.partials import Partials
from topologies.demo_data import EXCERPT

from .generate import recorded_requests, span_requests

_ITEMS, _MESSAGE, _COMMIT, _SPREAD_MS = 100_000, 512, 50_000, 10_000
_METRICS = WindowRule(name="metrics", signal="metrics", metric="*", by=("resource.k8s.pod.name",))
_BY_KEY = WindowRule(
    name="routes", signal="spans", output="routes", by=("http.route", "http.response.status_code")
)


class Figure(NamedTuple):
    """What a lap has cost. Times are CPU microseconds an item."""

    gather_us: float
    flush_us: float
    cells: int
    points: int
    record_bytes: int
    items: int


def _merged(requests: Iterable[bytes], signal: Signal) -> list[bytes]:
    """Requests of about as many items as a message on the bus has."""
    made: list[bytes] = []
    parts: list[bytes] = []
    count = 0
    for data in requests:
        parts.append(data)
        count += wire.scan(signal, data).items
        if count >= _MESSAGE:
            made.append(wire.merge(parts))
            parts, count = [], 0
    return [*made, *([wire.merge(parts)] if parts else [])]


def _points(kind: str) -> bytes:
    """A request of 512 points of 64 streams of one service."""
    metric = m.Metric(name=f"some.{kind}", unit="s")
    held: Any = metric.sum if kind == "sum" else getattr(metric, kind)
    held.aggregation_temporality = 2 if kind == "sum" else 1
    rng = np.random.default_rng(1)
    for n in range(_MESSAGE):
        if kind == "sum":
            metric.sum.is_monotonic = True
            point = held.data_points.add(as_int=n)
        elif kind == "histogram":
            counts = rng.integers(0, 9, 16).tolist()
            bounds = [0.005 * 1.8**k for k in range(15)]
            point = held.data_points.add(
                count=sum(counts), sum=1.0, min=0.001, max=9.0, bucket_counts=counts,
                explicit_bounds=bounds,
            )  # fmt: skip
        else:
            counts = rng.integers(0, 3, 60).tolist()
            point = held.data_points.add(count=sum(counts), sum=1.0, scale=4)
            point.positive.offset = -200
            point.positive.bucket_counts.extend(counts)
        point.time_unix_nano = 1
        for key, value in (("http.route", f"/r{n % 64}"), ("method", "GET")):
            point.attributes.add(key=key).value.string_value = value
    request = m.MetricsData()
    group = request.resource_metrics.add()
    group.resource.attributes.add(key="service.name").value.string_value = "service"
    group.scope_metrics.add().metrics.append(metric)
    data: bytes = request.SerializeToString()
    return data


def _live(scan: wire.Scan, stamp_ms: int, rng: np.random.Generator) -> None:
    """Move the items' times to the seconds before their message."""
    column = scan.column("end_time" if scan.signal == Signal.TRACES else "time")
    ends = (stamp_ms - rng.integers(0, _SPREAD_MS, scan.items)).astype(np.uint64)
    ends *= np.uint64(1_000_000)
    if scan.signal == Signal.TRACES:
        start = scan.column("start_time")
        start[:] = ends - (column - start)
    column[:] = ends


def _lap(
    settings: Windows, signal: Signal, scans: Sequence[tuple[bytes, wire.Scan]], stamps: list[int]
) -> Figure:
    operator = Partials(
        settings, signal=signal, source="source", partition=0, partitions=12, output="partials",
        output_partitions=12,
    )  # fmt: skip
    counts = operator._counts
    gathered = flushed = 0.0
    items = waiting = 0
    # The first lap around makes descriptors; it is not what goes on for days.
    for warm in (True, False):
        for n, (data, scan) in enumerate(scans):
            began = time.thread_time()
            operator.process(Scanned(Batch("source", 0, n, stamps[n], None, data, ()), scan))
            gathered += time.thread_time() - began
            waiting += scan.items
            if waiting >= _COMMIT or n + 1 == len(scans):
                began = time.thread_time()
                operator.flush()
                flushed += time.thread_time() - began
                waiting = 0
            items += scan.items
        if warm:
            gathered = flushed = 0.0
            items = 0
            counts.cells = counts.points = counts.records = counts.bytes = 0
    return Figure(
        *(gathered / items * 1e6, flushed / items * 1e6, counts.cells, counts.points),
        *(counts.bytes // max(counts.records, 1), items),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--laps", type=int, default=5)
    laps = parser.parse_args().laps
    default = Windows()
    metrics = Windows(rules=(_METRICS,))
    routes = Windows(rules=(*default.rules, _BY_KEY))
    small = list(span_requests("small", _ITEMS))
    rich = list(span_requests("rich", _ITEMS))
    logs = _merged(recorded_requests(EXCERPT / "logs.otlp.zst", Signal.LOGS), Signal.LOGS)
    gauges = _merged(
        recorded_requests(EXCERPT / "metrics.otlp.zst", Signal.METRICS), Signal.METRICS
    )
    cases: list[tuple[str, Signal, Windows, list[bytes], bool]] = [
        ("spans, 93 B, recorded", Signal.TRACES, default, small, False),
        ("spans, 93 B, live", Signal.TRACES, default, small, True),
        ("spans, 528 B, live", Signal.TRACES, default, rich, True),
        ("spans, 528 B, live, by two attributes too", Signal.TRACES, routes, rich, True),
        ("log records, live", Signal.LOGS, default, logs * 10, True),
        ("gauges, recorded", Signal.METRICS, metrics, gauges, False),
        ("gauges, live", Signal.METRICS, metrics, gauges * 10, True),
        ("cumulative sums, live", Signal.METRICS, metrics, [_points("sum")] * 50, True),
        ("delta histograms, live", Signal.METRICS, metrics, [_points("histogram")] * 50, True),
        ("exponential histograms, live", Signal.METRICS, metrics,
         [_points("exponential_histogram")] * 50, True),
    ]  # fmt: skip
    table = Table("", "items", "gather", "flush", "together", "cells", "points", "bytes a record")
    for name, signal, settings, requests, live in cases:
        rng = np.random.default_rng(7)
        scans = [(data, wire.scan(signal, data)) for data in requests]
        column = "end_time" if signal == Signal.TRACES else "time"
        stamps = [int(scan.column(column).max()) // 1_000_000 for _, scan in scans]
        if live:
            stamps = [1_700_000_000_000 + n * 10 for n in range(len(scans))]
            for (_, scan), stamp in zip(scans, stamps, strict=True):
                _live(scan, stamp, rng)
        _lap(settings, signal, scans[:2], stamps)  # compiles
        best = min((_lap(settings, signal, scans, stamps) for _ in range(laps)),
                   key=lambda figure: figure.gather_us + figure.flush_us)  # fmt: skip
        table.add_row(
            name, f"{best.items:,}", f"{best.gather_us:.3f}", f"{best.flush_us:.3f}",
            f"{best.gather_us + best.flush_us:.3f}", f"{best.cells:,}", f"{best.points:,}",
            f"{best.record_bytes:,}",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()

"""Speed of the wire engine on one core, as a table.

python -m tests.bench.kernels [RECORDING | FRAMES...]

Without arguments: both generated shapes, and the bundled recording's own small requests.
CPU seconds, so that a busy machine matters less; each figure is the best of three passes over
more data than the caches hold.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.signals import Signal
from streams import wire
from streams.sampling import consistent

from .frames import read_frames
from .generate import recorded_requests, span_requests


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return min(times)


def _of_sampling(
    both: Sequence[tuple[bytes, wire.Scan]], masks: Sequence[NDArray[np.bool_]]
) -> dict[str, Callable[[], object]]:
    """What only spans that are sampled go through."""
    spans = [(data, scan) for data, scan in both if isinstance(scan, wire.SpanScan)]
    threshold = [np.full(scan.items, consistent.threshold(0.1), np.uint64) for _, scan in spans]
    keys = ("http.route", "http.response.status_code")
    fields = [wire.Attribute("span", key) for key in keys]
    return {
        "trace state": lambda: [wire.trace_state(data, scan) for data, scan in spans],
        "lookup service": lambda: [wire.lookup(d, s, [wire.SERVICE_NAME]) for d, s in spans],
        "lookup 2 of span": lambda: [wire.lookup(data, scan, fields) for data, scan in spans],
        "sampled 10 %": lambda: [
            wire.sampled(data, scan, mask, each, 1_000_000)
            for (data, scan), mask, each in zip(spans, masks, threshold, strict=True)
        ],
    }


def table(name: str, messages: list[bytes], signal: Signal = Signal.TRACES) -> None:
    """Print the lines of one data set."""
    scans = [wire.scan(signal, data) for data in messages]
    items, size = sum(s.items for s in scans), sum(map(len, messages))
    both = list(zip(messages, scans, strict=True))
    by = wire.partition_by_resource if signal == Signal.METRICS else wire.partition_by_trace
    parts = {n: [by(s, n) for s in scans] for n in (12, 64)}
    rng = np.random.default_rng(1)
    masks = [rng.random(s.items) < 0.1 for s in scans]

    def split(partitions: int) -> Callable[[], object]:
        def work() -> None:
            for (data, scan), part in zip(both, parts[partitions], strict=True):
                wire.split(data, scan, part, partitions)

        return work

    def whole() -> None:
        for data in messages:
            scan = wire.scan(signal, data)
            wire.split(data, scan, by(scan, 12), 12)

    works: dict[str, Callable[[], object]] = {
        "scan": lambda: [wire.scan(signal, data) for data in messages],
        "partition fnv1a": lambda: [by(s, 12) for s in scans],
        "partition murmur2": lambda: [by(s, 12, "murmur2") for s in scans],
        "split 12": split(12),
        "split 64": split(64),
        "select 10 %": lambda: [
            wire.select(data, scan, mask) for (data, scan), mask in zip(both, masks, strict=True)
        ],
        "split by size": lambda: [wire.split_by_size(d, s, 50_000) for d, s in both],
        "scan+partition+split": whole,
    }
    if signal == Signal.TRACES:
        works |= _of_sampling(both, masks)
    print(
        f"\n{name}: {len(messages)} requests, {items / len(messages):.0f} items each, "
        f"{size / items:.0f} B an item"
    )
    print(f"{'':22}{'M items/s':>10}{'MB/s':>10}{'us/request':>12}")
    for what, work in works.items():
        seconds = _best(work)
        print(
            f"{what:22}{items / seconds / 1e6:10.2f}{size / seconds / 1e6:10.0f}"
            f"{seconds / len(messages) * 1e6:12.1f}"
        )


def main(paths: Sequence[str] = ()) -> None:
    """Print start-up and the tables, of files if any are named."""
    begun = time.process_time()
    wire.warm_up("requests", "facts", "sampled")
    print(f"warm_up: {time.process_time() - begun:.2f} s")
    if paths:
        for path in map(Path, paths):
            read = recorded_requests if path.suffix == ".zst" else read_frames
            table(path.name, read(path))
        return
    table("small", list(span_requests("small", 400_000)))
    table("rich", list(span_requests("rich", 200_000)))
    table("recorded", recorded_requests())


if __name__ == "__main__":
    main(sys.argv[1:])

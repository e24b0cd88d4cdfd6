"""Cost of the tables of traces on one core, and the memory that an open trace takes.

python -m tests.bench.sampling_tables [OPEN_TRACES...]

Each size in a process of its own. Spans are of random open traces, which is the worst for the
caches, or in runs of four; one in eight or eighty begins a trace. 100,000 kept and a million
dropped traces are remembered.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streams import wire
from streams.sampling.columns import SpanFacts
from streams.sampling.dropped_traces import DroppedTraces
from streams.sampling.kept_traces import KeptTraces
from streams.sampling.open_traces import OpenTraces
from streams.sampling.warming import warm_up_tables
from tests.streams.sampling.batches import facts_of, scan_of

FIELDS, SPANS, TICK = 0, 500, 20_000
PAGE = 4096
Batches = list[tuple[wire.SpanScan, SpanFacts]]


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def batches(rng: np.random.Generator, ids: NDArray[np.uint64], size: int = SPANS) -> Batches:
    """Spans of these traces in this order."""
    result = []
    for at in range(0, len(ids) - size + 1, size):
        high = ids[at : at + size]
        columns = {
            "trace_id_high": high,
            "trace_id_low": high ^ np.uint64(0x5555555555),
            "parent_span_id": rng.random(size) > 0.1,
            "start_time": rng.integers(10**18, 10**18 + 10**9, size),
            "stop": 500,
        }
        scan = scan_of(columns, size)
        result.append((scan, facts_of(scan, FIELDS)))
    return result


class Bench:
    """Tables with so many open traces."""

    def __init__(self, traces: int) -> None:
        self.rng = rng = np.random.default_rng(1)
        self.ids = rng.integers(1, 1 << 63, traces, np.uint64)
        self.kept, self.dropped = KeptTraces(100_000, 300_000), DroppedTraces(1 << 22, 300_000)
        self.opened = OpenTraces(10, FIELDS)
        self.absorb(batches(rng, self.ids[: 2 * SPANS]))
        before = resident()
        self.opened = OpenTraces(traces, FIELDS)
        for at in range(0, traces, 10 * SPANS):
            self.absorb(batches(rng, self.ids[at : at + 10 * SPANS]))
        self.bytes_a_trace = (resident() - before) / traces
        kept, dropped = (rng.integers(1, 1 << 63, n, np.uint64) for n in (100_000, 1_000_000))
        self.kept.add(kept, kept, kept, np.zeros(len(kept), np.int32), now_ms=1)
        for at in range(0, len(dropped), 10_000):
            self.dropped.add(dropped[at : at + 10_000], dropped[at : at + 10_000], at * 3 // 10)
        # A table at work is one that traces leave, too: new ones take their rows.
        self.opened.oldest(traces // 20)
        self.ids = self.ids[traces // 20 :]

    def absorb(self, some: Iterable[tuple[wire.SpanScan, SpanFacts]]) -> None:
        """Take them all."""
        for scan, facts in some:
            self.opened.absorb(scan, facts, 1, 1, 0, kept=self.kept, dropped=self.dropped)

    def nanoseconds(self, spans: int, share_new: float, run: int) -> float:
        """CPU time a span of this mixture."""
        ids = self.rng.choice(self.ids, spans // run)
        new = self.rng.random(len(ids)) < share_new
        ids[new] = self.rng.integers(1, 1 << 63, int(new.sum()), np.uint64)
        work = batches(self.rng, np.repeat(ids, run))
        begun = time.process_time()
        self.absorb(work)
        return (time.process_time() - begun) / (len(work) * SPANS) * 1e9

    def due_nanoseconds(self) -> float:
        """CPU time a trace that is handed out."""
        count = len(self.opened)
        begun = time.process_time()
        while len(self.opened):
            self.opened.due(10**9, at_most=TICK)
        return (time.process_time() - begun) / count * 1e9


def measure(traces: int) -> None:
    """Print a line."""
    wire.warm_up()
    warm_up_tables()
    bench = Bench(traces)
    spans = min(200_000, traces // 3)
    figures = [bench.nanoseconds(spans, 1 / n, run) for n in (8, 80) for run in (1, 4)]
    print(
        f"{traces:>10,}{bench.bytes_a_trace:>14.0f}",
        *(f"{figure:>9.0f}" for figure in figures),
        f"{bench.due_nanoseconds():>9.0f}",
        flush=True,
    )


def main() -> None:
    """A line each size."""
    if len(sys.argv) == 2:
        measure(int(sys.argv[1]))
        return
    print("                          ns a span, 8 a trace   80 a trace        ns a trace")
    print("open traces  RSS B a trace   random   in runs   random   in runs       due")
    for size in sys.argv[1:] or ("100000", "1000000", "5000000"):
        subprocess.run([sys.executable, "-m", __spec__.name, size], check=True)


if __name__ == "__main__":
    main()

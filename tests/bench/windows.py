"""Cost of windows on one core, and the memory that a group takes.

python -m tests.bench.windows [GROUPS...]

Each size in a process of its own: one rule by span name with lengths 10 s and 1 min, 20 services, a
dozen buckets. All groups speak in every window of 10 s for two minutes, in records of 1,000 cells;
then nobody does. Sums for backends are cumulative.
"""

from __future__ import annotations

import dataclasses
import gc
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from schemas.config import WindowRule, Windows
from schemas.operators import Outcome, Scanned
from streams.windows import windows as operator
from streams.windows.counts_windows import WindowCounts
from streams.windows.records import Buckets, Cells, Groups, Partial, decode, encode
from tests.streams.windows.some_partials import Group, batch, partial

CELLS, BUCKETS, ROUNDS = 1000, 12, 12
BEGIN_MS = 1_700_000_040_000
PAGE = 4096
SETTINGS = Windows(
    rules=(WindowRule(name="spans", signal="spans", by=("span.name",), lengths=(10, 60)),),
    cardinality_limit=10_000_000,
    open_cells_max=100_000_000,
)


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def records(groups: int) -> list[Partial]:
    """A cell of each group, in records of CELLS."""
    rng = np.random.default_rng(1)
    made = []
    for start in range(0, groups, CELLS):
        size = min(CELLS, groups - start)
        names = [
            Group("spans", service=f"service-{i % 20}", attributes=(("span.name", f"GET /{i}"),))
            for i in range(start, start + size)
        ]
        texts = [name.text for name in names]
        first = rng.integers(-30, 10, size).astype(np.int32)
        index = (first[:, None] + np.arange(BUCKETS, dtype=np.int32)).ravel()
        counts = rng.integers(1, 50, size * BUCKETS).astype(np.uint64)
        whole = counts.reshape(size, BUCKETS).sum(axis=1)
        value = rng.random(size)
        ids = rng.integers(1, 1 << 60, (3, size)).astype(np.uint64)
        empty = partial(SETTINGS, topic="spans")
        cells = Cells(
            group=np.arange(size, dtype=np.int32), pane=np.zeros(size, np.int64),
            errors=np.ones(size, np.uint64), last_time=np.zeros(size, np.uint64),
            last=np.full(size, np.nan), exemplar_value=value,
            exemplar_time=np.full(size, BEGIN_MS, np.uint64), exemplar_trace_high=ids[0],
            exemplar_trace_low=ids[1], exemplar_span=ids[2], count=whole, sum=value * 5,
            min=value / 9, max=value, zero=np.zeros(size, np.uint64),
            scale=np.full(size, 3, np.int32), bounds=np.full(size, -1, np.int32),
            buckets_stop=np.arange(1, size + 1, dtype=np.int32) * BUCKETS,
        )  # fmt: skip
        made.append(
            dataclasses.replace(
                empty,
                groups=Groups(
                    np.zeros(size, np.int32),
                    np.array([name.hash for name in names], np.uint64),
                    np.cumsum([len(text) for text in texts]).astype(np.int32),
                ),
                cells=cells,
                buckets=Buckets(index, np.zeros(len(index), np.uint8), counts),
                key_text=b"".join(texts),
            )
        )
    return made


class Bench:
    """An operator with a source of one partition."""

    def __init__(self) -> None:
        self.offset = 0
        self.operator = self.made()

    def made(self) -> operator.Windows:
        return operator.Windows(
            SETTINGS, topics={"spans": "spans", "logs": "logs", "metrics": "metrics"},
            output="windows", export="out", partition=0, max_bytes=950_000, counts=WindowCounts(),
        )  # fmt: skip

    def take(self, made: Partial, progress_ms: int) -> Outcome:
        made.header = made.header.model_copy(
            update={"progress_ms": progress_ms, "at_ms": progress_ms, "now_ms": progress_ms}
        )
        self.offset += 1
        return self.operator.process(Scanned(batch(b"", self.offset, progress_ms), made))

    def round(self, made: list[Partial], pane: int) -> tuple[float, float, int]:
        """Seconds for all cells of a pane, and to close what is over; bytes of that."""
        begin_ms = BEGIN_MS + pane * 10_000
        began = time.process_time()
        for each in made:
            each.cells.pane = np.full(len(each.cells.pane), begin_ms // 10_000)
            self.take(each, begin_ms - 1)
        between = time.process_time()
        outcome = self.take(partial(SETTINGS, topic="spans"), begin_ms)
        size = sum(len(record.value) for record in outcome.records)
        return between - began, time.process_time() - between, size


def run(groups: int) -> None:
    warm = Bench()
    for pane in range(14):
        warm.round(records(10), pane)
    warm.operator.restore(iter(warm.operator.snapshot()))
    del warm
    made = records(groups)
    value = encode(made[0])
    began = time.process_time()
    for _ in range(20):
        decode(value)
    decoding = (time.process_time() - began) / 20 / len(made[0].cells.count)
    before = resident()
    bench = Bench()
    began = time.process_time()
    bench.round(made, 0)
    first = time.process_time() - began
    rounds = [bench.round(made, pane) for pane in range(1, ROUNDS)]
    cell = np.median([cells for cells, _, _ in rounds[2:]]) / groups
    closing = np.median([closed for _, closed, _ in rounds[2:]]) / groups
    size = np.median([size for _, _, size in rounds[2:]]) / groups
    full = resident() - before
    state = bench.operator.state
    print(f"{groups:,} groups, {state.open_cells:,} cells of {state.open_windows} windows open")
    print(f"  first cell of a group  {first / groups * 1e6:7.2f} us")
    print(f"  cell                   {cell * 1e6:7.2f} us (decoding {decoding * 1e6:.2f} more)")
    print(f"  emitted group          {closing * 1e6:7.2f} us, {size:.0f} bytes, both topics")
    print(f"  tables                 {state.bytes / groups:7.0f} bytes a group")
    print(f"  memory                 {full / groups:7.0f} bytes a group, with what is under way")
    began = time.process_time()
    chunks = bench.operator.snapshot()
    taken = time.process_time() - began
    stored = sum(map(len, chunks))
    began = time.process_time()
    new = bench.made()
    new.restore(iter(chunks))
    restored = time.process_time() - began
    print(f"  snapshot               {stored / groups:7.0f} bytes a group, {taken:.2f} s")
    print(f"  restore                {restored:7.2f} s")


def idle(groups: int, state: Path) -> None:
    """Write the state of groups without open windows, for a process that has done nothing else."""
    bench = Bench()
    bench.round(records(groups), 0)
    bench.take(partial(SETTINGS, topic="spans"), BEGIN_MS + 200_000)
    state.write_bytes(pickle.dumps(bench.operator.snapshot()))


def idle_memory(groups: int, state: Path) -> None:
    warm = Bench()
    warm.round(records(10), 0)
    warm.operator.restore(iter(warm.operator.snapshot()))
    chunks = pickle.loads(state.read_bytes())
    before = resident()
    warm.operator.restore(iter(chunks))
    tables = warm.operator.state.bytes / groups
    print(f"  idle groups            {tables:7.0f} bytes each in tables,")
    print(
        f"                         {(resident() - before) / groups:7.0f} of memory once restored,"
    )
    print(f"                         {sum(map(len, chunks)) / groups:7.0f} in a snapshot")


def bench(groups: int) -> None:
    """Each part in a process of its own."""
    call = [sys.executable, "-m", "tests.bench.windows"]
    with tempfile.TemporaryDirectory() as folder:
        state = str(Path(folder) / "state")
        subprocess.run([*call, "--run", str(groups)], check=True)
        subprocess.run([*call, "--idle", str(groups), state], check=True)
        subprocess.run([*call, "--memory", str(groups), state], check=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--run", size]:
            run(int(size))
        case ["--idle", size, state]:
            idle(int(size), Path(state))
        case ["--memory", size, state]:
            idle_memory(int(size), Path(state))
        case sizes:
            for size in sizes or ["1000", "100000"]:
                bench(int(size))

"""What exactly once costs: lanes with transactions beside lanes without, on a real Kafka.

    python -m tests.bench.transactions [--runs 3] [--only PART...]

Spans of 528 bytes, about 512 to a message, zstd on the bus. Lanes that are compared read the same
messages; in ``paced`` at the same time, so that whatever else the machine does happens to all of
them. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from topologies.localkafka import LocalKafka

from . import lane_cost, lane_scale, latency, recovery, road
from .lane_bench import Bench

PARTS = {
    "paced": lane_cost.paced,
    "backlog": lane_cost.backlog,
    "latency": latency.table,
    "rss": lane_scale.rss,
    "scaling": lane_scale.scaling,
    "recovery": recovery.table,
}


async def _main(names: Sequence[str], spans: int, runs: int, state_mib: int) -> None:
    console = Console(width=None if Console().is_terminal else 140)
    console.print(f"{road.cores()} cores, shared; medians of {runs} runs")
    with tempfile.TemporaryDirectory() as directory, LocalKafka(keep=False) as kafka:
        path, state_bytes = Path(directory), state_mib << 20
        bench = Bench(kafka, path, spans=spans, runs=runs, state_bytes=state_bytes)
        for name in names:
            console.print(await PARTS[name](bench))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.transactions")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--spans", type=int, default=400_000, help="of a backlog")
    parser.add_argument("--state-mib", type=int, default=1024, help="most that recovery has")
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS))
    arguments = parser.parse_args()
    uvloop.run(_main(arguments.only, arguments.spans, arguments.runs, arguments.state_mib))


if __name__ == "__main__":
    main()

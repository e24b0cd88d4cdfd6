"""A stage that copies and counts, as a process: what chaos is done to.

python -m tests.broker.chaos_worker CONFIG SOURCE COPIES COUNTS
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from schemas.batches import Record
from schemas.errors import MalformedMessage
from schemas.operators import Outcome, Scanned
from streams.edges.platform import configure_logs
from tests.operators.counting import Counting, scan
from topologies.boot import read_config
from topologies.runtime import Stage, serve

STAGE = "chaos"


class Copying:
    """Puts every value on another topic as it is."""

    name = "copying"
    format_version = 1
    log_topic = None
    snapshots = "none"

    def __init__(self, output: str) -> None:
        self._output = output

    def process(self, scanned: Scanned) -> Outcome:
        batch = scanned.batch
        return Outcome((Record(self._output, batch.value, partition=batch.partition),))

    def tick(self, now_ms: int) -> Outcome:
        return Outcome()

    def flush(self) -> tuple[Record, ...]:
        return ()

    def recall(self, record: object) -> None:
        raise AssertionError("it has no log")

    def snapshot(self) -> tuple[bytes, ...]:
        return ()

    def restore(self, chunks: object) -> None:
        raise MalformedMessage("it has no snapshots")

    def adjust(self, name: str, value: object) -> None:
        pass


def keys(topic: str, value: bytes) -> list[str]:
    """The words of a value but its first, which is its own and would make the counts large."""
    return scan(topic, value)[1:]


def stage(source: str, copies: str, counts: str) -> Stage:
    """The table of the worker."""
    return Stage(
        name=STAGE,
        topics=(source,),
        operators=lambda _topic, _partition, _partitions: [
            Copying(copies),
            Counting.by_snapshot(counts),
        ],
        scan=keys,
        outputs=(copies, counts),
    )


def main() -> None:
    """Run until SIGTERM."""
    path, *topics = sys.argv[1:]
    config, _ = read_config(Path(path))
    configure_logs(config.telemetry)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(stage(*topics), config))


if __name__ == "__main__":
    main()

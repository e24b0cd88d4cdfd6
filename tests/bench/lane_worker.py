"""The stages that tests/bench/transactions.py and recovery.py measure, as a process.

python -m tests.bench.lane_worker KIND --config FILE

``shape``: the stage as it is. ``apart``: the same without joining records. ``plain``: scans and
sends with one idempotent producer, at least once: what a lane cost before transactions.
``state``, ``replay``: a small output per message, that says which process made it, and state that
a recovery must bring back from a snapshot, or from the source's beginning.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import uvloop
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry

from schemas.batches import Batch, Record
from schemas.config import Config
from schemas.operators import Outcome, Scanned, Snapshots
from schemas.records import Value
from schemas.signals import Signal
from streams import wire
from streams.edges.platform import configure_logs
from topologies import shape
from topologies.boot import read_config
from topologies.kafka import create_producer
from topologies.runtime import Stage, serve

STATE_BYTES = "OTLP_STREAMS_BENCH_STATE_BYTES"
"""Environment: bytes of state of a lane of kind ``state``."""
PID_HEADER = "pid"
CHUNK_BYTES = 1 << 18


class PlainSink:
    """Scan, split, send, await: no offset but Kafka's acknowledgement."""

    def __init__(self, config: Config, producer: AIOKafkaProducer) -> None:
        self._output = config.topics.names.spans_out
        self._max_bytes = config.kafka.producer.max_message
        self._producer = producer

    async def deliver(self, batches: Sequence[Batch]) -> None:
        """Returns when Kafka has all of it."""
        sends = []
        for batch in batches:
            scan = wire.scan(Signal.TRACES, batch.value, strict_ids=False)
            parts, _ = wire.split_by_size(batch.value, scan, self._max_bytes)
            for part in parts:
                send = await self._producer.send(self._output, part, partition=batch.partition)
                sends.append(send)
        for send in sends:
            await send


class Holding:
    """Says which process it is in; holds bytes that a snapshot has, or that need all the source.

    Not pure, by purpose: who reads its output learns who has taken over, and when.
    """

    name = "holding"
    format_version = 1
    log_topic: str | None = None

    def __init__(self, output: str, partition: int, *, snapshots: bool) -> None:
        self.snapshots: Snapshots = "state" if snapshots else "none"
        self._output = output
        self._partition = partition
        self._headers = ((PID_HEADER, str(os.getpid()).encode()),)
        self._chunks: list[bytes] = []

    def process(self, scanned: Scanned) -> Outcome:
        """A few bytes for each message."""
        if self.snapshots == "state" and not self._chunks:
            rng = np.random.default_rng(self._partition)
            count = max(1, int(os.environ[STATE_BYTES]) // CHUNK_BYTES)
            self._chunks = [rng.bytes(CHUNK_BYTES) for _ in range(count)]
        record = Record(self._output, b"1", self._partition, headers=self._headers)
        return Outcome((record,), None if self.snapshots == "state" else 0)

    def tick(self, now_ms: int) -> Outcome:
        """Nothing waits; the replay stays as long."""
        return Outcome((), None if self.snapshots == "state" else 0)

    def flush(self) -> Sequence[Record]:
        """Nothing is gathered."""
        return ()

    def recall(self, record: Batch) -> None:
        """There is no log."""

    def snapshot(self) -> Sequence[bytes]:
        """All of it."""
        return self._chunks

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take it over."""
        self._chunks = list(chunks)

    def adjust(self, name: str, value: Value) -> None:
        """There is nothing to set."""


def _plain(config: Config) -> Stage:
    producers: list[AIOKafkaProducer] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        await asyncio.to_thread(wire.warm_up)
        producers.append(create_producer(config.kafka))
        await producers[0].start()
        try:
            yield
        finally:
            await producers[0].stop()

    like = shape.stage(config, CollectorRegistry())
    return Stage(
        name=like.name,
        topics=like.topics,
        sink=lambda _topic, _partition: PlainSink(config, producers[0]),
        outputs=like.outputs,
        lifespan=lifespan,
    )


def stage(kind: str, config: Config) -> Stage:
    """The table of a kind."""
    like = shape.stage(config, CollectorRegistry())
    if kind == "plain":
        return _plain(config)
    if kind == "shape":
        return like
    if kind == "apart":
        return replace(like, merge_outputs=False)
    output, snapshots = config.topics.names.spans_out, kind == "state"
    return replace(
        like,
        merge_outputs=False,
        operators=lambda _topic, partition, _partitions: (
            Holding(output, partition, snapshots=snapshots),
        ),
    )


def main() -> None:
    """Run until SIGTERM."""
    kind, _, path = sys.argv[1:]
    config, _ = read_config(Path(path))
    configure_logs(config.telemetry)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(stage(kind, config), config))


if __name__ == "__main__":
    main()

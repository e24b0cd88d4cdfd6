"""A Kafka of lists for one lane: every answer comes at once, or is the error that a test wants."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from schemas.batches import Batch, Record
from schemas.errors import PermanentError
from schemas.operators import Operator, Outcome, Scanned, Snapshots
from schemas.records import Value
from topologies.runtime.calls import Backoff
from topologies.runtime.deadletter import dead_letter
from topologies.runtime.lane_contract import TransactionalLimits
from topologies.runtime.metrics import LaneCounts
from topologies.runtime.ports import Fenced, Offset
from topologies.runtime.recovery import Place
from topologies.runtime.transactional_lane import TransactionalLane

from .doubles import FakeClock, settle

PLACE = Place("in", 0, "g", "journal")


class MemoryKafka:
    """Topics with one partition, a group's offset, producers by epoch."""

    def __init__(self) -> None:
        self.logs: dict[str, list[Batch]] = defaultdict(list)
        self.begins: dict[str, int] = defaultdict(int)
        self.counts: dict[str, int] = defaultdict(lambda: 1)
        """Partitions that topics are said to have."""
        self.group: dict[tuple[str, str, int], int] = {}
        self.epoch = 0
        self.errors: list[Exception | None] = []
        """What the next commits end in; None: success. A Fenced leaves nothing, too."""
        self.late: Exception | None = None
        """What the next commit ends in although it is carried out."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.commits: list[list[Record]] = []
        self.stopped = 0
        self.reads: list[tuple[str, int, int]] = []

    def append(self, topic: str, value: bytes, key: bytes | None = None, headers=()) -> int:
        log = self.logs[topic]
        offset = log[-1].offset + 1 if log else 0
        log.append(Batch(topic, 0, offset, 1000 + offset, key, value, tuple(headers)))
        return offset

    # --- ports.Log

    async def partitions(self, topic: str) -> int:
        return self.counts[topic]

    async def begin(self, topic: str, partition: int) -> int:
        return self.begins[topic]

    async def end(self, topic: str, partition: int) -> int:
        log = self.logs[topic]
        return log[-1].offset + 1 if log else self.begins[topic]

    async def written(self, topic: str, partition: int) -> int:
        return await self.end(topic, partition)

    async def read(
        self, topic: str, partition: int, start: int, stop: int
    ) -> AsyncIterator[Sequence[Batch]]:
        self.reads.append((topic, start, stop))
        start = max(start, self.begins[topic])
        for batch in list(self.logs[topic]):
            if start <= batch.offset < stop:
                yield [batch]

    async def committed(self, group: str, topic: str, partition: int) -> int | None:
        return self.group.get((group, topic, partition))

    # --- for tests

    def values(self, topic: str) -> list[bytes]:
        return [batch.value for batch in self.logs[topic]]


class MemoryTransactions:
    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka
        self._epoch = -1

    async def start(self) -> None:
        self._kafka.epoch += 1
        self._epoch = self._kafka.epoch

    async def commit(self, records: Sequence[Record], offset: Offset | None) -> Sequence[int]:
        kafka = self._kafka
        await kafka.gate.wait()
        if self._epoch != kafka.epoch:
            raise Fenced("an older epoch")
        if kafka.errors and (error := kafka.errors.pop(0)) is not None:
            raise error
        kafka.commits.append(list(records))
        found = [kafka.append(r.topic, r.value, r.key, r.headers) for r in records]
        if offset is not None:
            kafka.group[offset.group, offset.topic, offset.partition] = offset.offset
        if (error := kafka.late) is not None:
            kafka.late = None
            raise error
        return found

    async def stop(self) -> None:
        self._kafka.stopped += 1


class Upper:
    """Says each value in capitals; refuses ``!``; remembers how many it has seen."""

    name = "upper"
    format_version = 1
    log_topic: str | None = None
    snapshots: Snapshots = "state"

    def __init__(self) -> None:
        self.seen = 0
        self.ticks = 0
        self.tick_records: Sequence[Record] = ()
        self.pieces = 1

    def process(self, scanned: Scanned) -> Outcome:
        if scanned.batch.value.startswith(b"!"):
            raise PermanentError("refused")
        self.seen += 1
        headers = scanned.batch.headers
        return Outcome([Record("out", scanned.batch.value.upper(), 0, headers=headers)])

    def tick(self, now_ms: int) -> Outcome:
        self.ticks += 1
        return Outcome(self.tick_records)

    def recall(self, record: Batch) -> None:
        raise AssertionError("it has no log")

    def snapshot(self) -> Sequence[bytes]:
        return [b"%d" % self.seen, *([b"x" * 400_000] * (self.pieces - 1))]

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.seen = int(next(iter(chunks)))

    def adjust(self, name: str, value: Value) -> None:
        pass


class LaneBench:
    """A transactional lane, its Kafka, and what it asks of its host. ``lane`` may be replaced."""

    def __init__(
        self, make: Callable[[], Sequence[Operator]] = lambda: [Upper()], **limits
    ) -> None:
        self.clock = FakeClock()
        self.kafka = MemoryKafka()
        self.counts = LaneCounts()
        self.events: list[str] = []
        self.fatals: list[BaseException] = []
        self.fencings: list[BaseException] = []
        self.end = True
        self.made: list[Operator] = []
        self._make = make
        self._limits = TransactionalLimits(
            **{
                "commit_interval_s": 1.0,
                "commit_max_bytes": 1000,
                "commit_max_batches": 100,
                "join_max_bytes": 0,
                "record_max_bytes": 500_000,
                "snapshot_interval_s": 1e9,
                "piece_max_bytes": 512 << 10,
                "idle_tick_s": 1.0,
                "backoff": Backoff(1.0, 8.0),
                "auto_offset_reset": "earliest",
                **limits,
            }
        )

    def start(self, limit_bytes: int = 10_000) -> TransactionalLane:
        def make(partitions: int) -> Sequence[Operator]:
            made = self._make()
            self.made += made
            return made

        self.lane = TransactionalLane(
            PLACE,
            1,
            make_operators=make,
            scan=None,
            make_transactions=lambda: MemoryTransactions(self.kafka),
            log=self.kafka,
            dead_letter=lambda batch, error: dead_letter("dl", "test", batch, error, 5),
            limits=self._limits,
            limit_bytes=limit_bytes,
            port=self,
            clock=self.clock,
            counts=self.counts,
        )
        self.lane.start()
        return self.lane

    async def started(self, **options) -> TransactionalLane:
        lane = self.start(**options)
        await settle()
        return lane

    def source(self, *values: bytes) -> None:
        """Append to the source and deliver to the lane."""
        for value in values:
            offset = self.kafka.append("in", value)
            self.lane.put(self.kafka.logs["in"][offset])
        self.lane.wake()

    def deliver(self, start: int) -> None:
        """As after a seek."""
        for batch in self.kafka.logs["in"]:
            if batch.offset >= start:
                self.lane.put(batch)
        self.lane.wake()

    @property
    def committed(self) -> int | None:
        return self.kafka.group.get(("g", "in", 0))

    # --- TransactionalLanePort

    def lane_full(self, lane: TransactionalLane) -> None:
        self.events.append("full")

    def lane_drained(self, lane: TransactionalLane) -> None:
        self.events.append("drained")

    async def lane_recovered(self, lane: TransactionalLane, position: int) -> None:
        self.events.append(f"recovered {position}")

    def at_end(self, lane: TransactionalLane) -> bool:
        return self.end

    def commit_took(self, seconds: float) -> None:
        pass

    def fenced(self, lane: TransactionalLane, error: BaseException) -> None:
        self.fencings.append(error)

    def fatal(self, error: BaseException) -> None:
        self.fatals.append(error)

"""A Kafka of lists for one lane: every answer comes at once, or is the error that a test wants."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from schemas.batches import Batch, Record
from schemas.errors import PermanentError
from schemas.operators import Operator, Outcome, Scanned, Snapshots
from schemas.records import Value
from topologies.control.view import ControlView
from topologies.runtime.calls import Backoff
from topologies.runtime.deadletter import dead_letter
from topologies.runtime.finding import Place
from topologies.runtime.lane_contract import TransactionalLimits
from topologies.runtime.metrics import LaneCounts
from topologies.runtime.ports import Fenced, Fetched, Offset, RecordsRefused
from topologies.runtime.preparing import Ranges
from topologies.runtime.ranges import RangeReader
from topologies.runtime.stage import SourceRange
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
        self.limits: dict[str, int] = {}
        """Largest value of a record that a topic takes; what goes there at once counts as one."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.commits: list[list[Record]] = []
        self.stopped = 0
        self.reads: list[tuple[str, int, int]] = []
        self.fetches: list[tuple[str, int, int]] = []
        self.fetch_gate = asyncio.Event()
        self.fetch_gate.set()
        self.fetch_errors: list[Exception] = []
        self.closed_readers = 0

    def append(self, topic: str, value: bytes, key: bytes | None = None, headers=()) -> int:
        log = self.logs[topic]
        offset = log[-1].offset + 1 if log else 0
        log.append(Batch(topic, 0, offset, 1000 + offset, key, value, tuple(headers)))
        return offset

    # --- ports.Log

    async def partitions(self, topic: str) -> int:
        return self.counts[topic]

    async def record_max_bytes(self, topic: str) -> int | None:
        return self.limits.get(topic)

    def reader(self, topic: str, partition: int) -> MemoryReader:
        return MemoryReader(self, topic)

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


class MemoryReader:
    """Two messages at a time."""

    def __init__(self, kafka: MemoryKafka, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic

    async def fetch(self, offset: int, stop: int) -> Fetched:
        kafka = self._kafka
        kafka.fetches.append((self._topic, offset, stop))
        await kafka.fetch_gate.wait()
        if kafka.fetch_errors:
            raise kafka.fetch_errors.pop(0)
        begin = max(offset, kafka.begins[self._topic])
        found = [each for each in kafka.logs[self._topic] if begin <= each.offset < stop][:2]
        return Fetched(found, found[-1].offset + 1 if found else min(begin, stop))

    async def close(self) -> None:
        self._kafka.closed_readers += 1


class MemoryTransactions:
    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka
        self._epoch = -1

    async def start(self) -> None:
        self._kafka.epoch += 1
        self._epoch = self._kafka.epoch

    async def commit(
        self, records: Sequence[Record], offset: Offset | None, *, apart: bool = False
    ) -> Sequence[int]:
        kafka = self._kafka
        await kafka.gate.wait()
        if self._epoch != kafka.epoch:
            raise Fenced("an older epoch")
        if kafka.errors and (error := kafka.errors.pop(0)) is not None:
            raise error
        refused = self._refused(records, apart=apart)
        if refused:
            raise RecordsRefused("too large", refused)
        kafka.commits.append(list(records))
        found = [kafka.append(r.topic, r.value, r.key, r.headers) for r in records]
        if offset is not None:
            kafka.group[offset.group, offset.topic, offset.partition] = offset.offset
        if (error := kafka.late) is not None:
            kafka.late = None
            raise error
        return found

    def _refused(self, records: Sequence[Record], *, apart: bool) -> list[int]:
        groups: dict[object, list[int]] = defaultdict(list)
        for index, record in enumerate(records):
            groups[index if apart else record.topic].append(index)
        for indices in groups.values():
            limit = self._kafka.limits.get(records[indices[0]].topic)
            if limit is not None and sum(len(records[n].value) for n in indices) > limit:
                return indices
        return []

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

    def flush(self) -> Sequence[Record]:
        return ()

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
        self,
        make: Callable[[], Sequence[Operator]] = lambda: [Upper()],
        *,
        reads: Callable[[Any], SourceRange | None] | None = None,
        control: ControlView | None = None,
        keep: bool = True,
        kept: Sequence[str] = (),
        **limits,
    ) -> None:
        self.clock = FakeClock()
        self.kafka = MemoryKafka()
        self.counts = LaneCounts()
        self.events: list[str] = []
        self.fatals: list[BaseException] = []
        self.fencings: list[BaseException] = []
        self.end = True
        self.made: list[Operator] = []
        self.partitions: list[int] = []
        """What operators were told, recovery by recovery."""
        self.slots = asyncio.Semaphore(2)
        self._reads = reads
        self._keep = keep
        self._kept = kept
        self._control = control
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
            self.partitions.append(partitions)
            self.made += made if self._keep else []
            return made

        self.lane = TransactionalLane(
            PLACE,
            1,
            make_operators=make,
            scan=None if self._reads is None else lambda _topic, value: value,
            ranges=self._ranges(),
            make_transactions=lambda: MemoryTransactions(self.kafka),
            log=self.kafka,
            dead_letter=lambda batch, error: dead_letter("dl", "test", batch, error, 5),
            limits=self._limits,
            limit_bytes=limit_bytes,
            port=self,
            clock=self.clock,
            counts=self.counts,
            kept=self._kept,
            control=None if self._control is None else self._control.lane("test", "in", 0),
        )
        self.lane.start()
        return self.lane

    def _ranges(self) -> Ranges | None:
        if self._reads is None:
            return None
        reader = RangeReader(self.kafka, self.clock, 100)
        return Ranges(self._reads, reader, self.slots, Backoff(1.0, 8.0))

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

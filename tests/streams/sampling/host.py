"""A host without Kafka for both operators: logs in memory, transactions, crashes, recovery."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from schemas.batches import Batch, Headers, Record
from schemas.errors import PermanentError
from schemas.operators import Outcome, Scanned, Source
from streams import wire
from streams.sampling.emit import Emit
from streams.sampling.records import WorkOrder, decode
from streams.sampling.sample import Sample

__all__ = ["DECISIONS", "OUTPUT", "SPANS", "Host", "Lane"]

SPANS, DECISIONS, OUTPUT, LETTERS = "spans", "decisions", "output", "letters"
Make = Callable[[int, int], Sample]
"""From partition and number of partitions."""


class Log:
    """Records of a partition; offsets have gaps, as transaction markers make them."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.end = 0

    def append(self, record: Record, partition: int, time_ms: int) -> Batch:
        batch = Batch(
            record.topic, partition, self.end, time_ms, record.key, record.value, record.headers
        )
        self.batches.append(batch)
        self.end += 1
        return batch

    def since(self, offset: int) -> list[Batch]:
        return [batch for batch in self.batches if batch.offset >= offset]


class Lane:
    """One partition's ``Sample``, what it has taken and not committed, and its recovery."""

    def __init__(self, host: Host, partition: int) -> None:
        self.host, self.partition = host, partition
        self.position = 0
        """Committed."""
        self.replay_from: int | None = None
        self.snapshot: tuple[list[bytes], int] | None = None
        """Chunks, and the log's end when they were taken."""
        self._start()

    def _start(self) -> None:
        self.operator = self.host.make(self.partition, self.host.partitions)
        self.taken = self.position
        self.shadow: Sample | None = None
        """A second one that was recovered, and must do the same."""
        self.draft: list[Record] = []
        self.outcome_from = self.replay_from

    def fresh(self) -> Sample:
        """An operator recovered from what is committed."""
        operator = self.host.make(self.partition, self.host.partitions)
        log = self.host.logs[DECISIONS, self.partition]
        since = 0
        if self.snapshot is not None:
            chunks, since = self.snapshot
            operator.restore(iter(chunks))
        for batch in log.since(since):
            operator.recall(batch)
        begin = self.position if self.replay_from is None else self.replay_from
        assert begin <= self.position
        for batch in self.host.logs[SPANS, self.partition].since(begin):
            if batch.offset < self.position and (scan := scanned(batch)) is not None:
                operator.process(Scanned(batch, scan, replayed=True))
        return operator

    def crash(self) -> None:
        """What is not committed is lost."""
        operator = self.fresh()
        self._start()
        self.operator = operator

    def waiting(self) -> list[Batch]:
        return self.host.logs[SPANS, self.partition].since(self.taken)

    def take(self) -> bool:
        """One batch, or False at the end."""
        waiting = self.waiting()
        if not waiting:
            return False
        self.taken = waiting[0].offset + 1
        scan = scanned(waiting[0])
        if scan is not None:
            self._keep(lambda operator: operator.process(Scanned(waiting[0], scan)))
        return True

    def tick(self, now_ms: int) -> None:
        self._keep(lambda operator: operator.tick(now_ms))

    def _keep(self, step: Callable[[Sample], Outcome]) -> None:
        outcome = step(self.operator)
        if self.shadow is not None:
            assert step(self.shadow) == outcome
        self.draft += outcome.records
        self.outcome_from = outcome.replay_from

    def commit(self, time_ms: int) -> None:
        self.host.publish(self.draft, time_ms)
        self.draft, self.position, self.replay_from = [], self.taken, self.outcome_from

    def write_snapshot(self) -> None:
        """Of the committed state."""
        assert not self.draft
        end = self.host.logs[DECISIONS, self.partition].end
        self.snapshot = list(self.operator.snapshot()), end


def scanned(batch: Batch) -> wire.SpanScan | None:
    try:
        return wire.scan_traces(batch.value, strict_ids=False)
    except PermanentError:
        return None


class Host:
    """Topics with their partitions, and lanes over them.

    Args:
        make: makes ``Sample``.
        partitions: of all topics, at first.
        max_bytes: of records that ``Emit`` makes.
    """

    def __init__(self, make: Make, partitions: int, max_bytes: int = 1 << 20) -> None:
        self.make, self.partitions = make, partitions
        self.logs: dict[tuple[str, int], Log] = {}
        self.letters: list[Record] = []
        self._add(0)
        self.lanes = [Lane(self, partition) for partition in range(partitions)]
        self.emits = [Emit(output=OUTPUT, max_bytes=max_bytes) for _ in range(partitions)]
        self._emitted = [0] * partitions

    def _add(self, first: int) -> None:
        for partition in range(first, self.partitions):
            for topic in (SPANS, DECISIONS, OUTPUT):
                self.logs[topic, partition] = Log()

    def grow(self, partitions: int, max_bytes: int = 1 << 20) -> None:
        """Partitions are added; every lane is assigned anew."""
        before, self.partitions = self.partitions, partitions
        self._add(before)
        for lane in self.lanes:
            lane.crash()
        self.lanes += [Lane(self, partition) for partition in range(before, partitions)]
        self.emits += [Emit(output=OUTPUT, max_bytes=max_bytes) for _ in range(before, partitions)]
        self._emitted += [0] * (partitions - before)

    def send(self, value: bytes, partition: int, time_ms: int, headers: Headers = ()) -> None:
        """A message on the spans' topic."""
        record = Record(SPANS, value, partition, None, headers)
        self.logs[SPANS, partition].append(record, partition, time_ms)

    def publish(self, records: Sequence[Record], time_ms: int) -> None:
        """A transaction is committed; a marker follows on each partition."""
        touched = set()
        for record in records:
            if record.partition is None:
                self.letters.append(record)
                continue
            touched.add((record.topic, record.partition))
            self.logs[record.topic, record.partition].append(record, record.partition, time_ms)
        for where in touched:
            self.logs[where].end += 1

    def emit(self, time_ms: int) -> None:
        """Carry out all work orders that are committed."""
        for partition, emit in enumerate(self.emits):
            for batch in self.logs[DECISIONS, partition].since(self._emitted[partition]):
                order = decode(batch.value)
                source = None
                if isinstance(order, WorkOrder) and len(order.traces.policy):
                    there = self.logs[SPANS, partition].since(order.start)
                    source = Source(0, [each for each in there if each.offset < order.stop])
                outcome = emit.process(Scanned(batch, order, source=source))
                self.publish(outcome.records, time_ms)
                self._emitted[partition] = batch.offset + 1

    def finish(self, time_ms: int) -> None:
        """Everything is taken, decided and emitted."""
        for _ in range(self.partitions + 1):  # what is sent elsewhere is taken there
            for lane in self.lanes:
                while lane.take():
                    pass
                lane.commit(time_ms)
        for later in range(0, 60_000, 5_000):
            for lane in self.lanes:
                lane.tick(time_ms + later)
                lane.commit(time_ms + later)
        self.emit(time_ms + 60_000)

    def records(self, topic: str) -> list[Batch]:
        """Everything on a topic."""
        return [b for (name, _), log in self.logs.items() if name == topic for b in log.batches]


def choose(rng: np.random.Generator, **weights: float) -> str:
    """One of the names."""
    total = np.array([*weights.values()])
    return str(rng.choice([*weights], p=total / total.sum()))

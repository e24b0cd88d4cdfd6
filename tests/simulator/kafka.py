"""What brokers keep: topics with transactions, and the offsets of groups.

Pure state; whoever asks is delayed, answered late or not at all by client.py. What is modelled,
after the protocol and what was measured on Kafka 4.1:

- Offsets count transaction markers. Readers get what is committed, up to the last stable offset:
  that of the first record of a transaction whose marker this partition has not seen.
- A commit is decided first; its markers come to each partition, and its offsets to the group, at
  times of their own. Until then the committed offset reads old, and the producer's next
  transaction and the next owner's start have to wait.
- A start fences: open transactions are aborted, and whoever has an older epoch is refused. A
  transaction that is open for too long is aborted by the coordinator, and its owner is fenced.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from schemas.batches import Batch, Record
from topologies.runtime.ports import Fenced, Offset

from .loop import EPOCH_S, SimLoop

__all__ = ["TP", "Busy", "Kafka", "Partition", "State", "Transaction"]


class TP(NamedTuple):
    """A partition; equal to Faust's."""

    topic: str
    partition: int


class Busy(Exception):
    """CONCURRENT_TRANSACTIONS: the client asks again soon."""


class State(Enum):
    """Of a transaction."""

    ONGOING = 0
    COMMITTING = 1
    ABORTING = 2
    COMMITTED = 3
    ABORTED = 4


class Transaction:
    """What becomes visible together."""

    __slots__ = ("batches", "id", "missing", "offsets", "partitions", "state")

    def __init__(self, transactional_id: str) -> None:
        self.id = transactional_id
        self.state = State.ONGOING
        self.partitions: dict[TP, int] = {}
        """Its first offset in each."""
        self.offsets: list[Offset] = []
        self.batches: list[Batch] = []
        self.missing = 0
        """Markers that are still to be written."""

    @property
    def committed(self) -> bool:
        """Decided so; seen by readers as its markers arrive."""
        return self.state in (State.COMMITTING, State.COMMITTED)


class Entry(NamedTuple):
    """A record, or a marker (no batch), and its transaction if it has one."""

    batch: Batch | None
    transaction: Transaction | None


class Partition:
    """A log. Entries that compaction took are None."""

    __slots__ = ("_entries", "begin", "open", "tombstones_seen", "tp")

    def __init__(self, tp: TP) -> None:
        self.tp = tp
        self.begin = 0
        self._entries: list[Entry | None] = []
        self.open: dict[Transaction, int] = {}
        self.tombstones_seen: set[int] = set()

    @property
    def end(self) -> int:
        """High watermark."""
        return len(self._entries)

    @property
    def stable(self) -> int:
        """Last stable offset."""
        return min(self.open.values(), default=self.end)

    def append(self, entry: Entry) -> int:
        self._entries.append(entry)
        return len(self._entries) - 1

    def committed(self, start: int, stop: int, limit: int = 1 << 30) -> tuple[list[Batch], int]:
        """What a reader gets from ``start`` on, and where it goes on."""
        found: list[Batch] = []
        position = max(start, self.begin)
        stop = min(stop, self.stable)
        while position < stop and len(found) < limit:
            entry = self._entries[position]
            if entry is not None and entry.batch is not None:
                owner = entry.transaction
                if owner is None or owner.committed:
                    found.append(entry.batch)
            position += 1
        return found, position

    def trim(self, before: int) -> None:
        """Retention: forget a prefix."""
        before = min(before, self.stable)
        if before > self.begin:
            self._entries[self.begin : before] = [None] * (before - self.begin)
            self.begin = before

    def compact(self, before: int) -> None:
        """Keep the last committed value of each key, of what is before ``before``.

        A tombstone outlives one run, so that readers can see it.
        """
        before = min(before, self.stable)
        newest: set[bytes | None] = set()
        for offset in range(before - 1, self.begin - 1, -1):
            entry = self._entries[offset]
            if entry is None or entry.batch is None:
                continue
            keep = entry.transaction is None or entry.transaction.committed
            if keep and entry.batch.key in newest:
                keep = False
            if keep:
                newest.add(entry.batch.key)
                if not entry.batch.value:
                    keep = offset not in self.tombstones_seen
                    self.tombstones_seen.add(offset)
            if not keep:
                self._entries[offset] = None

    @property
    def size(self) -> int:
        """Records that are kept, markers not counted."""
        return sum(e is not None and e.batch is not None for e in self._entries)


class _Producer:
    """What the transaction coordinator knows of an id."""

    __slots__ = ("epoch", "transaction")

    def __init__(self) -> None:
        self.epoch = -1
        self.transaction: Transaction | None = None


class Kafka:
    """All of it. ``partitions`` is by topic; a topic must be made before it is used."""

    def __init__(
        self,
        loop: SimLoop,
        rng: random.Random,
        *,
        marker_delay_s: Callable[[], float] = lambda: 0.0,
        transaction_timeout_s: float = 60.0,
        value_max: int = 1 << 20,
    ) -> None:
        self.loop = loop
        self.rng = rng
        self.value_max = value_max
        self.limits: dict[str, int] = {}
        """Of topics that take less."""
        self._marker_delay_s = marker_delay_s
        self._timeout_s = transaction_timeout_s
        self._logs: dict[TP, Partition] = {}
        self._counts: dict[str, int] = {}
        self._producers: dict[str, _Producer] = {}
        self._groups: dict[tuple[str, TP], int] = {}
        self.commits: list[tuple[str, TP, int]] = []
        """Every offset that was committed, in order."""
        self.finished: list[Transaction] = []
        """Committed ones, in the order of their decisions."""
        self.aborted = 0

    # --- topics

    def create(self, topic: str, partitions: int) -> None:
        """Make a topic, or give it more partitions."""
        for number in range(self._counts.get(topic, 0), partitions):
            self._logs[TP(topic, number)] = Partition(TP(topic, number))
        self._counts[topic] = partitions

    def log(self, topic: str, partition: int) -> Partition:
        return self._logs[TP(topic, partition)]

    def partitions(self, topic: str) -> list[Partition]:
        return [self._logs[TP(topic, number)] for number in range(self._counts[topic])]

    def all(self) -> Iterator[Partition]:
        yield from self._logs.values()

    def write(self, record: Record, owner: Transaction | None = None) -> int:
        """Append a record as it is."""
        partition = record.partition
        if partition is None:
            partition = sum(record.key or record.value) % self._counts[record.topic]
        log = self._logs[TP(record.topic, partition)]
        now_ms = int((EPOCH_S + self.loop.time()) * 1000)
        if owner is not None and log.tp not in owner.partitions:
            owner.partitions[log.tp] = log.open[owner] = log.end
        batch = Batch(
            record.topic, partition, log.end, now_ms, record.key, record.value, record.headers
        )
        if owner is not None:
            owner.batches.append(batch)
        return log.append(Entry(batch, owner))

    def limit(self, topic: str) -> int:
        """Largest value that it takes."""
        return self.limits.get(topic, self.value_max)

    # --- transactions

    def abort(self, prefix: str) -> bool:
        """As a person does, of ids that begin so; whether all their transactions are over."""
        busy = [
            name
            for name, each in self._producers.items()
            if name.startswith(prefix) and each.transaction is not None
        ]
        for name in busy:
            with contextlib.suppress(Busy):
                self.start(name)
        return not busy

    def start(self, transactional_id: str) -> int:
        """The epoch of a new producer. Raises Busy until the previous transaction is over."""
        producer = self._producers.setdefault(transactional_id, _Producer())
        if producer.transaction is not None:
            if producer.transaction.state is State.ONGOING:
                producer.epoch += 1
                self._decide(producer, commit=False)
            raise Busy
        producer.epoch += 1
        return producer.epoch

    def produce(self, transactional_id: str, epoch: int, records: Sequence[Record]) -> list[int]:
        """Append to one partition in the open transaction, or in a new one.

        Raises:
            Fenced: the epoch is not the newest.
            Busy: the previous transaction is not over.
            ValueError: a value is larger than the topic takes; nothing is appended.
        """
        owner = self._join(transactional_id, epoch)
        if any(len(record.value) > self.limit(record.topic) for record in records):
            raise ValueError("too large")
        return [self.write(record, owner) for record in records]

    def add_offset(self, transactional_id: str, epoch: int, offset: Offset) -> None:
        """Commit it with the transaction. Raises as :meth:`produce`."""
        self._join(transactional_id, epoch).offsets.append(offset)

    def finish(self, transactional_id: str, epoch: int) -> None:
        """Commit what is open; nothing if nothing is. Raises Fenced."""
        producer = self._known(transactional_id, epoch)
        if producer.transaction is not None and producer.transaction.state is State.ONGOING:
            self._decide(producer, commit=True)

    def _known(self, transactional_id: str, epoch: int) -> _Producer:
        producer = self._producers[transactional_id]
        if epoch != producer.epoch:
            raise Fenced(f"{transactional_id}: epoch {epoch}, now {producer.epoch}")
        return producer

    def _join(self, transactional_id: str, epoch: int) -> Transaction:
        producer = self._known(transactional_id, epoch)
        if producer.transaction is None:
            owner = producer.transaction = Transaction(transactional_id)
            self.loop.call_later(self._timeout_s, self._expire, producer, owner)
        elif producer.transaction.state is not State.ONGOING:
            raise Busy
        return producer.transaction

    def _expire(self, producer: _Producer, owner: Transaction) -> None:
        if owner.state is State.ONGOING:
            producer.epoch += 1
            self._decide(producer, commit=False)

    def _decide(self, producer: _Producer, *, commit: bool) -> None:
        owner = producer.transaction
        assert owner is not None
        owner.state = State.COMMITTING if commit else State.ABORTING
        if commit:
            self.finished.append(owner)
        else:
            self.aborted += 1
        owner.missing = len(owner.partitions) + 1
        for tp in owner.partitions:
            self.loop.call_later(self._marker_delay_s(), self._mark, producer, owner, tp)
        self.loop.call_later(self._marker_delay_s(), self._mark, producer, owner, None)

    def _mark(self, producer: _Producer, owner: Transaction, tp: TP | None) -> None:
        if tp is not None:
            log = self._logs[tp]
            log.append(Entry(None, owner))
            del log.open[owner]
        elif owner.state is State.COMMITTING:
            for offset in owner.offsets:
                self.commit(offset)
        owner.missing -= 1
        if not owner.missing:
            owner.state = State.COMMITTED if owner.state is State.COMMITTING else State.ABORTED
            producer.transaction = None

    # --- groups

    def commit(self, offset: Offset) -> None:
        """Outside of any transaction: a person's reset, say."""
        tp = TP(offset.topic, offset.partition)
        self._groups[offset.group, tp] = offset.offset
        self.commits.append((offset.group, tp, offset.offset))

    def committed(self, group: str, topic: str, partition: int) -> int | None:
        """What is committed; what is about to be is not."""
        return self._groups.get((group, TP(topic, partition)))

    def forget(self, group: str, topic: str, partition: int) -> None:
        """Delete a group's offset."""
        self._groups.pop((group, TP(topic, partition)), None)

"""An operator that counts: small enough to be right by reading, so an oracle for crash tests.

A value is words (keys) between blanks, such as ``b"a b a"``; one that begins with ``!`` is
poison. Every ``every`` batches a record with all counts so far goes to ``output``, so that a
batch that was lost or taken twice shows in every later record. Two variants, by how the state
comes back after a crash:

    Counting.by_snapshot   from a snapshot in several chunks and the batches since. Ticks do
                           nothing: they are not replayed, and nothing would tell it of them.
    Counting.by_replay     from its own records, which are its log, and the batches since the one
                           before the last, so that some are always replayed whose outcome is
                           logged. A tick makes a record of what waits; the log remembers it.

Without ticks the output is a function of the input alone: :func:`expected` says which.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

from schemas.batches import Batch, Record
from schemas.errors import MalformedMessage
from schemas.operators import Outcome, Scanned, Snapshots
from schemas.records import Value

__all__ = ["OTHER", "Counted", "Counting", "expected", "read", "scan"]

OTHER = "(other)"
"""What keys beyond ``keys_max`` are counted as."""
_CHUNK_KEYS = 2


class Counted(NamedTuple):
    """What a record says: counts of everything before offset ``next``.

    The record before it told of everything before ``first``.
    """

    first: int
    next: int
    items: int
    counts: dict[str, int]


def scan(topic: str, value: bytes) -> list[str]:
    """The keys of a value. Raises MalformedMessage."""
    if value.startswith(b"!"):
        raise MalformedMessage(f"poison on {topic}")
    return value.decode("ascii").split()


def read(value: bytes) -> Counted:
    """A record's value."""
    return Counted(**json.loads(value))


def expected(batches: Iterable[Batch], every: int = 3) -> list[Counted]:
    """Records that must lie on the output once all batches of a partition are taken, no ticks."""
    counting = Counting("expected", every=every, snapshots="state")
    found = []
    for batch in batches:
        try:
            outcome = counting.process(Scanned(batch, scan(batch.topic, batch.value)))
        except MalformedMessage:
            continue
        found += [read(record.value) for record in outcome.records]
    return found


class Counting:
    """Counts keys of one partition."""

    format_version = 1

    def __init__(
        self,
        output: str,
        *,
        snapshots: Snapshots,
        every: int = 3,
        keys_max: int = 1000,
        name: str = "counting",
    ) -> None:
        self.name = name
        self.snapshots = snapshots
        self.log_topic = output if snapshots == "none" else None
        self._output = output
        self._every = every
        self._keys_max = keys_max
        self.counts: Counter[str] = Counter()
        self.next = 0
        """Offset after the last batch that was counted."""
        self._partition = 0
        self._waiting = 0
        """Batches counted and in no record yet."""
        self._first = 0
        """Offset of the first of them."""
        self._logged: int | None = None
        """Offset of the first batch that the last record was the first to count."""

    @classmethod
    def by_snapshot(cls, output: str, **settings: Any) -> Self:
        """The variant with snapshots."""
        return cls(output, snapshots="state", **settings)

    @classmethod
    def by_replay(cls, output: str, **settings: Any) -> Self:
        """The variant with a log."""
        return cls(output, snapshots="none", **settings)

    @property
    def state(self) -> tuple[object, ...]:
        """Everything that decides what comes next, to compare."""
        first = self._first if self._waiting else None
        return dict(self.counts), self.next, self._waiting, first, self._logged

    def process(self, scanned: Scanned) -> Outcome:
        """Count. Raises MalformedMessage for poison."""
        batch = scanned.batch
        keys = scan(batch.topic, batch.value) if scanned.scan is None else scanned.scan
        if batch.offset < self.next:
            return self._outcome(())  # in a record that was recalled
        for key in keys:
            self._count(key)
        if not self._waiting:
            self._first = batch.offset
        self._partition = batch.partition
        self.next = batch.offset + 1
        self._waiting += 1
        return self._outcome((self._record(),) if self._waiting >= self._every else ())

    def _count(self, key: str) -> None:
        known = key in self.counts or len(self.counts) < self._keys_max
        self.counts[key if known else OTHER] += 1

    def tick(self, now_ms: int) -> Outcome:
        """Record what waits, where the log will tell of it."""
        emit = self._waiting and self.log_topic
        return self._outcome((self._record(),) if emit else ())

    def flush(self) -> Sequence[Record]:
        """Nothing is gathered."""
        return ()

    def _record(self) -> Record:
        self._waiting, self._logged = 0, self._first
        counted = Counted(
            self._first, self.next, self.counts.total(), dict(sorted(self.counts.items()))
        )
        return Record(
            self._output, json.dumps(counted._asdict()).encode(), partition=self._partition
        )

    def _outcome(self, records: Sequence[Record]) -> Outcome:
        again = self._first if self._logged is None and self._waiting else self._logged
        if self.snapshots == "state":
            again = None
        return Outcome(records, again)

    def recall(self, record: Batch) -> None:
        """Go on from what a record says."""
        counted = read(record.value)
        self.counts, self.next = Counter(counted.counts), counted.next
        self._logged = counted.first
        self._partition, self._waiting = record.partition, 0

    def snapshot(self) -> Sequence[bytes]:
        """A head, and some keys a chunk."""
        keys = sorted(self.counts)
        head = [self._partition, self.next, self._waiting, self._first, self._logged, len(keys)]
        parts = [keys[at : at + _CHUNK_KEYS] for at in range(0, len(keys), _CHUNK_KEYS)]
        chunks: list[Any] = [head, *({key: self.counts[key] for key in part} for part in parts)]
        return [json.dumps(chunk).encode() for chunk in chunks]

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over. Raises MalformedMessage."""
        try:
            head, *parts = (json.loads(chunk) for chunk in chunks)
            *state, logged, size = head
            partition, after, waiting, first = map(int, state)
            counts = Counter({str(k): int(v) for part in parts for k, v in part.items()})
        except (ValueError, TypeError, AttributeError) as error:
            raise MalformedMessage(f"no snapshot of counts: {error}") from None
        if len(counts) != size:
            raise MalformedMessage(f"snapshot of {size} keys has {len(counts)}")
        self._partition, self.next, self._waiting, self._first = partition, after, waiting, first
        self.counts, self._logged = counts, logged

    def adjust(self, name: str, value: Value) -> None:
        """There is nothing to set."""

"""What the simulated stage does: four ways to depend on one's past, each told apart by its output.

Echo                       nothing is remembered; every key once, in order
Counting.by_snapshot       tests.operators.counting: every record tells all counts
Counting.by_replay
Deciding                   what waits is decided by number or by tick, and numbered: a tick is
                           not replayed, so its decisions come back from the log alone; with
                           and without snapshots
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from schemas.batches import Batch, Record
from schemas.errors import MalformedMessage
from schemas.operators import Operator, Outcome, Scanned, Snapshots
from schemas.records import Value
from tests.operators.counting import Counting

__all__ = ["DECIDED", "ECHO", "LOGGED", "SNAPPED", "VALUE_MAX", "Deciding", "make", "topics"]

ECHO, SNAPPED, LOGGED = "echo", "snapped", "logged"
DECIDED = ("decided", "decided.snapped")
"""Outputs; of all but the first, one per source topic: their records are read back."""

VALUE_MAX = 4000
"""Bytes that brokers take; the configuration allows more."""


def topics(source: str) -> list[str]:
    """What is written for a source topic."""
    return [ECHO, *(f"{name}.{source}" for name in (SNAPPED, LOGGED, *DECIDED))]


def make(source: str, partition: int, partitions: int = 1) -> list[Operator]:
    """The operators of a partition."""
    return [
        Echo(),
        Counting.by_snapshot(f"{SNAPPED}.{source}", every=2, keys_max=3, name="snapped"),
        Counting.by_replay(f"{LOGGED}.{source}", every=3, keys_max=3, name="logged"),
        Deciding(DECIDED[0], source, partition, snapshots="none"),
        Deciding(DECIDED[1], source, partition, snapshots="state"),
    ]


class Echo:
    """Gives the key of each batch; records may be joined."""

    name = "echo"
    format_version = 1
    log_topic: str | None = None
    snapshots: Snapshots = "none"

    def process(self, scanned: Scanned) -> Outcome:
        batch = scanned.batch
        if b"refused" in batch.value:
            raise MalformedMessage("refused by the operator")
        assert batch.key is not None
        padding = b" " * 2 * VALUE_MAX if b"huge" in batch.value else b""
        return Outcome([Record(ECHO, batch.key + padding + b"\n", batch.partition)])

    def tick(self, now_ms: int) -> Outcome:
        return Outcome()

    def recall(self, record: Batch) -> None:
        raise AssertionError("there is no log")

    def snapshot(self) -> Sequence[bytes]:
        raise AssertionError("there are no snapshots")

    def restore(self, chunks: Iterable[bytes]) -> None:
        raise AssertionError("there are no snapshots")

    def adjust(self, name: str, value: Value) -> None:
        pass


class Deciding:
    """Decides all that waits at every fourth batch, and at a tick."""

    format_version = 1

    def __init__(self, output: str, source: str, partition: int, *, snapshots: Snapshots) -> None:
        self.name = output
        self.snapshots = snapshots
        self.log_topic: str | None = f"{output}.{source}"
        self._partition = partition
        self.number = 0
        """Of the next decision."""
        self.next = 0
        """Offset after what is decided or waits."""
        self.waiting: list[tuple[int, str]] = []

    @property
    def state(self) -> tuple[object, ...]:
        return self.next, self.waiting

    def process(self, scanned: Scanned) -> Outcome:
        batch = scanned.batch
        if batch.offset < self.next:
            return self._outcome([])
        self.next = batch.offset + 1
        assert batch.key is not None
        self.waiting.append((batch.offset, batch.key.decode()))
        return self._decide() if len(self.waiting) >= 4 else self._outcome([])

    def tick(self, now_ms: int) -> Outcome:
        return self._decide() if self.waiting else self._outcome([])

    def _decide(self) -> Outcome:
        value = {
            "number": self.number, "next": self.next, "keys": [key for _, key in self.waiting]
        }  # fmt: skip
        self.number += 1
        self.waiting = []
        record = Record(self.log_topic, json.dumps(value).encode(), self._partition)
        return self._outcome([record])

    def _outcome(self, records: Sequence[Record]) -> Outcome:
        return Outcome(records, self.waiting[0][0] if self.waiting else None)

    def recall(self, record: Batch) -> None:
        value = json.loads(record.value)
        if value["number"] < self.number:
            return  # older than the snapshot
        self.number = value["number"] + 1
        self.next = max(self.next, value["next"])
        self.waiting = [each for each in self.waiting if each[0] >= value["next"]]

    def snapshot(self) -> Sequence[bytes]:
        return [
            json.dumps([self.number, self.next]).encode(),
            *(json.dumps(each).encode() for each in self.waiting),
        ]

    def restore(self, chunks: Iterable[bytes]) -> None:
        (self.number, self.next), *waiting = (json.loads(chunk) for chunk in chunks)
        self.waiting = [(offset, key) for offset, key in waiting]

    def adjust(self, name: str, value: Value) -> None:
        pass

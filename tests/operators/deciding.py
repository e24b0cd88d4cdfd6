"""An operator that decides what waits, by number or by tick, and numbers its decisions.

A tick is not replayed, so its decisions come back from the log alone; a decision that is made
twice, or of something else than it was, shows in the numbers. Nothing is decided in a replay: what
was, is in the log, and the rest waits for the next batch or tick. One variant for each kind of
snapshot (schemas/operators.py):

    none    nothing before the replay is known: numbers begin anew when nothing waits
    state   the number, and what waits
    log     the number; what waits is in the replay
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from schemas.batches import Batch, Record
from schemas.errors import MalformedMessage
from schemas.operators import Outcome, Scanned, Snapshots
from schemas.records import Value

__all__ = ["EVERY", "Deciding", "Decision", "read"]

EVERY = "deciding.every"
"""So many decide; can be set at run time."""


class Decision(NamedTuple):
    """What a record says."""

    number: int
    next: int
    """Offset after the last that is decided."""
    keys: list[str]


def read(value: bytes) -> Decision:
    """A record's value."""
    return Decision(**json.loads(value))


class Deciding:
    """Decides about the keys of batches; a value that begins with ``!`` is poison."""

    format_version = 1

    def __init__(
        self, name: str, log_topic: str, partition: int, *, snapshots: Snapshots, every: int = 4
    ) -> None:
        self.name = name
        self.snapshots = snapshots
        self.log_topic: str | None = log_topic
        self._topic = log_topic
        self._partition = partition
        self._every = every
        self.number = 0
        """Of the next decision."""
        self.next = 0
        """Offset after what is decided or waits."""
        self.waiting: list[tuple[int, str]] = []

    def process(self, scanned: Scanned) -> Outcome:
        """Wait, or decide. Raises MalformedMessage for poison."""
        batch = scanned.batch
        if batch.value.startswith(b"!"):
            raise MalformedMessage("poison")
        if batch.offset < self.next:
            return self._outcome([])
        self.next = batch.offset + 1
        self.waiting.append((batch.offset, (batch.key or batch.value).decode("ascii")))
        enough = len(self.waiting) >= self._every
        return self._decide() if enough and not scanned.replayed else self._outcome([])

    def tick(self, now_ms: int) -> Outcome:
        """Decide about all that waits."""
        return self._decide() if self.waiting else self._outcome([])

    def flush(self) -> Sequence[Record]:
        """Nothing is gathered."""
        return ()

    def _decide(self) -> Outcome:
        decision = Decision(self.number, self.next, [key for _, key in self.waiting])
        self.number += 1
        self.waiting = []
        value = json.dumps(decision._asdict()).encode()
        return self._outcome([Record(self._topic, value, self._partition)])

    def _outcome(self, records: Sequence[Record]) -> Outcome:
        return Outcome(records, self.waiting[0][0] if self.waiting else None)

    def recall(self, record: Batch) -> None:
        """What is decided does not wait."""
        decision = read(record.value)
        if decision.number < self.number:
            return  # older than the snapshot
        self.number = decision.number + 1
        self.next = max(self.next, decision.next)
        self.waiting = [each for each in self.waiting if each[0] >= decision.next]

    def snapshot(self) -> Sequence[bytes]:
        """A head, and what waits one by one."""
        if self.snapshots == "log":
            decided = self.waiting[0][0] if self.waiting else self.next
            return [json.dumps([self.number, decided]).encode()]
        head = json.dumps([self.number, self.next]).encode()
        return [head, *(json.dumps(each).encode() for each in self.waiting)]

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over. Raises MalformedMessage."""
        try:
            (self.number, self.next), *waiting = (json.loads(chunk) for chunk in chunks)
            self.waiting = [(int(offset), str(key)) for offset, key in waiting]
        except (ValueError, TypeError) as error:
            raise MalformedMessage(f"no snapshot of decisions: {error}") from None

    def adjust(self, name: str, value: Value) -> None:
        """How many decide."""
        if name == EVERY:
            assert isinstance(value, int)
            self._every = value

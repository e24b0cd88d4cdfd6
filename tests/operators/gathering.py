"""An operator that gathers what it says until a commit: keys of batches, in order.

What its records mean together is the keys of everything that was committed, each once, wherever
commits come. It has no state beyond one, and says what it gathers early when that is much.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from schemas.batches import Batch, Record
from schemas.errors import MalformedMessage
from schemas.operators import Outcome, Scanned, Snapshots
from schemas.records import Value

__all__ = ["Gathered", "Gathering", "read"]


class Gathered(NamedTuple):
    """What a record says: keys of the batches before offset ``next``, since the last record."""

    next: int
    keys: list[str]


def read(value: bytes) -> Gathered:
    """A record's value."""
    return Gathered(**json.loads(value))


class Gathering:
    """Gathers keys; a value that begins with ``!`` is poison."""

    name = "gathering"
    format_version = 1
    log_topic: str | None = None
    snapshots: Snapshots = "none"

    def __init__(self, output: str, partition: int, *, keys_max: int = 4) -> None:
        self._output = output
        self._partition = partition
        self._keys_max = keys_max
        self._next = 0
        self.keys: list[str] = []

    def process(self, scanned: Scanned) -> Outcome:
        """Gather. Raises MalformedMessage for poison."""
        batch = scanned.batch
        if batch.value.startswith(b"!"):
            raise MalformedMessage("poison")
        if scanned.replayed:
            return Outcome()
        self._next = batch.offset + 1
        self.keys.append((batch.key or batch.value).decode("ascii"))
        return Outcome(self.flush() if len(self.keys) > self._keys_max else ())

    def tick(self, now_ms: int) -> Outcome:
        """Nothing waits."""
        return Outcome()

    def flush(self) -> Sequence[Record]:
        """Say what is gathered."""
        if not self.keys:
            return ()
        value = json.dumps(Gathered(self._next, self.keys)._asdict()).encode()
        self.keys = []
        return [Record(self._output, value, self._partition)]

    def recall(self, record: Batch) -> None:
        """There is no log."""

    def snapshot(self) -> Sequence[bytes]:
        """There is no state."""
        return ()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """There is no state."""

    def adjust(self, name: str, value: Value) -> None:
        """There is nothing to set."""

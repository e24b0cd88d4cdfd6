"""An operator that quotes what its batches name: the least that reads a range of another topic.

A value ``START-STOP`` asks for the messages of that range of :data:`QUOTED`, same partition.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from schemas.batches import Batch, Record
from schemas.errors import MalformedMessage
from schemas.operators import Outcome, Scanned, Snapshots
from schemas.records import Value

__all__ = ["QUOTED", "Quote", "Quoting", "named", "read"]

QUOTED = "quoted"


class Quote(NamedTuple):
    """What a record says: the range that a batch named, and what was there."""

    offset: int
    """Of the batch."""
    removed: int
    values: list[str]


def named(value: bytes) -> tuple[int, int] | None:
    """The range that a value names. Raises MalformedMessage."""
    if value.startswith(b"!"):
        raise MalformedMessage("poison")
    start, dash, stop = value.partition(b"-")
    return (int(start), int(stop)) if dash else None


def read(value: bytes) -> Quote:
    """A record's value."""
    return Quote(**json.loads(value))


class Quoting:
    """One record for each batch that names a range; its scan is what :func:`named` says."""

    name = "quoting"
    format_version = 1
    log_topic: str | None = None
    snapshots: Snapshots = "none"

    def __init__(self, output: str) -> None:
        self._output = output

    def process(self, scanned: Scanned) -> Outcome:
        """Quote."""
        batch, source = scanned.batch, scanned.source
        if scanned.replayed or scanned.scan is None:
            assert source is None
            return Outcome()
        assert source is not None, "the host has read it"
        values = [each.value.decode("ascii") for each in source.batches]
        quote = Quote(batch.offset, source.removed, values)
        value = json.dumps(quote._asdict()).encode()
        return Outcome([Record(self._output, value, batch.partition)])

    def tick(self, now_ms: int) -> Outcome:
        """Nothing waits."""
        return Outcome()

    def flush(self) -> Sequence[Record]:
        """Nothing is gathered."""
        return ()

    def recall(self, record: Batch) -> None:
        """There is no log."""

    def snapshot(self) -> Sequence[bytes]:
        """There is no state."""
        return ()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """There is none to take over."""

    def adjust(self, name: str, value: Value) -> None:
        """There is nothing to set."""

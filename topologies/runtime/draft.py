"""What the next transaction of a lane will hold: records in order, small ones joined."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.batches import Record

__all__ = ["Draft", "record_bytes"]

_RECORD_OVERHEAD_BYTES = 100
"""Framing of a record and of its batch, generously."""


def record_bytes(record: Record) -> int:
    """At least what a record counts towards a producer's and a topic's limit, uncompressed."""
    key = 0 if record.key is None else len(record.key)
    headers = sum(len(name) + len(value) + 10 for name, value in record.headers)
    return len(record.value) + key + headers + _RECORD_OVERHEAD_BYTES


class _Joined:
    """One record to be, from the values of several."""

    __slots__ = ("first", "of_batch", "size_bytes", "values")

    def __init__(self, record: Record, *, of_batch: bool = True) -> None:
        self.first = record
        self.of_batch = of_batch
        self.values = [record.value]
        self.size_bytes = len(record.value)

    def record(self) -> Record:
        if len(self.values) == 1:
            return self.first
        return self.first._replace(value=b"".join(self.values))


class Draft:
    """Grows by batches and ticks until it is committed.

    Args:
        position: source offset before which everything is processed.
        join_max_bytes: records of one topic and partition that follow each other there, with
            equal keys and headers, are joined up to this size; 0: never.
        apart: topics whose records are never joined: of operators' logs, which are read back one
            by one, and of others that mean something one by one.
    """

    def __init__(
        self,
        position: int,
        watermark_ms: int,
        join_max_bytes: int,
        apart: frozenset[str] = frozenset(),
    ) -> None:
        self.begin = position
        self.position = position
        self.watermark_ms = watermark_ms
        self.batches = 0
        self.size_bytes = 0
        """Bytes of the records' values."""
        self.dirty = False
        """There is something to commit, were it only the position."""
        self.letters: list[tuple[str, str]] = []
        """(reason, what to log) of each dead letter."""
        self._join_max_bytes = join_max_bytes
        self._apart = apart
        self._parts: list[_Joined] = []
        self._latest: dict[tuple[str, int | None], _Joined] = {}

    def advance(self, offset: int, timestamp_ms: int) -> None:
        """A batch is processed."""
        self.position = offset + 1
        self.watermark_ms = max(self.watermark_ms, timestamp_ms)
        self.batches += 1
        self.dirty = True

    def add(self, records: Iterable[Record]) -> None:
        """Outputs."""
        for record in records:
            self.dirty = True
            size = len(record.value)
            self.size_bytes += size
            where = (record.topic, record.partition)
            joins = self._join_max_bytes and record.topic not in self._apart
            last = self._latest.get(where) if joins else None
            if (
                last is not None
                and last.size_bytes + size <= self._join_max_bytes
                and last.first.key == record.key
                and last.first.headers == record.headers
            ):
                last.values.append(record.value)
                last.size_bytes += size
                continue
            part = _Joined(record)
            self._parts.append(part)
            self._latest[where] = part

    def gather(self, records: Iterable[Record]) -> None:
        """What operators have gathered over its batches and ticks; never joined."""
        for record in records:
            self._append(_Joined(record, of_batch=False))

    def bury(self, letter: Record, reason: str, text: str) -> None:
        """A dead letter; never joined."""
        self._append(_Joined(letter, of_batch=False))
        self.letters.append((reason, text))

    def _append(self, part: _Joined) -> None:
        self.dirty = True
        self.size_bytes += part.size_bytes
        self._parts.append(part)
        self._latest.pop((part.first.topic, part.first.partition), None)

    def owns(self, record: Record) -> bool:
        """It is one of :meth:`records` that an operator gave for a batch, as it gave it."""
        return any(part.first is record and part.of_batch for part in self._parts)

    def records(self) -> list[Record]:
        """All of it, in order."""
        return [part.record() for part in self._parts]

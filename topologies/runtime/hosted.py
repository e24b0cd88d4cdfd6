"""An operator as a lane hosts it: beside it, what a restart would need to know of it."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from schemas.batches import Batch, Record
from schemas.operators import Operator, Outcome, Scanned

from .journal import PIECE_MAX_BYTES, OperatorProgress, SnapshotPlace, pieces, snapshot_key

__all__ = ["LOG_HEADER", "HostedOperator", "SnapshotWriter"]

LOG_HEADER = "log.operator"
"""Header of what an operator adds to its log: ``TOPIC/OPERATOR``. A partition of a log may be
shared by the lanes of several sources; each gets back only what is its own."""


class HostedOperator:
    """One operator of one lane.

    Args:
        operator: with empty state.
        topic: of the source.
        began: source offset at which its state is empty.
        log_end: end of its log at this time; None if it has none.
    """

    def __init__(self, operator: Operator, topic: str, began: int, log_end: int | None) -> None:
        self.operator = operator
        self.topic = topic
        self.name = operator.name
        self.began = began
        self.began_log = log_end
        self.replay_from: int | None = None
        self.snapshot: SnapshotPlace | None = None
        self.slots = [0, 0]
        self.replayed = 0
        """Messages that it was given again after a restart."""
        self.recalled = 0
        """Records of its log that it was given back then."""
        self._ours = (LOG_HEADER, f"{topic}/{operator.name}".encode())
        self._marks: deque[tuple[int, int]] = deque()
        """(source offset, end of the log when everything before it had been committed)."""
        self.log_end = log_end

    @classmethod
    def resume(
        cls, operator: Operator, topic: str, progress: OperatorProgress, log_end: int | None
    ) -> HostedOperator:
        """As a progress record knows it; state is still empty."""
        hosted = cls(operator, topic, progress.began, progress.began_log)
        hosted.replay_from = progress.replay_from
        hosted.snapshot = progress.snapshot
        hosted.slots = list(progress.slots)
        if progress.log_position is not None:
            hosted._marks.append((-1, progress.log_position))
        hosted.log_end = log_end
        return hosted

    def release(self) -> None:
        """Let go of the operator at once: whoever watches it sees that it is gone."""
        del self.operator

    def process(self, scanned: Scanned) -> Sequence[Record]:
        """Its records for a batch. Raises PermanentError."""
        return self._take(self.operator.process(scanned))

    def tick(self, now_ms: int) -> Sequence[Record]:
        """Its records for a tick."""
        return self._take(self.operator.tick(now_ms))

    def flush(self) -> Sequence[Record]:
        """What it has gathered for the transaction that is about to be committed."""
        return self._signed(self.operator.flush())

    def _take(self, outcome: Outcome) -> Sequence[Record]:
        self.replay_from = outcome.replay_from
        return self._signed(outcome.records)

    def _signed(self, records: Sequence[Record]) -> Sequence[Record]:
        log_topic = self.operator.log_topic
        if log_topic is None:
            return records
        return [
            r._replace(headers=(*r.headers, self._ours)) if r.topic == log_topic else r
            for r in records
        ]

    def recall(self, record: Batch) -> None:
        """A record of its log, if it is its own."""
        if self._ours in record.headers:
            self.recalled += 1
            headers = tuple(each for each in record.headers if each != self._ours)
            self.operator.recall(record._replace(headers=headers))

    def committed(self, position: int, log_end: int | None) -> None:
        """Everything before ``position`` is; the operator's last record in it ended at log_end."""
        if self.operator.log_topic is None:
            return
        if log_end is not None:
            self.log_end = log_end
        if self.log_end is not None and (not self._marks or self._marks[-1][1] != self.log_end):
            self._marks.append((position, self.log_end))

    def log_position(self, position: int) -> int | None:
        """Where recall begins for a replay from ``replay_from``, or from ``position``."""
        if self.operator.log_topic is None:
            return None
        begin = position if self.replay_from is None else self.replay_from
        while len(self._marks) > 1 and self._marks[1][0] <= begin:
            self._marks.popleft()
        if self._marks and self._marks[0][0] <= begin:
            return self._marks[0][1]
        return self.began_log

    def progress(self, position: int) -> OperatorProgress:
        """For the record that says ``position``."""
        return OperatorProgress(
            self.began,
            self.began_log,
            self.replay_from,
            self.log_position(position),
            self.snapshot,
            (self.slots[0], self.slots[1]),
        )


class _Piece(NamedTuple):
    record: Record
    last: bool


class SnapshotWriter:
    """A snapshot on its way to the journal, in pieces over as many transactions as it takes.

    1. the state is taken, all at once, at ``position``
    2. :meth:`take` hands out records; each transaction's offsets come back by :meth:`written`
    3. when the last piece is committed the operator's ``snapshot`` is the new one, and the next
       progress record says so
    """

    def __init__(
        self,
        hosted: HostedOperator,
        *,
        topic: str,
        journal: str,
        partition: int,
        position: int,
        taken_ms: int,
        piece_max_bytes: int = PIECE_MAX_BYTES,
    ) -> None:
        self.hosted = hosted
        self._topic = topic
        self._journal = journal
        self._partition = partition
        self._position = position
        again = hosted.replay_from
        self._replay_from = position if again is None else min(again, position)
        self._log_position: int | None = None
        self._taken_ms = taken_ms
        self._slot = 0 if hosted.snapshot is None else 1 - hosted.snapshot.slot
        self._format_version = hosted.operator.format_version
        self._digest = hashlib.blake2b(digest_size=16)
        self._count = 0
        self._size_bytes = 0
        self._first: int | None = None
        self._records = self._make(pieces(hosted.operator.snapshot(), piece_max_bytes))

    def _make(self, parts: Iterator[bytes]) -> Iterator[_Piece]:
        ahead = next(parts)
        for piece in parts:
            yield _Piece(self._record(ahead), last=False)
            ahead = piece
        record = self._record(ahead)
        # What an earlier, longer snapshot has left in this slot: compaction keeps the newest.
        left = range(self._count, self.hosted.slots[self._slot])
        for index in left:
            yield _Piece(self._blank(index), last=False)
        self.hosted.slots[self._slot] = self._count
        yield _Piece(record, last=True)

    def _record(self, piece: bytes) -> Record:
        key = snapshot_key(self._topic, self.hosted.name, self._slot, self._count)
        self._count += 1
        self._size_bytes += len(piece)
        self._digest.update(piece)
        slots = self.hosted.slots
        slots[self._slot] = max(slots[self._slot], self._count)
        return Record(self._journal, piece, self._partition, key)

    def _blank(self, index: int) -> Record:
        key = snapshot_key(self._topic, self.hosted.name, self._slot, index)
        return Record(self._journal, b"", self._partition, key)

    def take(self, budget_bytes: int) -> tuple[list[Record], bool]:
        """Records for one transaction, one at least; whether they are the last."""
        records: list[Record] = []
        for record, last in self._records:
            records.append(record)
            budget_bytes -= len(record.value)
            if last or budget_bytes <= 0:
                return records, last
        raise AssertionError("the last piece was taken already")

    def written(self, offsets: Sequence[int], *, last: bool) -> None:
        """These are committed; the state's own records are, from the first time on."""
        if self._first is None:
            self._first = offsets[0]
            self._log_position = self.hosted.log_end
        if last:
            self.hosted.snapshot = SnapshotPlace(
                self._position,
                self._replay_from,
                self._log_position,
                self._slot,
                self._first,
                offsets[-1],
                self._count,
                self._size_bytes,
                self._digest.hexdigest(),
                self._format_version,
                self._taken_ms,
            )

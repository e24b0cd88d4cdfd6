"""The transactions of a lane, one after the other, and its snapshots on the way.

One transaction, in this order:

    1. outputs and dead letters, in the order of their batches
    2. pieces of snapshots, up to a budget; the first ones of a snapshot go with the draft whose
       end the snapshot shows
    3. the progress record, last
    4. the group's offset, equal to what the progress record says
    5. commit; only then do log positions and complete snapshots count

1 to 3 are put together at once (:meth:`Committer.seal`), so that operators may go on while 4 and
5 are under way. An error means that none of this object may be used again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schemas.batches import Record

from .clock import Clock
from .draft import Draft
from .finding import Place
from .hosted import HostedOperator, SnapshotWriter
from .journal import Progress, progress_key
from .ports import Offset, Transactions

__all__ = ["Committer", "Sealed"]


class _Part(NamedTuple):
    """Pieces of one snapshot in one transaction."""

    writer: SnapshotWriter
    begin: int
    """Index of the first among the transaction's records."""
    end: int
    last: bool


class Sealed(NamedTuple):
    """A transaction ready to be committed."""

    draft: Draft
    records: list[Record]
    outputs: int
    """So many of them come from the draft."""
    size_bytes: int
    parts: list[_Part]


class Committer:
    """Commits the drafts of one lane from one recovery to the next.

    Args:
        snapshot_interval_s: an operator's state is written down this often.
        snapshot_max_bytes: of snapshots in one transaction; one piece at least.
        piece_max_bytes: of one record.
    """

    def __init__(
        self,
        place: Place,
        transactions: Transactions,
        operators: Sequence[HostedOperator],
        clock: Clock,
        *,
        snapshot_interval_s: float,
        snapshot_max_bytes: int,
        piece_max_bytes: int,
    ) -> None:
        self._place = place
        self._transactions = transactions
        self._operators = operators
        self._clock = clock
        self._interval_s = snapshot_interval_s
        self._max_bytes = snapshot_max_bytes
        self._piece_max_bytes = piece_max_bytes
        self._writers: dict[str, SnapshotWriter] = {}
        self._snapshot_due_s = {
            each.name: clock.monotonic() + self._snapshot_in_s(each)
            for each in operators
            if each.operator.snapshots != "none"
        }
        self._complete = False

    def _snapshot_in_s(self, each: HostedOperator) -> float:
        """Pause before its first snapshot; what a recovery had to do is not left to the next.

        Otherwise processes that die sooner than a snapshot is due replay ever more.
        """
        if each.snapshot is None:
            return self._interval_s if each.replayed == each.recalled == 0 else 0.0
        age_s = self._clock.unix_ns() / 1e9 - each.snapshot.taken_ms / 1e3
        return max(0.0, self._interval_s - max(0.0, age_s))

    @property
    def unfinished(self) -> bool:
        """A snapshot waits for a transaction, of its pieces or of the progress that names it."""
        return bool(self._writers) or self._complete

    def seal(self, draft: Draft, *, snapshots: bool = True) -> Sealed:
        """Steps 1 to 3. All that operators have processed must be in this draft or before."""
        records = draft.records()
        outputs = len(records)
        parts = self._snapshots(draft, records) if snapshots else []
        wall_ms = self._clock.unix_ns() // 1_000_000
        operators = {each.name: each.progress(draft.position) for each in self._operators}
        progress = Progress(draft.position, draft.watermark_ms, wall_ms, operators).encode()
        place = self._place
        records.append(Record(place.journal, progress, place.partition, progress_key(place.topic)))
        self._complete = False
        return Sealed(draft, records, outputs, sum(len(r.value) for r in records), parts)

    async def commit(self, sealed: Sealed, *, apart: bool = False) -> None:
        """Steps 4 and 5. Raises what :meth:`Transactions.commit` raises."""
        group, topic, partition = self._place.group, self._place.topic, self._place.partition
        position = sealed.draft.position
        offsets = await self._transactions.commit(
            sealed.records, Offset(group, topic, partition, position), apart=apart
        )
        for each in self._operators:
            each.committed(position, self._log_end(each, sealed.records, offsets))
        for writer, begin, end, last in sealed.parts:
            writer.written(offsets[begin:end], last=last)
            if last:
                del self._writers[writer.hosted.name]
                self._complete = True

    def _snapshots(self, draft: Draft, records: list[Record]) -> list[_Part]:
        """Pieces of what has begun; then what is due, the longest first, as far as it goes.

        A snapshot is begun only where its first piece has room: what its operator decides after
        the state was taken must not be committed before that piece.
        """
        now_s = self._clock.monotonic()
        budget, parts = self._max_bytes, []
        for each in sorted(self._operators, key=self._turn):
            if budget <= 0:
                break
            writer = self._writers.get(each.name)
            if writer is None and self._is_due(each, draft, now_s):
                writer = self._begin(each, draft, now_s)
            if writer is None:
                continue
            pieces, last = writer.take(budget)
            begin = len(records)
            parts.append(_Part(writer, begin, begin + len(pieces), last))
            records += pieces
            budget -= sum(len(piece.value) for piece in pieces)
        return parts

    def _turn(self, each: HostedOperator) -> tuple[bool, float]:
        return each.name not in self._writers, self._snapshot_due_s.get(each.name, 0.0)

    def _is_due(self, each: HostedOperator, draft: Draft, now_s: float) -> bool:
        due_s = self._snapshot_due_s.get(each.name)
        if due_s is None or now_s < due_s:
            return False
        return each.snapshot is None or each.snapshot.position < draft.position

    def _begin(self, each: HostedOperator, draft: Draft, now_s: float) -> SnapshotWriter:
        self._snapshot_due_s[each.name] = now_s + self._interval_s
        place = self._place
        writer = self._writers[each.name] = SnapshotWriter(
            each,
            topic=place.topic,
            journal=place.journal,
            partition=place.partition,
            position=draft.position,
            taken_ms=self._clock.unix_ns() // 1_000_000,
            piece_max_bytes=self._piece_max_bytes,
        )
        return writer

    def _log_end(
        self, each: HostedOperator, records: Sequence[Record], offsets: Sequence[int]
    ) -> int | None:
        """Where the operator's log ends after this transaction, if it has added to it."""
        topic, partition = each.operator.log_topic, self._place.partition
        if topic is None:
            return None
        ours = [
            offset
            for record, offset in zip(records, offsets, strict=True)
            if record.topic == topic and record.partition == partition
        ]
        return max(ours) + 1 if ours else None

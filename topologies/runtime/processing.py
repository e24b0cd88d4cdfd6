"""One batch or tick through all operators of a lane, into the draft of its next transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas.batches import Batch, Record
from schemas.errors import MessageTooLarge, PermanentError
from schemas.operators import Scanned

from .deadletter import without_value
from .draft import Draft, record_bytes
from .hosted import HostedOperator
from .journal import SnapshotPlace
from .metrics import LaneCounts

__all__ = ["Processing"]


class Processing:
    """Scans once, asks every operator, and answers refusals with a dead letter.

    A batch that the scan refuses reaches no operator. What one operator refuses the others may
    take: their records stand. A record that is too large for Kafka is left out; the batch it
    follows from becomes a dead letter that names it.

    Args:
        dead_letter: the record for a batch that is given up.
        record_max_bytes: largest record, by :func:`record_bytes`.
    """

    def __init__(
        self,
        scan: Callable[[str, bytes], Any] | None,
        dead_letter: Callable[[Batch, PermanentError], Record],
        record_max_bytes: int,
        counts: LaneCounts,
    ) -> None:
        self.operators: Sequence[HostedOperator] = ()
        self._scan = scan
        self._dead_letter = dead_letter
        self._record_max_bytes = record_max_bytes
        self._counts = counts

    @property
    def snapshots(self) -> list[SnapshotPlace]:
        """The newest complete ones of the operators."""
        return [each.snapshot for each in self.operators if each.snapshot is not None]

    @property
    def log_topics(self) -> frozenset[str]:
        """Topics that operators want back."""
        return frozenset(topic for each in self.operators if (topic := each.operator.log_topic))

    def batch(self, batch: Batch, draft: Draft, refused: Mapping[int, PermanentError]) -> None:
        """``refused``: offsets whose records Kafka does not take, and why."""
        draft.advance(batch.offset, batch.timestamp_ms)
        if not batch.value:
            self._counts.empty += 1
            return
        self._counts.calls += 1
        records, error = self._outcome(batch)
        if batch.offset in refused:
            records, error = [], refused[batch.offset]
        fitting = [each for each in records if record_bytes(each) <= self._record_max_bytes]
        if len(fitting) < len(records):
            error = error or self._too_large(records)
        draft.add(fitting)
        if error is not None:
            self._bury(batch, error, draft)

    def tick(self, now_ms: int, draft: Draft) -> None:
        """A tick belongs to no batch: a record of it that is too large is a defect."""
        self._counts.ticks += 1
        for each in self.operators:
            records = each.tick(now_ms)
            for record in records:
                if record_bytes(record) > self._record_max_bytes:
                    raise AssertionError(f"{each.name}: {self._too_large(records)}")
            draft.add(records)

    def _outcome(self, batch: Batch) -> tuple[list[Record], PermanentError | None]:
        try:
            scan = None if self._scan is None else self._scan(batch.topic, batch.value)
        except PermanentError as error:
            return [], error
        scanned, records, refusal = Scanned(batch, scan), list[Record](), None
        for each in self.operators:
            try:
                records += each.process(scanned)
            except PermanentError as error:
                refusal = refusal or error
        return records, refusal

    def _bury(self, batch: Batch, error: PermanentError, draft: Draft) -> None:
        letter = self._dead_letter(batch, error)
        too_large = isinstance(error, MessageTooLarge)
        if too_large or record_bytes(letter) > self._record_max_bytes:
            letter = without_value(letter)
        where = f"{batch.topic} partition {batch.partition} offset {batch.offset}"
        draft.bury(letter, error.reason, f"{where}: {error}")

    def _too_large(self, records: Sequence[Record]) -> MessageTooLarge:
        largest = max(records, key=record_bytes)
        return MessageTooLarge(
            f"a record for {largest.topic}", record_bytes(largest),
            "kafka.producer.max_message", self._record_max_bytes,
        )  # fmt: skip

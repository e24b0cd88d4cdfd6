"""One batch, tick or flush through all operators of a lane, into its next transaction's draft."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from schemas.batches import Batch, Record
from schemas.errors import ConfigurationError, MessageTooLarge, PermanentError
from schemas.operators import Scanned
from schemas.records import Value

from .deadletter import without_value
from .draft import Draft, record_bytes
from .hosted import HostedOperator
from .journal import SnapshotPlace
from .metrics import LaneCounts
from .narrowing import Culprit, is_culprit
from .ports import RecordsRefused
from .preparing import Prepared

__all__ = ["Processing"]


class Processing:
    """Asks every operator, and answers refusals with a dead letter.

    A batch that the scan refuses reaches no operator. What one operator refuses the others may
    take: their records stand. A record that is too large for Kafka is left out; the batch it
    follows from becomes a dead letter that names it. A record of an operator's log is never left
    out, for the operator believes that it is there: one that is too large ends the process. So
    does one of ``kept``.

    Args:
        dead_letter: the record for a batch that is given up.
        record_max_bytes: largest record, by :func:`record_bytes`.
        kept: topics of which nothing is left out, beside the operators' logs.
    """

    def __init__(
        self,
        dead_letter: Callable[[Batch, PermanentError], Record],
        record_max_bytes: int,
        counts: LaneCounts,
        kept: Collection[str] = (),
    ) -> None:
        self.operators: Sequence[HostedOperator] = ()
        self._kept = frozenset(kept)
        self._dead_letter = dead_letter
        self._record_max_bytes = record_max_bytes
        self._counts = counts

    @property
    def snapshots(self) -> list[SnapshotPlace]:
        """The newest complete ones of the operators."""
        return [each.snapshot for each in self.operators if each.snapshot is not None]

    @property
    def kept_topics(self) -> frozenset[str]:
        """Topics of which nothing is left out: operators want it back, or others rely on it."""
        logs = (each.operator.log_topic for each in self.operators)
        return self._kept.union(topic for topic in logs if topic)

    def release(self) -> None:
        """Let go of all operators."""
        for each in self.operators:
            each.release()
        self.operators = ()

    def adjust(self, name: str, value: Value) -> None:
        """A setting has another value from here on."""
        for each in self.operators:
            each.operator.adjust(name, value)

    def batch(
        self, batch: Batch, prepared: Prepared, draft: Draft, culprits: Sequence[Culprit]
    ) -> None:
        """``culprits``: records of this batch that Kafka does not take.

        Raises ConfigurationError if one is too large that must not be left out.
        """
        draft.advance(batch.offset, batch.timestamp_ms)
        if not batch.value:
            self._counts.empty += 1
            return
        self._counts.calls += 1
        records, error = self._outcome(batch, prepared)
        if culprits:
            error = error or culprits[0].error
            left = [each for each in records if not is_culprit(each, culprits)]
            if len(records) - len(left) < len(culprits):
                raise AssertionError(f"offset {batch.offset}: other records than before: not pure")
            records = left
        fitting = [each for each in records if record_bytes(each) <= self._record_max_bytes]
        if len(fitting) < len(records):
            error = error or self._too_large(records)
            self._spare(records)
        draft.add(fitting)
        if error is not None:
            self._bury(batch, error, draft)

    def tick(self, now_ms: int, draft: Draft) -> None:
        """A tick belongs to no batch: a record of it that is too large is a defect.

        Raises ConfigurationError if it is one that must not be left out.
        """
        self._counts.ticks += 1
        for each in self.operators:
            draft.add(self._fitting(each, each.tick(now_ms)))

    def flush(self, draft: Draft) -> None:
        """The draft is about to be committed: what operators have gathered goes with it.

        It belongs to no batch either, and raises as a tick does.
        """
        for each in self.operators:
            draft.gather(self._fitting(each, each.flush()))

    def _fitting(self, operator: HostedOperator, records: Sequence[Record]) -> Sequence[Record]:
        self._spare(records)
        for record in records:
            if record_bytes(record) > self._record_max_bytes:
                raise AssertionError(f"{operator.name}: {self._too_large(records)}")
        return records

    def _outcome(
        self, batch: Batch, prepared: Prepared
    ) -> tuple[list[Record], PermanentError | None]:
        if prepared.refusal is not None:
            return [], prepared.refusal
        scanned = Scanned(batch, prepared.scan, source=prepared.source)
        records, refusal = list[Record](), None
        for each in self.operators:
            try:
                records += each.process(scanned)
            except PermanentError as error:
                refusal = refusal or error
        return records, refusal

    def _bury(self, batch: Batch, error: PermanentError, draft: Draft) -> None:
        letter = self._dead_letter(batch, error)
        too_large = isinstance(error, MessageTooLarge | RecordsRefused)
        if too_large or record_bytes(letter) > self._record_max_bytes:
            letter = without_value(letter)
        where = f"{batch.topic} partition {batch.partition} offset {batch.offset}"
        draft.bury(letter, error.reason, f"{where}: {error}")

    def _spare(self, records: Iterable[Record]) -> None:
        kept = self.kept_topics
        ours = [r for r in records if r.topic in kept and record_bytes(r) > self._record_max_bytes]
        if ours:
            raise ConfigurationError(
                f"{self._too_large(ours)}: it must not be lost; kafka.producer.max_message and the "
                "topic's max.message.bytes have to be larger"
            )

    def _too_large(self, records: Sequence[Record]) -> MessageTooLarge:
        largest = max(records, key=record_bytes)
        return MessageTooLarge(
            f"a record for {largest.topic}", record_bytes(largest),
            "kafka.producer.max_message", self._record_max_bytes,
        )  # fmt: skip

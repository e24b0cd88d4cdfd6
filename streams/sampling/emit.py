"""The operator of the emit stage: kept spans, copied from a range of the source.

For a work order the host reads the messages of its range again. From each the spans of listed
traces are copied byte for byte, with what sampling did to them in their tracestate, and joined
with those of the range's other messages that have equal headers. What is not as it should be has
a rule:

- offsets that retention has removed: counted (``removed_offsets``); the rest is sent
- a message that is no telemetry: ``sample`` has sent it to the dead letters; counted
  (``unreadable_messages``) and passed over
- a span larger than a record may be: counted (``oversized_spans``), a dead letter says where it
  lies; everything else is sent
- a tracestate that would become longer than the specifications allow: its last members go, counted
  (``shortened_states``)
- spans without valid ids, or of traces that are not listed: not sent; nor are spans that ``sample``
  has sent to their partition, should their trace be listed here as well
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.batches import Batch, Headers, Record, without_origin
from schemas.errors import MalformedMessage, MessageTooLarge, PermanentError
from schemas.operators import Outcome, Scanned, Snapshots, Source
from schemas.records import Value
from streams import wire

from .counts import EmitCounts
from .listed import Listed
from .outgoing import REKEYED, SOURCE, DeadLetter, source_text
from .partitions import count_at
from .records import WorkOrder

__all__ = ["Emit"]

_OVERHEAD_BYTES = 200
"""What a record takes beside its value and headers, generously."""
_HEADER_BYTES = 10


class Emit:
    """Work orders to spans; it has no state.

    Args:
        output: topic of the kept spans; the partition is the order's.
        max_bytes: largest record, headers included; ``kafka.producer.max_message``.
        partitioner: how ingest chooses partitions.
        counts: what it counts.
        dead_letter: for spans that fit no record; without it they are only counted.
        taken: told of each order that was carried out, and when the root spans that are sent on
            for it ended (Unix nanoseconds): whoever has a clock knows how long that took.
    """

    name = "emit"
    format_version = 1
    log_topic: str | None = None
    snapshots: Snapshots = "none"

    def __init__(
        self,
        *,
        output: str,
        max_bytes: int,
        partitioner: wire.Partitioner = "fnv1a",
        counts: EmitCounts | None = None,
        dead_letter: DeadLetter | None = None,
        taken: Callable[[WorkOrder, NDArray[np.uint64]], None] | None = None,
    ) -> None:
        self._output = output
        self._max_bytes = max_bytes
        self._partitioner: wire.Partitioner = partitioner
        self._counts = EmitCounts() if counts is None else counts
        self._dead_letter = dead_letter
        self._taken = taken

    def process(self, scanned: Scanned) -> Outcome:
        """Carry out a work order; its ``scan`` is that of ``records.decode``. Verdicts pass by.

        Raises ValueError for an order with traces that comes without its source: a defect.
        """
        order = scanned.scan
        if scanned.replayed or not isinstance(order, WorkOrder):
            return Outcome()
        records: Sequence[Record] = ()
        ends = [np.empty(0, np.uint64)]
        if len(order.traces.policy):
            if scanned.source is None:
                raise ValueError(f"a work order at {scanned.batch.offset} without its source")
            records = self._records(order, scanned.source, scanned.batch.partition, ends)
        self._counts.orders += 1
        if self._taken is not None:
            self._taken(order, np.concatenate(ends))
        return Outcome(records)

    def _records(
        self, order: WorkOrder, source: Source, partition: int, ends: list[NDArray[np.uint64]]
    ) -> list[Record]:
        """What is sent on for an order; ``ends`` gets when its root spans ended."""
        counts = self._counts
        counts.removed_offsets += source.removed
        listed = Listed(order.traces, len(order.policies))
        where = source_text(order.topic, order.partition, order.start, order.stop).encode()
        joins: dict[Headers, _Join] = {}
        records: list[Record] = []
        for batch in source.batches:
            counts.source_messages += 1
            counts.source_bytes += len(batch.value)
            try:
                scan = wire.scan_traces(batch.value, strict_ids=False)
            except PermanentError:
                counts.unreadable_messages += 1
                continue
            counts.source_spans += scan.items
            found = listed.find(scan, self._among(order, batch, scan))
            roots = found.keep & (scan.parent_span_id == 0) & (scan.end_time > 0)
            ends.append(scan.end_time[roots])
            headers = without_origin(batch.headers)
            join = joins.get(headers)
            if join is None:
                join = joins[headers] = self._join(headers, where, partition)
            made = wire.sampled(batch.value, scan, found.keep, found.threshold, join.max_bytes)
            counts.shortened_states += made.shortened
            for piece in made.pieces:
                records += join.add(piece)
            for oversized in made.oversized:
                records += self._give_up(batch, oversized, join.max_bytes)
        for join in joins.values():
            records += join.close()
        for policy, count in zip(order.policies, listed.spans.tolist(), strict=False):
            if count:
                counts.spans[policy] += count
        for record in records:
            if record.topic == self._output:
                counts.records += 1
                counts.bytes += len(record.value)
        return records

    def _among(
        self, order: WorkOrder, batch: Batch, scan: wire.SpanScan
    ) -> NDArray[np.bool_] | None:
        """Spans that ``sample`` has taken here; None: all that are valid."""
        count = count_at(order.partitions, batch.offset) if order.strangers else 0
        if count <= order.partition or any(name == REKEYED for name, _ in batch.headers):
            return None
        here: NDArray[np.bool_] = (
            wire.partition_by_trace(scan, count, self._partitioner) == order.partition
        )
        return here

    def _join(self, headers: Headers, where: bytes, partition: int) -> _Join:
        record = Record(self._output, b"", partition, None, (*headers, (SOURCE, where)))
        return _Join(record, self._max_bytes)

    def _give_up(self, batch: Batch, span: wire.Oversized, max_bytes: int) -> Sequence[Record]:
        self._counts.oversized_spans += 1
        if self._dead_letter is None:
            return ()
        error = MessageTooLarge(
            f"span {span.name!r} of a kept trace", span.size_bytes, "kafka.producer.max_message",
            max_bytes,
        )  # fmt: skip
        return (self._dead_letter(batch, error),)

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
        """There is none to take over. Raises MalformedMessage if there is one."""
        if any(True for _ in chunks):
            raise MalformedMessage("a snapshot of an operator that has no state")

    def adjust(self, name: str, value: Value) -> None:
        """There is nothing to set."""


class _Join:
    """Values of equal headers on their way into one record; requests may be concatenated."""

    def __init__(self, record: Record, max_bytes: int) -> None:
        self._record = record
        headers = sum(len(name) + len(value) + _HEADER_BYTES for name, value in record.headers)
        self.max_bytes = max(max_bytes - headers - _OVERHEAD_BYTES, 1)
        """Of a value."""
        self._parts: list[bytes] = []
        self._size_bytes = 0

    def add(self, part: bytes) -> Sequence[Record]:
        """Take a value, and give the record that it did not fit into."""
        full = self.close() if self._size_bytes + len(part) > self.max_bytes else ()
        self._parts.append(part)
        self._size_bytes += len(part)
        return full

    def close(self) -> Sequence[Record]:
        """The record with everything that was taken, if anything was."""
        if not self._parts:
            return ()
        record = self._record._replace(value=wire.merge(self._parts))
        self._parts, self._size_bytes = [], 0
        return (record,)

"""Sampling tried out: the same operators over recorded spans, as fast as they go. Pure.

Kafka is a list a partition here. Requests are divided as ingest divides them; times are those of
the recording; a partition that has nothing to read gets a tick a second. Every work order is
carried out at once, and messages behind it are forgotten.
"""

from __future__ import annotations

from typing import NamedTuple

from schemas.batches import Batch, Headers, Record
from schemas.config import Sampling
from schemas.operators import Outcome, Scanned, Source
from streams import wire

from .accounts import Accounts
from .counts import EmitCounts, SampleCounts
from .emit import Emit
from .records import WorkOrder, decode
from .sample import Sample

__all__ = ["Simulation", "Volume"]

_SPANS, _DECISIONS, _OUT = "spans", "decisions", "spans.out"
TICK_MS = 1000


class Volume(NamedTuple):
    """What lies on a topic."""

    messages: int
    spans: int
    bytes: int


class _Partition:
    """One partition of each topic, and its operators."""

    def __init__(self, sample: Sample, emit: Emit) -> None:
        self.sample, self.emit = sample, emit
        self.source: list[Batch] = []
        """Messages that no order has passed yet."""
        self.next = 0
        self.decisions = 0


class Simulation:
    """Takes requests in the order of their times.

    Args:
        settings: of sampling; ``enabled`` does not matter.
        partitions: of the spans' topic.
        partitioner: how ingest chooses them.
        max_bytes: ``kafka.producer.max_message``.
    """

    def __init__(
        self,
        settings: Sampling,
        *,
        partitions: int,
        partitioner: wire.Partitioner = "fnv1a",
        max_bytes: int = 1_000_000,
    ) -> None:
        self.sampled = SampleCounts(keys_max=0)
        self.emitted = EmitCounts()
        self.accounts = Accounts()
        self.refused = 0
        """Spans that ingest would have refused: without valid ids, or larger than a message."""
        self._in = Volume(0, 0, 0)
        self._partitioner: wire.Partitioner = partitioner
        self._max_bytes = max_bytes
        self._settings = settings
        self._now_ms = self._ticked_ms = 0
        self._partitions = [
            _Partition(
                Sample(
                    settings,
                    source=_SPANS,
                    decisions=_DECISIONS,
                    partition=number,
                    partitions=partitions,
                    partitioner=partitioner,
                    counts=self.sampled,
                ),
                Emit(
                    output=_OUT,
                    max_bytes=max_bytes,
                    partitioner=partitioner,
                    counts=self.emitted,
                ),
            )
            for number in range(partitions)
        ]

    @property
    def came(self) -> Volume:
        """What was taken."""
        return self._in

    @property
    def went(self) -> Volume:
        """What was sent on."""
        emitted = self.emitted
        return Volume(emitted.records, sum(emitted.spans.values()), emitted.bytes)

    def take(self, time_ms: int, data: bytes, headers: Headers = ()) -> None:
        """A request that came at a time, which is no less than the one before.

        Raises MalformedMessage or TooManyItems for what ingest would refuse as a whole.
        """
        self._pass(time_ms)
        scan = wire.scan_traces(data, strict_ids=False)
        part = wire.partition_by_trace(scan, len(self._partitions), self._partitioner)
        self.refused += scan.items - int(scan.valid.sum())
        for number, message in wire.split(data, scan, part, len(self._partitions)):
            inner = wire.scan_traces(message)
            pieces, oversized = wire.split_by_size(message, inner, self._max_bytes)
            self.refused += len(oversized)
            for piece in pieces:
                self._message(number, piece, headers)

    def finish(self) -> None:
        """Nothing more comes: time passes until everything is decided and sent on."""
        settings = self._settings
        wait_s = settings.decision_wait + settings.decision_interval + settings.order_interval
        self._pass(self._now_ms + round(wait_s * 1000) + 2 * TICK_MS)

    def _pass(self, time_ms: int) -> None:
        """Time goes on; who waits is told every second."""
        self._ticked_ms = self._ticked_ms or time_ms
        while self._ticked_ms + TICK_MS <= time_ms:
            self._ticked_ms += TICK_MS
            for number, partition in enumerate(self._partitions):
                self._visible(number, partition.sample.tick(self._ticked_ms))
        self._now_ms = max(self._now_ms, time_ms)

    def _message(self, number: int, value: bytes, headers: Headers) -> None:
        partition = self._partitions[number]
        batch = Batch(_SPANS, number, partition.next, self._now_ms, None, value, headers)
        partition.next += 1
        partition.source.append(batch)
        scan = wire.scan_traces(value)
        self._in = Volume(
            self._in.messages + 1, self._in.spans + scan.items, self._in.bytes + len(value)
        )
        self._visible(number, partition.sample.process(Scanned(batch, scan)))

    def _visible(self, number: int, outcome: Outcome) -> None:
        for record in outcome.records:
            self._decision(number, record)

    def _decision(self, number: int, record: Record) -> None:
        partition = self._partitions[number]
        found = decode(record.value)
        if not isinstance(found, WorkOrder):
            self.accounts.take(found)
            return
        partition.decisions += 1
        first = partition.source[0].offset if partition.source else 0
        begin, end = max(found.start - first, 0), max(found.stop - first, 0)
        batch = Batch(_DECISIONS, number, partition.decisions, self._now_ms, None, record.value, ())
        source = Source(0, partition.source[begin:end])
        partition.emit.process(Scanned(batch, found, source=source))
        if found.part == found.parts - 1:
            del partition.source[:end]

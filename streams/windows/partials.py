"""The operator that tells ``windows`` what its source partition adds to windows.

Hosted beside a stage's own operator, over the same scan. It gathers over many batches and speaks
when its lane commits: a record for every partition of the output, with the cells whose groups lead
there and how far the source is. What it takes is decided by the item's own time:

- a span's end, a point's time, a log record's time or, without one, when it was observed
- no time: counted (``timeless``); later than the message by more than ``max_ahead``: counted
  (``ahead``), and it moves nobody's windows
- NaN, infinities, buckets that do not fit, no temporality: counted by reason
- spans that another partition has sent here were counted there; what was too large to be passed on
  and is sent back from the dead letters was counted when it first came

It has no state that a restart needs: what was gathered is sent with the offset that it is from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batches import ORIGIN_PREFIX, Batch, Record
from schemas.config import Windows
from schemas.errors import MalformedMessage
from schemas.operators import Outcome, Scanned, Snapshots
from schemas.records import Value
from schemas.records.deadletter import WAS
from schemas.records.windows import PartialsHeader
from schemas.signals import Signal
from streams import wire
from streams.windows import cells as t
from streams.windows.descriptors import Described, Descriptors, Message
from streams.windows.gathering import gather_logs, gather_spans
from streams.windows.gathering_points import gather_points
from streams.windows.grouping import RULE_SIGNALS, Grouping, exact
from streams.windows.partial_counts import PartialCounts
from streams.windows.parting import empty_part, parts_of
from streams.windows.progress import Progress
from streams.windows.records import encode
from streams.windows.tables import Tables

__all__ = ["Partials"]

TENANT = "tenant"
_COUNTED_BEFORE = {f"{ORIGIN_PREFIX}rekeyed": "rekeyed", WAS: "sent_back"}
"""Headers of messages whose items were counted already, and the reason that is counted."""
_TENANTS_MAX = 1000
_DESCRIPTORS_MAX = 20_000
_DROPPED = {
    "timeless": t.TIMELESS,
    "ahead": t.AHEAD,
    "no_temporality": t.NO_TEMPORALITY,
    "too_many_buckets": t.TOO_MANY_BUCKETS,
    "negative": t.NEGATIVE,
} | {
    fault.name.lower(): t.FAULTS + fault.value.bit_length() - 1
    for fault in wire.PointFault
    if fault.name is not None
}
_COUNTED = slice(t.TIMELESS, t.CONTROL_WORDS)
_NO_WORDS: NDArray[np.uint64] = np.zeros(0, np.uint64)


class Partials:
    """What one source partition adds to windows.

    Args:
        settings: of windows.
        signal: of the source topic.
        source: its name.
        partition: that it reads.
        partitions: how many the topic has.
        output: topic of partials.
        output_partitions: how many that has.
        counts: what it counts.
    """

    name = "partials"
    format_version = 1
    log_topic: str | None = None
    snapshots: Snapshots = "none"

    def __init__(
        self,
        settings: Windows,
        *,
        signal: Signal,
        source: str,
        partition: int,
        partitions: int,
        output: str,
        output_partitions: int,
        counts: PartialCounts | None = None,
    ) -> None:
        self._settings = settings
        self._source = source
        self._partition = partition
        self._partitions = partitions
        self._output = output
        self._output_partitions = output_partitions
        self._counts = PartialCounts() if counts is None else counts
        self._grouping = Grouping(settings.rules, signal)
        self._rules = tuple((rule.name, rule.digest) for rule in self._grouping.rules)
        self._tables = Tables(settings.partials_max)
        self._tables.control[t.PANE_MS] = settings.pane_ms
        self._described: list[Described] = []
        self._descriptors = Descriptors(
            self._grouping, max(settings.partials_max, _DESCRIPTORS_MAX)
        )
        self._progress = Progress(
            round(settings.idle_after * 1000), round(settings.source_timeout * 1000)
        )
        self._ahead_ms = round(settings.max_ahead * 1000)
        self._seeds: dict[bytes, NDArray[np.uint64]] = {}
        self._news = False

    def process(self, scanned: Scanned) -> Outcome:
        """Gather a batch; what is returned was more than ``partials_max``."""
        if scanned.replayed or not self._rules:
            return Outcome()
        batch, scan = scanned.batch, scanned.scan
        self._progress.came(batch.timestamp_ms)
        self._news = True
        for name, _ in batch.headers:
            if name in _COUNTED_BEFORE:
                self._drop(_COUNTED_BEFORE[name], scan.items)
                return Outcome()
        control = self._tables.control
        control[t.STAMP] = batch.timestamp_ms
        control[t.AHEAD_LIMIT] = batch.timestamp_ms + self._ahead_ms
        records: list[Record] = []
        if scan.items:
            self._gather(batch, scan, records)
            self._count()
        return Outcome(records)

    def tick(self, now_ms: int) -> Outcome:
        """Say that the partition is idle, once, and now and then while it stays so."""
        if not self._rules or not self._progress.tick(now_ms):
            return Outcome()
        return Outcome(self._say())

    def flush(self) -> Sequence[Record]:
        """Everything gathered since the last time, and how far the source is."""
        return self._say() if self._news else ()

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

    # --- gathering -----------------------------------------------------------------------

    def _gather(self, batch: Batch, scan: wire.Scan, records: list[Record]) -> None:
        data, grouping, tables = batch.value, self._grouping, self._tables
        tenant = next((value for name, value in batch.headers if name == TENANT), b"")
        values = grouping.values(data, scan)
        fields, unused = exact(values)
        self._counts.unused_attributes += unused
        held = grouping.held(data, scan, values)
        rules = (grouping.codes, grouping.stops, self._seeds_of(tenant), fields, held)
        service = wire.service_hash(data, scan)
        said: wire.Points | None = None
        kernel: Any
        items: tuple[Any, ...]
        if isinstance(scan, wire.PointScan):
            said = wire.points(data, scan)
            array = np.frombuffer(data, np.uint8)
            array.flags.writeable = False
            kernel, items = gather_points, (
                *(array, scan.time, scan.start_time, scan.data, scan.temporality, scan.monotonic),
                *(scan.metric, wire.metric_units(data, scan), scan.name_hash, scan.resource),
                *(service, said.floats, said.longs, said.ints, said.faults, said.counts),
                *(said.bounds, wire.stream_identity(data, scan, said)),
                *(grouping.wanted(data, scan), self._settings.buckets_max),
            )  # fmt: skip
        elif isinstance(scan, wire.SpanScan):
            kernel, items = gather_spans, (
                *(scan.start_time, scan.end_time, scan.status, scan.kind, scan.name_hash),
                *(scan.trace_id_high, scan.trace_id_low, scan.span_id, scan.resource, service),
            )  # fmt: skip
        else:
            kernel, items = gather_logs, (
                *(scan.time, scan.observed_time, scan.severity, scan.resource, service),
            )  # fmt: skip
        message = Message(data, scan, values)
        begin = 0
        while True:
            begin = kernel(tables.control, begin, *items, *rules)
            self._describe(tenant, message)
            if tables.full:
                self._counts.early += 1
                records += self._sent(self._progress.said_ms)
            if begin == scan.items:
                break
            tables.make_room(len(self._rules), *_sizes(said, begin))

    def _seeds_of(self, tenant: bytes) -> NDArray[np.uint64]:
        seeds = self._seeds.get(tenant)
        if seeds is None:
            if len(self._seeds) >= _TENANTS_MAX:
                self._seeds.clear()
            seeds = self._seeds[tenant] = self._grouping.seeds(tenant)
        return seeds

    def _describe(self, tenant: bytes, message: Message) -> None:
        """Add the descriptors of groups that are new."""
        new = self._tables.groups[len(self._described) :]
        for row, group in zip(new.tolist(), new[:, t.G_HASH].view(np.uint64).tolist(), strict=True):
            described = self._descriptors.get(group)
            if described is None:
                _, rule, item, kind = row
                described = self._descriptors.make(group, rule, kind, item, tenant, message)
            self._described.append(described)

    def _drop(self, reason: str, count: int) -> None:
        self._counts.dropped[RULE_SIGNALS[self._grouping.signal], reason] += count

    def _count(self) -> None:
        """Take over what kernels have counted."""
        control = self._tables.control
        signal = RULE_SIGNALS[self._grouping.signal]
        for rule, count in zip(self._rules, control[t.RULE_ITEMS :].tolist(), strict=False):
            self._counts.items[signal, rule[0]] += count
        if control[_COUNTED].any():
            for reason, word in _DROPPED.items():
                if control[word]:
                    self._drop(reason, int(control[word]))
            self._counts.no_duration += int(control[t.NO_DURATION])
            control[_COUNTED] = 0
        self._counts.cut_values += self._descriptors.cut
        self._descriptors.cut = 0

    # --- speaking ------------------------------------------------------------------------

    def _say(self) -> list[Record]:
        """A record at least for every partition of the output; the last of each says how far."""
        progress = self._progress
        reached = int(self._tables.control[t.PROGRESS])
        sent = self._sent(progress.said_ms, reached)
        spoken = {record.partition for record in sent}
        rest = encode(empty_part(self._header(reached)))
        silent = (p for p in range(self._output_partitions) if p not in spoken)
        sent += [self._record(p, rest) for p in silent]
        progress.said_ms = reached
        self._news = False
        return sent

    def _sent(self, before_ms: int, last_ms: int | None = None) -> list[Record]:
        """Records of all that was gathered; it is forgotten.

        ``last_ms``: how far the last record of each partition says that the source is; all others
        say ``before_ms``, for windows must not be closed between them.
        """
        tables, counts = self._tables, self._counts
        if tables.empty:
            return []
        header = self._header(before_ms)
        final = header if last_ms is None else self._header(last_ms)
        parts = list(
            parts_of(
                tables,
                self._described,
                self._output_partitions,
                header,
                self._settings.record_max,
            )
        )
        records = []
        for i, (partition, partial) in enumerate(parts):
            if i + 1 == len(parts) or parts[i + 1].partition != partition:
                partial.header = final
            records.append(self._record(partition, encode(partial)))
            counts.groups += len(partial.groups.hash)
            counts.cells += len(partial.cells.count)
            counts.points += len(partial.points.count)
        tables.clear()
        self._described.clear()
        return records

    def _header(self, progress_ms: int) -> PartialsHeader:
        progress = self._progress
        return PartialsHeader(
            topic=self._source,
            partition=self._partition,
            partitions=self._partitions,
            pane_ms=self._settings.pane_ms,
            progress_ms=progress_ms,
            at_ms=progress.at_ms,
            now_ms=progress.now_ms,
            idle=progress.idle,
            rules=self._rules,
            columns=(),
        )

    def _record(self, partition: int, value: bytes) -> Record:
        self._counts.records += 1
        self._counts.bytes += len(value)
        return Record(self._output, value, partition)


def _sizes(said: wire.Points | None, item: int) -> tuple[int, int]:
    """How many buckets and bounds an item may need room for."""
    if said is None:
        return 1, 0
    buckets = int(said.negative_stop[item]) - said.counts_start(item)
    return max(buckets, 1), int(said.bounds_stop[item]) - said.bounds_start(item)

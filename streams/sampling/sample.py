"""The operator of the sample stage: spans to verdicts and work orders.

Its state is two things: what follows from its log (verdicts and orders, its own records), and
the open traces, which follow from the source behind the last order. A decision is made once, live,
and learned from the record that it becomes; after a crash the same records are recalled, and
nothing is decided until the source is replayed. What is not as it should be has a rule:

- spans without valid ids belong to no trace: counted (``invalid_spans``), to the dead letters
- spans on a partition that is not their trace's: counted (``wrong_partition_spans``), sent to the
  right one; spans that were sent here like that stay, also where their partition seems to be
  another one (``returned_spans``): they are sent once
- spans of decided traces follow the decision, as long as it is remembered (``late_*_spans``)
- a trace that never ends is decided when its time is over; what comes later follows
- too many open traces: the oldest are decided early (``early_traces``)
- clocks of spans decide nothing but a trace's duration and which of two entry spans is the
  earlier; missing times are counted (``timeless_traces``), wrong ones too (``skewed_traces``)
- a broker's clock that is set back: time goes on (``set_back_s``)
- another number of partitions is written to the log before it takes effect
  (``partition_changes``): what came before is replayed as it was taken
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from schemas.batches import Batch, Headers, Record, without_origin
from schemas.config import Sampling
from schemas.errors import ItemsRejected, MalformedMessage
from schemas.operators import Outcome, Scanned, Snapshots
from schemas.records import Value
from streams import wire

from .clock import Clock
from .columns import Traces
from .counts import SampleCounts, State
from .decided import Decisions, Place
from .decider import Decider
from .facts import Facts
from .interning import Interned
from .keys import SamplingKey
from .open_traces import Absorbed, Fate, OpenTraces
from .orders import Piece
from .outgoing import REKEYED, DeadLetter
from .partitions import PartitionCounts
from .records import VerdictRecord, WorkOrder, decode
from .tally import Tally
from .verdicts import VerdictRecords

__all__ = ["Sample"]

TENANT = "tenant"
"""Header that a sampling key begins with."""
_TEXTS = 4
"""Texts that are held for a key: as many as it has parts, about."""


class Sample:
    """Decides the traces of one partition.

    Args:
        settings: of sampling.
        source: topic that it reads.
        decisions: topic of verdicts and work orders; the partition is the source's.
        partition: its number.
        partitions: how many the source has now.
        partitioner: how ingest chooses partitions.
        counts: what it counts.
        dead_letter: for spans without valid ids; without it they are only counted.
    """

    name = "sample"
    format_version = 2
    snapshots: Snapshots = "log"

    def __init__(
        self,
        settings: Sampling,
        *,
        source: str,
        decisions: str,
        partition: int,
        partitions: int,
        partitioner: wire.Partitioner = "fnv1a",
        counts: SampleCounts | None = None,
        dead_letter: DeadLetter | None = None,
    ) -> None:
        self.log_topic: str | None = decisions
        self._settings = settings
        self._source = source
        self._partition = partition
        self._partitioner: wire.Partitioner = partitioner
        self._dead_letter = dead_letter
        texts = Interned(_TEXTS * settings.keys_max)
        self._key = SamplingKey(settings.key)
        self._texts = texts
        self._facts = Facts(settings, texts)
        self._decider = Decider(settings, partitions)
        self._decisions = Decisions(settings, self._decider, Place(source, partition))
        self._partitions = PartitionCounts(partitions)
        self._open = OpenTraces(
            settings.max_open_traces,
            self._facts.fields,
            partition=partition,
            partitions=partitions,
            partitioner=partitioner,
            decision_wait_ms=round(settings.decision_wait * 1000),
            root_wait_ms=round(settings.root_wait * 1000),
            decision_interval_ms=round(settings.decision_interval * 1000),
        )
        self._records = VerdictRecords(
            source, partition, self._decider.policies, self._key.fields, settings.order_max
        )
        self._clock = Clock()
        """After the last batch."""
        self._next = 0
        """Offset after the last batch."""
        self._tally = Tally(SampleCounts() if counts is None else counts)
        self._tenants: dict[bytes, int] = {}
        self._state = State()
        self._tally.counts.partitions[partition] = self._state

    # --- what comes in

    def process(self, scanned: Scanned) -> Outcome:
        """Take a batch, decide what is due, order what is decided.

        Raises PermanentError for a batch that says nothing about spans; nothing is changed then.
        """
        batch, scan, live = scanned.batch, scanned.scan, not scanned.replayed
        if not live and batch.offset < (self._decisions.orders.end or 0):
            return self._outcome(())  # all of it is decided and ordered
        facts = self._facts.of(batch.value, scan)
        before = self._before
        clock = before.after(batch.timestamp_ms)
        now_ms = clock.time_ms
        records: list[Record] = []
        if live and self._partitions.begins():
            records.append(self._mark(batch.offset, now_ms))
        self._place(batch, scan, now_ms, live=live)
        absorbed = self._open.absorb(
            scan, facts, batch.offset, now_ms, self._tenant(batch.headers),
            kept=self._decisions.kept, dropped=self._decisions.dropped, lags=self._decisions.lags,
        )  # fmt: skip
        self._clock, self._next = clock, batch.offset + 1
        self._decisions.orders.take(Piece(batch.offset, len(batch.value), *clock))
        if not live:
            return self._outcome(())
        self._tally.batch(absorbed)
        if clock.ahead_ms > before.ahead_ms:
            self._tally.counts.set_back_s += (clock.ahead_ms - before.ahead_ms) / 1000
        records += self._elsewhere(batch, scan, absorbed)
        records += self._decide(now_ms)
        return self._outcome(records)

    def tick(self, now_ms: int) -> Outcome:
        """Decide and order what is due; the time is not remembered but in records."""
        return self._outcome(self._decide(self._before.at(now_ms)))

    @property
    def _before(self) -> Clock:
        """After the batch before the next one."""
        return self._clock if self._next else self._decisions.orders.clock

    def _outcome(self, records: Sequence[Record]) -> Outcome:
        return Outcome(records, self._decisions.orders.end)

    def _tenant(self, headers: Headers) -> int:
        for name, value in headers:
            if name == TENANT and value:
                hashed = self._tenants.get(value)
                if hashed is None:
                    hashed = wire.hash64(value)
                    self._texts.add(hashed, value.decode("utf-8", "replace"))
                    if len(self._tenants) < self._settings.keys_max:
                        self._tenants[value] = hashed
                return hashed
        return 0

    def _place(self, batch: Batch, scan: wire.SpanScan, now_ms: int, *, live: bool) -> None:
        """How it is judged which spans of a batch belong here.

        Whether their trace is known must not matter, for a replay knows more traces; but while
        all that are known belong here, new ones alone need to be judged.
        """
        partitions, mine = self._partitions.at(batch.offset), self._partition
        sent_here = any(name == REKEYED for name, _ in batch.headers)
        if sent_here:
            part = wire.partition_by_trace(scan, partitions, self._partitioner)
            if returned := int(np.count_nonzero((part >= 0) & (part != mine))):
                self._partitions.stranger()
                self._tally.counts.returned_spans += returned if live else 0
        if sent_here or partitions <= mine:
            self._open.place(0, 1)
        else:
            every = not live or now_ms < self._partitions.strangers_until_ms
            self._open.place(mine, partitions, every=every)

    # --- what goes out beside decisions

    def _elsewhere(self, batch: Batch, scan: wire.SpanScan, absorbed: Absorbed) -> list[Record]:
        """Records of spans that are not ours: to another partition, or to nobody."""
        records = []
        misplaced = absorbed.misplaced_mask
        if misplaced is not None:
            part = wire.partition_by_trace(scan, self._partitions.now, self._partitioner)
            part[~misplaced] = -1
            where = f"{batch.topic}/{batch.partition}/{batch.offset}".encode()
            headers = (*without_origin(batch.headers), (REKEYED, where))
            for partition, value in wire.split(batch.value, scan, part, self._partitions.now):
                records.append(Record(self._source, value, partition, None, headers))
        if absorbed.invalid and self._dead_letter is not None:
            rest = wire.select(batch.value, scan, absorbed.fate == Fate.INVALID)
            error = ItemsRejected(f"{absorbed.invalid} spans without valid ids", rest)
            records.append(self._dead_letter(batch, error))
        return records

    # --- decisions

    def _decide(self, now_ms: int) -> list[Record]:
        """Live only: verdicts of what is due, then orders."""
        records: list[Record] = []
        traces = self._due(now_ms)
        if len(traces.trace_id_low):
            records += self._step(traces, now_ms)
        decisions, first = self._decisions, self._open.first_offset
        upto = self._next if first is None else first
        for order in decisions.order(upto, now_ms, self._partitions):
            self._tally.order(len(order.value), order.size_bytes)
            records.append(self._log(order.value))
        self._tally.ever(
            forgotten_kept=decisions.kept.forgotten,
            forgotten_dropped=decisions.dropped.forgotten,
            forgotten_generations=decisions.dropped.rotated_early,
            forgotten_keys=self._decider.keys_forgotten,
            unnamed_hashes=self._texts.overflowed,
            unread_thresholds=self._facts.refused,
        )
        oldest_ms, state = self._open.oldest_arrival_ms, self._state
        state.open_traces = len(self._open)
        state.oldest_undecided_ms = 0 if oldest_ms is None else max(now_ms - oldest_ms, 0)
        state.kept_remembered = len(decisions.kept)
        state.dropped_remembered = len(decisions.dropped)
        return records

    def _due(self, now_ms: int) -> Traces:
        """Traces whose wait is over, and the oldest where too many are open: one step."""
        due = self._open.due(now_ms)
        excess = len(self._open) - self._settings.max_open_traces
        if excess <= 0:
            return due
        early = self._open.oldest(excess)
        pairs = zip(due, early, strict=True)
        return Traces(*(np.concatenate([np.asarray(a), np.asarray(b)], axis=-1) for a, b in pairs))

    def _step(self, traces: Traces, now_ms: int) -> list[Record]:
        step = self._decider.decide(traces, now_ms)
        texts = partial(self._key.texts, traces, step.groups.first, self._texts)
        self._tally.step(step, traces, texts, self._decider.policies)
        records = []
        for record, rows, value in self._records.make(step, traces, texts, self._next):
            self._decisions.learn(record, traces.first[rows], traces.last[rows])
            self._tally.verdicts(len(value))
            records.append(self._log(value))
        return records

    def _mark(self, offset: int, now_ms: int) -> Record:
        """An order of nothing, which says how many partitions there are from here on."""
        if self._partitions.begin(offset):
            self._tally.counts.partition_changes += 1
        order = self._decisions.mark(offset, now_ms, self._partitions)
        return self._log(order.encode())

    def _log(self, value: bytes) -> Record:
        assert self.log_topic is not None  # noqa: S101 -- for the type checker
        return Record(self.log_topic, value, self._partition)

    # --- what comes back

    def flush(self) -> Sequence[Record]:
        """Nothing is gathered: everything is said at once."""
        return ()

    def recall(self, record: Batch) -> None:
        """Take back a verdict or an order.

        Raises MalformedRecord, which ends the process: without its log nothing is as decided.
        """
        found = decode(record.value)
        if isinstance(found, VerdictRecord):
            self._decisions.learn(found)
        elif isinstance(found, WorkOrder):
            self._decisions.settle(found)
            self._partitions.recall(found.partitions, found.strangers_until_ms)

    def snapshot(self) -> Sequence[bytes]:
        """What follows from the log."""
        return [self._partitions.encode(), *self._decisions.snapshot()]

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over. Raises MalformedMessage."""
        head, *rest = list(chunks) or [b""]
        self._partitions.restore(head)
        if not rest:
            raise MalformedMessage("snapshot of sample without decisions")
        self._decisions.restore(rest)

    def adjust(self, name: str, value: Value) -> None:
        """Set a number of a policy; see ``schemas.config.sampling.adjustable``."""
        self._decider.adjust(name, value)
        self._tally.counts.adjusted[name] = value

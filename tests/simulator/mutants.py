"""Violations of the protocol, one at a time: what each would do to a pipeline must be noticed.

Each is a context within which worlds are run; nothing of the lane itself is switched for it, what
it stands on is replaced, or one method of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from unittest import mock

from schemas.batches import Batch, Record
from schemas.errors import MalformedMessage, OtlpStreamsError
from schemas.operators import Scanned
from topologies.control.view import LaneControl
from topologies.runtime import hosted, processing, recovery
from topologies.runtime.commits import Commits
from topologies.runtime.committer import Committer
from topologies.runtime.decision import decide
from topologies.runtime.journal import unframed
from topologies.runtime.narrowing import Narrowing
from topologies.runtime.partitions import PartitionCount
from topologies.runtime.ports import Fenced, Fetched, Offset
from topologies.runtime.preparing import Preparing
from topologies.runtime.ranges import RangeReader

from .client import Network, SimLog, SimReader, SimTransactions
from .kafka import Kafka
from .loop import Process
from .world import Parts

__all__ = ["MUTANTS", "Mutant"]


class Mutant(NamedTuple):
    """What is done wrong."""

    name: str
    parts: Parts = Parts()
    patched: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    first: int = 0
    """A seed shortly before one that shows it; only to save time."""


def _put(where: Any, name: str, what: Any) -> Callable[[], Any]:
    return lambda: mock.patch.object(where, name, what)


class _StartsLate(SimTransactions):
    """The producer starts with its first transaction: progress and offset are read before."""

    async def start(self) -> None:
        pass

    async def commit(
        self, records: Sequence[Record], offset: Offset | None, *, apart: bool = False
    ) -> Sequence[int]:
        if self._epoch is None:
            await super().start()
        return await super().commit(records, offset, apart=apart)


class _IgnoresFailedSends(SimTransactions):
    """The commit follows, whatever became of the sends."""

    async def _gathered(self, steps: list[Any]) -> None:
        for step in steps:
            with contextlib.suppress(OtlpStreamsError):
                await step


class _CommitsOffsetsBeside(SimTransactions):
    """The offset goes the way of plain consumers, after the transaction."""

    async def commit(
        self, records: Sequence[Record], offset: Offset | None, *, apart: bool = False
    ) -> Sequence[int]:
        offsets = await super().commit(records, None, apart=apart)
        if offset is not None:
            await self._network.request("offset", lambda: self._kafka.commit(offset))
        return offsets


class _GoesOnAfterErrors(SimTransactions):
    """One producer for the life of a process, errors or not."""

    async def start(self) -> None:
        process = Process.current()
        known: dict[str, int] = process.__dict__.setdefault("epochs", {})
        if self.id in known:
            self._epoch = known[self.id]
            return
        await super().start()
        assert self._epoch is not None
        known[self.id] = self._epoch


def _own_id(network: Network, transactional_id: str) -> SimTransactions:
    """Every process has ids of its own: nobody is fenced."""
    return SimTransactions(network, f"{transactional_id}-{id(Process.current())}")


class _IgnoresFences(SimTransactions):
    """Told that it is fenced, it starts again and goes on with what it had."""

    async def commit(
        self, records: Sequence[Record], offset: Offset | None, *, apart: bool = False
    ) -> Sequence[int]:
        while True:
            try:
                return await super().commit(records, offset, apart=apart)
            except Fenced:
                await self.start()


class _RepeatsInDoubt(SimTransactions):
    """Where it is not known whether a commit happened, it is made again."""

    async def commit(
        self, records: Sequence[Record], offset: Offset | None, *, apart: bool = False
    ) -> Sequence[int]:
        try:
            return await super().commit(records, offset, apart=apart)
        except OtlpStreamsError:
            await self.start()
            return await super().commit(records, offset, apart=apart)


class _StableIsWritten(SimLog):
    """The end of what can be read is taken for the end of what there is."""

    async def written(self, topic: str, partition: int) -> int:
        return await self.end(topic, partition)


class _ReadsUncommitted(SimLog):
    """Open and aborted records are read like others."""

    async def end(self, topic: str, partition: int) -> int:
        return await self.written(topic, partition)

    async def read(self, topic: str, partition: int, start: int, stop: int) -> Any:
        log = self._kafka.log(topic, partition)
        entries = [entry for entry in log._entries[start:stop] if entry is not None]
        await self._network.request("read", lambda: None)
        yield [entry.batch for entry in entries if entry.batch is not None]


@contextlib.contextmanager
def _half_snapshots() -> Iterator[None]:
    """A snapshot counts from its first piece on, and what is missing of it is not missed.

    One piece goes with a transaction, so that there are such snapshots often.
    """
    written, take = hosted.SnapshotWriter.written, hosted.SnapshotWriter.take

    def whole(parts: Any) -> Iterator[bytes]:
        with contextlib.suppress(MalformedMessage):
            yield from unframed(parts)

    def one(self: Any, _: int) -> Any:
        return take(self, 1)

    def early(self: Any, offsets: Sequence[int], *, last: bool) -> None:
        written(self, offsets, last=True)

    async def all_there_is(self: Any, name: str, snapshot: Any) -> list[bytes]:
        prefix = f"/snapshot/{name}/{snapshot.slot}/".encode()
        place, found = self._place, {}
        runs = self._log.read(place.journal, place.partition, 0, snapshot.last + 1)
        async for run in runs:
            for record in run:
                if record.key.startswith(place.topic.encode() + prefix):
                    found[record.key] = record.value
        return list(found.values())

    with (
        mock.patch.object(recovery, "unframed", whole),
        mock.patch.object(hosted.SnapshotWriter, "take", one),
        mock.patch.object(hosted.SnapshotWriter, "written", early),
        mock.patch.object(recovery.Recovery, "_pieces", all_there_is),
    ):
        yield


@contextlib.contextmanager
def _begins_without_room() -> Iterator[None]:
    """A snapshot is taken, and its first piece goes with a later transaction."""
    snapshots = Committer._snapshots

    def early(self: Committer, draft: Any, records: list[Record]) -> Any:
        now_s = self._clock.monotonic()
        for each in self._operators:
            if each.name not in self._writers and self._is_due(each, draft, now_s):
                self._begin(each, draft, now_s)
        return snapshots(self, draft, records)

    with mock.patch.object(Committer, "_snapshots", early):
        yield


@contextlib.contextmanager
def _forgets_the_log() -> Iterator[None]:
    """Decisions are not recalled."""

    async def nothing(self: Any, *_: Any) -> int:
        return 0

    with mock.patch.object(recovery.Recovery, "_recall", nothing):
        yield


@contextlib.contextmanager
def _outputs_at_replay() -> Iterator[None]:
    """What a replay returns is kept."""
    again = recovery.Recovery._again
    kept: list[Record] = []

    def keeping(self: Any, batch: Batch, operators: Any, starts: Any) -> int:
        for each in operators:
            process = each.operator.process

            def remember(scanned: Any, process: Any = process) -> Any:
                outcome = process(scanned)
                kept.extend(outcome.records)
                return outcome

            each.operator.process = remember
        try:
            return again(self, batch, operators, starts)
        finally:
            for each in operators:
                del each.operator.process

    commit = SimTransactions.commit

    async def with_kept(
        self: Any, records: Sequence[Record], offset: Any, *, apart: bool = False
    ) -> Sequence[int]:
        more, kept[:] = list(kept), []
        offsets = await commit(self, [*more, *records], offset, apart=apart)
        return offsets[len(more) :]

    with (
        mock.patch.object(recovery.Recovery, "_again", keeping),
        mock.patch.object(SimTransactions, "commit", with_kept),
    ):
        yield


@contextlib.contextmanager
def _brokers_do_not_fence() -> Iterator[None]:
    """Not ours to get wrong; shows that the lanes do rely on it."""

    def known(self: Kafka, transactional_id: str, epoch: int) -> Any:
        return self._producers[transactional_id]

    with mock.patch.object(Kafka, "_known", known):
        yield


def _of_logs(begin: bool, recall: bool) -> Any:
    """An operator with snapshots of its log comes back as another kind would.

    Args:
        begin: it is replayed from where the snapshot was taken.
        recall: its log is recalled from where it would be without a snapshot.
    """

    @contextlib.contextmanager
    def patched() -> Iterator[None]:
        restore = recovery.Recovery._restore

        async def wrongly(self: Any, each: Any, position: int, make: Any) -> Any:
            found, log_position, text = await restore(self, each, position, make)
            if each.operator.snapshots == "log" and each.snapshot is not None:
                found = each.snapshot.position if begin else found
                log_position = each.log_position(position) if recall else log_position
            return found, log_position, text

        with mock.patch.object(recovery.Recovery, "_restore", wrongly):
            yield

    return patched


def _as_if_new(batch: Batch, scan: Any, **_: Any) -> Scanned:
    return Scanned(batch, scan)


def _recalls_all(self: Any, record: Batch) -> None:
    self.operator.recall(record)


def _resumes_where_it_is_told(found: Any, auto_offset_reset: str) -> Any:
    decision = decide(found, auto_offset_reset)
    return decision._replace(start="resume") if decision.start == "reset" else decision


@contextlib.contextmanager
def _keeps_ranges() -> Iterator[None]:
    """What was read for a batch serves whichever comes after a recovery."""

    def ready(self: Any, batch: Batch) -> bool:
        if self._offset < 0:
            self._offset = batch.offset
            self._begin(batch, self._ranges)
        return self._reading is None or self._reading.done()

    with (
        mock.patch.object(Preparing, "ready", ready),
        mock.patch.object(Preparing, "cancel"),
    ):
        yield


async def _none_removed(*_: Any) -> int:
    return 0


class _StandsStill(SimReader):
    """Goes on where it stands, whatever is asked for."""

    async def fetch(self, offset: int, stop: int) -> Fetched:
        return await super().fetch(max(offset, self._next), max(stop, self._next))


class _ReadsOnAndOn(SimLog):
    def reader(self, topic: str, partition: int) -> SimReader:
        return _StandsStill(self._network, topic, partition)


@contextlib.contextmanager
def _drops_decisions() -> Iterator[None]:
    """No topic is one that operators want back, when a record is refused."""
    refused = Narrowing.refused

    def all_alike(self: Any, draft: Any, records: Any, error: Any, logs: Any) -> None:
        refused(self, draft, records, error, ())

    with mock.patch.object(Narrowing, "refused", all_alike):
        yield


@contextlib.contextmanager
def _flushes_late() -> Iterator[None]:
    """What is gathered goes with the transaction after the one that passes its batches."""
    start = Commits.start

    def late(self: Commits, *, frozen: bool) -> bool:
        flush, self._flush = self._flush, lambda _: None
        try:
            began = start(self, frozen=frozen)
        finally:
            self._flush = flush
        if began:
            flush(self.draft)
        return began

    with mock.patch.object(Commits, "start", late):
        yield


@contextlib.contextmanager
def _flushes_at_leisure() -> Iterator[None]:
    """A lane that is frozen commits without asking what is gathered."""
    start = Commits.start

    def hasty(self: Commits, *, frozen: bool) -> bool:
        flush = self._flush
        self._flush = (lambda _: None) if frozen else flush
        try:
            return start(self, frozen=frozen)
        finally:
            self._flush = flush

    with mock.patch.object(Commits, "start", hasty):
        yield


@contextlib.contextmanager
def _keeps_what_was_gathered() -> Iterator[None]:
    """What was gathered for a transaction that has failed goes with the first one after it."""
    flush = processing.Processing.flush

    def again(self: Any, draft: Any) -> None:
        known = self.__dict__.setdefault("kept", {"by": self.operators, "records": []})
        if known["by"] is not self.operators:
            draft.gather(known["records"])
        before = len(draft.records())
        flush(self, draft)
        known.update(by=self.operators, records=draft.records()[before:])

    with mock.patch.object(processing.Processing, "flush", again):
        yield


MUTANTS = [
    Mutant("starts its producer late", Parts(transactions=_StartsLate), first=100),
    Mutant("ignores failed sends", Parts(transactions=_IgnoresFailedSends)),
    Mutant("commits offsets beside", Parts(transactions=_CommitsOffsetsBeside)),
    Mutant("goes on after errors", Parts(transactions=_GoesOnAfterErrors)),
    Mutant("repeats in doubt", Parts(transactions=_RepeatsInDoubt)),
    Mutant("has ids of its own", Parts(transactions=_own_id)),
    Mutant("ignores fences", Parts(transactions=_IgnoresFences), first=100),
    Mutant("takes stable for written", Parts(log=_StableIsWritten)),
    Mutant("reads uncommitted", Parts(log=_ReadsUncommitted)),
    Mutant("uses half snapshots", patched=_half_snapshots),
    Mutant("begins snapshots without room", patched=_begins_without_room),
    Mutant("forgets the log", patched=_forgets_the_log),
    Mutant("keeps outputs of a replay", patched=_outputs_at_replay),
    Mutant("brokers do not fence", patched=_brokers_do_not_fence, first=100),
    Mutant("replays from a log's snapshot", patched=_of_logs(begin=True, recall=False)),
    Mutant("recalls since the replay", patched=_of_logs(begin=False, recall=True)),
    Mutant(
        "does not say that it replays", patched=_put(recovery, "Scanned", _as_if_new), first=100
    ),
    Mutant("recalls what others log", patched=_put(hosted.HostedOperator, "recall", _recalls_all)),
    Mutant(
        "keeps its state at a reset",
        patched=_put(recovery, "decide", _resumes_where_it_is_told),
    ),
    Mutant("forgets what was set", patched=_put(LaneControl, "explicit", lambda _: ())),
    Mutant("never counts partitions again", patched=_put(PartitionCount, "check", lambda _: None)),
    Mutant("takes one range for another", patched=_keeps_ranges),
    Mutant("counts nothing as removed", patched=_put(RangeReader, "_removed", _none_removed)),
    Mutant("reads on wherever it stands", Parts(log=_ReadsOnAndOn)),
    Mutant("drops a batch for a record", patched=_put(processing, "is_culprit", lambda *_: True)),
    Mutant("drops decisions that are refused", patched=_drops_decisions),
    Mutant("flushes late", patched=_flushes_late),
    Mutant("flushes at leisure", patched=_flushes_at_leisure),
    Mutant("keeps what was gathered", patched=_keeps_what_was_gathered),
]

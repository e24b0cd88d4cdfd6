"""What must hold after a run, whatever went wrong in it.

1. Every output, read committed, tells of each input exactly once and in order, as an undisturbed
   run would, and of what was gathered nothing is missing at a commit; after a person's reset, as
   one that begins there with empty state.
2. In every committed transaction the progress record says the offset that it commits, and it is
   the last word on its key: after the run, progress and committed offset are equal.
3. What could not be taken is in the dead-letter topic once; of an output that brokers refuse that
   one alone is missing, and never a decision.
4. What a batch has named is what lies there; what retention has taken of it is counted.
5. The snapshot that the last progress names can be read and restored.
6. The compacted journal is no longer than its keys.
7. No transaction is open.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from schemas.batches import Batch
from tests.operators import counting, deciding, gathering
from topologies.runtime.hosted import LOG_HEADER
from topologies.runtime.journal import Progress, progress_key, snapshot_key, unframed

from .hosting import GROUP, JOURNAL
from .kafka import TP
from .operators import (
    DECIDED,
    ECHO,
    GATHERED,
    LOGGED,
    QUOTED,
    QUOTES,
    SNAPPED,
    log_of,
    make,
    reads,
)
from .resets import Segment

if TYPE_CHECKING:
    from .world import World

__all__ = ["check"]

PIECES_MAX = 7
"""Of the largest snapshot there is."""


def check(world: World) -> list[str]:
    """What does not hold."""
    found: list[str] = []
    for tp, inputs in world.inputs().items():
        for segment in world.resets.segments(tp):
            found += _Stretch(world, tp, segment, inputs).check()
        found += _progress(world, tp)
    found += _transactions(world)
    found += _journal(world)
    for log in world.kafka.all():
        if log.open:
            found.append(f"{log.tp.topic}[{log.tp.partition}]: a transaction is open at the end")
    return found


class _Stretch:
    """A source partition between two resets, and what was written meanwhile."""

    def __init__(self, world: World, tp: TP, segment: Segment, inputs: list[Batch]) -> None:
        self._world = world
        self._tp = tp
        self._segment = segment
        self._inputs = [
            batch
            for batch in inputs
            if segment.start <= batch.offset
            and (segment.stop is None or batch.offset < segment.stop)
        ]
        self._good = [b for b in self._inputs if b.value and not b.value.startswith(b"!")]

    def check(self) -> Iterator[str]:
        yield from self._echo()
        yield from self._letters()
        yield from self._quotes()
        yield from self._gathered()
        if not self._world.trouble.eaten:  # what a replay has lost is missing in the state
            yield from self._counts_by_snapshot()
            yield from self._counts_by_replay()
            yield from self._decisions()

    def _records(self, topic: str, partition: int) -> list[Batch]:
        log, segment = self._world.kafka.log(topic, partition), self._segment
        begin = segment.begins.get(log.tp, 0)
        end = log.end if segment.ends is None else segment.ends[log.tp]
        return log.committed(begin, end)[0]

    def _ours(self, topic: str) -> list[Batch]:
        return self._records(topic, self._tp.partition)

    def _differ(self, what: str, got: list[str], wanted: list[str]) -> Iterator[str]:
        if got == wanted:
            return
        where = f"{what} of {self._tp.topic}[{self._tp.partition}]"
        twice = sorted({each for each in got if got.count(each) > wanted.count(each)})
        lost = [each for each in wanted if each not in got]
        more = [each for each in got if each not in wanted]
        for text, which in (("twice", twice), ("lost", lost), ("never in the input", more)):
            if which:
                yield f"{where}: {text}: {', '.join(which[:5])}"
        if not (twice or lost or more):
            yield f"{where}: in another order: {got}"

    def _echo(self) -> Iterator[str]:
        prefix = f"{self._tp.topic}-"
        got = [
            key
            for record in self._ours(ECHO)
            for key in record.value.decode().split()
            if key.startswith(prefix)
        ]
        wanted = [str(b.key, "ascii") for b in self._good if b.key and not _is_refused(b)]
        yield from self._differ("echo", got, wanted)

    def _letters(self) -> Iterator[str]:
        got = []
        for record in self._records("deadletter", 0):
            headers = dict(record.headers)
            if headers["deadletter.topic"].decode() == self._tp.topic and (
                int(headers["deadletter.partition"]) == self._tp.partition
            ):
                got.append(headers["deadletter.offset"].decode())
        wanted = [str(batch.offset) for batch in self._inputs if _is_refused(batch)]
        yield from self._differ("dead letters", got, wanted)

    def _quotes(self) -> Iterator[str]:
        asked = {}
        for batch in self._good:
            if (wanted := reads(batch.value.decode().split())) is not None:
                assert batch.key is not None
                asked[batch.key.decode()] = wanted
        quotes = [json.loads(record.value) for record in self._ours(QUOTES)]
        ours = [quote for quote in quotes if quote["key"].startswith(f"{self._tp.topic}-")]
        yield from self._differ("quotes", [quote["key"] for quote in ours], list(asked))
        for quote in ours:
            wanted = asked.get(quote["key"])
            if wanted is not None and (text := self._misquoted(quote, wanted.start, wanted.stop)):
                yield f"quote of {self._tp} {quote['key']}: {text} in {quote}"

    def _misquoted(self, quote: dict[str, object], start: int, stop: int) -> str:
        partition = self._tp.partition % len(self._world.feeding.quoted)
        log = self._world.kafka.log(QUOTED, partition)
        there = [n for n in self._world.feeding.quoted[log.tp] if start <= n < stop]
        got, removed = quote["offsets"], quote["removed"]
        assert isinstance(got, list)
        assert isinstance(removed, int)
        beyond = max(0, stop - max(start, log.end))
        missing = [offset for offset in there if offset not in got]
        if [offset for offset in there if offset in got] != got:
            return "others than there are, or twice"
        if any(offset >= log.begin for offset in missing):
            return f"{missing} not read"
        least = len(missing) + beyond
        most = max(0, min(log.begin, stop) - start) + beyond
        return "" if least <= removed <= most else f"between {least} and {most} were removed"

    def _gathered(self) -> Iterator[str]:
        """As in the echo, but that an output which is refused takes nothing of it away."""
        prefix = f"{self._tp.topic}-"
        got = [
            key
            for record in self._ours(GATHERED)
            for key in gathering.read(record.value).keys
            if key.startswith(prefix)
        ]
        wanted = [str(b.key, "ascii") for b in self._good if b.key]
        yield from self._differ("gathered", got, wanted)

    def _counts_by_snapshot(self) -> Iterator[str]:
        got = [counting.read(record.value) for record in self._ours(f"{SNAPPED}.{self._tp.topic}")]
        model = make(self._tp.topic, self._tp.partition)[1]
        wanted = []
        for batch in self._good:
            scanned = counting.Scanned(batch, counting.scan(batch.topic, batch.value))
            wanted += [counting.read(record.value) for record in model.process(scanned).records]
        yield from self._differ(
            "counts by snapshot", [str(e) for e in got], [str(e) for e in wanted]
        )

    def _counts_by_replay(self) -> Iterator[str]:
        """Ticks divide as they come: each record must go on from the one before."""
        tp, counts_at = self._tp, {0: (0, {})}
        total = counting.Counting("model", snapshots="state", every=1, keys_max=3)
        for batch in self._good:
            scanned = counting.Scanned(batch, counting.scan(batch.topic, batch.value))
            (record,) = total.process(scanned).records
            counted = counting.read(record.value)
            counts_at[counted.next] = (counted.items, counted.counts)
        offsets, last = [batch.offset for batch in self._good], 0
        for record in self._ours(f"{LOGGED}.{tp.topic}"):
            counted = counting.read(record.value)
            following = next((offset for offset in offsets if offset >= last), None)
            if counted.first != following:
                yield f"counts by replay of {tp}: from {counted.first} where {following} was next"
            if counts_at.get(counted.next) != (counted.items, counted.counts):
                yield f"counts by replay of {tp}: {counted} is not {counts_at.get(counted.next)}"
            last = counted.next
        if self._segment.ends is None and [offset for offset in offsets if offset >= last]:
            yield f"counts by replay of {tp}: nothing after {last}, in spite of ticks"

    def _decisions(self) -> Iterator[str]:
        tp = self._tp
        for name, kind in DECIDED.items():
            ours = (LOG_HEADER, f"{tp.topic}/{name}".encode())
            told = [
                deciding.read(record.value)
                for record in self._ours(log_of(name, tp.topic))
                if ours in record.headers
            ]
            got = [key for decision in told for key in decision.keys]
            wanted = [str(b.key, "ascii") for b in self._good if b.key]
            if self._segment.ends is not None:  # what waited at the reset has never been decided
                wanted = wanted[: len(got)]
            yield from self._differ(name, got, wanted)
            numbers = [decision.number for decision in told]
            # Without snapshots nothing asks for what is older than the replay: it counts anew then.
            if kind != "none" and numbers != list(range(len(numbers))):
                yield f"{name} of {tp.topic}[{tp.partition}]: decisions are numbered {numbers}"


def _is_refused(batch: Batch) -> bool:
    """By the scan, by an operator, or by brokers."""
    value = batch.value
    return value.startswith(b"!") or b"refused" in value or b"huge" in value


def _progress(world: World, tp: TP) -> Iterator[str]:
    where = f"{tp.topic}[{tp.partition}]"
    log = world.kafka.log(JOURNAL, tp.partition)
    journal = log.committed(0, log.end)[0]
    committed = world.kafka.committed(GROUP, *tp)
    progress = world.resets.progress(tp)
    if progress is None:
        yield f"{where}: no progress record"
        return
    if progress.position != committed:
        yield f"{where}: progress says {progress.position}, the group {committed}"
    for operator in make(*tp):
        place = progress.operators[operator.name].snapshot
        if place is None:
            continue
        pieces = {
            record.key: record.value
            for record in journal
            if place.first <= record.offset <= place.last
        }
        keys = [snapshot_key(tp.topic, operator.name, place.slot, n) for n in range(place.pieces)]
        try:
            operator.restore(unframed(pieces[key] for key in keys))
        except Exception as error:
            yield f"{where}: the snapshot of {operator.name} cannot be used: {error!r}"


def _transactions(world: World) -> Iterator[str]:
    for owner in world.kafka.finished:
        for offset in owner.offsets:
            key = progress_key(offset.topic)
            said = [
                Progress.decode(batch.value).position
                for batch in owner.batches
                if batch.topic == JOURNAL and batch.key == key
            ]
            if said[-1:] != [offset.offset]:
                yield f"a transaction of {owner.id} commits {offset.offset} but says {said}"
        if not owner.offsets and any(batch.topic == JOURNAL for batch in owner.batches):
            yield f"a transaction of {owner.id} has progress and no offset"


def _journal(world: World) -> Iterator[str]:
    for log in world.kafka.partitions(JOURNAL):
        log.compact(log.end)
        log.compact(log.end)
        # Two slots of three operators, each of so many pieces as the state may have.
        allowed = len(world.sources) * (1 + 2 * 3 * PIECES_MAX)
        if log.size > allowed:
            yield f"{log.tp.topic}[{log.tp.partition}]: {log.size} records after compaction"

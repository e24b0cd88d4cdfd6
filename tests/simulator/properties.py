"""What must hold after a run, whatever went wrong in it.

1. Every output, read committed, tells of each input exactly once and in order, as an undisturbed
   run would.
2. In every committed transaction the progress record says the offset that it commits, and it is
   the last word on its key: after the run, progress and committed offset are equal.
3. What could not be taken is in the dead-letter topic once.
4. The snapshot that the last progress names can be read and restored.
5. The compacted journal is no longer than its keys.
6. No transaction is open.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from schemas.batches import Batch
from tests.operators import counting
from topologies.runtime.journal import Progress, progress_key, snapshot_key, unframed

from .hosting import GROUP, JOURNAL
from .kafka import TP
from .operators import DECIDED, ECHO, LOGGED, SNAPPED, make

if TYPE_CHECKING:
    from .world import World

__all__ = ["check"]

PIECES_MAX = 7
"""Of the largest snapshot there is."""


def check(world: World) -> list[str]:
    """What does not hold."""
    found: list[str] = []
    for tp, inputs in world.inputs().items():
        good = [batch for batch in inputs if batch.value and not batch.value.startswith(b"!")]
        found += _echo(world, tp, good)
        found += _letters(world, tp, inputs)
        # What a replay has lost is missing in the state. A batch whose outputs brokers refuse
        # loses those of every operator, although some tell of other batches.
        if not world.eaten and not world.schedule.refusals:
            found += _counts(world, tp, good)
            found += _decisions(world, tp, good)
        found += _progress(world, tp, inputs)
    found += _transactions(world)
    found += _journal(world)
    for log in world.kafka.all():
        if log.open:
            found.append(f"{log.tp.topic}[{log.tp.partition}]: a transaction is open at the end")
    return found


def _records(world: World, topic: str, partition: int) -> list[Batch]:
    log = world.kafka.log(topic, partition)
    return log.committed(0, log.end)[0]


def _differ(what: str, tp: TP, got: list[str], wanted: list[str]) -> Iterator[str]:
    if got == wanted:
        return
    where = f"{what} of {tp.topic}[{tp.partition}]"
    twice = sorted({each for each in got if got.count(each) > 1})
    lost = [each for each in wanted if each not in got]
    more = [each for each in got if each not in wanted]
    for text, which in (("twice", twice), ("lost", lost), ("never in the input", more)):
        if which:
            yield f"{where}: {text}: {', '.join(which[:5])}"
    if not (twice or lost or more):
        yield f"{where}: in another order: {got}"


def _is_refused(batch: Batch) -> bool:
    """By the scan, by an operator, or by brokers."""
    value = batch.value
    return value.startswith(b"!") or b"refused" in value or b"huge" in value


def _echo(world: World, tp: TP, good: list[Batch]) -> Iterator[str]:
    prefix = f"{tp.topic}-"
    got = [
        key
        for record in _records(world, ECHO, tp.partition)
        for key in record.value.decode().split()
        if key.startswith(prefix)
    ]
    wanted = [str(b.key, "ascii") for b in good if b.key and not _is_refused(b)]
    yield from _differ("echo", tp, got, wanted)


def _counts(world: World, tp: TP, good: list[Batch]) -> Iterator[str]:
    got = [counting.read(r.value) for r in _records(world, f"{SNAPPED}.{tp.topic}", tp.partition)]
    model = make(tp.topic, tp.partition)[1]
    wanted, counts_at = [], {0: (0, {})}
    total = counting.Counting("model", snapshots="state", every=1, keys_max=3)
    for batch in good:
        scanned = counting.Scanned(batch, counting.scan(batch.topic, batch.value))
        wanted += [counting.read(record.value) for record in model.process(scanned).records]
        (record,) = total.process(scanned).records
        counted = counting.read(record.value)
        counts_at[counted.next] = (counted.items, counted.counts)
    yield from _differ("counts by snapshot", tp, [str(e) for e in got], [str(e) for e in wanted])
    # By replay, ticks divide as they come: each record must go on from the one before.
    offsets, last = [batch.offset for batch in good], 0
    for record in _records(world, f"{LOGGED}.{tp.topic}", tp.partition):
        counted = counting.read(record.value)
        following = next((offset for offset in offsets if offset >= last), None)
        if counted.first != following:
            yield f"counts by replay of {tp}: from {counted.first} where {following} was next"
        if counts_at.get(counted.next) != (counted.items, counted.counts):
            yield f"counts by replay of {tp}: {counted} is not {counts_at.get(counted.next)}"
        last = counted.next
    if [offset for offset in offsets if offset >= last]:
        yield f"counts by replay of {tp}: nothing after {last}, in spite of ticks"


def _decisions(world: World, tp: TP, good: list[Batch]) -> Iterator[str]:
    for output in DECIDED:
        values = [
            json.loads(r.value) for r in _records(world, f"{output}.{tp.topic}", tp.partition)
        ]
        got = [key for value in values for key in value["keys"]]
        yield from _differ(output, tp, got, [str(b.key, "ascii") for b in good if b.key])
        numbers = [value["number"] for value in values]
        # Without snapshots nothing asks for what is older than the replay: it counts anew then.
        if output == DECIDED[1] and numbers != list(range(len(numbers))):
            yield f"{output} of {tp.topic}[{tp.partition}]: decisions are numbered {numbers}"


def _letters(world: World, tp: TP, inputs: list[Batch]) -> Iterator[str]:
    got = []
    for record in _records(world, "deadletter", 0):
        headers = dict(record.headers)
        if headers["deadletter.topic"].decode() == tp.topic and (
            int(headers["deadletter.partition"]) == tp.partition
        ):
            got.append(headers["deadletter.offset"].decode())
    wanted = [str(b.offset) for b in inputs if _is_refused(b)]
    yield from _differ("dead letters", tp, got, wanted)


def _progress(world: World, tp: TP, inputs: list[Batch]) -> Iterator[str]:
    where = f"{tp.topic}[{tp.partition}]"
    journal = _records(world, JOURNAL, tp.partition)
    latest = [record for record in journal if record.key == progress_key(tp.topic)]
    committed = world.kafka.committed(GROUP, *tp)
    if not latest:
        yield f"{where}: no progress record"
        return
    progress = Progress.decode(latest[-1].value)
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
        # Two slots of two operators, each of so many pieces as the state may have.
        allowed = len(world.sources) * (1 + 2 * 2 * PIECES_MAX)
        if log.size > allowed:
            yield f"{log.tp.topic}[{log.tp.partition}]: {log.size} records after compaction"

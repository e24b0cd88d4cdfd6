"""Every operator passes the battery; and the battery finds what it is there to find."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from schemas.batches import Batch, Record
from schemas.errors import MalformedMessage
from schemas.operators import Operator, Outcome, Scanned
from schemas.records import Value

from .battery import PARTITION, TOPIC, Case, check
from .cases import CASES
from .counting import Counting, scan
from .deciding import EVERY, Deciding
from .gathering import Gathering


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_operator(case: Case) -> None:
    check(case)


def test_operators_do_the_same_in_another_process() -> None:
    """Hashes of texts differ between processes, and with them the order of sets."""
    program = "from tests.operators.cases import *; print([digest(case) for case in CASES])"
    found = {
        subprocess.run(
            [sys.executable, "-c", f"from tests.operators.battery import digest; {program}"],
            env={**os.environ, "PYTHONHASHSEED": number},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for number in ("1", "2")
    }
    assert len(found) == 1


# --- faults, one a class ---------------------------------------------------------------------

_numbers = itertools.count()


class Random(Counting):
    """Answers differently each time."""

    def process(self, scanned: Scanned) -> Outcome:
        outcome = super().process(scanned)
        return outcome._replace(
            records=[r._replace(value=b"%d" % next(_numbers)) for r in outcome.records]
        )


class Dirty(Counting):
    """Counts before it looks."""

    def process(self, scanned: Scanned) -> Outcome:
        self.counts["seen"] += 1
        return super().process(scanned)


class Forgetful(Counting):
    """Leaves a part of its state out of the snapshot."""

    def restore(self, chunks: Iterable[bytes]) -> None:
        super().restore(chunks)
        self._waiting = 0


class Draining(Counting):
    """A snapshot that empties what it writes."""

    def snapshot(self) -> list[bytes]:
        chunks = list(super().snapshot())
        self.counts.clear()
        return chunks


class Restless(Counting):
    """A tick changes the state, and nothing tells a recovery of it."""

    def tick(self, now_ms: int) -> Outcome:
        self.counts["ticks"] += 1
        return super().tick(now_ms)


class Deaf(Counting):
    """Does not take its log back."""

    def recall(self, record: Batch) -> None:
        pass


class Late(Counting):
    """Would begin a replay after what waits."""

    def process(self, scanned: Scanned) -> Outcome:
        return super().process(scanned)._replace(replay_from=None)


class Beyond(Counting):
    """Would begin a replay with what has not come."""

    def process(self, scanned: Scanned) -> Outcome:
        return super().process(scanned)._replace(replay_from=scanned.batch.offset + 2)


class Backwards(Counting):
    """Wants to read again what it did not need before."""

    def process(self, scanned: Scanned) -> Outcome:
        outcome = super().process(scanned)
        return outcome._replace(replay_from=None if outcome.records else 0)


class Swallowing(Counting):
    """Takes anything for a snapshot."""

    def restore(self, chunks: Iterable[bytes]) -> None:
        try:
            super().restore(chunks)
        except MalformedMessage:
            return


class Recomputing(Counting):
    """Counts again what the log has told."""

    def recall(self, record: Batch) -> None:
        super().recall(record)
        self.next = 0


class Mixing(Deciding):
    """What waits is in the snapshot, and in the replay on top of it."""

    def snapshot(self) -> Sequence[bytes]:
        return [json.dumps([self.number, self.next]).encode()]


class Impatient(Deciding):
    """Decides in a replay."""

    def process(self, scanned: Scanned) -> Outcome:
        return super().process(scanned._replace(replayed=False))


class Careless(Deciding):
    """Does not take its decisions back."""

    def recall(self, record: Batch) -> None:
        pass


class Fickle(Deciding):
    """Each setting counts, not the last one."""

    def adjust(self, name: str, value: Value) -> None:
        if name == EVERY:
            self._every += 1


class Feeding(Deciding):
    """Sends its decisions to itself."""

    def _decide(self) -> Outcome:
        outcome = super()._decide()
        return outcome._replace(records=[r._replace(topic=TOPIC) for r in outcome.records])


class Keyed(Deciding):
    """Sends batches to another partition of its topic, which is no fault."""

    def process(self, scanned: Scanned) -> Outcome:
        outcome = super().process(scanned)
        again = Record(TOPIC, scanned.batch.value, PARTITION + 1)
        return outcome._replace(records=[*outcome.records, again])


class Repeating(Gathering):
    """Says again at the next commit what was in the last one."""

    def flush(self) -> Sequence[Record]:
        keys = self.keys
        records = super().flush()
        self.keys = keys
        return records


class Reluctant(Gathering):
    """Waits for company, although the batch is about to be committed."""

    def flush(self) -> Sequence[Record]:
        return super().flush() if len(self.keys) > 1 else ()


class Replaying(Gathering):
    """Wants everything again, and gathers it again."""

    def process(self, scanned: Scanned) -> Outcome:
        return super().process(scanned._replace(replayed=False))._replace(replay_from=0)

    def tick(self, now_ms: int) -> Outcome:
        return Outcome((), 0)


class Talkative(Gathering):
    """Has something to say at every commit, and makes one of it."""

    def flush(self) -> Sequence[Record]:
        return [Record("gathered", b'{"next": 0, "keys": []}', PARTITION), *super().flush()]


SNAPSHOT: list[type[Counting]] = [Random, Dirty, Forgetful, Draining, Restless, Swallowing]
REPLAY: list[type[Counting]] = [
    Random,
    Dirty,
    Restless,
    Deaf,
    Late,
    Beyond,
    Backwards,
    Recomputing,
]


def faulty(make: Callable[[], Operator], **more: Any) -> Case:
    sound = next(case for case in CASES if case.name == "counting by snapshot")
    return Case("faulty", make, sound.values, sound.poison, **more)


@pytest.mark.parametrize("kind", SNAPSHOT)
def test_a_fault_is_found_by_snapshot(kind: type[Counting]) -> None:
    with pytest.raises(AssertionError):
        check(faulty(lambda: kind("counts", snapshots="state")), shrink=False)


@pytest.mark.parametrize("kind", REPLAY)
def test_a_fault_is_found_by_replay(kind: type[Counting]) -> None:
    with pytest.raises(AssertionError):
        check(faulty(lambda: kind("counts", snapshots="none")), shrink=False)


@pytest.mark.parametrize("kind", [Mixing, Impatient, Careless, Fickle, Feeding])
def test_a_fault_is_found_by_log(kind: type[Deciding]) -> None:
    sound = next(case for case in CASES if case.name == "deciding by log")
    make = partial(kind, "deciding", "decided", PARTITION, snapshots="log")
    with pytest.raises(AssertionError):
        check(replace(sound, make=make, changed=partial(make, every=2)), shrink=False)


@pytest.mark.parametrize("kind", [Repeating, Reluctant, Replaying, Talkative])
def test_a_fault_is_found_of_what_is_gathered(kind: type[Gathering]) -> None:
    sound = next(case for case in CASES if case.name == "gathering")
    with pytest.raises(AssertionError):
        check(replace(sound, make=partial(kind, "gathered", PARTITION)), shrink=False)


def test_one_that_gathers_must_say_what_its_records_mean_together() -> None:
    sound = next(case for case in CASES if case.name == "gathering")
    with pytest.raises(AssertionError):
        check(replace(sound, together=None), shrink=False)


def test_who_needs_its_log_beyond_the_replay_needs_snapshots_of_it() -> None:
    """Without, nothing of it comes back when nothing waits: ``replay_from`` is None then."""
    sound = next(case for case in CASES if case.name == "deciding by log")
    make = partial(Deciding, "deciding", "decided", PARTITION, snapshots="none")
    with pytest.raises(AssertionError):
        check(replace(sound, make=make, changed=None, holds=None), shrink=False)


def test_records_for_another_partition_of_the_source_are_no_fault() -> None:
    sound = next(case for case in CASES if case.name == "deciding by log")
    make = partial(Keyed, "deciding", "decided", PARTITION, snapshots="log")
    check(replace(sound, make=make, changed=None, holds=None, examples=30), shrink=False)


def test_a_state_that_outgrows_what_it_declares_is_found() -> None:
    def size(operator: Any) -> int:
        return len(operator.counts)

    with pytest.raises(AssertionError):
        check(faulty(lambda: Counting.by_snapshot("counts"), size=size, size_max=3), shrink=False)


def test_a_scan_that_refuses_is_as_good_as_an_operator_that_does() -> None:
    check(faulty(lambda: Counting.by_snapshot("counts"), scan=scan))

"""What every operator must pass, whatever it does: one battery, driven by hypothesis.

A case says how the operator is made and what it may be given; :func:`check` does the rest. Here
stands a host without Kafka: it takes batches and ticks in order, sets values, keeps what was
committed, and recovers at any point as :mod:`schemas.operators` says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas.batches import Batch, Headers, Record
from schemas.errors import MalformedMessage, PermanentError
from schemas.operators import Operator, Outcome, Scanned, Source
from schemas.records import Value

__all__ = [
    "PARTITION",
    "TOPIC",
    "Adjust",
    "Case",
    "Commit",
    "History",
    "Refused",
    "Step",
    "Tick",
    "check",
    "digest",
    "histories",
    "take",
]

TOPIC, PARTITION = "source", 3
_HEADERS: list[Headers] = [(), (("tenant", b"a"),), (("tenant", b"b"), ("x", b""))]


class Tick(NamedTuple):
    """The lane stood at the end of its partition."""

    now_ms: int


class Adjust(NamedTuple):
    """A value was set at run time."""

    name: str
    value: Value


class Commit(NamedTuple):
    """What has been is about to be committed: what is gathered goes with it."""


Step = Batch | Tick | Adjust | Commit


class Refused(NamedTuple):
    """A batch went to the dead-letter topic."""

    reason: str


class Flushed(NamedTuple):
    """What was gathered for a commit."""

    records: Sequence[Record]


Found = Outcome | Refused | Flushed | None
"""What follows from a step; None: nothing can."""


@dataclass(frozen=True)
class Case:
    """An operator, and what it is tried with."""

    name: str
    make: Callable[[], Operator]
    """A new one, of source topic ``TOPIC`` and partition ``PARTITION``; always the same."""
    values: st.SearchStrategy[bytes]
    """What it takes."""
    poison: st.SearchStrategy[bytes]
    """What it, or the scan, refuses."""
    scan: Callable[[str, bytes], Any] | None = None
    """As ``Stage.scan``."""
    source: Callable[[Any], Source | None] | None = None
    """From a scan to what the host reads for it: ``Stage.reads``, and the reading."""
    adjustments: st.SearchStrategy[Adjust] | None = None
    """Values that may be set between two steps; None: none."""
    size: Callable[[Any], int] | None = None
    """Measures its state, in the unit of ``size_max``."""
    size_max: int = 0
    """Declared bound of its state, over any history."""
    holds: Callable[[Sequence[Batch], Sequence[Record]], None] | None = None
    """Asserts what is true of all batches taken and all records that became visible."""
    together: Callable[[Sequence[Record]], object] | None = None
    """Of an operator that gathers: what records mean together, wherever commits come and whatever
    was before them. None: the very records are the same, and none waits for a commit."""
    changed: Callable[[], Operator] | None = None
    """One with other settings, that would decide otherwise: what is logged must stand, and
    ``holds`` must be true across the change."""
    steps_max: int = 24
    examples: int = 200
    keys: st.SearchStrategy[bytes | None] = field(default_factory=st.none)
    headers: Callable[[bytes], Headers] = lambda _value: ()
    """Headers that a value comes with, beside those that are drawn."""


class History(NamedTuple):
    """Steps, and where it is looked at: ``snapshot <= crash <= len(steps)``.

    Snapshots are taken, and crashes survived, right after a commit, or at the very beginning.
    """

    steps: list[Step]
    snapshot: int
    crash: int

    @property
    def uncommitted(self) -> list[Step]:
        """Its steps with a commit at the end alone."""
        return [*(each for each in self.steps if not isinstance(each, Commit)), Commit()]


@st.composite
def histories(draw: st.DrawFn, case: Case) -> History:
    """Offsets with gaps (transaction markers), broker's times, ticks and commits between."""
    offset, now_ms = draw(st.integers(0, 5)), 1_700_000_000_000
    steps: list[Step] = []
    kinds = ["batch", "batch", "batch", "tick", "poison", "commit"]
    kinds += [] if case.adjustments is None else ["adjust"]
    for _ in range(draw(st.integers(0, case.steps_max))):
        now_ms += draw(st.integers(0, 3000))
        kind = draw(st.sampled_from(kinds))
        if kind == "tick":
            steps.append(Tick(now_ms))
            continue
        if kind == "commit":
            steps.append(Commit())
            continue
        if kind == "adjust" and case.adjustments is not None:
            steps.append(draw(case.adjustments))
            continue
        value = draw(case.poison if kind == "poison" else case.values)
        headers = (*case.headers(value), *draw(st.sampled_from(_HEADERS)))
        steps.append(Batch(TOPIC, PARTITION, offset, now_ms, draw(case.keys), value, headers))
        offset += draw(st.sampled_from([1, 1, 1, 2, 7]))
    steps.append(Commit())
    after = [0, *(n for n, step in enumerate(steps, 1) if isinstance(step, Commit))]
    crash = draw(st.sampled_from(after))
    return History(steps, draw(st.sampled_from([n for n in after if n <= crash])), crash)


def check(case: Case, *, shrink: bool = True) -> None:
    """The whole battery. Raises AssertionError with the least history that shows a fault."""
    phases = {Phase.explicit, Phase.generate} | ({Phase.shrink} if shrink else set())

    @settings(
        max_examples=case.examples,
        phases=phases,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(histories(case))
    def try_one(history: History) -> None:
        for law in LAWS:
            law(case, history)

    nothing(case)
    try_one()


def digest(case: Case, examples: int = 8) -> str:
    """Of what it makes of the same histories in every process: a replay is another process's."""
    found = hashlib.blake2b(digest_size=16)

    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(histories(case))
    def note(history: History) -> None:
        operator = case.make()
        found.update(repr(history).encode())
        found.update(repr(run(case, operator, history.steps)).encode())
        if operator.snapshots != "none":
            found.update(repr(operator.snapshot()).encode())

    note()
    return found.hexdigest()


# --- a host without Kafka --------------------------------------------------------------------


def take(case: Case, operator: Operator, step: Step, *, replayed: bool = False) -> Found:
    """One step of the host."""
    if isinstance(step, Tick):
        return operator.tick(step.now_ms)
    if isinstance(step, Commit):
        return Flushed(list(operator.flush()))
    if isinstance(step, Adjust):
        operator.adjust(*step)
        return None
    try:
        scan = case.scan(step.topic, step.value) if case.scan else None
        source = None if replayed or case.source is None else case.source(scan)
        return operator.process(Scanned(step, scan, replayed, source))
    except PermanentError as error:
        return Refused(error.reason)


def run(case: Case, operator: Operator, steps: Iterable[Step]) -> list[Found]:
    """Steps in order."""
    return [take(case, operator, step) for step in steps]


def next_offset(steps: Sequence[Step]) -> int:
    """The committed offset after these steps."""
    offsets = [step.offset + 1 for step in steps if isinstance(step, Batch)]
    return offsets[-1] if offsets else 0


def replay_from(steps: Sequence[Step], found: Sequence[Found]) -> int:
    """Where a replay begins that follows on these steps: what the last outcome says."""
    after = next_offset(steps)
    for count in range(len(steps), 0, -1):
        outcome = found[count - 1]
        if isinstance(outcome, Outcome):
            # None: nothing of what has been is needed; refused batches changed nothing since.
            return next_offset(steps[:count]) if outcome.replay_from is None else (
                outcome.replay_from
            )  # fmt: skip
    return after


def records(found: Iterable[Found]) -> list[Record]:
    """What became visible."""
    return [r for each in found if isinstance(each, Outcome | Flushed) for r in each.records]


def mean(case: Case, found: Sequence[Found]) -> object:
    """What is compared of what has followed."""
    return found if case.together is None else case.together(records(found))


def log(operator: Operator, visible: Sequence[Record]) -> list[Batch]:
    """Records of its log as they lie on the topic."""
    return [
        Batch(r.topic, PARTITION, n, 0, r.key, r.value, r.headers)
        for n, r in enumerate(visible)
        if r.topic == operator.log_topic
    ]


def recover(
    case: Case,
    make: Callable[[], Operator],
    history: History,
    found: Sequence[Found],
    chunks: Sequence[bytes] | None,
) -> Operator:
    """A new operator, brought to where everything before ``history.crash`` is committed.

    ``chunks``: the snapshot that was taken at ``history.snapshot``; None: there is none, or it
    cannot be used.
    """
    steps, crash = history.steps, history.crash
    operator = make()
    if operator.snapshots == "state":
        known = 0 if chunks is None else history.snapshot
        begin, since = replay_from(steps[:known], found[:known]), known
    else:
        begin, since = replay_from(steps[:crash], found[:crash]), 0
        if operator.snapshots == "none":
            # As old as what is replayed, and no older: a log is not read from its beginning.
            since = max(n for n in range(crash + 1) if n == 0 or next_offset(steps[:n]) <= begin)
        elif chunks is not None:
            since = history.snapshot
    if chunks is not None:
        operator.restore(iter(chunks))
    for record in log(operator, records(found[since:crash])):
        operator.recall(record)
    for step in steps[:crash]:  # ticks are not replayed: nobody wrote them down
        if isinstance(step, Batch) and step.offset >= begin:
            take(case, operator, step, replayed=True)
    assert not operator.flush(), "gathered from what is committed"
    tell(operator, steps[:crash])
    return operator


def tell(operator: Operator, steps: Iterable[Step]) -> None:
    """The values that are set after these steps, to one that was made anew."""
    for adjust in {each.name: each for each in steps if isinstance(each, Adjust)}.values():
        operator.adjust(*adjust)


# --- laws ------------------------------------------------------------------------------------


def deterministic(case: Case, history: History) -> None:
    """The same inputs in the same order, the same outcomes."""
    first = run(case, case.make(), history.steps)
    assert first == run(case, case.make(), history.steps)
    if case.holds:
        case.holds(*_visible(history.steps, first))


def well_formed(case: Case, history: History) -> None:
    """Outcomes are what the host can use; a replay begins ever later and never too late."""
    operator = case.make()
    least = 0
    for count, step in enumerate(history.steps, 1):
        outcome = take(case, operator, step)
        if isinstance(outcome, Flushed):
            _usable(operator, outcome.records)
            assert not operator.flush(), "given twice"
        if not isinstance(outcome, Outcome):
            continue
        after = next_offset(history.steps[:count])
        begin = after if outcome.replay_from is None else outcome.replay_from
        assert least <= begin <= after, f"replay_from {begin}, after {least}, next is {after}"
        least = begin
        _usable(operator, outcome.records)


def _usable(operator: Operator, records: Sequence[Record]) -> None:
    for record in records:
        assert record.topic
        feeds_itself = record.topic == TOPIC and record.partition in (None, PARTITION)
        assert not feeds_itself, "an operator's records do not come back to it"
        assert isinstance(record.value, bytes)
        assert record.topic != operator.log_topic or record.partition == PARTITION


def commits_come_when_they_come(case: Case, history: History) -> None:
    """What follows from inputs means the same wherever commits are between them."""
    found = run(case, case.make(), history.steps)
    alone = run(case, case.make(), history.uncommitted)
    if case.together is None:
        assert not any(isinstance(each, Flushed) and each.records for each in [*found, *alone])
        assert [each for each in found if not isinstance(each, Flushed)] == alone[:-1]
    else:
        assert mean(case, found) == mean(case, alone)


def poison_leaves_no_trace(case: Case, history: History) -> None:
    """A refused batch is as if it had not come."""
    found = run(case, case.make(), history.steps)
    good = [
        (step, outcome)
        for step, outcome in zip(history.steps, found, strict=True)
        if not isinstance(outcome, Refused)
    ]
    again = run(case, case.make(), [step for step, _ in good])
    assert [_records(outcome) for outcome in again] == [_records(outcome) for _, outcome in good]


def snapshots_go_on(case: Case, history: History) -> None:
    """Restored anywhere, it goes on as the one whose state it was; to write one changes nothing."""
    operator = case.make()
    if operator.snapshots == "none":
        return
    undisturbed = run(case, case.make(), history.steps)
    found = run(case, operator, history.steps[: history.crash])
    chunks = operator.snapshot()
    assert all(isinstance(chunk, bytes) for chunk in chunks)
    whole = mean(case, undisturbed)
    if operator.snapshots == "state":
        other = case.make()
        other.restore(iter(chunks))
        tell(other, history.steps[: history.crash])
    else:  # its log and this say all that is finished; the rest is read again
        now = history._replace(snapshot=history.crash)
        other = recover(case, case.make, now, undisturbed, chunks)
    rest = history.steps[history.crash :]
    assert mean(case, found + run(case, operator, rest)) == whole
    assert mean(case, found + run(case, other, rest)) == whole


def recovery_goes_on(case: Case, history: History) -> None:
    """After a crash: from the newest snapshot, the log and a replay, on as if nothing had been.

    Ticks are not replayed, so what one decided must be in the log, and win.
    """
    undisturbed = run(case, case.make(), history.steps)
    rest = history.steps[history.crash :]
    wanted = mean(case, undisturbed[history.crash :])
    chunks = _snapshot(case, history)
    recovered = recover(case, case.make, history, undisturbed, chunks)
    if recovered.snapshots != "none":  # what it writes now serves the next crash
        now = history._replace(snapshot=history.crash)
        again = recover(case, case.make, now, undisturbed, recovered.snapshot())
        assert mean(case, run(case, again, rest)) == wanted
        lost = recover(case, case.make, history, undisturbed, None)
        assert mean(case, run(case, lost, rest)) == wanted, "without its snapshot"
    assert mean(case, run(case, recovered, rest)) == wanted
    if case.changed and case.holds:
        changed = recover(case, case.changed, history, undisturbed, chunks)
        found = [*undisturbed[: history.crash], *run(case, changed, rest)]
        case.holds(*_visible(history.steps, found))


def bounded(case: Case, history: History) -> None:
    """Its state stays below what it declares."""
    if case.size is None:
        return
    operator = case.make()
    for step in history.steps:
        take(case, operator, step)
        assert case.size(operator) <= case.size_max


def nothing(case: Case) -> None:
    """New, it has no past; and it takes no snapshot that is none."""
    operator = case.make()
    assert operator.name
    assert not set("/ \n") & set(operator.name), "part of a key in the journal"
    assert operator.format_version >= 0
    assert operator.snapshots in {"none", "state", "log"}
    assert operator.log_topic or operator.snapshots != "log", "a snapshot of which log?"
    operator.adjust("of.somebody.else", 1)
    assert not operator.flush()
    idle = operator.tick(0).records
    assert case.together(idle) == case.together(()) if case.together else not idle
    if operator.snapshots != "none":
        restored = case.make()
        restored.restore(iter(operator.snapshot()))
        for damaged in ([], [b"\xff\xfe no snapshot"]):
            try:
                case.make().restore(iter(damaged))
            except MalformedMessage:
                continue
            raise AssertionError(f"{damaged} was restored")


LAWS = (
    deterministic,
    well_formed,
    commits_come_when_they_come,
    poison_leaves_no_trace,
    snapshots_go_on,
    recovery_goes_on,
    bounded,
)


def _snapshot(case: Case, history: History) -> Sequence[bytes] | None:
    """The newest snapshot before the crash; None of an operator that makes none."""
    operator = case.make()
    if operator.snapshots == "none":
        return None
    run(case, operator, history.steps[: history.snapshot])
    return operator.snapshot()


def _records(outcome: Found) -> object:
    return list(outcome.records) if isinstance(outcome, Outcome) else outcome


def _visible(
    steps: Sequence[Step], found: Sequence[Found]
) -> tuple[Sequence[Batch], Sequence[Record]]:
    taken = [
        step
        for step, outcome in zip(steps, found, strict=True)
        if isinstance(step, Batch) and not isinstance(outcome, Refused)
    ]
    return taken, records(found)

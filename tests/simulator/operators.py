"""What the simulated stage does: ways to depend on one's past, each told apart by its output.

Echo                       nothing is remembered; every key once, in order
Quotes                     what a batch names is read for it, once, from another topic
Gathering                  tests.operators.gathering: keys since the commit before
Counting.by_snapshot       tests.operators.counting: every record tells all counts
Counting.by_replay
Deciding                   tests.operators.deciding: what waits is decided by number, which can be
                           set at run time, or by tick, and numbered; without snapshots, and with
                           snapshots of the state, and of the log. The last one's log is one topic
                           for all sources
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from schemas.batches import Batch, Record
from schemas.control import ControlSetting
from schemas.errors import MalformedMessage
from schemas.operators import Operator, Outcome, Scanned, Snapshots
from schemas.records import Value
from tests.operators.counting import Counting
from tests.operators.deciding import EVERY, Deciding
from tests.operators.gathering import Gathering
from topologies.runtime.stage import SourceRange

__all__ = [
    "DECIDED",
    "ECHO",
    "GATHERED",
    "LOGGED",
    "QUOTED",
    "QUOTES",
    "SETTINGS",
    "SHARED",
    "SNAPPED",
    "VALUE_MAX",
    "Echo",
    "asks",
    "log_of",
    "make",
    "reads",
    "topics",
]

ECHO, SNAPPED, LOGGED, QUOTES, GATHERED = "echo", "snapped", "logged", "quotes", "gathered"
SHARED = "decided.logged"
DECIDED: dict[str, Snapshots] = {"decided": "none", "decided.snapped": "state", SHARED: "log"}
"""Operators by name. Outputs of all but the first and the shared one are by source topic, for
their records are read back."""
QUOTED = "quoted"
"""What batches name ranges of."""
SETTINGS = {EVERY: ControlSetting(EVERY, (2, 3, 4, 6), 4, "So many decide.", stage="sim")}

VALUE_MAX = 4000
"""Bytes that brokers take; the configuration allows more."""


def log_of(name: str, source: str) -> str:
    """Topic of a deciding operator's decisions."""
    return name if name == SHARED else f"{name}.{source}"


def topics(source: str) -> list[str]:
    """What is written for a source topic."""
    by_source = [f"{name}.{source}" for name in (SNAPPED, LOGGED)]
    return [ECHO, QUOTES, GATHERED, *by_source, *(log_of(name, source) for name in DECIDED)]


def make(source: str, partition: int, partitions: int = 1) -> list[Operator]:
    """The operators of a partition."""
    return [
        Echo(partitions),
        Counting.by_snapshot(f"{SNAPPED}.{source}", every=2, keys_max=3, name="snapped"),
        Counting.by_replay(f"{LOGGED}.{source}", every=3, keys_max=3, name="logged"),
        *(
            Deciding(name, log_of(name, source), partition, snapshots=kind)
            for name, kind in DECIDED.items()
        ),
        Quotes(),
        Gathering(GATHERED, partition, keys_max=5),
    ]


def asks(partition: int, start: int, stop: int) -> str:
    """The word that names a range."""
    return f"q{partition}:{start}-{stop}"


def reads(words: list[str]) -> SourceRange | None:
    """As ``Stage.reads``: the last word may name a range."""
    if not words or not words[-1].startswith("q"):
        return None
    partition, _, bounds = words[-1][1:].partition(":")
    start, _, stop = bounds.partition("-")
    return SourceRange(QUOTED, int(partition), int(start), int(stop))


class _Plain:
    """Without a past."""

    name: str
    format_version = 1
    log_topic: str | None = None
    snapshots: Snapshots = "none"

    def tick(self, now_ms: int) -> Outcome:
        return Outcome()

    def flush(self) -> Sequence[Record]:
        return ()

    def recall(self, record: Batch) -> None:
        raise AssertionError("there is no log")

    def snapshot(self) -> Sequence[bytes]:
        raise AssertionError("there are no snapshots")

    def restore(self, chunks: Iterable[bytes]) -> None:
        raise AssertionError("there are no snapshots")

    def adjust(self, name: str, value: Value) -> None:
        pass


class Echo(_Plain):
    """Gives the key of each batch; records may be joined."""

    name = "echo"

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions

    def process(self, scanned: Scanned) -> Outcome:
        batch = scanned.batch
        if b"refused" in batch.value:
            raise MalformedMessage("refused by the operator")
        assert batch.key is not None
        padding = b" " * 2 * VALUE_MAX if b"huge" in batch.value else b""
        return Outcome([Record(ECHO, batch.key + padding + b"\n", batch.partition)])


class Quotes(_Plain):
    """Gives what a batch names, once."""

    name = "quotes"

    def process(self, scanned: Scanned) -> Outcome:
        batch, source = scanned.batch, scanned.source
        wanted = reads(scanned.scan)
        assert (source is None) == (scanned.replayed or wanted is None)
        if source is None:
            return Outcome()
        assert batch.key is not None
        found = {"key": batch.key.decode(), "range": wanted, "removed": source.removed,
                 "offsets": [each.offset for each in source.batches]}  # fmt: skip
        return Outcome([Record(QUOTES, json.dumps(found).encode(), batch.partition)])

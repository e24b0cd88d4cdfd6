"""What a stage does with telemetry: a pure function of its state and what it is given.

The same state and the same inputs in the same order give the same outcomes. An operator has no
clock, no randomness and no I/O of its own; time comes with the batch or the tick. The runtime
makes its outcomes visible exactly once and brings its state back after a crash:

    1. a new operator gets ``restore`` with the newest complete snapshot, if there is one
    2. ``recall`` with each record of ``log_topic`` that was committed since, in order; without
       snapshots: since everything before ``replay_from`` was, maybe some earlier ones
    3. ``process`` with the batches up to the committed offset again, ``replayed``; what it
       returns is dropped. Where they begin depends on ``snapshots``, below
    4. ``adjust`` with each value that is set at run time; work goes on

What must not be decided anew at step 3 (a verdict, say) is in the log: what was recalled wins.
Nothing is decided there at all, for it would be lost: what is not in the log waits for step 4.

===========  ==================================  ==================================
snapshots    a snapshot holds                    the replay begins at
===========  ==================================  ==================================
``"none"``   (there is none)                     the last ``replay_from``
``"state"``  everything                          the snapshot's ``replay_from``
``"log"``    what follows from its log alone     the last ``replay_from``
===========  ==================================  ==================================

With ``"none"`` a ``replay_from`` of None means that nothing at all is needed, of the log neither:
one that must remember what it has logged for longer than something waits needs ``"log"``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from .batches import Batch, Record
from .records.base import Value

__all__ = ["Operator", "Outcome", "Scanned", "Snapshots", "Source"]

Snapshots = Literal["none", "state", "log"]


class Source(NamedTuple):
    """What the host has read for a batch that names a range of another topic (Stage.reads)."""

    removed: int
    """Offsets of the range that retention had removed, or that lie beyond what there is."""
    batches: Sequence[Batch]
    """Committed messages of the rest, in order."""


class Scanned(NamedTuple):
    """A batch and what a scan of its value found; several operators share one scan."""

    batch: Batch
    scan: Any
    """``streams.wire.Scan`` of the topic's signal; None where the topic holds no telemetry."""
    replayed: bool = False
    """It was taken before a restart: nothing that follows from it becomes visible."""
    source: Source | None = None
    """The range that it names; None if it names none, and when it is replayed."""


class Outcome(NamedTuple):
    """What follows from a batch or a tick."""

    records: Sequence[Record] = ()
    """To be made visible together with the progress past this input. One for the source topic
    must be for another partition than the operator's own: it does not feed itself."""
    replay_from: int | None = None
    """Least source offset that a restart has to read again to rebuild what is not finished;
    None: none before the next one, or the newest snapshot covers it."""


class Operator(Protocol):
    """One operator over one source partition.

    Raises PermanentError for a batch that it cannot take: the batch goes to the dead-letter
    topic, in the same transaction, and its state must be as if it had not come. Any other error
    is a defect and ends the process.
    """

    name: str
    """Stable; part of the journal's keys."""
    format_version: int
    """Of the snapshot; a snapshot of another version is not restored."""
    log_topic: str | None
    """Topic, same partition, whose own records it needs back; None: none."""
    snapshots: Snapshots
    """What snapshots of it hold; see above. ``"log"`` needs a ``log_topic``."""

    def process(self, scanned: Scanned) -> Outcome:
        """Take a batch; they come in offset order."""
        ...

    def tick(self, now_ms: int) -> Outcome:
        """Stand at the partition's end at the time ``now_ms`` (Unix milliseconds).

        It is the broker's time as far as that is known: the greatest timestamp of a batch, and
        what has passed since on this machine's clock.
        """
        ...

    def flush(self) -> Sequence[Record]:
        """Give what belongs into the transaction that is about to be committed.

        For an operator that gathers what it says over many batches. Commits come when they come:
        what its records mean together must not depend on it. Called before every commit and after
        no replayed batch; with nothing to say it returns nothing, and makes no transaction.
        """
        ...

    def recall(self, record: Batch) -> None:
        """Take back what was logged before a restart."""
        ...

    def snapshot(self) -> Sequence[bytes]:
        """The state, in chunks of any size."""
        ...

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over a state that ``snapshot`` gave. Raises MalformedMessage if it is none."""
        ...

    def adjust(self, name: str, value: Value) -> None:
        """From the next batch or tick on a setting (schemas/control.py) has another value.

        Called with every setting that concerns the stage. One without such settings does nothing.
        """
        ...

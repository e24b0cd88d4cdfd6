"""What a stage does with telemetry: a pure function of its state and what it is given.

The same state and the same inputs in the same order give the same outcomes. An operator has no
clock, no randomness and no I/O of its own; time comes with the batch or the tick. The runtime
makes its outcomes visible exactly once and brings its state back after a crash:

    1. a new operator gets ``restore`` with the newest complete snapshot, if there is one
    2. ``recall`` with each record of ``log_topic`` that was committed since, in order; without
       snapshots: since everything before ``replay_from`` was, maybe some earlier ones
    3. ``process`` with the batches from ``replay_from`` (of the snapshot, if there is one) to
       the committed offset again; what it returns is dropped
    4. work goes on

What must not be decided anew at step 3 (a verdict, say) is in the log: what was recalled wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from .batches import Batch, Record

__all__ = ["Operator", "Outcome", "Scanned"]


class Scanned(NamedTuple):
    """A batch and what a scan of its value found; several operators share one scan."""

    batch: Batch
    scan: Any
    """``streams.wire.Scan`` of the topic's signal; None where the topic holds no telemetry."""


class Outcome(NamedTuple):
    """What follows from a batch or a tick."""

    records: Sequence[Record] = ()
    """To be made visible together with the progress past this input."""
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
    snapshots: bool
    """Whether its state is in snapshots; else it is rebuilt from ``replay_from`` and the log."""

    def process(self, scanned: Scanned) -> Outcome:
        """Take a batch; they come in offset order."""
        ...

    def tick(self, now_ms: int) -> Outcome:
        """Stand at the partition's end at wall time ``now_ms`` (Unix milliseconds)."""
        ...

    def recall(self, record: Batch) -> None:
        """Take back what was logged before a restart."""
        ...

    def snapshot(self) -> Sequence[bytes]:
        """The whole state, in chunks of any size."""
        ...

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over a state that ``snapshot`` gave. Raises MalformedMessage if it is none."""
        ...

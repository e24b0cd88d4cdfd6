"""What a worker is, as a table; and the two things it may do with a batch.

A stage reads topics as one consumer group. For each partition it makes either a **sink**, which
delivers batches somewhere outside of Kafka, or **operators** (schemas/operators.py), which turn
a batch or a tick into records for Kafka, exactly once. That is all a stage says. The host does
the rest: group membership, back pressure, order, retries, dead letters, commits, recovery, stop.

What an error of a sink means (schemas/errors.py):

====================  =====================================================================
``RetryableError``    the lane waits and calls again, as long as it takes; other partitions
                      go on. ``retry_after_s`` is kept to, up to ``runtime.retry_maximum``.
``PermanentError``    of a batch alone: to the dead-letter topic, then finished. Of several
                      batches in one call: its halves are tried, and theirs, until only the
                      culprit goes.
anything else         a defect: the process ends with 70, nothing in flight is committed.
====================  =====================================================================

An operator has nothing to retry: a PermanentError sends the batch to the dead-letter topic, in
the same transaction; anything else is a defect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from schemas.batches import Batch
from schemas.operators import Operator
from schemas.records.base import Value

__all__ = ["LastingSink", "Service", "Sink", "SourceRange", "Stage"]


class Sink(Protocol):
    """Delivers batches of one partition."""

    async def deliver(self, batches: Sequence[Batch]) -> None:
        """Return when nothing remains to be done for these batches.

        They are consecutive, of one topic and partition, have equal headers but for those that
        say where a message comes from (schemas/batches.py), and are together
        at most ``Stage.merge_max_bytes`` unless it is one batch. Up to ``Stage.max_inflight``
        calls of one partition run at once. After a cancelled call the batches come again.
        """
        ...


@runtime_checkable
class LastingSink(Sink, Protocol):
    """A sink that works between deliveries, too: what it was given may have to wait or be repeated.

    It tries again by itself, as long as it takes, so :meth:`deliver` raises no RetryableError; and
    a delivery that only waits for its time holds up neither a rebalance nor the stop.
    """

    def start(self) -> None:
        """The partition is ours, and stays so until :meth:`close`. In the event loop."""
        ...

    def adjust(self, name: str, value: Value) -> None:
        """A setting (schemas/control.py) has this value, from before :meth:`start` on."""
        ...

    def freeze(self) -> None:
        """Begin nothing from now on: the partition may go."""
        ...

    async def idle(self) -> None:
        """Wait until nothing is under way that was begun."""
        ...

    def thaw(self) -> None:
        """Go on."""
        ...

    def close(self) -> None:
        """The partition is no longer ours: stop for good."""
        ...


class SourceRange(NamedTuple):
    """Messages of another partition that a batch is about: ``start <= offset < stop``."""

    topic: str
    partition: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One worker kind: what it reads and what it does there. Exactly one of sink, operators."""

    name: str
    """Its name in metrics, dead letters and, after ``kafka.group_prefix``, the group."""
    topics: tuple[str, ...]
    """Topics it reads; they must exist."""
    sink: Callable[[str, int], Sink] | None = None
    """Makes the sink of a topic's partition."""
    operators: Callable[[str, int, int], Sequence[Operator]] | None = None
    """Makes the operators of a topic's partition, with empty state; called for each recovery with
    the topic, the partition, and how many partitions the topic has now. They share a scan, see
    batches in this order, and their names differ."""
    scan: Callable[[str, bytes], Any] | None = None
    """What is found once in a value (topic, value) for all operators; PermanentError: the batch
    goes to the dead-letter topic. None: operators get no scan."""
    reads: Callable[[Any], SourceRange | None] | None = None
    """From the scan of a batch to the range that is read for it (``Scanned.source``); None: no
    batch names one, or this one does not. At most two are in memory at once in a process."""
    reads_topics: tuple[str, ...] = ()
    """Topics of these ranges; they must exist."""
    reads_max_bytes: int = 64 << 20
    """Values of a range are at most so large in memory; a batch that names more is poison."""
    merge_outputs: bool = False
    """Operators' consecutive records of equal topic, partition, key and headers are
    concatenated, as OTLP requests may be, up to ``kafka.producer.max_message``."""
    kept: tuple[str, ...] = ()
    """Topics of which nothing is left out, because others count on it: a record for one that
    Kafka does not take ends the process. They are never concatenated."""
    max_inflight: int = 4
    """Calls of a sink under way per partition."""
    merge_max_bytes: int = 1 << 20
    """Consecutive batches with equal headers share a sink's call up to this size; 0: never."""
    outputs: tuple[str, ...] = ()
    """Topics it writes; they must exist."""
    lifespan: Callable[[], AbstractAsyncContextManager[object]] | None = None
    """Entered before the first message and left after the last: connections of its sinks."""
    warnings: Callable[[], Mapping[str, str]] | None = None
    """What somebody should look at while it works on, by part: shown by ``/readyz``."""

    def __post_init__(self) -> None:
        if (self.sink is None) == (self.operators is None):
            raise ValueError(f"stage {self.name} needs a sink or operators, and not both")
        if not self.topics:
            raise ValueError(f"stage {self.name} reads no topic")
        if self.max_inflight < 1:
            raise ValueError(f"stage {self.name}: max_inflight is at least 1")


class Service(Protocol):
    """What a process does beside its stages: ports that it serves, say.

    It starts before Kafka is looked for, so that clients hear why they are refused, and stops
    after the stages.
    """

    @property
    def topics(self) -> Sequence[str]:
        """Topics it writes; they are seen to like those of a stage."""
        ...

    @property
    def unready(self) -> Mapping[str, str]:
        """Why it should get no traffic, by part; empty if all is well."""
        ...

    async def start(self) -> None:
        """Return when it serves."""
        ...

    async def stop(self) -> None:
        """Finish what is under way and close."""
        ...

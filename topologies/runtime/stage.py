"""What a worker is, as a table; and the two things it may do with a batch.

A stage reads topics as one consumer group. For each partition it makes either a **sink**, which
delivers batches somewhere outside of Kafka, or an **operator**, which turns a batch or a tick
into records for Kafka. That is all a stage says. The host (host.py, lane.py) does the rest:
group membership, back pressure, order, retries, dead letters, commits, stop.

What an error means, for sinks and operators alike (schemas/errors.py):

====================  =====================================================================
``RetryableError``    the lane waits and calls again, as long as it takes; other partitions
                      go on. ``retry_after_s`` is kept to, up to ``runtime.retry_maximum``.
``PermanentError``    of a batch alone: to the dead-letter topic, then finished. Of several
                      batches in one call: its halves are tried, and theirs, until only the
                      culprit goes.
anything else         a defect: the process ends with 70, nothing in flight is committed.
====================  =====================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from schemas.batches import Batch, Record

__all__ = ["Operator", "Service", "Sink", "Stage"]


class Sink(Protocol):
    """Delivers batches of one partition."""

    async def deliver(self, batches: Sequence[Batch]) -> None:
        """Return when nothing remains to be done for these batches.

        They are consecutive, of one topic and partition, have equal headers, and are together
        at most ``Stage.merge_max_bytes`` unless it is one batch. Up to ``Stage.max_inflight``
        calls of one partition run at once. After a cancelled call the batches come again.
        """
        ...


class Operator(Protocol):
    """Turns batches of one partition into records. Pure: no I/O, no clock, no randomness.

    Calls of one partition come one at a time and in order. A batch counts as finished when
    Kafka has acknowledged all its records.
    """

    def process(self, batch: Batch) -> Sequence[Record]:
        """Records that follow from a batch."""
        ...

    def tick(self, now_ms: int) -> Sequence[Record]:
        """Records that follow from standing at the partition's end at wall time ``now_ms``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One worker kind: what it reads and what it does there. Exactly one of sink, operator."""

    name: str
    """Its name in metrics, dead letters and, after ``kafka.group_prefix``, the group."""
    topics: tuple[str, ...]
    """Topics it reads; they must exist."""
    sink: Callable[[str, int], Sink] | None = None
    """Makes the sink of a topic's partition."""
    operator: Callable[[str, int], Operator] | None = None
    """Makes the operator of a topic's partition; it lives until the partition goes."""
    max_inflight: int = 4
    """Calls (of an operator: batches not yet acknowledged) under way per partition."""
    merge_max_bytes: int = 1 << 20
    """Consecutive batches with equal headers share a call up to this size; 0: never."""
    outputs: tuple[str, ...] = ()
    """Topics it writes; they must exist."""
    lifespan: Callable[[], AbstractAsyncContextManager[object]] | None = None
    """Entered before the first message and left after the last: connections of its sinks."""

    def __post_init__(self) -> None:
        if (self.sink is None) == (self.operator is None):
            raise ValueError(f"stage {self.name} needs a sink or an operator, and not both")
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

"""What a transactional lane needs of Kafka, so that the same lane runs on a simulated log.

Implemented over aiokafka in kafka_transactions.py and kafka_log.py, and by the simulator in
tests/simulator.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from schemas.batches import Batch, Record
from schemas.errors import PermanentError

__all__ = ["Fenced", "Fetched", "Log", "Offset", "Reader", "RecordsRefused", "Transactions"]


class Fenced(Exception):
    """Another producer has the transactional id: this process must end."""


class RecordsRefused(PermanentError):
    """A record is larger than its topic takes, now and later; nothing was committed."""

    reason = "too_large"

    def __init__(self, message: str, indices: Sequence[int]) -> None:
        super().__init__(message)
        self.indices = indices
        """Which of the records. Of several that went in one piece it is not known which; one alone
        is it."""


class Offset(NamedTuple):
    """A position of a group, to be committed."""

    group: str
    topic: str
    partition: int
    offset: int


class Fetched(NamedTuple):
    """Some messages of a partition."""

    batches: Sequence[Batch]
    following: int
    """Offset to go on with; markers and what retention has removed are skipped."""


class Reader(Protocol):
    """Committed messages of one partition, read on and on. One call at a time."""

    async def fetch(self, offset: int, stop: int) -> Fetched:
        """Messages with ``offset <= offset < stop`` that are there, in order; some of them.

        None, and the same offset, when nothing comes for a moment: the partition ends there, or is
        gone, or Kafka is away. Begins at the oldest where ``offset`` lies before it. May be
        cancelled. Raises RetryableError when Kafka does not answer.
        """
        ...

    async def close(self) -> None:
        """Within a bounded time."""
        ...


class Log(Protocol):
    """Committed records of topics; never those of open or aborted transactions."""

    async def partitions(self, topic: str) -> int:
        """How many the topic has now; 0: there is no such topic."""
        ...

    async def record_max_bytes(self, topic: str) -> int | None:
        """Largest record that the topic takes; None: that is not known."""
        ...

    def reader(self, topic: str, partition: int) -> Reader:
        """A reader for somebody's own use."""
        ...

    async def begin(self, topic: str, partition: int) -> int:
        """Offset of the oldest record that retention has left."""
        ...

    async def end(self, topic: str, partition: int) -> int:
        """Last stable offset: everything before it can be read. Counts transaction markers."""
        ...

    async def written(self, topic: str, partition: int) -> int:
        """High watermark: also what is not committed yet, by whomever, lies before it."""
        ...

    def read(
        self, topic: str, partition: int, start: int, stop: int
    ) -> AsyncIterator[Sequence[Batch]]:
        """Records with ``start <= offset < stop``, in order, in runs of a bounded size.

        Ends when ``stop`` is reached, although the last offsets may be markers. Begins at
        :meth:`begin` where ``start`` lies before it.
        """
        ...

    async def committed(self, group: str, topic: str, partition: int) -> int | None:
        """The group's committed offset; None if it has committed none."""
        ...


class Transactions(Protocol):
    """A producer with a transactional id; one transaction at a time."""

    async def start(self) -> None:
        """Fence every earlier producer of the id; its open transaction is aborted.

        Only after this do :class:`Log` reads and committed offsets tell the truth.
        """
        ...

    async def commit(
        self, records: Sequence[Record], offset: Offset | None, *, apart: bool = False
    ) -> Sequence[int]:
        """One whole transaction: every record acknowledged, the offset, the commit.

        Returns the offset of each record. ``apart``: each record is acknowledged before the next
        one goes, so that it is known which one is refused.

        Raises:
            RetryableError, PermanentError: it was not committed, or that is not known: then
                :meth:`stop`, a new producer, recovery.
            RecordsRefused: among the latter.
            Fenced: another producer has the id.
        """
        ...

    async def stop(self) -> None:
        """Close within a bounded time, in whatever state. Aborts nothing."""
        ...

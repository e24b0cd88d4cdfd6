"""What a transactional lane needs of Kafka, so that the same lane runs on a simulated log.

Implemented over aiokafka in kafka_ports.py and by the simulator in tests/simulator.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from schemas.batches import Batch, Record

__all__ = ["Fenced", "Log", "Offset", "Transactions"]


class Fenced(Exception):
    """Another producer has the transactional id: this process must end."""


class Offset(NamedTuple):
    """A position of a group, to be committed."""

    group: str
    topic: str
    partition: int
    offset: int


class Log(Protocol):
    """Committed records of topics; never those of open or aborted transactions."""

    async def partitions(self, topic: str) -> int:
        """How many the topic has now; 0: there is no such topic."""
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

    async def commit(self, records: Sequence[Record], offset: Offset | None) -> Sequence[int]:
        """One whole transaction: every record acknowledged, the offset, the commit.

        Returns the offset of each record. Raises RetryableError or PermanentError when it was
        not committed, or when that is not known: then :meth:`stop`, a new producer, recovery.

        Raises:
            Fenced: another producer has the id.
        """
        ...

    async def stop(self) -> None:
        """Close within a bounded time, in whatever state. Aborts nothing."""
        ...

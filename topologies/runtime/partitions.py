"""Whether a topic has other partitions than the operators of a lane were told.

Partitions are added while lanes work, and a rebalance follows. A lane that goes on after it looks
before it takes another batch: with another number it recovers, for its operators are made anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from schemas.errors import RetryableError

from .ports import Log

__all__ = ["PartitionCount", "Repartitioned"]


class Repartitioned(RetryableError):
    """The topic has another number of partitions than before."""

    reason = "partitions"


class PartitionCount:
    """Of the topic of one lane.

    Args:
        wake: called when the answer is there.
    """

    def __init__(self, topic: str, partition: int, log: Log, wake: Callable[[], None]) -> None:
        self._topic = topic
        self._partition = partition
        self._log = log
        self._wake = wake
        self._told: int | None = None
        self._doubted = False
        """It may have changed since it was asked for the last time."""
        self._asking: asyncio.Task[int] | None = None

    async def ask(self) -> int:
        """How many there are."""
        self._doubted = False
        # Who has a partition has it although a broker may not know that yet.
        return max(await self._log.partitions(self._topic), self._partition + 1)

    def tell(self, told: int) -> None:
        """Operators were made with this number."""
        self._told = told
        if self._doubted:
            self._begin()

    def check(self) -> None:
        """See whether what operators were told, or are about to be, is true still."""
        self._doubted = True
        if self._told is not None:
            self._begin()

    def known(self) -> bool:
        """Whether a batch may be taken; False while the answer is awaited.

        Raises:
            Repartitioned: operators have to be made anew.
            RetryableError: Kafka does not answer.
        """
        if self._asking is None:
            return True
        if not self._asking.done():
            return False
        asked, self._asking = self._asking, None
        if (now := asked.result()) != self._told:
            raise Repartitioned(f"{self._topic} has {now} partitions, not {self._told}")
        return True

    def forget(self) -> None:
        """Operators are gone: there is nothing to be asked."""
        self._told = None
        self._cancel()

    def _begin(self) -> None:
        self._cancel()
        self._asking = asyncio.get_running_loop().create_task(self.ask())
        self._asking.add_done_callback(lambda _: self._wake())

    def _cancel(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

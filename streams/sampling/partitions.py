"""With how many partitions a topic was seen, and from which offset on.

Where a trace belongs depends on it. A replay has to judge as it was judged: a span that had been
taken must be taken again, and one that had been sent elsewhere must not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from schemas.errors import MalformedMessage

__all__ = ["PartitionCounts", "Told", "count_at"]

Told = tuple[tuple[int, int], ...]
"""(from which offset on, number of partitions), as work orders have it."""

FOREVER_MS = 253_402_300_799_000
"""The end of the year 9999."""
_HELD_MAX = 8
"""Changes that are held: those behind the end of the last order, in practice one or two."""


def count_at(told: Sequence[tuple[int, int]], offset: int) -> int:
    """The number that counts for a message; 0: nothing is told."""
    for since, count in reversed(told):
        if since <= offset:
            return count
    return told[0][1] if told else 0


class PartitionCounts:
    """The log's word for the past, and the present number for what comes.

    **Strangers** are traces that belong to another partition and are known here all the same: they
    began when there were fewer partitions, or were sent here by a worker that still counts so.
    While there may be some every span is judged, else only those of traces that are not known.
    Once there may have been some that never ends: nobody knows for how long a trace stays open, for
    without messages and ticks no time passes here.

    Args:
        now: how many partitions the topic has.
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self.strangers_until_ms = 0
        """There are none later than this: never any, or always some."""
        self._told: list[tuple[int, int]] = []

    def begins(self) -> bool:
        """Whether the log has to be told, before the next live batch is taken."""
        return not self._told or self._told[-1][1] != self.now

    def begin(self, offset: int) -> bool:
        """The present number counts from ``offset`` on; whether there was another one before."""
        changed = bool(self._told)
        self._told = [*self._told[1 - _HELD_MAX :], (offset, self.now)]
        if changed:
            self.stranger()
        return changed

    def stranger(self) -> None:
        """One may be known from now on."""
        self.strangers_until_ms = FOREVER_MS

    def at(self, offset: int) -> int:
        """The number that counts for a message."""
        return count_at(self._told, offset) or self.now

    def told(self) -> Told:
        """For the next order."""
        return tuple(self._told)

    def recall(self, told: Told, strangers_until_ms: int) -> None:
        """What an order says."""
        self._told = list(told)
        self._had(strangers_until_ms)

    def _had(self, strangers_until_ms: int) -> None:
        """Up to some time, in what earlier versions have written."""
        if strangers_until_ms > 0:
            self.stranger()

    def encode(self) -> bytes:
        """For a snapshot."""
        return json.dumps([self.strangers_until_ms, self._told]).encode()

    def restore(self, data: bytes) -> None:
        """From a snapshot. Raises MalformedMessage."""
        try:
            until_ms, told = json.loads(data)
            self._told = [(int(since), int(count)) for since, count in told]
            self._had(int(until_ms))
        except (ValueError, TypeError, RecursionError) as error:
            raise MalformedMessage(f"no numbers of partitions: {error}") from None

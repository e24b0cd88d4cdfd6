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

    Args:
        now: how many partitions the topic has.
        memory_ms: for how long a trace may be known.
    """

    def __init__(self, now: int, memory_ms: int) -> None:
        self.now = now
        self.strangers_until_ms = 0
        """There are none later than this."""
        self._memory_ms = memory_ms
        self._told: list[tuple[int, int]] = []

    def begins(self) -> bool:
        """Whether the log has to be told, before the next live batch is taken."""
        return not self._told or self._told[-1][1] != self.now

    def begin(self, offset: int, now_ms: int) -> bool:
        """The present number counts from ``offset`` on; whether there was another one before."""
        changed = bool(self._told)
        self._told = [*self._told[1 - _HELD_MAX :], (offset, self.now)]
        if changed:
            self.stranger(now_ms)
        return changed

    def stranger(self, now_ms: int) -> None:
        """One may be known from now on, and decided later, and remembered then."""
        self.strangers_until_ms = max(self.strangers_until_ms, now_ms + 2 * self._memory_ms)

    def at(self, offset: int) -> int:
        """The number that counts for a message."""
        return count_at(self._told, offset) or self.now

    def told(self) -> Told:
        """For the next order."""
        return tuple(self._told)

    def recall(self, told: Told, strangers_until_ms: int) -> None:
        """What an order says."""
        self._told = list(told)
        self.strangers_until_ms = max(self.strangers_until_ms, strangers_until_ms)

    def encode(self) -> bytes:
        """For a snapshot."""
        return json.dumps([self.strangers_until_ms, self._told]).encode()

    def restore(self, data: bytes) -> None:
        """From a snapshot. Raises MalformedMessage."""
        try:
            until_ms, told = json.loads(data)
            self._told = [(int(since), int(count)) for since, count in told]
            self.strangers_until_ms = int(until_ms)
        except (ValueError, TypeError, RecursionError) as error:
            raise MalformedMessage(f"no numbers of partitions: {error}") from None

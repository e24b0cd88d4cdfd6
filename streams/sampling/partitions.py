"""With how many partitions a topic was seen, and from which offset on.

Where a trace belongs depends on it. A replay has to judge as it was judged: a span that had been
taken must be taken again, and one that had been sent elsewhere must not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from schemas.errors import MalformedMessage

__all__ = ["PartitionCounts"]

_HELD_MAX = 8
"""Changes that are held: those behind the end of the last order, in practice one or two."""


class PartitionCounts:
    """The log's word for the past, and the present number for what comes.

    Args:
        now: how many partitions the topic has.
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self._told: list[tuple[int, int]] = []

    def begins(self, offset: int) -> bool:
        """Whether the log has to be told, before the live batch at ``offset`` is taken."""
        return not self._told or self._told[-1][1] != self.now

    def begin(self, offset: int) -> bool:
        """The present number counts from ``offset`` on; whether there was another one before."""
        changed = bool(self._told)
        self._told = [*self._told[1 - _HELD_MAX :], (offset, self.now)]
        return changed

    def at(self, offset: int) -> int:
        """The number that counts for a message."""
        for since, count in reversed(self._told):
            if since <= offset:
                return count
        return self._told[0][1] if self._told else self.now

    def told(self) -> tuple[tuple[int, int], ...]:
        """For the next order."""
        return tuple(self._told)

    def recall(self, told: Iterable[tuple[int, int]]) -> None:
        """What an order says."""
        self._told = list(told)

    def encode(self) -> bytes:
        """For a snapshot."""
        return json.dumps(self._told).encode()

    def restore(self, data: bytes) -> None:
        """From a snapshot. Raises MalformedMessage."""
        try:
            self._told = [(int(since), int(count)) for since, count in json.loads(data)]
        except (ValueError, TypeError, RecursionError) as error:
            raise MalformedMessage(f"no numbers of partitions: {error}") from None

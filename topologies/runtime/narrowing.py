"""Which batch is to blame for a transaction that Kafka refuses for good: found by small ones.

A transaction of many batches is refused as a whole (a record is larger than its topic takes, which
only the broker knows). From there on batches are committed one by one, until past the place; the
one that is refused alone is the culprit: it is processed for the state, its records are dropped,
and a dead letter takes their place.
"""

from __future__ import annotations

from schemas.errors import PermanentError

from .draft import Draft

__all__ = ["Narrowing"]


class Narrowing:
    """The search for culprits in one lane; it outlives recoveries."""

    def __init__(self) -> None:
        self.culprits: dict[int, PermanentError] = {}
        """Offsets of batches whose records Kafka does not take, and why."""
        self._until = 0

    @property
    def active(self) -> bool:
        """Batches are committed one by one for now: nothing else may go with them."""
        return self._until > 0

    def covers(self, draft: Draft) -> bool:
        """This draft must be a small one."""
        return draft.begin < self._until

    def refused(self, draft: Draft | None, error: PermanentError) -> None:
        """A transaction was; ``draft`` is what it was made of.

        Raises AssertionError when no batch can be to blame: records of a tick, pieces of a
        snapshot, or the dead letter itself.
        """
        if draft is None or not draft.batches or draft.position - 1 in self.culprits:
            raise AssertionError(f"a transaction is refused: {error}") from error
        self._until = max(self._until, draft.position)
        if draft.batches == 1:
            self.culprits[draft.position - 1] = error

    def committed(self, draft: Draft) -> None:
        """A draft is."""
        for offset in [each for each in self.culprits if each < draft.position]:
            del self.culprits[offset]
        if draft.position >= self._until:
            self._until = 0

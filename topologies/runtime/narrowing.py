"""Which record is to blame for a transaction that Kafka refuses for good: found by small ones.

A transaction of many batches is refused as a whole (a record is larger than its topic takes, which
only the broker knows). From there on batches are committed one by one, each record acknowledged
before the next one goes, until past the place. A record that is refused so is the culprit: its
batch is processed again without it, and a dead letter takes its place.

What must not be left out (an operator's log, the journal, a dead letter, what a tick has decided,
what operators have gathered over many batches) is nobody's to drop: the topic has to take it, and
the process ends until it does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from schemas.batches import Record
from schemas.errors import ConfigurationError, PermanentError

from .draft import Draft, record_bytes
from .ports import RecordsRefused

__all__ = ["Culprit", "MustNotBeDropped", "Narrowing", "is_culprit"]


class MustNotBeDropped(ConfigurationError):
    """A topic refuses what it has to take."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.topic)
        self.topic = record.topic
        self.size_bytes = record_bytes(record)


class Culprit(NamedTuple):
    """A record that Kafka does not take, and why."""

    topic: str
    partition: int | None
    digest: bytes
    error: PermanentError


def is_culprit(record: Record, culprits: Sequence[Culprit]) -> bool:
    """Whether a record is one of them: an operator makes the same of the same batch."""
    return any(
        (each.topic, each.partition) == (record.topic, record.partition)
        and each.digest == _digest(record)
        for each in culprits
    )


class Narrowing:
    """The search for culprits in one lane; it outlives recoveries."""

    def __init__(self) -> None:
        self._culprits: dict[int, list[Culprit]] = {}
        """By the offset of their batch."""
        self._until = 0
        self._apart = False

    @property
    def active(self) -> bool:
        """Batches are committed one by one for now: nothing else may go with them."""
        return self._until > 0

    @property
    def culprits(self) -> Mapping[int, Sequence[Culprit]]:
        """Records to be left out, by the offset of their batch."""
        return self._culprits

    def covers(self, draft: Draft) -> bool:
        """This draft must be a small one."""
        return draft.begin < self._until

    def apart(self, draft: Draft) -> bool:
        """Its records must go one by one."""
        return self._apart or self.covers(draft)

    def refused(
        self,
        draft: Draft,
        records: Sequence[Record],
        error: PermanentError,
        kept: Collection[str],
    ) -> None:
        """A transaction was.

        Args:
            draft: what it was made of.
            records: what was sent.
            error: how it was refused.
            kept: topics of which nothing is left out.

        Raises:
            MustNotBeDropped: the record that is refused is one of those.
            PermanentError: ``error``, which says nothing of records.
        """
        if not isinstance(error, RecordsRefused):
            raise error
        if draft.batches and not self.covers(draft):
            self._until = draft.position
        elif len(error.indices) > 1:
            if self.apart(draft):
                raise AssertionError(f"each went alone, and several are refused: {error}")
            self._apart = True
        else:
            record = records[error.indices[0]]
            if not draft.batches or not draft.owns(record) or record.topic in kept:
                raise MustNotBeDropped(record) from error
            known = self._culprits.setdefault(draft.position - 1, [])
            known.append(Culprit(record.topic, record.partition, _digest(record), error))

    def committed(self, draft: Draft) -> None:
        """A draft is."""
        for offset in [each for each in self._culprits if each < draft.position]:
            del self._culprits[offset]
        if draft.position >= self._until:
            self._until = 0
            self._apart = False


def _digest(record: Record) -> bytes:
    return hashlib.blake2b(record.value, digest_size=16).digest()

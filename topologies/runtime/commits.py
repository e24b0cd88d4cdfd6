"""The drafts of one lane on their way to Kafka: one grows while the one before it is committed.

A draft is committed when pace.py says so. A transaction that Kafka refuses for good is taken
apart (narrowing.py) once the lane has recovered; that search outlives recoveries.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Sequence

from schemas.errors import ConfigurationError, PermanentError, RetryableError

from .clock import Clock
from .committer import Committer, Sealed
from .draft import Draft
from .lane_contract import TransactionalLimits
from .metrics import LaneCounts
from .narrowing import Culprit, MustNotBeDropped, Narrowing
from .pace import Pace
from .ports import Log

__all__ = ["Commits"]

_log = logging.getLogger(__name__)


class Commits:
    """What is processed and not committed.

    Args:
        log: asked what a topic takes, where it takes too little.
        flush: adds to a draft what operators have gathered for it; the last that is added.
        wake: called when there is something to do.
        done: called after a transaction with the seconds that it took.
    """

    def __init__(
        self,
        limits: TransactionalLimits,
        log: Log,
        clock: Clock,
        counts: LaneCounts,
        *,
        flush: Callable[[Draft], None],
        wake: Callable[[], None],
        done: Callable[[float], None],
    ) -> None:
        self.draft = Draft(0, 0, 0)
        """What the next transaction will hold."""
        self.position: int | None = None
        """Committed: everything before it is done."""
        self._limits = limits
        self._log = log
        self._clock = clock
        self._counts = counts
        self._flush = flush
        self._wake = wake
        self._done = done
        self._kept: Collection[str] = ()
        self._narrowing = Narrowing()
        self._pace = Pace(limits, self._narrowing, clock, wake)
        self._committer: Committer | None = None
        self._sealed: Sealed | None = None
        self._committing: asyncio.Task[None] | None = None

    @property
    def under_way(self) -> bool:
        """A transaction is."""
        return self._committing is not None

    @property
    def size_bytes(self) -> int:
        """Of outputs that are not committed."""
        return self.draft.size_bytes + (0 if self._sealed is None else self._sealed.size_bytes)

    @property
    def is_full(self) -> bool:
        """Nothing more may be processed before the draft is committed."""
        return self._pace.is_large(self.draft)

    @property
    def one_by_one(self) -> bool:
        """Batches are, while a record is looked for that Kafka refuses: ticks have to wait."""
        return self._narrowing.active

    def culprits(self, offset: int) -> Sequence[Culprit]:
        """Records of the batch at ``offset`` that Kafka does not take."""
        return self._narrowing.culprits.get(offset, ())

    def begin(
        self, committer: Committer, position: int, watermark_ms: int, kept: Collection[str]
    ) -> None:
        """Take drafts from ``position`` on. ``kept``: topics of which nothing is left out."""
        self._committer = committer
        self._kept = kept
        self.position = position
        self.draft = self._new_draft(position, watermark_ms)

    def settle(self) -> None:
        """Raises what a transaction has ended in."""
        if self._committing is not None and self._committing.done():
            task, self._committing = self._committing, None
            task.result()

    def start(self, *, frozen: bool) -> bool:
        """Begin a transaction if it is time for one.

        Raises ConfigurationError if what operators have gathered is too large for Kafka.
        """
        committer, draft = self._committer, self.draft
        if self._committing is not None or committer is None:
            return False
        if not self._pace.may_commit(draft, frozen=frozen, unfinished=committer.unfinished):
            return False
        self._flush(draft)
        sealed = committer.seal(draft, snapshots=not self._narrowing.covers(draft))
        self._sealed = sealed
        self.draft = self._new_draft(draft.position, draft.watermark_ms)
        self._pace.began()
        self._committing = asyncio.get_running_loop().create_task(self._commit(committer, sealed))
        return True

    def rest(self, *, frozen: bool) -> bool:
        """Nothing is to be done now: be woken when it is. Whether all is committed."""
        if self._committing is not None or self._committer is None:
            return False
        dirty = self.draft.dirty
        if dirty or (self._committer.unfinished and not frozen):
            self._pace.set_alarm()
        return not dirty

    async def refused(self, error: PermanentError) -> None:
        """A transaction was: find the record that is to blame; without it the lane goes on.

        Raises:
            ConfigurationError: the record that is to blame must not be left out.
            PermanentError: ``error``, which says nothing of a record.
        """
        sealed = self._sealed
        if sealed is None:
            raise error
        try:
            self._narrowing.refused(sealed.draft, sealed.records, error, self._kept)
        except MustNotBeDropped as refused:
            limit = None
            with contextlib.suppress(RetryableError):
                limit = await self._log.record_max_bytes(refused.topic)
            raise ConfigurationError(
                f"a record of {refused.size_bytes} bytes must not be lost, and {refused.topic} "
                f"does not take it: its max.message.bytes is {limit or 'too small'}"
            ) from error

    async def drop(self) -> None:
        """Forget what is not committed; what is under way is in doubt, and nobody waits for it."""
        self._counts.aborts += self._sealed is not None
        self.draft = Draft(0, 0, 0)
        self._sealed = self._committer = None
        self._pace.cancel()
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.gather(self._committing, return_exceptions=True)
            self._committing = None

    def close(self) -> None:
        """Stop for good."""
        self._pace.cancel()
        if self._committing is not None:
            self._committing.cancel()

    async def closed(self) -> None:
        """After :meth:`close`: wait until nothing is under way."""
        if self._committing is not None:
            await asyncio.gather(self._committing, return_exceptions=True)

    async def _commit(self, committer: Committer, sealed: Sealed) -> None:
        began_s = self._clock.monotonic()
        draft = sealed.draft
        try:
            await committer.commit(sealed, apart=self._narrowing.apart(draft))
        finally:
            self._wake()
        self._sealed = None
        self.position = draft.position
        self._narrowing.committed(draft)
        self._counts.committed(draft, sealed.size_bytes, sealed.outputs)
        self._done(self._clock.monotonic() - began_s)
        for _, text in draft.letters:
            _log.warning("dead letter: %s", text)

    def _new_draft(self, position: int, watermark_ms: int) -> Draft:
        # What is looked for is a record, not several.
        join_max_bytes = 0 if self._narrowing.active else self._limits.join_max_bytes
        return Draft(position, watermark_ms, join_max_bytes, frozenset(self._kept))

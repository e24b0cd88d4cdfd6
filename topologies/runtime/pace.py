"""When a transactional lane commits: at most once in an interval, at once when there is much.

A lane that is frozen commits what it has without waiting; one that has nothing new does not
commit at all, except that a snapshot that was begun goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .clock import Clock
from .draft import Draft
from .lane_contract import TransactionalLimits
from .narrowing import Narrowing

__all__ = ["Pace"]


class Pace:
    """The clock of one lane's commits.

    Args:
        wake: called when the next commit is due.
    """

    def __init__(
        self,
        limits: TransactionalLimits,
        narrowing: Narrowing,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._limits = limits
        self._narrowing = narrowing
        self._clock = clock
        self._wake = wake
        self._committed_s = -1e9
        self._alarm: asyncio.Task[None] | None = None

    def is_large(self, draft: Draft) -> bool:
        """Nothing more may be added before it is committed."""
        if draft.batches and self._narrowing.covers(draft):
            return True
        return (
            draft.size_bytes >= self._limits.commit_max_bytes
            or draft.batches >= self._limits.commit_max_batches
        )

    def may_commit(self, draft: Draft, *, frozen: bool, unfinished: bool) -> bool:
        """Whether a transaction may begin now. ``unfinished``: a snapshot wants to go on."""
        if not draft.dirty:
            if frozen or not unfinished:
                return False
        elif frozen or self.is_large(draft):
            return True
        return self._clock.monotonic() >= self._due_s()

    def began(self) -> None:
        """A transaction begins."""
        self._committed_s = self._clock.monotonic()

    def set_alarm(self) -> None:
        """Call ``wake`` when the next commit is due."""
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().create_task(self._ring())

    def cancel(self) -> None:
        """Call ``wake`` no more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _due_s(self) -> float:
        return self._committed_s + self._limits.commit_interval_s

    async def _ring(self) -> None:
        await self._clock.sleep(max(0.0, self._due_s() - self._clock.monotonic()))
        self._alarm = None
        self._wake()

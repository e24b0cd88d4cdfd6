"""What retention removed before it was read: counted, logged, never silent.

Looked at where reading begins (the committed offset may be gone) and where offsets are missing
(a slow reader was overtaken). Missing offsets may as well be aborted or compacted; only those
before the log's present begin count as lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .faust_app import TP
    from .metrics import LaneCounts

__all__ = ["RetentionWatch"]

_log = logging.getLogger(__name__)


class _Earliest(Protocol):
    def __call__(self, *partitions: TP) -> Awaitable[Mapping[TP, int]]:
        """First offset that each partition still has."""
        ...


class RetentionWatch:
    """Asks the broker in the background, so that no lane waits for the answer."""

    def __init__(
        self, group: str, earliest: _Earliest, topic_counts: Mapping[str, LaneCounts]
    ) -> None:
        self._group = group
        self._earliest = earliest
        self._topic_counts = topic_counts
        self._tasks: set[asyncio.Task[None]] = set()

    def check(self, gaps: Mapping[TP, tuple[int, int | None]]) -> None:
        """See later what of these gaps (first offset, first after it if known) was removed."""
        if gaps:
            task = asyncio.get_running_loop().create_task(self._count_lost(gaps))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _count_lost(self, gaps: Mapping[TP, tuple[int, int | None]]) -> None:
        try:
            earliest = await self._earliest(*gaps)
        except Exception as error:
            _log.warning("%s: the logs' begin is not known: %r", self._group, error)
            return
        for tp, (begin, end) in gaps.items():
            first = earliest.get(tp, 0)
            lost = (first if end is None else min(first, end)) - begin
            if lost > 0:
                self._topic_counts[tp.topic].lost += lost
                _log.error(
                    "%s: retention removed %d messages of %s partition %d before they were read",
                    self._group, lost, tp.topic, tp.partition,
                )  # fmt: skip

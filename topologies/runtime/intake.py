"""What a lane has got from Kafka and not yet processed: in order, once, and without holes.

A consumer that is seeked while a fetch is under way may go on where it was: the messages between
are skipped, once, and nobody would notice. So after a recovery the first message that comes is
not believed before the log itself has said what lies between (mostly nothing); if none comes,
the log is asked when the lane is idle.
"""

from __future__ import annotations

from collections import deque

from schemas.batches import Batch

from .ports import Log

__all__ = ["Intake"]

HOLE_STEP_OFFSETS = 64
"""A hole is read in steps of so many offsets, which bounds what it holds in memory."""


class Intake:
    """A queue of one partition, bounded in bytes by whoever fills it."""

    def __init__(self, topic: str, partition: int, log: Log) -> None:
        self.next: int | None = None
        """Offset of the next message to take; None: nothing is taken."""
        self.bytes = 0
        self._topic = topic
        self._partition = partition
        self._log = log
        self._queue: deque[Batch] = deque()
        self._checked: int | None = None
        """No message before this offset is missing; None: no hole can be any more."""
        self._check_until: int | None = None

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def head(self) -> Batch | None:
        """The next message, if there is one."""
        return self._queue[0] if self._queue else None

    def begin(self, position: int) -> None:
        """Take messages from ``position`` on."""
        self.clear()
        self.next = self._checked = position

    def clear(self) -> None:
        """Drop everything and take nothing."""
        self._queue.clear()
        self.bytes = 0
        self.next = self._checked = self._check_until = None

    def put(self, batch: Batch) -> bool:
        """Queue a message; False if it came already, or is not wanted."""
        if self.next is None or batch.offset < self.next:
            return False
        self.next = batch.offset + 1
        self._queue.append(batch)
        self.bytes += len(batch.value)
        return True

    @property
    def unsure(self) -> bool:
        """Messages may be missing and :meth:`fill` should be called before :meth:`take`."""
        if self._checked is None:
            return False
        if self._queue:
            return self._queue[0].offset >= self._checked
        return self._check_until is not None

    async def check(self) -> bool:
        """See whether messages are missing that should have come by now; False: none can be."""
        if self._checked is None:
            return False
        self._check_until = await self._log.end(self._topic, self._partition)
        return True

    async def fill(self) -> None:
        """Read what is missing before the first message, or before the end; a step of it."""
        checked = self._checked
        stop = self._queue[0].offset if self._queue else self._check_until
        if checked is None or stop is None:
            return
        while checked < stop:
            upto = min(stop, checked + HOLE_STEP_OFFSETS)
            runs = self._log.read(self._topic, self._partition, checked, upto)
            found = [batch async for run in runs for batch in run]
            if self._checked != checked:
                return  # cleared meanwhile
            checked = self._checked = upto
            if self._queue:  # some of it may have come while it was read
                found = [batch for batch in found if batch.offset < self._queue[0].offset]
            if found:
                self._queue.extendleft(reversed(found))
                self.bytes += sum(len(batch.value) for batch in found)
                self.next = max(self.next or 0, found[-1].offset + 1)
                return
        self._checked = self._check_until = None

    def take(self) -> Batch:
        """The next message."""
        batch = self._queue.popleft()
        self.bytes -= len(batch.value)
        return batch

"""One partition's way to a sink: a queue, calls under way, a ledger.

The intake agent puts messages in (``put``, and ``wake`` after the last one of a poll), bounded in
bytes: at the limit the partition is no longer fetched, below half of it fetching goes on. One
task takes them out in order and starts calls (calls.py says what a call goes through); finished
offsets go to the ledger, from which the host commits. A lane that waits for a backend holds up
no other lane.

At a revocation the host *freezes* the lane (no new call begins), waits for the calls under way,
commits, and later either *thaws* it (the partition came back with the next generation) or
closes it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any, NamedTuple, Protocol

from schemas.batches import Batch, without_origin
from topologies.control.view import LaneControl

from .calls import Calls
from .ledger import Ledger
from .metrics import LaneCounts

__all__ = ["Lane", "LaneLimits", "LanePort"]


class LaneLimits(NamedTuple):
    """Settings of a lane; sizes in bytes."""

    max_inflight: int
    merge_max_bytes: int
    ahead_max: int


class LanePort(Protocol):
    """What a lane asks of its host."""

    def lane_full(self, lane: Lane) -> None:
        """Fetch no more of this partition."""
        ...

    def lane_drained(self, lane: Lane) -> None:
        """Fetch again."""
        ...

    def fatal(self, error: BaseException) -> None:
        """A defect: end the process."""
        ...


class Lane:
    """An ordered queue of one partition, bounded in bytes, and the calls it feeds."""

    def __init__(
        self,
        topic: str,
        partition: int,
        generation: int,
        *,
        calls: Calls[Any],
        limits: LaneLimits,
        limit_bytes: int,
        port: LanePort,
        counts: LaneCounts,
        control: LaneControl | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.generation = generation
        self.limit_bytes = limit_bytes
        self.ledger = Ledger()
        self.counts = counts
        self.full = False
        self.bytes = 0
        """Bytes queued and in flight."""
        self._calls = calls
        self._limits = limits
        self._port = port
        self._control = control
        if control is not None:
            control.wake = self.wake
        self._queue: deque[Batch] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    @property
    def inflight(self) -> int:
        """Calls under way, waiting ones among them."""
        return len(self._tasks)

    @property
    def queued(self) -> int:
        """Messages that no call has taken."""
        return len(self._queue)

    @property
    def position(self) -> int | None:
        """The first unfinished offset; None before the first message."""
        return self.ledger.position

    @property
    def next_offset(self) -> int | None:
        """Where to read on; None: at the group's offset."""
        return self.ledger.next_offset

    def start(self) -> None:
        """Begin to work."""
        for name, value in () if self._control is None else self._control.explicit():
            self._calls.adjust(name, value)
        self._calls.start()
        self._worker = asyncio.get_running_loop().create_task(self._guard(self._run()))

    def put(self, batch: Batch) -> None:
        """Take a message over; one that came already is dropped. :meth:`wake` must follow."""
        if not self.ledger.deliver(batch.offset):
            self.counts.repeated += 1
            return
        size = len(batch.value)
        self.counts.messages_in += 1
        self.counts.bytes_in += size
        if not size:
            # A tombstone, or a request without content: nothing to deliver.
            self.counts.empty += 1
            self.ledger.finish(batch.offset)
            return
        self._queue.append(batch)
        self.bytes += size
        if not self.full and self.bytes >= self.limit_bytes:
            self.full = True
            self._port.lane_full(self)

    def wake(self) -> None:
        """Look at the queue: nothing more comes just now."""
        self._changed.set()

    def freeze(self) -> None:
        """Begin no call from now on; queued messages and waiting retries stay."""
        self._calls.freeze()

    async def drained(self) -> None:
        """Wait until no call runs. Calls that wait for their next try do not count."""
        await self._calls.idle()

    def thaw(self) -> None:
        """Go on."""
        self._calls.thaw()
        self._changed.set()

    def close(self) -> None:
        """Stop for good: cancel calls, commit nothing any more."""
        self.ledger.closed = True
        self._calls.close()
        if self._control is not None:
            self._control.close()
        if self._worker is not None:
            self._worker.cancel()
        for task in self._tasks:
            task.cancel()
        self._queue.clear()
        self.bytes = 0

    async def _run(self) -> None:
        while True:
            group = self._next_group()
            if group is None:
                self._changed.clear()
                await self._changed.wait()
                continue
            await self._calls.unfrozen()
            work = await self._calls.begin(group)
            self._spawn(self._finish(group, work))

    def _next_group(self) -> list[Batch] | None:
        """Consecutive queued batches with equal headers up to the merge limit, if one may go."""
        queue, limits = self._queue, self._limits
        if self._control is not None:
            following = queue[0].offset if queue else self.ledger.next_offset
            if not self._control.ready(following, self._calls.adjust):
                return None
        if not queue or len(self._tasks) >= limits.max_inflight:
            return None
        if self.ledger.span - len(queue) >= limits.ahead_max:
            return None
        first = queue.popleft()
        group, size, headers = [first], len(first.value), without_origin(first.headers)
        while queue:
            size += len(queue[0].value)
            if size > limits.merge_max_bytes or without_origin(queue[0].headers) != headers:
                break
            group.append(queue.popleft())
        return group

    async def _finish(self, group: list[Batch], work: Awaitable[None]) -> None:
        await work
        if self.ledger.closed:
            return
        for batch in group:
            self.ledger.finish(batch.offset)
        self.bytes -= sum(len(batch.value) for batch in group)
        if self.full and self.bytes < self.limit_bytes // 2:
            self.full = False
            self._port.lane_drained(self)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._port.fatal(error)

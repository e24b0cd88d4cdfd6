"""One partition's way through operators, exactly once.

Intake is as in lane.py: ``put`` and ``wake``, bounded in bytes. One task does the rest:

    1. *recover*: a new producer is started, which fences every earlier owner; then state comes
       back (recovery.py); then the partition is read from where it had come to
    2. *work*: batches and ticks go through the operators, what they return into a draft
    3. *commit*: every ``commit_interval``, or when the draft is large, operators add what they
       have gathered for it, and it becomes one transaction (committer.py); the next batches are
       processed meanwhile
    4. any error of Kafka: the producer is given up, state and queue are dropped, 1. again.
       Fenced: the process ends, for another one has the partition

At a revocation the host *freezes* the lane: it takes nothing more, commits what is processed,
and is drained. Thawed it goes on; closed it is gone, whatever it was doing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

from schemas.batches import Batch, Record
from schemas.errors import PermanentError, RetryableError
from schemas.operators import Operator
from topologies.control.view import LaneControl

from .clock import Clock
from .commits import Commits
from .committer import Committer
from .finding import Place
from .intake import Intake
from .journal import SnapshotPlace
from .lane_contract import TransactionalLanePort, TransactionalLimits
from .metrics import LaneCounts
from .owned import OwnedProducer
from .partitions import PartitionCount
from .ports import Fenced, Log, Transactions
from .preparing import Preparing, Ranges
from .processing import Processing
from .recovery import Recovered, Recovery
from .ticks import Ticks

__all__ = ["TransactionalLane"]

TURN_MAX_BYTES = 256 << 10
"""Other lanes get their turn after so many bytes of batches."""

_log = logging.getLogger(__name__)


class TransactionalLane:
    """A queue of one partition, its operators, and their transactions.

    Args:
        make_operators: with empty state, for so many partitions of the topic; called for each
            recovery.
        scan: what is found in a value once for all operators (topic, value).
        ranges: how to come to what batches name; None: they name nothing.
        make_transactions: a new producer with the lane's transactional id, not started.
        dead_letter: the record for a batch that is given up.
        kept: topics of which nothing is left out, beside the operators' logs.
        control: what is set at run time; taken over between two batches.
    """

    def __init__(
        self,
        place: Place,
        generation: int,
        *,
        make_operators: Callable[[int], Sequence[Operator]],
        scan: Callable[[str, bytes], Any] | None,
        ranges: Ranges | None = None,
        make_transactions: Callable[[], Transactions],
        log: Log,
        dead_letter: Callable[[Batch, PermanentError], Record],
        limits: TransactionalLimits,
        limit_bytes: int,
        port: TransactionalLanePort,
        clock: Clock,
        counts: LaneCounts,
        kept: Collection[str] = (),
        control: LaneControl | None = None,
    ) -> None:
        self.place = place
        self.topic, self.partition = place.topic, place.partition
        self.generation = generation
        self.limit_bytes = limit_bytes
        self.counts = counts
        self.full = True
        """Not to be fetched: not recovered yet, or too much waits."""
        self._producer = OwnedProducer(place, make_transactions, limits.backoff, clock)
        self._partitions = PartitionCount(place.topic, place.partition, log, self.wake)
        self._recovery = Recovery(
            place,
            log,
            make_operators=make_operators,
            scan=scan,
            partitions=self._partitions,
            clock=clock,
            auto_offset_reset=limits.auto_offset_reset,
        )
        self._preparing = Preparing(scan, ranges, self.wake, clock, counts)
        self._processing = Processing(dead_letter, limits.record_max_bytes, counts, kept)
        self._intake = Intake(place.topic, place.partition, log)
        self._limits = limits
        self._port = port
        self._clock = clock
        self._control = control
        if control is not None:
            control.wake = self.wake
        self._commits = Commits(
            limits, log, clock, counts,
            flush=self._processing.flush, wake=self.wake, done=self._committed,
        )  # fmt: skip
        self._frozen = False
        self._closed = False
        self._ticks = Ticks(limits.idle_tick_s, clock, self.wake)
        self._turn_bytes = 0
        self._changed = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._tasks: list[asyncio.Task[None]] = []

    # --- as lane.Lane

    @property
    def bytes(self) -> int:
        """Bytes queued, and of outputs not yet committed."""
        return self._intake.bytes + self._commits.size_bytes

    @property
    def position(self) -> int | None:
        """Committed: everything before it is done."""
        return self._commits.position

    @property
    def inflight(self) -> int:
        """Transactions under way."""
        return int(self._commits.under_way)

    @property
    def queued(self) -> int:
        """Messages that are not processed."""
        return len(self._intake)

    @property
    def snapshots(self) -> list[SnapshotPlace]:
        """The newest complete ones of its operators."""
        return self._processing.snapshots

    @property
    def uncommitted(self) -> bool:
        """Something is processed and not committed."""
        return not self._quiet.is_set()

    @property
    def next_offset(self) -> int | None:
        """Where to read on; None while that is not known."""
        return self._intake.next

    def start(self) -> None:
        """Begin to work."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._guard(self._run())),
            loop.create_task(self._guard(self._ticks.run())),
        ]

    def put(self, batch: Batch) -> None:
        """Take a message over; one that came already is dropped. :meth:`wake` must follow."""
        if not self._intake.put(batch):
            self.counts.repeated += 1
            return
        self.counts.messages_in += 1
        self.counts.bytes_in += len(batch.value)
        if not self.full and self._intake.bytes >= self.limit_bytes:
            self.full = True
            self._port.lane_full(self)

    def wake(self) -> None:
        """Look at the queue: nothing more comes just now."""
        self._changed.set()

    def freeze(self) -> None:
        """Process nothing from now on; commit what is processed."""
        self._frozen = True
        self._preparing.cancel()
        self._thawed.clear()
        self._changed.set()

    async def drained(self) -> None:
        """Wait until everything that was processed is committed."""
        await self._quiet.wait()

    def thaw(self) -> None:
        """Go on, after a rebalance: perhaps because partitions were added."""
        self._frozen = False
        self._partitions.check()
        self._thawed.set()
        self._changed.set()

    def close(self) -> None:
        """Stop for good. What is not committed is the next owner's to do again."""
        self._closed = True
        if self._control is not None:
            self._control.close()
        for task in self._tasks:
            task.cancel()
        self._commits.close()
        self._partitions.forget()
        self._preparing.cancel()
        self._intake.clear()

    async def closed(self) -> None:
        """After :meth:`close`: wait until the producer is closed, for a bounded time."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._commits.closed()
        self._processing.release()
        await self._producer.give_up()
        await self._preparing.close()

    # --- the steps

    async def _run(self) -> None:
        cause = "assigned"
        while True:
            try:
                await self._recover(cause)  # 1
                await self._work()  # 2, 3
            except Fenced as error:
                # 4. Frozen, the partition may have gone in the meantime: then close() comes.
                self._quiet.set()
                await self._thawed.wait()
                self._port.fenced(self, error)
                return
            except (RetryableError, PermanentError) as error:
                cause = error.reason
                if isinstance(error, PermanentError):
                    await self._commits.refused(error)
                pause_s = self._producer.failed(error)
            await self._drop()  # 4
            await self._clock.sleep(pause_s)

    async def _recover(self, cause: str) -> None:
        """Step 1: fence, restore, read on."""
        began_s = self._clock.monotonic()
        transactions = await self._producer.start()
        try:
            found = await self._recovery.run()
        except PermanentError as error:
            raise AssertionError(f"{self.place}: recovery refused: {error}") from error
        seconds = self._clock.monotonic() - began_s
        self._take_over(found)
        committer = Committer(
            self.place,
            transactions,
            found.operators,
            self._clock,
            snapshot_interval_s=self._limits.snapshot_interval_s,
            snapshot_max_bytes=self._limits.commit_max_bytes,
            piece_max_bytes=self._limits.piece_max_bytes,
        )
        kept = self._processing.kept_topics
        self._commits.begin(committer, found.position, found.watermark_ms, kept)
        # So that a crash before the first batch begins at the same place.
        self._commits.draft.dirty = found.decision.fresh
        self.counts.recovered(cause, seconds)
        _log.info("%s: recovered in %.2f s (%s): %s", self.place, seconds, cause, found.text)
        await self._port.lane_recovered(self, found.position)

    def _take_over(self, found: Recovered) -> None:
        counts = self.counts
        counts.replayed += found.replayed
        counts.replayed_items += found.replayed_items
        counts.lost += found.lost
        counts.lost_replay += found.lost_replay
        self._processing.operators = found.operators
        if self._control is not None:
            for name, value in self._control.explicit():
                self._processing.adjust(name, value)
        self._partitions.tell(found.partitions)
        self._intake.begin(found.position)
        self._ticks.taken()
        self.full = False

    async def _work(self) -> None:
        """Steps 2 and 3, until an error."""
        while True:
            self._commits.settle()
            if self._commits.start(frozen=self._frozen):
                self._quiet.clear()
            elif self._intake.unsure and not self._frozen:
                await self._intake.fill()
            elif self._may_take():
                await self._take()
            elif self._may_tick():
                await self._tick()
            else:
                if self._commits.rest(frozen=self._frozen):
                    self._quiet.set()
                self._changed.clear()
                await self._changed.wait()

    # --- 2

    def _may_take(self) -> bool:
        if not self._ready() or self._commits.is_full:
            return False
        batch = self._intake.head
        return batch is not None and self._preparing.ready(batch)

    def _ready(self) -> bool:
        """Take over what was set at run time; whether the next batch may be taken."""
        if self._frozen or not self._partitions.known():
            return False
        control, position = self._control, self._commits.draft.position
        if control is None or control.ready(position, self._processing.adjust):
            return True
        self._preparing.cancel()
        return False

    async def _take(self) -> None:
        """A batch through the operators."""
        self._quiet.clear()
        batch = self._intake.take()
        if self.full and self._intake.bytes < self.limit_bytes // 2:
            self.full = False
            self._port.lane_drained(self)
        self._ticks.taken()
        prepared, commits = self._preparing.take(batch), self._commits
        self._processing.batch(batch, prepared, commits.draft, commits.culprits(batch.offset))
        self._preparing.done()
        self._turn_bytes += len(batch.value)
        if self._turn_bytes >= TURN_MAX_BYTES:
            self._turn_bytes = 0
            await asyncio.sleep(0)

    def _may_tick(self) -> bool:
        if not self._ticks.due() or self._intake or self._commits.one_by_one:
            return False
        return self._ready() and self._port.at_end(self)

    async def _tick(self) -> None:
        if await self._intake.check():
            return
        draft = self._commits.draft
        self._processing.tick(self._ticks.now_ms(draft.watermark_ms), draft)
        if draft.dirty:
            self._quiet.clear()

    # --- 3

    def _committed(self, seconds: float) -> None:
        self._producer.succeeded()
        self._port.commit_took(seconds)

    # --- 4

    async def _drop(self) -> None:
        """Forget everything and close the producer."""
        self._intake.clear()
        if not self.full:
            self.full = True
            self._port.lane_full(self)
        self._partitions.forget()
        self._preparing.cancel()
        await self._commits.drop()
        self._processing.release()
        self._quiet.set()
        await self._producer.give_up()

    async def _guard(self, work: Any) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if not self._closed:
                self._port.fatal(error)

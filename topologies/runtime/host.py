"""The host of one stage: lanes for the partitions that the group assigns, from start to stop.

A rebalance, step by step (eager protocol, sticky assignor; Faust calls in this order):

1. *revoked*: freeze all lanes; wait for running calls, at most ``drain_timeout`` and half a
   session; commit while the old generation still may; commit nothing from here on.
2. *assigned*, more than once per generation: a lane whose partition came back with the very
   next generation goes on, queue and operator and all, for nobody else had the partition. It
   is read on after its last delivered message. All other lanes close; new ones begin at the
   committed offset.
3. A message of another generation, or one that came already, is dropped.

A lane with operators is not fetched until it has recovered, and commits by itself; one that
closes has its producer closed in the background, and whoever comes next fences it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from schemas.batches import Batch
from schemas.config import Config
from schemas.errors import BrokerUnavailable

from .clock import Clock, SystemClock
from .faust_app import TP, create_app
from .kafka_log import KafkaLog
from .lane import Lane
from .lanemaker import LaneMaker
from .metrics import HostCounts, LaneCounts, LaneState
from .retention import RetentionWatch
from .stage import Stage
from .transactional_lane import TransactionalLane

if TYPE_CHECKING:
    from collections.abc import Callable

    from topologies.control.view import ControlView

    from .calls import Publisher
    from .ledger import Ledger

__all__ = ["Host"]

COMMIT_TIMEOUT_MIN_S = 1.0
"""The last commit gets as long as the drain, and at least this."""

_log = logging.getLogger(__name__)


class Host:
    """Runs one stage in this process's event loop.

    Args:
        stage: what to run.
        config: the whole configuration.
        publisher: the way to Kafka for records and dead letters; may be shared.
        fatal: called with a defect; must end the process at once.
        control: what is set at run time; None: nothing is.
    """

    def __init__(
        self,
        stage: Stage,
        config: Config,
        *,
        publisher: Publisher,
        fatal: Callable[[BaseException], None],
        clock: Clock | None = None,
        control: ControlView | None = None,
    ) -> None:
        self.stage = stage
        self.group = f"{config.kafka.group_prefix}.{stage.name}"
        self.topic_counts = {topic: LaneCounts() for topic in stage.topics}
        self.host_counts = HostCounts()
        self._config = config
        self._fatal = fatal
        self._clock = clock = clock or SystemClock()
        self._log = KafkaLog(config.kafka)
        self._maker = LaneMaker(
            stage,
            config,
            publisher=publisher,
            port=self,
            clock=clock,
            counts=self.topic_counts,
            log=self._log,
            group=self.group,
            control=control,
        )
        self._lanes: dict[TP, Lane | TransactionalLane] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._generation: int | None = None
        self._stopping = False
        self._fed: dict[Lane | TransactionalLane, None] = {}
        """Lanes to be woken, in the order of their messages."""
        self._retention = RetentionWatch(self.group, self._earliest, self.topic_counts)
        self._app = create_app(self.group, stage.topics, config.kafka, config.runtime, self)
        runtime = config.runtime
        self._drain_s = min(runtime.drain_timeout, config.kafka.consumer.session_timeout / 2)

    # --- for whoever runs it

    @property
    def stage_name(self) -> str:
        """Name of the stage."""
        return self.stage.name

    @property
    def assigned(self) -> bool:
        """The group has assigned partitions, or has none for us, and no rebalance is under way."""
        return self._generation is not None and not self._app.rebalancing

    @property
    def ready(self) -> bool:
        """Assigned, and the group's coordinator answers."""
        return not self.unready

    @property
    def unready(self) -> str:
        """Why not :attr:`ready`, for people; empty if it is."""
        if self._stopping:
            return "stopping"
        if not self.assigned:
            return "no partitions assigned yet"
        if not self._app.consumer._thread.coordinated:
            return "Kafka does not answer"
        return ""

    async def start(self) -> None:
        """Join the group. The topics must exist and a broker must answer (see worker.py)."""
        await self._app.start()

    async def crashed(self) -> BaseException | None:
        """Wait until Faust itself has crashed, which no lane would notice; its reason."""
        await self._app._crashed.wait()
        reason: BaseException | None = self._app.crash_reason
        return reason

    async def stop(self) -> None:
        """Finish what runs, for at most ``drain_timeout``; commit; leave the group.

        Raises:
            BrokerUnavailable: it has left, but could not commit.
        """
        self._stopping = True
        lanes = list(self._lanes.values())
        drain_s = self._config.runtime.drain_timeout
        await self._drain(lanes, drain_s)
        transactional = [lane for lane in lanes if isinstance(lane, TransactionalLane)]
        committed = not any(lane.uncommitted for lane in transactional)
        try:
            async with asyncio.timeout(max(COMMIT_TIMEOUT_MIN_S, drain_s)):
                await self._app.consumer.commit_now()
        except TimeoutError:
            committed = False
        for lane in lanes:
            self._close(lane)
        self._lanes.clear()
        if self._closing:
            await asyncio.wait(self._closing)
        await self._app.stop()
        await self._log.close()
        if not committed:
            raise BrokerUnavailable(f"{self.group}: Kafka did not take the last commit")

    def lane_states(self) -> Iterable[LaneState]:
        """The lanes as they are."""
        for lane in self._lanes.values():
            state = LaneState(
                lane.topic, lane.partition, self._lag(lane), lane.bytes, lane.inflight, lane.full
            )
            if isinstance(lane, TransactionalLane) and (places := lane.snapshots):
                oldest_s = min(place.taken_ms for place in places) / 1e3
                yield state._replace(
                    snapshot_bytes=sum(place.size_bytes for place in places),
                    snapshot_age_s=max(0.0, self._clock.unix_ns() / 1e9 - oldest_s),
                )
            else:
                yield state

    # --- for Faust (faust_app.FaustHost)

    def intake(self, message: Any, *, more: bool) -> None:
        """A message from the agent: to its lane, unless it is of another time.

        Lanes are woken after the last message of a poll, so that small ones share a call.
        """
        self._take(message)
        if not more:
            for lane in self._fed:
                lane.wake()
            self._fed.clear()

    def _take(self, message: Any) -> None:
        if self._stopping or message.generation_id != self._app.consumer_generation_id:
            return
        lane = self._lanes.get(TP(message.topic, message.partition))
        if lane is None or lane.generation != message.generation_id:
            return
        expected = lane.next_offset
        if expected is not None and message.offset > expected + 1:
            # One offset is a transaction's marker. More may be aborted, compacted, or removed.
            self._retention.check(
                {TP(message.topic, message.partition): (expected, message.offset)}
            )
        headers = tuple((name, value or b"") for name, value in message.headers or ())
        lane.put(
            Batch(
                message.topic,
                message.partition,
                message.offset,
                round((message.timestamp or 0.0) * 1000),
                message.key,
                message.value or b"",
                headers,
            )
        )
        self._fed[lane] = None

    async def on_revoked(self) -> None:
        """Step 1."""
        await self._drain(list(self._lanes.values()), self._drain_s)

    async def on_assigned(self, assigned: set[TP], generation: int) -> dict[TP, int]:
        """Step 2."""
        if self._stopping:
            return {}
        try:
            self._assign(assigned, generation)
        except Exception as error:
            self.fatal(error)  # Faust would log it and read on without lanes
            raise
        lanes = self._lanes.items()
        return {tp: at for tp, lane in lanes if (at := lane.next_offset) is not None}

    def _assign(self, assigned: set[TP], generation: int) -> None:
        fresh = self._generation != generation
        for tp, lane in list(self._lanes.items()):
            comes_back = tp in assigned and lane.generation in (generation, generation - 1)
            if not comes_back:
                self._close(lane)
                del self._lanes[tp]
        kept = len(self._lanes)
        limit_bytes = self._maker.limit_bytes(len(assigned))
        for tp in assigned:
            if tp in self._lanes:
                lane = self._lanes[tp]
                lane.generation = generation
                lane.limit_bytes = limit_bytes
                lane.thaw()
            else:
                self._lanes[tp] = self._maker.make(tp.topic, tp.partition, generation, limit_bytes)
        if fresh:
            self.host_counts.rebalances += self._generation is not None
            self._generation = generation
            _log.info(
                "%s: generation %d, %d partitions, %d of them as before",
                self.group, generation, len(assigned), kept,
            )  # fmt: skip
            self._retention.check(
                {
                    tp: (at, None)
                    for tp in self.ledgers()  # lanes with operators see to it when they recover
                    if (at := self._read_from(tp)) is not None
                }
            )

    def full_partitions(self) -> list[TP]:
        """Partitions that are not to be fetched now."""
        return [tp for tp, lane in self._lanes.items() if lane.full]

    def ledgers(self) -> Mapping[TP, Ledger]:
        """What may be committed."""
        return {tp: lane.ledger for tp, lane in self._lanes.items() if isinstance(lane, Lane)}

    def committed(self, seconds: float) -> None:
        """A commit took so long."""
        self.host_counts.commits.observe(seconds)

    # --- for lanes (lane.LanePort, transactional_lane.TransactionalLanePort)

    def commit_took(self, seconds: float) -> None:
        """A transaction took so long."""
        self.host_counts.commits.observe(seconds)

    async def lane_recovered(self, lane: TransactionalLane, position: int) -> None:
        """Read on at ``position`` and fetch again.

        What this seek misses (a rebalance seeks as well, a fetch may be under way) the lane
        finds out by itself: it looks at what lies before the first message that comes.
        """
        tp = TP(lane.topic, lane.partition)
        if self._lanes.get(tp) is not lane:
            return
        try:
            await self._app.consumer.seek_wait({tp: position})
        except Exception as error:
            _log.info("%s: seek to %d: %r", lane.place, position, error)
        if not lane.full:
            self.lane_drained(lane)

    def fenced(self, lane: TransactionalLane, error: BaseException) -> None:
        """Another process has the partition. If this one knows that it has lost it: well."""
        if self._lanes.get(TP(lane.topic, lane.partition)) is lane:
            self.fatal(error)

    def lane_full(self, lane: Lane | TransactionalLane) -> None:
        """Fetch no more of this partition."""
        self._app.consumer.on_buffer_full(TP(lane.topic, lane.partition))

    def lane_drained(self, lane: Lane | TransactionalLane) -> None:
        """Fetch again, if the partition is still this lane's."""
        tp = TP(lane.topic, lane.partition)
        if self._lanes.get(tp) is lane:
            self._app.consumer.on_buffer_drop(tp)

    def at_end(self, lane: TransactionalLane) -> bool:
        """The broker has said lately that this partition has nothing more."""
        answer = self._answered(lane)
        if answer is None or self._app.rebalancing:
            return False
        position, end, unix_s = answer
        consumer = self._config.kafka.consumer
        lately_s = self._config.runtime.idle_tick + 2 * consumer.fetch_wait
        return position >= end and self._clock.unix_ns() / 1e9 - unix_s <= lately_s

    def fatal(self, error: BaseException) -> None:
        """A defect: nothing may be finished or committed from here on."""
        for ledger in self.ledgers().values():
            ledger.closed = True
        self._fatal(error)

    # --- inside

    def _close(self, lane: Lane | TransactionalLane) -> None:
        lane.close()
        if isinstance(lane, TransactionalLane):
            task = asyncio.get_running_loop().create_task(lane.closed())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _drain(self, lanes: list[Lane | TransactionalLane], timeout_s: float) -> None:
        for lane in lanes:
            lane.freeze()
        if not lanes:
            return
        waits = [asyncio.ensure_future(lane.drained()) for lane in lanes]
        _, late = await asyncio.wait(waits, timeout=timeout_s)
        for wait in late:
            wait.cancel()
        if late:
            _log.warning("%s: %d partitions still busy, not waited for", self.group, len(late))
        # Calls that just returned have yet to tell their ledgers.
        await asyncio.sleep(0)

    def _answered(self, lane: Lane | TransactionalLane) -> tuple[int, int, float] | None:
        thread = self._app.consumer._thread
        answer: tuple[int, int, float] | None = thread.answered(TP(lane.topic, lane.partition))
        return answer

    def _lag(self, lane: Lane | TransactionalLane) -> int | None:
        answer = self._answered(lane)
        if answer is None:
            return None
        position, end, _ = answer
        if isinstance(lane, TransactionalLane):
            # What the group has committed, as every lag tool sees it.
            return None if lane.position is None else max(0, end - lane.position)
        if not lane.queued and not lane.inflight:
            # Markers of transactions take offsets that no ledger sees.
            return max(0, end - position)
        first_unfinished = lane.position
        return max(0, end - (position if first_unfinished is None else first_unfinished))

    def _read_from(self, tp: TP) -> int | None:
        """Where reading goes on; None if the group has never committed."""
        following = self._lanes[tp].next_offset
        committed: int | None = self._app.consumer._committed_offset.get(tp)
        return committed if following is None else following

    async def _earliest(self, *partitions: TP) -> Mapping[TP, int]:
        found: Mapping[TP, int] = await self._app.consumer.earliest_offsets(*partitions)
        return found

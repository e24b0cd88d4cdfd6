"""A process with lanes, as host.py keeps them, for the simulated Faust."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from schemas.batches import Batch, Record
from schemas.errors import PermanentError
from tests.operators import counting
from topologies.runtime.calls import Backoff
from topologies.runtime.deadletter import dead_letter
from topologies.runtime.faust_app import TP
from topologies.runtime.metrics import LaneCounts
from topologies.runtime.recovery import Place
from topologies.runtime.transactional_lane import TransactionalLane, TransactionalLimits

from . import operators
from .group import Ordered, SimApp
from .loop import Process

if TYPE_CHECKING:
    from .world import Worker, World

__all__ = ["SimHost"]

DRAIN_S = 1.0


class _Counts(LaneCounts):
    """Until the real ones are there."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("replayed", "replayed_items", "lost_replay", "aborts", "transactions",
                     "transaction_bytes", "processed"):  # fmt: skip
            setattr(self, name, 0)
        self.causes: list[str] = []

    def recovered(self, cause: str, seconds: float) -> None:
        self.causes.append(cause)


class SimHost:
    """Lanes for what the group assigns."""

    def __init__(self, world: World, worker: Worker, process: Process) -> None:
        from .world import GROUP, HEARTBEAT_S

        self.world = world
        self.worker = worker
        self.process = process
        self.lanes: dict[TP, TransactionalLane] = {}
        self.counts = _Counts()
        self._generation: int | None = None
        self._stopping = False
        self._fed: dict[TransactionalLane, None] = {}
        self._log = world.parts.log(world.network)
        self._closing: set[asyncio.Task[None]] = set()
        self.app = SimApp(
            self,
            f"{worker.number}.{worker.lives}",
            GROUP,
            world.group,
            world.network,
            world.rng,
            heartbeat_interval_s=HEARTBEAT_S,
            revocation_s=1.5,
        )

    async def main(self) -> None:
        await self.app.start()

    async def terminate(self, back_s: float) -> None:
        """SIGTERM."""
        if self._stopping:
            return
        self._stopping = True
        await self._drain(5.0)
        lanes = list(self.lanes.values())
        for lane in lanes:
            lane.close()
        for lane in lanes:
            await lane.closed()
        self.lanes.clear()
        await self.app.stop()
        self.world.kill(self.worker, back_s)

    # --- for Faust

    def intake(self, message: Any, *, more: bool) -> None:
        self._take(message)
        if not more:
            for lane in self._fed:
                lane.wake()
            self._fed.clear()

    def _take(self, message: Any) -> None:
        if self._stopping or message.generation_id != self.app.consumer_generation_id:
            return
        lane = self.lanes.get(TP(message.topic, message.partition))
        if lane is None or lane.generation != message.generation_id:
            return
        lane.put(
            Batch(
                message.topic,
                message.partition,
                message.offset,
                round(message.timestamp * 1000),
                message.key,
                message.value or b"",
                tuple(message.headers),
            )
        )
        self._fed[lane] = None

    async def on_revoked(self) -> None:
        await self._drain(DRAIN_S)

    async def on_assigned(self, assigned: Ordered, generation: int) -> dict[TP, int]:
        if self._stopping:
            return {}
        for tp, lane in list(self.lanes.items()):
            if not (tp in assigned and lane.generation in (generation, generation - 1)):
                self._close(lane)
                del self.lanes[tp]
        for tp in assigned:
            lane = self.lanes.get(tp)
            if lane is not None:
                lane.generation = generation
                lane.thaw()
            else:
                lane = self.lanes[tp] = self._make(tp, generation)
                lane.start()
        self._generation = generation
        return {tp: at for tp, lane in self.lanes.items() if (at := lane.next_offset) is not None}

    def full_partitions(self) -> list[TP]:
        return [tp for tp, lane in self.lanes.items() if lane.full]

    def ledgers(self) -> Mapping[TP, Any]:
        return {}

    def committed(self, seconds: float) -> None:
        pass

    # --- for lanes

    def lane_full(self, lane: TransactionalLane) -> None:
        tp = TP(lane.topic, lane.partition)
        if self.lanes.get(tp) is lane:
            self.app.consumer.on_buffer_full(tp)

    def lane_drained(self, lane: TransactionalLane) -> None:
        tp = TP(lane.topic, lane.partition)
        if self.lanes.get(tp) is lane:
            self.app.consumer.on_buffer_drop(tp)

    async def lane_recovered(self, lane: TransactionalLane, position: int) -> None:
        self.world.recoveries += 1
        tp = TP(lane.topic, lane.partition)
        if self.lanes.get(tp) is lane:
            await self.app.consumer.seek_wait({tp: position})
        self.lane_drained(lane)

    def at_end(self, lane: TransactionalLane) -> bool:
        answer = self.app.consumer._thread.answered(TP(lane.topic, lane.partition))
        if answer is None or self.app.rebalancing:
            return False
        position, end, unix_s = answer
        return position >= end and self.world.clock.unix_ns() / 1e9 - unix_s <= 1.0

    def commit_took(self, seconds: float) -> None:
        pass

    def fenced(self, lane: TransactionalLane, error: BaseException) -> None:
        self.world.ended(self.worker, self.process, error)

    def fatal(self, error: BaseException) -> None:
        self.world.ended(self.worker, self.process, error)

    # --- inside

    async def _drain(self, timeout_s: float) -> None:
        lanes = list(self.lanes.values())
        for lane in lanes:
            lane.freeze()
        if lanes:
            waits = [asyncio.ensure_future(lane.drained()) for lane in lanes]
            _, late = await asyncio.wait(waits, timeout=timeout_s)
            for wait in late:
                wait.cancel()

    def _close(self, lane: TransactionalLane) -> None:
        lane.close()
        task = asyncio.get_running_loop().create_task(lane.closed())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _make(self, tp: TP, generation: int) -> TransactionalLane:
        from .world import DEADLETTER, GROUP, JOURNAL

        world, schedule = self.world, self.world.schedule
        limits = TransactionalLimits(
            commit_interval_s=schedule.commit_interval_s,
            commit_max_bytes=200,
            commit_max_batches=5,
            join_max_bytes=60,
            record_max_bytes=1 << 20,
            snapshot_interval_s=0.7,
            idle_tick_s=0.5,
            backoff=Backoff(0.05, 1.0),
            auto_offset_reset="earliest",
        )

        def letter(batch: Batch, error: PermanentError) -> Record:
            record = dead_letter(DEADLETTER, "sim", batch, error, world.clock.unix_ns())
            return record._replace(partition=0)

        return TransactionalLane(
            Place(tp.topic, tp.partition, GROUP, JOURNAL),
            generation,
            make_operators=lambda: operators.make(tp.topic, tp.partition),
            scan=counting.scan,
            make_transactions=lambda: world.parts.transactions(
                world.network, f"{GROUP}-{tp.topic}-{tp.partition}"
            ),
            log=self._log,
            dead_letter=letter,
            limits=limits,
            limit_bytes=60,
            port=self,
            clock=world.clock,
            counts=self.counts,
        )

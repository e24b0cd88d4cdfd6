"""A consumer group, and what Faust does between it and the host.

The coordinator is eager: every change makes all members give back everything, come again and
get partitions of the next generation. A member that is silent for the session's time is left out;
it learns of it when it asks again, and until then believes what it believed.

:class:`SimApp` stands for ``faust_app.FaustApp``: it calls the host in the order Faust does, and
has Faust's habits that matter: a poll that is under way at a seek is handed over after it, what is
below the last offset handed over is dropped, the seek after an assignment may be overtaken by the
next rebalance, messages of an older generation are still in the agent's queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from schemas.batches import Batch
from schemas.errors import BrokerUnavailable
from topologies.runtime.faust_app import TP, FaustHost
from topologies.runtime.ports import Offset

from .client import Network
from .kafka import Kafka
from .loop import EPOCH_S

__all__ = ["Group", "Ordered", "SimApp"]


class Ordered(dict[TP, None]):
    """A set that does not depend on how strings are hashed."""

    def __init__(self, partitions: Iterable[TP] = ()) -> None:
        super().__init__((tp, None) for tp in partitions)

    def __sub__(self, other: Any) -> Ordered:
        return Ordered(tp for tp in self if tp not in other)

    def copy(self) -> Ordered:
        return Ordered(self)


class _Member:
    def __init__(self, seen: float) -> None:
        self.seen = seen
        self.joining: asyncio.Future[tuple[int, Ordered]] | None = None
        self.assigned: Ordered = Ordered()


class Group:
    """The coordinator's view."""

    def __init__(
        self, kafka: Kafka, rng: random.Random, topics: tuple[str, ...], session_timeout_s: float
    ) -> None:
        self.generation = 0
        self.preparing = False
        self.rebalances = 0
        self._kafka = kafka
        self._rng = rng
        self._topics = topics
        self._session_s = session_timeout_s
        self._members: dict[str, _Member] = {}

    def join(self, name: str) -> asyncio.Future[tuple[int, Ordered]]:
        """Come, or come again; the answer waits for all others."""
        loop = self._kafka.loop
        member = self._members.get(name)
        if member is None:
            member = self._members[name] = _Member(loop.time())
            self.rebalance()
        if not self.preparing:
            self.rebalance()
        member.seen = loop.time()
        joining = member.joining or loop.create_future()
        member.joining = joining
        self._complete()
        return joining

    def leave(self, name: str) -> None:
        """Go."""
        if self._members.pop(name, None) is not None:
            self.rebalance()

    def heartbeat(self, name: str, generation: int) -> str:
        """``ok``, ``rebalance`` or ``unknown``."""
        member = self._members.get(name)
        if member is None:
            return "unknown"
        member.seen = self._kafka.loop.time()
        return "rebalance" if self.preparing or generation != self.generation else "ok"

    def rebalance(self) -> None:
        """Make everybody come again."""
        self.preparing = True
        self._complete()

    def expire(self) -> None:
        """Leave out who is silent; to be called now and then."""
        now = self._kafka.loop.time()
        for name, member in list(self._members.items()):
            if member.joining is None and now - member.seen > self._session_s:
                self.leave(name)

    def commit(self, name: str, generation: int, offsets: Iterable[Offset]) -> None:
        """An offset commit outside of transactions; refused from another time."""
        if name in self._members and generation == self.generation:
            for offset in offsets:
                self._kafka.commit(offset)

    def _complete(self) -> None:
        members = self._members
        if not self.preparing or not members or any(m.joining is None for m in members.values()):
            return
        self.preparing = False
        self.generation += 1
        self.rebalances += 1
        self._assign()
        for member in members.values():
            assert member.joining is not None
            member.seen = self._kafka.loop.time()
            if not member.joining.done():
                member.joining.set_result((self.generation, member.assigned.copy()))
            member.joining = None

    def _assign(self) -> None:
        """Sticky, or all anew."""
        rng, members = self._rng, list(self._members.values())
        free = [log.tp for topic in self._topics for log in self._kafka.partitions(topic)]
        if rng.random() < 0.5:
            share = -(-len(free) // len(members))
            for member in members:
                kept = [tp for tp in member.assigned if tp in free][:share]
                member.assigned = Ordered(TP(*tp) for tp in kept)
                free = [tp for tp in free if tp not in kept]
        else:
            for member in members:
                member.assigned = Ordered()
            rng.shuffle(free)
            rng.shuffle(members)
        for tp in free:
            least = min(members, key=lambda member: len(member.assigned))
            least.assigned[TP(*tp)] = None


class _Fetched(NamedTuple):
    tp: TP
    at: int
    batches: list[Batch]
    position: int
    stable: int


class _Thread:
    """What the host asks of Faust's consumer thread."""

    coordinated = True

    def __init__(self) -> None:
        self.answers: dict[TP, tuple[int, int, float]] = {}

    def answered(self, tp: TP) -> tuple[int, int, float] | None:
        return self.answers.get(tp)


class SimConsumer:
    """``faust_app._Consumer``, as far as the host and its lanes use it."""

    def __init__(self, app: SimApp) -> None:
        self._app = app
        self._thread = _Thread()
        self._committed_offset: dict[TP, int | None] = {}
        self._read_offset: dict[TP, int] = {}
        self._buffered: Ordered = Ordered()
        self._freed = asyncio.Event()
        self._committing_stopped = False
        self.flow = False
        self.positions: dict[TP, int] = {}
        self.assigned: Ordered = Ordered()

    def assignment(self) -> Ordered:
        return self.assigned.copy()

    def on_buffer_full(self, tp: TP) -> None:
        self._buffered[TP(*tp)] = None

    def on_buffer_drop(self, tp: TP) -> None:
        self._buffered.pop(TP(*tp), None)
        self._freed.set()

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        await asyncio.sleep(self._app.draw() * 0.001)
        for tp, offset in partitions.items():
            self.seek(TP(*tp), offset)
        await asyncio.sleep(self._app.draw() * 0.001)

    def seek(self, tp: TP, offset: int) -> None:
        if tp in self.assigned:
            self.positions[tp] = offset
        if offset > 0:
            self._read_offset[tp] = offset
        else:
            self._read_offset.pop(tp, None)

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        app = self._app
        return await app.network.request(
            "begin", lambda: {tp: app.kafka.log(*tp).begin for tp in partitions}
        )

    async def commit_now(self) -> None:
        app, group = self._app, self._app.group_name
        if self._committing_stopped:
            return
        offsets = [
            Offset(group, tp.topic, tp.partition, at)
            for tp, ledger in app.host.ledgers().items()
            if (at := ledger.committable) is not None
        ]
        if offsets:
            generation = app.consumer_generation_id
            await app.network.request(
                "group_commit", lambda: app.group.commit(app.name, generation, offsets)
            )


class SimApp:
    """``faust_app.FaustApp``: one member of the group, in the process that starts it."""

    def __init__(
        self,
        host: FaustHost,
        name: str,
        group_name: str,
        group: Group,
        network: Network,
        rng: random.Random,
        *,
        heartbeat_interval_s: float,
        revocation_s: float,
        auto_offset_reset: str = "earliest",
    ) -> None:
        self.host = host
        self.name = name
        self.group_name = group_name
        self.group = group
        self.network = network
        self.kafka = network.kafka
        self.draw = rng.random
        self.rebalancing = True
        self.consumer_generation_id = -1
        self.crash_reason: BaseException | None = None
        self._crashed = asyncio.Event()
        self._heartbeat_s = heartbeat_interval_s
        self._revocation_s = revocation_s
        self._reset = auto_offset_reset
        self._queue: deque[Any] = deque()
        self._queued = asyncio.Event()
        self._called = asyncio.Event()
        self._seeking: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.consumer = SimConsumer(self)
        self._joined = -1

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        parts = (self._member(), self._heartbeats(), self._poll(), self._intake())
        self._tasks = [loop.create_task(part) for part in parts]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._seeking is not None:
            self._seeking.cancel()
        with contextlib.suppress(BrokerUnavailable):
            await self.network.request("leave", lambda: self.group.leave(self.name))

    # --- membership

    async def _member(self) -> None:
        while True:
            try:
                answer = await self.network.request("join", lambda: self.group.join(self.name))
                generation, assigned = await answer
            except BrokerUnavailable:
                await asyncio.sleep(0.1)
                continue
            self._called.clear()
            self._joined = generation
            await self._on_assigned(generation, assigned)
            await self._called.wait()
            await self._on_revoked()

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            generation = self._joined
            try:
                answer = await self.network.request(
                    "heartbeat", lambda at=generation: self.group.heartbeat(self.name, at)
                )
            except BrokerUnavailable:
                continue
            if answer != "ok" and generation == self._joined:
                self._called.set()

    async def _on_revoked(self) -> None:
        self.rebalancing = True
        self.consumer.flow = False
        await self.host.on_revoked()
        with contextlib.suppress(TimeoutError, BrokerUnavailable):
            async with asyncio.timeout(self._revocation_s):
                await self.consumer.commit_now()
        self.consumer._committing_stopped = True

    async def _on_assigned(self, generation: int, assigned: Ordered) -> None:
        consumer = self.consumer
        if self._seeking is not None:
            self._seeking.cancel()
        self.consumer_generation_id = generation
        consumer.assigned = assigned
        consumer.positions.clear()
        consumer._buffered = Ordered()
        consumer._thread.answers.clear()
        self.rebalancing = False
        self._seeking = asyncio.get_running_loop().create_task(self._perform_seek(generation))

    async def _perform_seek(self, generation: int) -> None:
        consumer, host = self.consumer, self.host
        if not consumer.assigned:
            await host.on_assigned(Ordered(), generation)  # type: ignore[arg-type]
        while True:
            try:
                await self._seek_to_committed()
            except BrokerUnavailable:
                await asyncio.sleep(0.1)
            else:
                break
        for _ in range(1 + (self.draw() < 0.2)):
            positions = await host.on_assigned(consumer.assignment(), generation)  # type: ignore[arg-type]
            if positions:
                await consumer.seek_wait(positions)
            for tp in host.full_partitions():
                consumer.on_buffer_full(tp)
        consumer._committing_stopped = False
        consumer.flow = True

    async def _seek_to_committed(self) -> None:
        consumer, kafka = self.consumer, self.kafka
        found = await self.network.request(
            "committed",
            lambda: {tp: kafka.committed(self.group_name, *tp) for tp in consumer.assigned},
        )
        consumer._committed_offset.update(found)
        for tp, offset in found.items():
            log = kafka.log(*tp)
            first = log.begin if self._reset == "earliest" else log.stable
            consumer.seek(tp, first if offset is None else offset)

    # --- messages

    async def _poll(self) -> None:
        consumer = self.consumer
        while True:
            if not consumer.flow:
                await asyncio.sleep(0.01)
                continue
            active = consumer.assigned - consumer._buffered
            if not active:
                consumer._freed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await consumer._freed.wait()
                continue
            generation, assigned = self.consumer_generation_id, consumer.assigned
            try:
                found = await self.network.request("fetch", lambda a=active: self._fetch(a))
            except BrokerUnavailable:
                await asyncio.sleep(0.05)
                continue
            if consumer.assigned is not assigned:
                continue  # aiokafka drops what belongs to an earlier assignment
            order = self._arrived(found)
            if not order:
                await asyncio.sleep(0.1 * self.draw())
                continue
            if self.draw() < 0.3:
                await asyncio.sleep(self.draw() * 0.002)  # from thread to thread
            await self._hand_over(order, active, generation)

    def _fetch(self, active: Ordered) -> list[_Fetched]:
        """At the broker: some messages of each."""
        found, positions = [], self.consumer.positions
        for tp in active:
            if (at := positions.get(tp)) is not None:
                log = self.kafka.log(*tp)
                batches, position = log.committed(at, log.stable, 1 + int(self.draw() * 8))
                found.append(_Fetched(tp, at, batches, position, log.stable))
        return found

    def _arrived(self, found: list[_Fetched]) -> list[tuple[TP, Batch]]:
        """Positions move on, but for partitions that were sought meanwhile; messages in turn."""
        consumer, now_s, runs = self.consumer, EPOCH_S + self.kafka.loop.time(), []
        for tp, at, batches, position, stable in found:
            if consumer.positions.get(tp) == at:
                consumer.positions[tp] = position
                consumer._thread.answers[tp] = (position, stable, now_s)
                runs.append([(tp, batch) for batch in batches])
        order: list[tuple[TP, Batch]] = []
        while any(runs):
            order.extend(run.pop(0) for run in runs if run)
        return order

    async def _hand_over(
        self, found: list[tuple[TP, Batch]], active: Ordered, generation: int
    ) -> None:
        consumer = self.consumer
        for tp, batch in found:
            if not consumer.flow or self.consumer_generation_id != generation:
                break
            last = consumer._read_offset.get(tp)
            if last is not None and batch.offset < last:
                continue
            self._queue.append(
                SimpleNamespace(
                    topic=batch.topic,
                    partition=batch.partition,
                    offset=batch.offset,
                    timestamp=batch.timestamp_ms / 1000.0,
                    key=batch.key,
                    value=batch.value,
                    headers=batch.headers,
                    generation_id=generation,
                )
            )
            consumer._read_offset[tp] = batch.offset
            self._queued.set()
            if self.draw() < 0.05:
                await asyncio.sleep(0)

    async def _intake(self) -> None:
        queue = self._queue
        while True:
            if not queue:
                self._queued.clear()
                await self._queued.wait()
            if self.draw() < 0.2:
                await asyncio.sleep(0)
            try:
                while queue:
                    message = queue.popleft()
                    self.host.intake(message, more=bool(queue))
            except Exception as error:
                self.host.fatal(error)

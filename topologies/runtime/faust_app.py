"""Faust as host: the few places where it is told otherwise.

Faust keeps the group, fetches, heartbeats (in a thread of its own) and the commit timer. Its
acknowledgements are inert here: with them any gap of one message is committed over, and
messages skipped in a rebalance or by an exception count as done. What is committed is what the
lanes' ledgers say. Against faust-streaming 0.15; each override names what it replaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import aiokafka
import faust
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from schemas.config import Kafka, Runtime
from topologies.kafka import client_options

from .ledger import Ledger

__all__ = ["TP", "FaustApp", "FaustHost", "create_app"]

MAX_POLL_INTERVAL_MS = 86_400_000
"""With all lanes full for longer than this a member leaves its group and does not come back:
full lanes are legitimate for as long as a backend is away, so it is a day."""

REBALANCE_TIMEOUT_MS = 60_000
"""How long the group waits for members that drain."""

POLL_TIMEOUT_S = 0.1
"""A poll without news ends after this time; Faust's own second delays pauses and stops."""

POLL_MAX_BYTES = 1 << 20
POLL_MAX_MESSAGES = 256
"""A poll ends when it has as much, give or take ``kafka.consumer.max_poll_records``."""


class FaustHost(Protocol):
    """What the consumer tells the host."""

    def intake(self, message: Any, *, more: bool) -> None:
        """A message from Faust, in order of its partition. ``more``: another follows at once."""
        ...

    async def on_revoked(self) -> None:
        """All partitions are about to go; commits are still accepted."""
        ...

    async def on_assigned(self, assigned: set[TP], generation: int) -> dict[TP, int]:
        """Where to read on, for partitions whose lane goes on; the others begin at the commit.

        Comes more than once per generation.
        """
        ...

    def full_partitions(self) -> Iterable[TP]:
        """Partitions whose lanes are full."""
        ...

    def ledgers(self) -> Mapping[TP, Ledger]:
        """What may be committed."""
        ...

    def committed(self, seconds: float) -> None:
        """A commit took so long."""
        ...

    def fatal(self, error: BaseException) -> None:
        """A defect."""
        ...


class _Consumer(driver.Consumer):  # type: ignore[misc]
    """Commits what the ledgers say, and waits for a free lane by an event."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._freed = asyncio.Event()
        self._committing_stopped = False

    # --- acknowledgements: only ours

    def ack(self, message: Any) -> bool:
        message.acked = True
        self._unacked_messages.discard(message)
        return False

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        pass

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:
        return [] if self._committing_stopped else list(self.app.host.ledgers())

    def _new_offset(self, tp: TP) -> int | None:
        ledger = self.app.host.ledgers().get(tp)
        return None if ledger is None else ledger.committable

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        began = time.monotonic()
        committed: bool = await super()._commit(offsets)
        self.app.host.committed(time.monotonic() - began)
        return committed

    async def commit_now(self) -> None:
        """Commit what is finished at this moment, also if another commit is under way."""
        await self.maybe_wait_for_commit_to_finish()
        await self.commit()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """A lane that is full for long is no livelock."""

    # --- assignment

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.app.host.on_revoked()
        with contextlib.suppress(TimeoutError):
            # Without a broker a commit waits for it; the assignment would wait too.
            async with asyncio.timeout(self.app.revocation_s):
                await self.commit_now()
        self._committing_stopped = True
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        if not assigned:
            # Faust does not come to perform_seek then.
            await self.app.host.on_assigned(set(), generation_id)
        await super().on_partitions_assigned(assigned, generation_id)

    async def perform_seek(self) -> None:
        """Faust's seek to the committed offsets, then ours where a lane goes on.

        The signals on_partitions_assigned and on_rebalance_complete come too early: what they
        seek is lost here. A seek drops nothing; ``pause_partitions`` would.
        """
        await super().perform_seek()
        generation = self.app.consumer_generation_id
        positions = await self.app.host.on_assigned(self.assignment(), generation)
        if positions:
            await self.seek_wait(positions)
        for tp in self.app.host.full_partitions():
            self.on_buffer_full(tp)
        self._committing_stopped = False

    # --- back pressure without Faust's one second of sleep

    def on_buffer_drop(self, tp: TP) -> None:
        super().on_buffer_drop(tp)
        self._freed.set()

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's
        if self.flow_active and not self._get_active_partitions():
            self._freed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), 1.0)
            return {}, None
        return await super()._wait_next_records(timeout)

    async def wait_first(self, *waits: Any, timeout: Any = None) -> Any:  # noqa: ASYNC109
        """Hand a message to the agent's queue without Faust's two tasks per message.

        Faust waits for the hand-over or for a suspended flow, whichever is first. The queue has
        room for more than a poll brings and the flow is not suspended here, so the hand-over
        does not wait. This also lets the agent, and then the lane, see a whole poll at once.
        """
        if len(waits) == 2 and self.flow_active and self.app.flow_control.is_active():
            hand_over, suspended = waits
            if asyncio.iscoroutine(hand_over) and asyncio.iscoroutine(suspended):
                suspended.close()
                return await hand_over
        return await super().wait_first(*waits, timeout=timeout)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109
        return await self._thread.getmany(active_partitions, min(timeout, POLL_TIMEOUT_S))

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class _ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Makes the aiokafka consumer from our configuration, TLS and SASL included."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        kafka: Kafka = self.app.kafka
        settings = kafka.consumer
        # The assignor keeps its memory in class attributes: a class for each consumer.
        self._assignor = type("_Sticky", (StickyPartitionAssignor,), {})
        return aiokafka.AIOKafkaConsumer(
            **client_options(kafka),
            group_id=self.app.conf.id,
            group_instance_id=settings.instance_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset=settings.auto_offset_reset,
            isolation_level="read_committed",
            max_poll_records=settings.max_poll_records,
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            session_timeout_ms=round(settings.session_timeout * 1000),
            heartbeat_interval_ms=round(settings.heartbeat_interval * 1000),
            max_partition_fetch_bytes=settings.fetch_max,
            fetch_max_bytes=max(settings.fetch_max, settings.fetch_response_max),
            fetch_max_wait_ms=round(settings.fetch_wait * 1000),
        )

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's
        max_records: int | None = None,
    ) -> dict[Any, list[Any]]:
        """A poll of up to ``POLL_MAX_BYTES``: small messages come by the hundred.

        aiokafka's own bound is a number of messages, to be set for the largest ones. What is
        added is there already: with no timeout and no rebalance under way nothing waits, so that
        all of a poll is of one generation.
        """
        fetch = super()._fetch_records
        found: dict[Any, list[Any]]
        found = await fetch(consumer, active_partitions, timeout=timeout, max_records=max_records)
        more, count, size = found, 0, 0
        while more:
            for records in more.values():
                count += len(records)
                size += sum(len(record.value or b"") for record in records)
            rebalancing = consumer._fetcher._subscriptions.reassignment_in_progress
            if size >= POLL_MAX_BYTES or count >= POLL_MAX_MESSAGES or rebalancing:
                break
            if not active_partitions or not self.consumer.flow_active:
                break
            more = await fetch(consumer, active_partitions, timeout=0, max_records=max_records)
            for tp, records in more.items():
                found.setdefault(tp, []).extend(records)
        return found

    async def on_thread_stop(self) -> None:
        # Without a broker aiokafka lets the cancellation of its own requests out of stop(); the
        # thread would die of it before it says that it has ended, and the app wait for ever.
        with contextlib.suppress(asyncio.CancelledError):
            await super().on_thread_stop()

    def answered(self, tp: TP) -> tuple[int, int, float] | None:
        """Position, end and time (Unix seconds) of the broker's last answer about ``tp``.

        The end is the last stable offset, which open transactions hold back. Read from another
        thread; the three may be a moment apart.
        """
        consumer = self._consumer
        subscription = consumer and consumer._subscription.subscription
        assignment = subscription and subscription.assignment
        state = assignment and assignment.state_value(aiokafka.TopicPartition(*tp))
        if state is None or state.timestamp is None or not state.has_valid_position:
            return None
        end = state.highwater if state.lso is None or state.lso < 0 else state.lso
        return None if end is None else (state.position, end, state.timestamp / 1000.0)

    @property
    def coordinated(self) -> bool:
        """The group's coordinator answers heartbeats."""
        consumer = self._consumer
        return consumer is not None and consumer._coordinator.coordinator_id is not None


class _Transport(driver.Transport):  # type: ignore[misc]
    Consumer = _Consumer


class _NoProducer(faust.App.BootStrategy):  # type: ignore[misc]
    """Faust's producer is not started: nothing is sent through it."""

    enable_kafka_producer = False
    enable_web = False


class FaustApp(faust.App):  # type: ignore[misc]
    """A Faust app with one agent, the intake, that leaves no files and serves no pages."""

    BootStrategy = _NoProducer
    host: FaustHost
    kafka: Kafka
    revocation_s: float

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Any:
        return _Transport(self.conf.broker_producer, self)

    def _create_directories(self) -> None:
        pass


def create_app(
    group: str, topics: tuple[str, ...], kafka: Kafka, runtime: Runtime, host: FaustHost
) -> FaustApp:
    """The app of one consumer group: a real agent that hands every event to the host."""
    app = FaustApp(
        group,
        broker=f"kafka://{kafka.brokers[0]}",
        web_enabled=False,
        store="memory://",
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        stream_wait_empty=False,
        # The agent never blocks, so its queue stays short; lanes bound the bytes.
        stream_buffer_maxsize=2 * (POLL_MAX_MESSAGES + kafka.consumer.max_poll_records),
        broker_commit_interval=runtime.commit_interval,
        broker_max_poll_records=kafka.consumer.max_poll_records,
        broker_session_timeout=kafka.consumer.session_timeout,
        broker_request_timeout=max(30.0, kafka.consumer.session_timeout),
        worker_redirect_stdouts=False,
    )
    app.host = host
    app.kafka = kafka
    app.revocation_s = min(5.0, kafka.consumer.session_timeout / 2)
    source = app.topic(
        *topics,
        key_type=bytes,
        key_serializer="raw",
        value_type=bytes,
        value_serializer="raw",
        allow_empty=True,
    )

    @app.agent(source, name="intake")  # type: ignore[untyped-decorator]
    async def intake(stream: Any) -> None:
        queue = stream.channel.queue
        async for event in stream.events():
            try:
                host.intake(event.message, more=not queue.empty())
            except Exception as error:
                host.fatal(error)

    return app

"""From a stage's table and the settings to the lane of one partition."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from schemas.batches import Batch, Record
from schemas.config import Config
from schemas.errors import PermanentError
from schemas.operators import Operator
from topologies.kafka import MESSAGE_OVERHEAD_BYTES

from .calls import Backoff, Calls, LastingCalls, SinkCalls
from .deadletter import dead_letter
from .finding import Place
from .journal import PIECE_MAX_BYTES
from .kafka_transactions import KafkaTransactions
from .lane import Lane, LaneLimits, LanePort
from .lane_contract import TransactionalLanePort, TransactionalLimits
from .preparing import READS_MAX, Ranges
from .ranges import RangeReader
from .stage import LastingSink
from .transactional_lane import TransactionalLane

if TYPE_CHECKING:
    from topologies.control.view import ControlView, LaneControl

    from .calls import Publisher
    from .clock import Clock
    from .metrics import LaneCounts
    from .ports import Log
    from .stage import Stage

__all__ = ["LaneMaker"]

LANE_MIN_BYTES = 1 << 16
"""Least share of ``runtime.lanes_max``."""


class _Port(LanePort, TransactionalLanePort, Protocol):
    """What lanes of both kinds ask of their host."""

    def lane_full(self, lane: Lane | TransactionalLane) -> None:
        """Fetch no more of this partition."""
        ...

    def lane_drained(self, lane: Lane | TransactionalLane) -> None:
        """Fetch again."""
        ...


class LaneMaker:
    """Makes and starts lanes; each has a sink or operators of its own."""

    def __init__(
        self,
        stage: Stage,
        config: Config,
        *,
        publisher: Publisher,
        port: _Port,
        clock: Clock,
        counts: Mapping[str, LaneCounts],
        log: Log,
        group: str,
        control: ControlView | None = None,
    ) -> None:
        self._stage = stage
        self._config = config
        self._runtime = config.runtime
        self._log = log
        self._group = group
        self._deadletter_topic = config.topics.names.deadletter
        self._publisher = publisher
        self._port = port
        self._clock = clock
        self._counts = counts
        self._control = control
        self._slots = asyncio.Semaphore(READS_MAX)

    def limit_bytes(self, partitions: int) -> int:
        """What one of so many lanes may hold."""
        share = self._runtime.lanes_max // max(1, partitions)
        return max(LANE_MIN_BYTES, min(self._runtime.lane_max, share))

    def make(
        self, topic: str, partition: int, generation: int, limit_bytes: int
    ) -> Lane | TransactionalLane:
        """A running lane."""
        lane: Lane | TransactionalLane
        if self._stage.operators is not None:
            operators = partial(self._stage.operators, topic, partition)
            lane = self._transactional(topic, partition, generation, limit_bytes, operators)
        else:
            lane = self._plain(topic, partition, generation, limit_bytes)
        lane.start()
        return lane

    def _plain(self, topic: str, partition: int, generation: int, limit_bytes: int) -> Lane:
        stage, runtime = self._stage, self._runtime
        limits = LaneLimits(stage.max_inflight, stage.merge_max_bytes, runtime.ahead_max)
        return Lane(
            topic,
            partition,
            generation,
            calls=self._calls(topic, partition),
            limits=limits,
            limit_bytes=limit_bytes,
            port=self._port,
            counts=self._counts[topic],
            control=self._lane_control(topic, partition),
        )

    def _transactional(
        self,
        topic: str,
        partition: int,
        generation: int,
        limit_bytes: int,
        operators: Callable[[int], Sequence[Operator]],
    ) -> TransactionalLane:
        config, runtime = self._config, self._runtime
        max_message = config.kafka.producer.max_message
        limits = TransactionalLimits(
            commit_interval_s=runtime.commit_interval,
            commit_max_bytes=runtime.commit_max,
            commit_max_batches=runtime.ahead_max,
            join_max_bytes=max_message if self._stage.merge_outputs else 0,
            record_max_bytes=max_message + MESSAGE_OVERHEAD_BYTES,
            snapshot_interval_s=runtime.snapshot_interval,
            piece_max_bytes=min(PIECE_MAX_BYTES, max_message),
            idle_tick_s=runtime.idle_tick,
            backoff=Backoff(runtime.retry_initial, runtime.retry_maximum),
            auto_offset_reset=config.kafka.consumer.auto_offset_reset,
        )
        journal = config.topics.names.journal_of(self._stage.name)
        transactional_id = f"{self._group}-{topic}-{partition}"
        return TransactionalLane(
            Place(topic, partition, self._group, journal),
            generation,
            make_operators=operators,
            scan=self._stage.scan,
            ranges=self._ranges(),
            make_transactions=lambda: KafkaTransactions(config.kafka, transactional_id),
            log=self._log,
            dead_letter=self._dead_letter,
            limits=limits,
            limit_bytes=limit_bytes,
            port=self._port,
            clock=self._clock,
            counts=self._counts[topic],
            kept=self._stage.kept,
            control=self._lane_control(topic, partition),
        )

    def _ranges(self) -> Ranges | None:
        stage, runtime = self._stage, self._runtime
        if stage.reads is None:
            return None
        reader = RangeReader(self._log, self._clock, stage.reads_max_bytes)
        backoff = Backoff(runtime.retry_initial, runtime.retry_maximum)
        return Ranges(stage.reads, reader, self._slots, backoff)

    def _lane_control(self, topic: str, partition: int) -> LaneControl | None:
        if self._control is None:
            return None
        return self._control.lane(self._stage.name, topic, partition)

    def _calls(self, topic: str, partition: int) -> Calls[Any]:
        common: dict[str, Any] = {
            "publisher": self._publisher,
            "dead_letter": self._dead_letter,
            "backoff": Backoff(self._runtime.retry_initial, self._runtime.retry_maximum),
            "clock": self._clock,
            "counts": self._counts[topic],
        }
        if self._stage.sink is not None:
            sink = self._stage.sink(topic, partition)
            if isinstance(sink, LastingSink):
                return LastingCalls(sink, **common)
            return SinkCalls(sink, **common)
        raise AssertionError("Stage sees to it that there is a sink or operators")

    def _dead_letter(self, batch: Batch, error: PermanentError) -> Record:
        now = self._clock.unix_ns()
        return dead_letter(self._deadletter_topic, self._stage.name, batch, error, now)

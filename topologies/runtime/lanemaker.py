"""From a stage's table and the settings to the lane of one partition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from schemas.batches import Batch, Record
from schemas.config import Config
from schemas.errors import PermanentError

from .calls import Backoff, Calls, SinkCalls
from .deadletter import dead_letter
from .lane import Lane, LaneLimits

if TYPE_CHECKING:
    from topologies.control.view import ControlView

    from .calls import Publisher
    from .clock import Clock
    from .lane import LanePort
    from .metrics import LaneCounts
    from .stage import Stage

__all__ = ["LaneMaker"]

LANE_MIN_BYTES = 1 << 16
"""Least share of ``runtime.lanes_max``."""


class LaneMaker:
    """Makes and starts lanes; each has a sink or an operator of its own."""

    def __init__(
        self,
        stage: Stage,
        config: Config,
        *,
        publisher: Publisher,
        port: LanePort,
        clock: Clock,
        counts: Mapping[str, LaneCounts],
        control: ControlView | None = None,
    ) -> None:
        self._stage = stage
        self._runtime = config.runtime
        self._deadletter_topic = config.topics.names.deadletter
        self._publisher = publisher
        self._port = port
        self._clock = clock
        self._counts = counts
        self._control = control

    def limit_bytes(self, partitions: int) -> int:
        """What one of so many lanes may hold."""
        share = self._runtime.lanes_max // max(1, partitions)
        return max(LANE_MIN_BYTES, min(self._runtime.lane_max, share))

    def make(self, topic: str, partition: int, generation: int, limit_bytes: int) -> Lane:
        """A running lane."""
        stage, runtime = self._stage, self._runtime
        limits = LaneLimits(stage.max_inflight, stage.merge_max_bytes, runtime.ahead_max)
        control = None
        if self._control is not None:
            control = self._control.lane(stage.name, topic, partition)
        lane = Lane(
            topic,
            partition,
            generation,
            calls=self._calls(topic, partition),
            limits=limits,
            limit_bytes=limit_bytes,
            port=self._port,
            counts=self._counts[topic],
            control=control,
        )
        lane.start()
        return lane

    def _calls(self, topic: str, partition: int) -> Calls:
        common: dict[str, Any] = {
            "publisher": self._publisher,
            "dead_letter": self._dead_letter,
            "backoff": Backoff(self._runtime.retry_initial, self._runtime.retry_maximum),
            "clock": self._clock,
            "counts": self._counts[topic],
        }
        if self._stage.sink is not None:
            return SinkCalls(self._stage.sink(topic, partition), **common)
        raise AssertionError("Stage sees to it that there is one")

    def _dead_letter(self, batch: Batch, error: PermanentError) -> Record:
        now = self._clock.unix_ns()
        return dead_letter(self._deadletter_topic, self._stage.name, batch, error, now)

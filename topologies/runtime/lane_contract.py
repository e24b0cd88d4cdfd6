"""What a transactional lane is told, and what it asks of its host."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from .calls import Backoff
    from .transactional_lane import TransactionalLane

__all__ = ["TransactionalLanePort", "TransactionalLimits"]


class TransactionalLimits(NamedTuple):
    """Settings of a lane; durations in seconds, sizes in bytes."""

    commit_interval_s: float
    commit_max_bytes: int
    commit_max_batches: int
    join_max_bytes: int
    record_max_bytes: int
    snapshot_interval_s: float
    piece_max_bytes: int
    idle_tick_s: float
    backoff: Backoff
    auto_offset_reset: str


class TransactionalLanePort(Protocol):
    """What a lane asks of its host."""

    def lane_full(self, lane: TransactionalLane) -> None:
        """Fetch no more of this partition."""
        ...

    def lane_drained(self, lane: TransactionalLane) -> None:
        """Fetch again."""
        ...

    async def lane_recovered(self, lane: TransactionalLane, position: int) -> None:
        """Fetch from ``position`` on."""
        ...

    def at_end(self, lane: TransactionalLane) -> bool:
        """The broker has said lately that this partition has nothing more."""
        ...

    def commit_took(self, seconds: float) -> None:
        """For the metrics."""
        ...

    def fenced(self, lane: TransactionalLane, error: BaseException) -> None:
        """Another process has the partition: end this one."""
        ...

    def fatal(self, error: BaseException) -> None:
        """A defect: end the process."""
        ...

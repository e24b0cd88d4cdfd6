"""The host of every stage: lanes, commits, health, metrics, logs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from .base import Settings
from .ingest import split_endpoint
from .units import Duration, Size

__all__ = ["Runtime", "Telemetry"]


class Runtime(Settings):
    """Lanes and their lives."""

    lane_max: Size = Field(default=8 << 20, ge=1 << 16, le=1 << 30)
    """Bytes queued and in flight per partition before its fetching pauses."""
    lanes_max: Size = Field(default=64 << 20, ge=1 << 20, le=64 << 30)
    """The same over all partitions of a stage in a process: many partitions get less each."""
    ahead_max: int = Field(default=10_000, ge=1, le=10_000_000)
    """Messages of a partition finished ahead of an unfinished one before it takes no more; what
    is read again after a crash."""
    commit_interval: Duration = Field(default=1.0, gt=0, le=60)
    """Finished offsets are committed this often; operators' transactions as well."""
    commit_max: Size = Field(default=4 << 20, ge=1 << 16, le=1 << 28)
    """A transaction with so many bytes of outputs is committed at once."""
    snapshot_interval: Duration = Field(default=30.0, gt=0, le=86_400)
    """Operators' state is written down this often: what a restart does not have to replay."""
    drain_timeout: Duration = Field(default=5.0, ge=0, le=300)
    """What is in flight may finish for so long at a stop or a revocation."""
    stop_timeout: Duration = Field(default=15.0, gt=0, le=600)
    """A stop that takes longer ends the process with an error."""
    idle_tick: Duration = Field(default=1.0, gt=0, le=60)
    """A lane at the end of its partition gets a tick this often."""
    retry_initial: Duration = Field(default=0.2, gt=0, le=60)
    """First pause after a retryable failure in a lane."""
    retry_maximum: Duration = Field(default=10.0, gt=0, le=600)
    """Longest pause after retryable failures in a lane."""
    restart_initial: Duration = Field(default=1.0, gt=0, le=60)
    """A supervised process that died starts again after this pause, doubled each time."""
    restart_maximum: Duration = Field(default=30.0, gt=0, le=600)
    """Longest pause before a restart."""


class Telemetry(Settings):
    """What a stage says about itself."""

    endpoint: str = "127.0.0.1:8888"
    """Address of /metrics, /livez and /readyz, host:port; port 0 for a free one."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log line that is written."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """json for machines, console for people; auto looks whether standard error is a terminal."""
    sampling_keys_max: int = Field(default=200, ge=0, le=100_000)
    """Sampling keys that metrics tell apart; all others are counted together as (other)."""

    @field_validator("endpoint")
    @classmethod
    def _is_endpoint(cls, endpoint: str) -> str:
        split_endpoint(endpoint)
        return endpoint

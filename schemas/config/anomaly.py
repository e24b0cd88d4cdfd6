"""Anomaly detection: what each series' detectors look at, and what they remember."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Settings
from .units import Duration

__all__ = ["DETECTORS", "Anomaly", "DetectorName"]

DetectorName = Literal["level", "season", "shape", "change"]
DETECTORS: tuple[DetectorName, ...] = ("level", "season", "shape", "change")
"""All detectors of a series, in the order of their numbers."""


class Anomaly(Settings):
    """Detectors, their memory, and how their scores become false alarms per day.

    Lengths of time are in points of the series: a point is one window of it.
    """

    detectors: tuple[DetectorName, ...] = DETECTORS
    """Which detectors look at every series."""
    sensitivity: float = Field(default=0.1, gt=0, le=1000, allow_inf_nan=False)
    """Expected false alarms per series and day for which `learning` is said; a rule has its own."""
    period: Duration | None = Field(default=None, ge=1, le=31 * 86_400)
    """Period of the seasonal envelope; unset: a day, or a shorter one that is found."""
    adaptation: int = Field(default=4000, ge=100, le=1_000_000)
    """Points after which a level or a spread that stays has become the usual one."""
    memory: int = Field(default=10_000, ge=200, le=30_000)
    """Points that a detector's past scores are remembered for, at least."""
    rate_memory: int = Field(default=30_000, ge=200, le=30_000)
    """Points that combined scores are remembered for, at least; the rarest alarm that can be told
    from chance depends on it."""
    dead_time: int = Field(default=60, ge=0, le=100_000)
    """Points after an alarm within which a further one belongs to the same episode."""
    warmup: int = Field(default=50, ge=20, le=10_000)
    """Past scores that a p-value needs."""
    extrapolation: float = Field(default=20.0, ge=1, le=1000)
    """How many times rarer than once in its history a series' alarm may be called."""

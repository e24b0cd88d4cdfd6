"""Anomaly detection: what each series' detectors look at, and what they remember."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Settings

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
    memory: int = Field(default=4000, ge=100, le=1_000_000)
    """Points after which a past score counts 1/e of a new one in calibration."""
    dead_time: int = Field(default=60, ge=0, le=100_000)
    """Points after an alarm within which a further one belongs to the same episode."""
    warmup: int = Field(default=30, ge=8, le=10_000)
    """Points without any score at the begin of a series."""
    extrapolation: float = Field(default=20.0, ge=1, le=1000)
    """How many times rarer than the rarest past point a score may be called."""

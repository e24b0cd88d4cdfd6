"""The stage between the topics that signals come on and those that exporters read."""

from __future__ import annotations

from pydantic import Field

from ..signals import Signal
from .base import Settings

__all__ = ["Shape"]


class Shape(Settings):
    """What is copied to the topics that exporters read."""

    signals: tuple[Signal, ...] = Field(default=tuple(Signal), min_length=1)
    """Signals that it takes; another stage may write what exporters read of the others. Traces
    are left to sampling where that is enabled."""

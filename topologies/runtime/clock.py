"""Time and chance, so that tests can hold them."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """What lanes know of time."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def unix_ns(self) -> int:
        """Wall time, Unix nanoseconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Come back after ``seconds``."""
        ...

    def jitter(self) -> float:
        """A number in [0, 1)."""
        ...


class SystemClock:
    """The machine's."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def unix_ns(self) -> int:
        """Wall time, Unix nanoseconds."""
        return time.time_ns()

    async def sleep(self, seconds: float) -> None:
        """Come back after ``seconds``."""
        await asyncio.sleep(seconds)

    def jitter(self) -> float:
        """A number in [0, 1)."""
        return random.random()  # noqa: S311 - spreads retries, guards nothing

"""When the operators of a lane get a tick, and what time it is then.

Operators know the broker's time, by their batches. A tick's time is the same clock, estimated:
the greatest timestamp there was, and what has passed since the last batch was taken. A worker
whose own clock is wrong does no harm by that; only where nothing has come ever, it is asked.
"""

from __future__ import annotations

from collections.abc import Callable

from .clock import Clock

__all__ = ["Ticks"]


class Ticks:
    """The ticks of one lane.

    Args:
        wake: called when one may be due.
    """

    def __init__(self, idle_tick_s: float, clock: Clock, wake: Callable[[], None]) -> None:
        self._idle_tick_s = idle_tick_s
        self._clock = clock
        self._wake = wake
        self._due = False
        self._taken_s = clock.monotonic()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._clock.sleep(self._idle_tick_s)
            self._due = True
            self._wake()

    def taken(self) -> None:
        """A batch was taken at this moment, or the lane has recovered."""
        self._taken_s = self._clock.monotonic()

    def due(self) -> bool:
        """Whether there may be one now; asked once for each."""
        due, self._due = self._due, False
        return due and self._clock.monotonic() - self._taken_s >= self._idle_tick_s

    def now_ms(self, watermark_ms: int) -> int:
        """The time of a tick, Unix milliseconds; ``watermark_ms`` 0: nothing has come ever."""
        if not watermark_ms:
            return self._clock.unix_ns() // 1_000_000
        return watermark_ms + round((self._clock.monotonic() - self._taken_s) * 1000)

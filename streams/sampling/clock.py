"""Sampling's time: the broker's, but that it never goes back.

A batch whose time is a little before that of another counts as that one: brokers' clocks differ,
and producers may set the time. But where a broker's clock was ahead, by an hour say, and is set
right, that hour would be waited for, and nothing decided meanwhile. So a time that is more than
``BACK_MS`` behind is taken for the clock having been set back: time goes on from where it is, as
fast as the batches' does, and is ahead of theirs from then on, until theirs has caught up.

Where it stands follows from the batches alone, and from what work orders say of those before.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BACK_MS", "Clock"]

BACK_MS = 30_000
"""Milliseconds that a batch's time may be behind another's without being taken for set back."""


class Clock(NamedTuple):
    """Where it stands after a batch; Unix milliseconds."""

    time_ms: int = 0
    ahead_ms: int = 0
    """Of the batches' times."""
    highest_ms: int = 0
    """The greatest time of a batch."""

    def after(self, timestamp_ms: int) -> Clock:
        """After the next batch."""
        highest_ms = max(self.highest_ms, timestamp_ms)
        ahead_ms = 0 if timestamp_ms >= self.time_ms - BACK_MS else self.ahead_ms
        if timestamp_ms + ahead_ms < self.time_ms - BACK_MS:
            ahead_ms = self.time_ms - timestamp_ms
        return Clock(max(self.time_ms, timestamp_ms + ahead_ms), ahead_ms, highest_ms)

    def at(self, now_ms: int) -> int:
        """The time when the batches' greatest one, and what has passed since, is ``now_ms``."""
        return self.time_ms + max(now_ms - self.highest_ms, 0)

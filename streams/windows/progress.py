"""How far a source partition is, and when it has to say so."""

from __future__ import annotations

__all__ = ["Progress"]

_REMINDERS = 3
"""So many times within the time after which nobody waits any longer."""


class Progress:
    """When an idle source partition speaks. Times are Unix milliseconds.

    Args:
        idle_after_ms: it is idle when so long nothing new has come.
        source_timeout_ms: a source that is silent for so long is no longer waited for.
    """

    def __init__(self, idle_after_ms: int, source_timeout_ms: int) -> None:
        self._idle_after_ms = idle_after_ms
        self._remind_ms = source_timeout_ms // _REMINDERS
        self.at_ms = 0
        """Broker's time of the newest message; 0: none has come."""
        self.now_ms = 0
        """Broker's time as far as known."""
        self.said_ms = 0
        """Progress in the last records."""
        self.idle = False
        """Whether it was idle at the last tick, and nothing has come since."""
        self._told_ms: int | None = None

    def came(self, timestamp_ms: int) -> None:
        """Note that a message has come."""
        self.at_ms = max(self.at_ms, timestamp_ms)
        self.now_ms = max(self.now_ms, timestamp_ms)
        self.idle = False
        self._told_ms = None

    def tick(self, now_ms: int) -> bool:
        """Note the time; whether it is to be said now that the partition is idle."""
        self.now_ms = max(self.now_ms, now_ms)
        if self.at_ms and self.now_ms - self.at_ms < self._idle_after_ms:
            return False
        self.idle = True
        if self._told_ms is not None and self.now_ms - self._told_ms < self._remind_ms:
            return False
        self._told_ms = self.now_ms
        return True

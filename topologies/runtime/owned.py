"""The producer that makes a lane the owner of its partition, one after another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from schemas.errors import PermanentError, RetryableError

from .calls import Backoff
from .clock import Clock
from .finding import Place
from .ports import Transactions

__all__ = ["OwnedProducer"]

STOP_TIMEOUT_S = 2.0
"""A producer that is given up is waited for no longer."""

_log = logging.getLogger(__name__)


class OwnedProducer:
    """Starts a lane's producer, gives it up after an error, and says when to try again."""

    def __init__(
        self, place: Place, make: Callable[[], Transactions], backoff: Backoff, clock: Clock
    ) -> None:
        self._place = place
        self._make = make
        self._backoff = backoff
        self._clock = clock
        self._current: Transactions | None = None
        self._failures = 0

    async def start(self) -> Transactions:
        """A new one; every earlier one of its id is fenced when this returns."""
        self._current = self._make()
        await self._current.start()
        return self._current

    def succeeded(self) -> None:
        """A transaction is committed: the next pause is a first one again."""
        self._failures = 0

    def failed(self, error: RetryableError | PermanentError) -> float:
        """Seconds to wait before the next start."""
        if isinstance(error, PermanentError):  # each refusal finds something out: no longer pause
            self._failures = 0
        self._failures += 1
        hint_s = error.retry_after_s if isinstance(error, RetryableError) else None
        pause_s = self._backoff.pause_s(self._failures, hint_s, self._clock.jitter())
        level = logging.WARNING if self._failures <= 1 else logging.INFO
        _log.log(level, "%s: recovers in %.1f s: %s", self._place, pause_s, error)
        return pause_s

    async def give_up(self) -> None:
        """Close it within a bounded time, in whatever state it is."""
        current, self._current = self._current, None
        if current is None:
            return
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await current.stop()
        except Exception as error:
            _log.info("%s: a producer did not close: %r", self._place, error)

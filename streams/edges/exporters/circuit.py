"""One backend's circuit: while it is dead, one request asks for all.

Closed, every request goes out. After ``OPEN_AFTER`` retryable failures without a success
between them the circuit opens: requests wait, and whenever the pause of the backoff is over
one of them goes out as the probe. Its success lets all others go; its failure starts the next,
longer pause. Any answer of the backend, also a refusal, is a success: it lives.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from schemas.config import Retry
from schemas.errors import BackendUnavailable, PermanentError

from .retry import Backoff

__all__ = ["OPEN_AFTER", "Circuit", "Permit"]

OPEN_AFTER = 3
"""Failures in a row that open the circuit; fewer are taken for accidents of single requests."""


class Circuit:
    """Shared by all requests to one backend, within one event loop.

    ``on_change(is_open)`` is called at each opening and closing.
    """

    def __init__(
        self,
        retry: Retry,
        rng: random.Random,
        on_change: Callable[[bool], None] = lambda _open: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # The circuit never gives up; whether a request does is that request's own affair.
        self._retry = retry.model_copy(update={"max_elapsed": None})
        self._rng = rng
        self._clock = clock
        self._on_change = on_change
        self._failures = 0
        self._backoff: Backoff | None = None
        self._probe_at_s = 0.0
        self._probing = False
        self._changed = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether requests wait for a probe."""
        return self._backoff is not None

    async def permit(self) -> Permit:
        """Wait until a request may go out, to be made inside ``with permit:``."""
        while self.is_open:
            if await self._wait():
                return Permit(self, probe=True)
        return Permit(self, probe=False)

    async def _wait(self) -> bool:
        """Wait for something to happen; True when the caller has become the probe."""
        if self._probing:
            await self._changed.wait()
            return False
        left_s = self._probe_at_s - self._clock()
        if left_s <= 0:
            self._probing = True
            return True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), left_s)
        return False

    def _left(self, probe: bool, error: BaseException | None) -> None:
        """A request is over; ``error`` is how it failed."""
        if error is None or isinstance(error, PermanentError):
            self._succeeded()
        elif isinstance(error, BackendUnavailable):
            self._failed(probe, error.retry_after_s)
        elif probe and self.is_open:  # cancelled on its way: the next in the queue probes
            self._probing = False
            self._wake()

    def _failed(self, probe: bool, wish_s: float | None) -> None:
        self._failures += 1
        if probe and self.is_open:
            self._probing = False
        elif self.is_open or self._failures < OPEN_AFTER:
            return  # one of few, or it left before the circuit opened and says nothing new
        if self._backoff is None:
            self._backoff = Backoff(self._retry, self._rng, self._clock)
            self._on_change(True)
        self._probe_at_s = self._clock() + (self._backoff.pause(wish_s) or 0.0)
        self._wake()

    def _succeeded(self) -> None:
        self._failures = 0
        if self._backoff is not None:
            self._backoff = None
            self._probing = False
            self._on_change(False)
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Permit:
    """Leave for one request; what happens inside ``with`` is its outcome."""

    __slots__ = ("_circuit", "_probe")

    def __init__(self, circuit: Circuit, *, probe: bool) -> None:
        self._circuit = circuit
        self._probe = probe

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._circuit._left(self._probe, error)

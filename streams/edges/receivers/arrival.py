"""The time and the room that a body may take while it arrives.

A body that is not whole after a short grace is late. From then on what it holds counts twice:
in the bound of the :class:`Admission` and in the half of it that late bodies share, so that slow
clients cannot shut out the others. A late body that finds no room there is refused, with a
retry hint.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from schemas.errors import Overloaded

from .admission import Reservation
from .answers import TooSlow

__all__ = ["Arrival"]

_LOOKS = 4
"""The grace is this many timers, one after another: a loop that was busy sees what has come
meanwhile before the last of them."""


class Arrival:
    """A context manager around the reading of one body.

    Args:
        reservation: what the body holds.
        grace_s: after this long it is late.
        timeout_s: after this long it is given up.
        limit: path of the setting that ``timeout_s`` is.
        late_bytes: what a late body holds at least, where nobody can tell how much has come.

    Raises:
        Overloaded: late, and others hold the share.
        TooSlow: given up.
    """

    __slots__ = (
        "_due_s", "_grace_s", "_late_bytes", "_limit", "_looks", "_loop", "_patience",
        "_refusal", "_reservation", "_timer",
    )  # fmt: skip

    def __init__(
        self,
        reservation: Reservation,
        *,
        grace_s: float,
        timeout_s: float,
        limit: str,
        late_bytes: int = 0,
    ) -> None:
        self._reservation = reservation
        self._late_bytes = late_bytes
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._due_s = self._loop.time() + timeout_s
        self._grace_s = min(grace_s, timeout_s)
        self._looks = 0
        self._refusal: Overloaded | None = None
        self._patience = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._patience.__aenter__()
        self._timer = self._loop.call_later(self._grace_s / _LOOKS, self._look)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._reservation.arrived()
        try:
            await self._patience.__aexit__(kind, error, trace)
        except TimeoutError:
            raise self._refusal or TooSlow(self._limit) from None

    def _look(self) -> None:
        self._looks += 1
        if self._looks < _LOOKS:
            self._timer = self._loop.call_later(self._grace_s / _LOOKS, self._look)
            return
        self._timer = None
        try:
            self._reservation.late(self._late_bytes)
        except Overloaded as refusal:
            self._refusal = refusal
            self._patience.reschedule(self._loop.time())
        else:
            self._patience.reschedule(self._due_s)

"""An acceptor that keeps what it gets, for tests and for small tools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from schemas.signals import Signal
from streams import wire

from .acceptor import Accepted

__all__ = ["CollectingAcceptor", "Received", "count_items"]


class Received(NamedTuple):
    """One request as the acceptor got it."""

    signal: Signal
    data: bytes
    headers: Mapping[str, str]


class CollectingAcceptor:
    """Keeps requests and counts items; refuses what is not a request of its signal."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.items: dict[Signal, int] = dict.fromkeys(Signal, 0)
        self._changed = asyncio.Condition()

    async def __call__(self, signal: Signal, data: bytes, headers: Mapping[str, str]) -> Accepted:
        """Keep one request. Raises MalformedMessage."""
        items = count_items(signal, data)
        async with self._changed:
            self.received.append(Received(signal, data, headers))
            self.items[signal] += items
            self._changed.notify_all()
        return Accepted()

    def of(self, signal: Signal) -> list[bytes]:
        """The requests of one signal, in order."""
        return [received.data for received in self.received if received.signal is signal]

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait until ``condition`` holds, looking after each request. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)


def count_items(signal: Signal, data: bytes) -> int:
    """Spans, data points or log records of a request. Raises MalformedMessage."""
    return wire.scan(signal, data).items

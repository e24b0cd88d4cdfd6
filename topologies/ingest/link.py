"""The way to the broker, and whether it is open just now.

While it is closed, callers are turned away at once instead of being queued: their clients hold
the data and know how to wait. One task goes on trying, so that it opens again by itself.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable

from aiokafka import AIOKafkaProducer

from schemas.batches import Record
from schemas.errors import BrokerUnavailable
from topologies.runtime.outbox import Outbox

__all__ = ["Link"]

_RECONNECT_S = 0.5
"""Pause between tries to reach a broker that is away."""

_log = logging.getLogger(__name__)


class Link:
    """Sends records and waits for acks=all; connects and reconnects in the background."""

    def __init__(self, create: Callable[[], AIOKafkaProducer]) -> None:
        self._outbox = Outbox(create)
        self._lost = asyncio.Event()
        self._lost.set()
        self._keeper: asyncio.Task[None] | None = None
        self._sent: dict[int, float] = {}
        self._numbers = itertools.count()
        self._acknowledged_at = 0.0

    @property
    def open(self) -> bool:
        """A producer is in place that has not failed."""
        return self._outbox.connected

    @property
    def stalled_s(self) -> float:
        """How long records wait while Kafka acknowledges none at all; 0 if none waits.

        One partition without a leader holds up its own records, not those of all others.
        """
        oldest = next(iter(self._sent.values()), None)
        return 0.0 if oldest is None else time.monotonic() - max(oldest, self._acknowledged_at)

    def start(self) -> None:
        """Begin to connect, and keep connected until :meth:`stop`."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        """Send what is pending, then close."""
        if self._keeper is not None:
            self._keeper.cancel()
        await self._outbox.stop()

    def known_partitions(self, topic: str) -> int | None:
        """As :meth:`partitions`, but at once; None if that has to be asked for."""
        return self._outbox.known_partitions(topic)

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has.

        Raises:
            BrokerUnavailable: the link is closed, or the topic is not known.
        """
        self._demand()
        return await self._outbox.partitions(topic)

    async def send(self, record: Record) -> None:
        """Send one record and wait until every in-sync replica has it.

        Raises:
            BrokerUnavailable: not acknowledged; it may be on the log nevertheless.
            MessageTooLarge: the topic allows no record of this size.
        """
        self._demand()
        number = next(self._numbers)
        self._sent[number] = time.monotonic()
        try:
            receipt = await self._outbox.enqueue([record])
            await receipt.acknowledged()
            self._acknowledged_at = time.monotonic()
        finally:
            del self._sent[number]
            if not self._outbox.connected:
                self._lost.set()

    def _demand(self) -> None:
        if not self._outbox.connected:
            raise BrokerUnavailable("Kafka is not reachable")

    async def _keep(self) -> None:
        while True:
            await self._lost.wait()
            try:
                await self._outbox.connect()
            except Exception as error:
                # Whatever it is (a certificate file that is just being renewed, say), it may
                # pass; giving up would leave a process that lives and refuses everything.
                _log.warning("Kafka is not reachable: %r", error)
                await asyncio.sleep(_RECONNECT_S)
            else:
                self._lost.clear()

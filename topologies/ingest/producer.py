"""A producer that is replaced when it cannot go on.

An idempotent producer whose batch expired or was refused out of order never recovers: its
sequence numbers have a gap. After any failed send this one is closed and another takes its
place, with a new producer id; meanwhile callers are turned away rather than queued.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from schemas.batches import Headers
from schemas.errors import BrokerUnavailable, MessageTooLarge

__all__ = ["RenewedProducer"]

_STOP_TIMEOUT_S = 2.0
"""A producer that is given up is waited for no longer."""

_log = structlog.get_logger(__name__)


class RenewedProducer:
    """Sends messages and waits for acks=all; ``available`` says whether it can just now."""

    def __init__(self, create: Callable[[], AIOKafkaProducer], backoff_s: float) -> None:
        self._create = create
        self._backoff_s = backoff_s
        self._producer: AIOKafkaProducer | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._senders: dict[AIOKafkaProducer, set[asyncio.Task[object]]] = {}
        self.renewals = 0

    @property
    def available(self) -> bool:
        """A started producer is in place."""
        return self._producer is not None

    def start(self) -> None:
        """Begin to connect; goes on trying until it succeeds or :meth:`stop`."""
        self._renewing = asyncio.get_running_loop().create_task(self._renew())

    async def ready(self) -> None:
        """Wait until a producer is in place."""
        if self._renewing is not None:
            await asyncio.shield(self._renewing)

    async def stop(self) -> None:
        """Send what is pending, then close."""
        if self._renewing is not None:
            self._renewing.cancel()
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has; asks the broker only when it is not known.

        Raises:
            BrokerUnavailable: there is no producer now, or the topic is not known.
        """
        producer = self._require()
        try:
            found = await producer.partitions_for(topic)
        except KafkaError as error:
            raise BrokerUnavailable(f"topic {topic} has no known partitions: {error}") from error
        return len(found)

    async def send(self, topic: str, value: bytes, partition: int, headers: Headers) -> None:
        """Send one message and wait until it is on the log of every in-sync replica.

        Raises:
            BrokerUnavailable: not acknowledged; it may be on the log nevertheless.
            MessageTooLarge: the topic or the client allows no message of this size.
        """
        producer = self._require()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("send runs in a task")
        self._senders[producer].add(task)
        try:
            acknowledged = await producer.send(
                topic, value, partition=partition, headers=list(headers)
            )
            await acknowledged
        except MessageSizeTooLargeError as error:
            # Refused by the broker, its sequence number is spent; later sends would fail too.
            self._give_up(producer, error)
            limit = producer._max_request_size
            raise MessageTooLarge("a message", len(value), f"topic {topic}", limit) from error
        except (KafkaError, ConnectionError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError):
                if self._producer is producer:
                    raise
                task.uncancel()  # ended by _renew, not by whoever waits for this task
            self._give_up(producer, error)
            raise BrokerUnavailable(f"Kafka did not take the message: {error!r}") from error
        finally:
            if producer in self._senders:
                self._senders[producer].discard(task)

    def _require(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise BrokerUnavailable("Kafka is not reachable")
        return self._producer

    def _give_up(self, producer: AIOKafkaProducer, error: BaseException) -> None:
        if self._producer is not producer:
            return
        _log.warning("producer replaced", cause=repr(error))
        self._producer = None
        self.renewals += 1
        self._renewing = asyncio.get_running_loop().create_task(self._renew(producer))

    async def _renew(self, old: AIOKafkaProducer | None = None) -> None:
        if old is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await old.stop()
            # What the closed producer still holds will never be answered by it.
            for task in self._senders.pop(old, set()):
                task.cancel()
        while True:
            producer = self._create()
            try:
                await producer.start()
            except (KafkaError, OSError) as error:
                _log.warning("Kafka is not reachable", cause=repr(error))
                with contextlib.suppress(Exception):
                    await producer.stop()
                await asyncio.sleep(self._backoff_s)
                continue
            self._senders[producer] = set()
            self._producer = producer
            return

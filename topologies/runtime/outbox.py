"""The one producer of a process, for operators' records and dead letters.

An idempotent producer cannot always go on after a failure: a record that the broker refused has
spent a sequence number, and every later send to that partition fails with
``OutOfOrderSequenceNumber``. So after any failed acknowledgement the producer is replaced by
another with a new producer id, and what the old one still held is reported as not acknowledged.
A record that was not acknowledged may be on the log nevertheless; sending it again repeats it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)

from schemas.batches import Record
from schemas.errors import BrokerUnavailable, MessageTooLarge

__all__ = ["Outbox", "Receipt"]

STOP_TIMEOUT_S = 2.0
"""A producer that is given up is waited for no longer."""

_DEFECTS = (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)
"""Trying again cannot help and the message is not to blame: the process ends."""

_log = logging.getLogger(__name__)


class Receipt:
    """Records on their way to Kafka."""

    __slots__ = ("_error", "_outbox", "_pending", "unacknowledged")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._pending: list[tuple[Record, _Generation, asyncio.Future[Any]]] = []
        self._error: Exception | None = None
        self.unacknowledged: list[Record] = []
        """After an error: what must be sent again, in order."""

    async def acknowledged(self) -> None:
        """Wait until all in-sync replicas have all records, over outages too.

        The producer itself sends again while a broker is away, as idempotence demands: there is
        no time limit here but :meth:`Outbox.stop`.

        Raises:
            BrokerUnavailable: they may not; ``unacknowledged`` says which.
            MessageTooLarge: the topic or our own limit allows no record of this size.
        """
        if self._pending:
            await asyncio.wait([future for _, _, future in self._pending])
        error, failed = self._error, []
        for record, generation, future in self._pending:
            refusal = BrokerUnavailable("given up") if future.cancelled() else future.exception()
            if refusal is not None:
                failed.append(record)
                self._outbox._give_up(generation, refusal)
                error = error or _translate(refusal, record)
        self.unacknowledged = failed + self.unacknowledged
        self._pending = []
        if error is not None:
            raise error


class _Generation:
    """A producer and what it has not answered."""

    __slots__ = ("outstanding", "producer")

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.producer = producer
        self.outstanding: set[asyncio.Future[Any]] = set()


class Outbox:
    """Sends records in the order given; connects when it is first needed."""

    def __init__(self, create: Callable[[], AIOKafkaProducer]) -> None:
        self._create = create
        self._current: _Generation | None = None
        self._connecting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self.replaced = 0
        """Producers given up so far."""

    @property
    def connected(self) -> bool:
        """A producer is in place that has not failed."""
        return self._current is not None

    async def connect(self) -> None:
        """Put a producer in place now. Raises what a failed start raises: KafkaError, OSError."""
        await self._connected()

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has, by the producer's own metadata.

        Raises:
            BrokerUnavailable: Kafka does not answer, or does not know the topic.
        """
        try:
            generation = await self._connected()
            return len(await generation.producer.partitions_for(topic))
        except (KafkaError, OSError) as error:
            raise BrokerUnavailable(f"partitions of {topic} are not known: {error!r}") from error

    def known_partitions(self, topic: str) -> int | None:
        """As :meth:`partitions`, but at once; None if that has to be asked for."""
        if self._current is None:
            return None
        known = self._current.producer.client.cluster.partitions_for_topic(topic)
        return len(known) if known else None

    async def enqueue(self, records: Sequence[Record]) -> Receipt:
        """Hand records to the producer. What it does not take is in the receipt as failed."""
        receipt = Receipt(self)
        for index, record in enumerate(records):
            try:
                generation = await self._connected()
                future = await generation.producer.send(
                    record.topic,
                    record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                )
            except (KafkaError, OSError) as error:
                receipt._error = _translate(error, record)
                receipt.unacknowledged = list(records[index:])
                break
            generation.outstanding.add(future)
            future.add_done_callback(generation.outstanding.discard)
            receipt._pending.append((record, generation, future))
        return receipt

    async def stop(self) -> None:
        """Send what is pending, for at most ``STOP_TIMEOUT_S``, and close."""
        current, self._current = self._current, None
        if current is not None:
            await self._close(current)
        if self._closing:
            await asyncio.wait(self._closing, timeout=STOP_TIMEOUT_S)

    async def _connected(self) -> _Generation:
        if self._current is not None:
            return self._current
        async with self._connecting:
            if self._current is None:
                producer = self._create()
                try:
                    await producer.start()
                except BaseException:
                    with contextlib.suppress(Exception):
                        await producer.stop()
                    raise
                self._current = _Generation(producer)
            return self._current

    def _give_up(self, generation: _Generation, cause: BaseException) -> None:
        if self._current is not generation:
            return
        _log.warning("producer replaced after %r", cause)
        self._current = None
        self.replaced += 1
        task = asyncio.get_running_loop().create_task(self._close(generation))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, generation: _Generation) -> None:
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await generation.producer.stop()
        except Exception as error:
            _log.warning("a producer did not close: %r", error)
        for future in list(generation.outstanding):
            future.cancel()


def _translate(error: BaseException, record: Record) -> Exception:
    if isinstance(error, MessageSizeTooLargeError):
        limit = f"topic {record.topic} or kafka.producer.max_message"
        return MessageTooLarge(f"a record ({error})", len(record.value), limit, 0)
    if isinstance(error, _DEFECTS) or not isinstance(
        error, KafkaError | OSError | BrokerUnavailable
    ):
        return error if isinstance(error, Exception) else RuntimeError(repr(error))
    return BrokerUnavailable(f"Kafka did not take a record for {record.topic}: {error!r}")

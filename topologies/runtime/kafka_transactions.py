"""A lane's transactions (ports.py) over aiokafka, and the traps that lie there.

Measured with aiokafka 0.14 on Kafka 4.1; each trap is named again where it is handled:

    T1  a failed send does not stop the commit: every send is awaited before
    T2  the committed offset reads old while a transaction is pending: lanes start their
        producer, which ends it, before they read (kafka_log.py)
    T3  ``stop()`` aborts nothing: readers wait for the next ``start()`` of the id
    T4  fenced: ``ProducerFenced`` once or twice, then ``AssertionError`` or ``IllegalOperation``
    T5  what the broker refused spends a sequence number: no producer goes on after an error
    T6  some requests are tried for ever inside: each transaction has a deadline, which is shorter
        than the coordinator's, so that a slow one is not taken for a fenced one
    T7  a cancelled commit happens all the same: it counts as in doubt, never as aborted
    T8  while one is committed nothing can be sent: the lane collects the next one meanwhile
    T9  the first sends of a transaction may be told to come again: a short pause inside the client
    T10 errors that are no KafkaError come out of it (KeyError, AssertionError): all are doubt
    T12 what goes to one partition at once is refused as one, whichever record is too large
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    IllegalOperation,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
)
from aiokafka.structs import OffsetAndMetadata

from schemas.batches import Record
from schemas.errors import BrokerUnavailable, ConfigurationError, OtlpStreamsError
from topologies.kafka import as_ours, create_producer, start_client

from .ports import Fenced, Offset, RecordsRefused

if TYPE_CHECKING:
    from schemas.config import Kafka

__all__ = ["KafkaTransactions"]

TRANSACTION_TIMEOUT_S = 60.0
"""The coordinator aborts what is open for longer, and fences its producer."""
COMMIT_TIMEOUT_S = 45.0
"""A transaction in doubt for so long is given up; see T6. Survives a broker that is away for 20 s
(its transaction then takes about 25 s)."""
START_TIMEOUT_S = 60.0
"""Within it the previous owner's transaction is over, whatever became of it."""
RETRY_BACKOFF_MS = 20
"""T9: the p99 of a transaction is 25 ms with it, 105 ms with aiokafka's 100."""
CLOSE_TIMEOUT_S = 1.0


class KafkaTransactions:
    """A transactional producer; of no use after its first error (T5)."""

    def __init__(self, kafka: Kafka, transactional_id: str) -> None:
        self._kafka = kafka
        self._id = transactional_id
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Fence earlier owners and wait until what they left open is over (T2, T3)."""
        producer = self._producer = create_producer(
            self._kafka,
            transactional_id=self._id,
            transaction_timeout_ms=round(TRANSACTION_TIMEOUT_S * 1000),
            retry_backoff_ms=RETRY_BACKOFF_MS,
        )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await start_client(producer, self._kafka)
        except TimeoutError:
            raise BrokerUnavailable(
                f"{self._id}: no producer id in {START_TIMEOUT_S:g} s"
            ) from None
        except ProducerFenced as error:
            raise Fenced(f"{self._id}: {error!r}") from error

    async def commit(
        self, records: Sequence[Record], offset: Offset | None, *, apart: bool = False
    ) -> Sequence[int]:
        """One whole transaction."""
        producer = self._producer
        if producer is None:
            raise BrokerUnavailable(f"{self._id}: not started")
        sends: list[asyncio.Future[Any]] = []
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):  # T6
                return await _commit(producer, records, offset, sends, apart=apart)
        except Exception as error:
            waiter = producer._txn_manager.wait_for_transaction_end()
            for each in sends if waiter is None else [*sends, waiter]:
                each.add_done_callback(_heard)
            raise self._translated(error, producer, records, sends) from error

    async def stop(self) -> None:
        """Close; a client that hangs is torn down."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await producer.stop()
        except (Exception, asyncio.CancelledError) as error:
            await _tear_down(producer)
            if isinstance(error, asyncio.CancelledError):
                raise

    def _translated(
        self,
        error: Exception,
        producer: AIOKafkaProducer,
        records: Sequence[Record],
        sends: Sequence[asyncio.Future[Any]],
    ) -> Exception:
        """T4, T6, T7, T10: who is fenced ends, what is too large is named, all else is doubt."""
        if isinstance(error, OtlpStreamsError):
            return error
        if _is_fenced(error, producer):
            return Fenced(f"{self._id}: another producer has this id ({error!r})")
        if isinstance(error, MessageSizeTooLargeError):
            # The client itself refuses before there is a send.
            indices = [n for n, each in enumerate(sends) if _too_large(each)] or [len(sends)]
            topic = records[indices[0]].topic
            return RecordsRefused(f"{topic} does not take a record: {error}", indices)
        if isinstance(error, KafkaError):
            ours = as_ours(error, f"transaction of {self._id}")
            if isinstance(ours, ConfigurationError):
                return ours
        return BrokerUnavailable(f"transaction of {self._id} is in doubt: {error!r}")


async def _commit(
    producer: AIOKafkaProducer,
    records: Sequence[Record],
    offset: Offset | None,
    sends: list[asyncio.Future[Any]],
    *,
    apart: bool,
) -> list[int]:
    """1. begin  2. hand over every record  3. the offset, once  4. await every record  5. commit.

    ``sends`` is filled, so that the caller knows of them after an error too. ``apart``: each
    record is awaited before the next one goes (T12).
    """
    await producer.begin_transaction()  # 1
    for record in records:  # 2
        send = await producer.send(
            record.topic,
            record.value,
            key=record.key,
            partition=record.partition,
            headers=list(record.headers),
        )
        sends.append(send)
        if apart:
            await send
    if offset is not None:  # 3
        position = OffsetAndMetadata(offset.offset, "")
        where = TopicPartition(offset.topic, offset.partition)
        await producer.send_offsets_to_transaction({where: position}, offset.group)
    found = [(await send).offset for send in sends]  # 4, T1
    if min(found, default=0) < 0:
        # A repeated send that the broker knew already; it does not say where it lies.
        raise BrokerUnavailable("the broker did not say an offset")
    await producer.commit_transaction()  # 5
    return found


def _is_fenced(error: BaseException, producer: AIOKafkaProducer) -> bool:
    if isinstance(error, ProducerFenced):
        return True
    manager = producer._txn_manager
    if not isinstance(error, AssertionError | IllegalOperation) or not manager.is_fatal_error():
        return False
    waiter = manager.wait_for_transaction_end()
    known = waiter is not None and waiter.done() and not waiter.cancelled()
    return isinstance(waiter.exception() if known else None, ProducerFenced)


def _too_large(send: asyncio.Future[Any]) -> bool:
    known = send.done() and not send.cancelled()
    return isinstance(send.exception() if known else None, MessageSizeTooLargeError)


def _heard(send: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more; its error is known by another."""
    if not send.cancelled():
        send.exception()


async def _tear_down(producer: AIOKafkaProducer) -> None:
    """What stop() leaves when a broker is away: a task that waits for its own tasks."""
    sender = producer._sender.sender_task
    for _ in range(8):
        if sender is None or sender.done():
            break
        sender.cancel()
        await asyncio.wait((sender,), timeout=0.01)
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await producer.client.close()

"""From a request to acknowledged Kafka messages.

    1. divide      validate, split by partition and size (division.py; on a thread when large)
    2. join        each part joins the open message of its partition and header set
    3. flush       an open message is sent when it is full or `linger` has passed
    4. acknowledge the request is answered when every message with a part of it is on the log

What is in flight is bounded in bytes. A broker that does not acknowledge turns requests away
with a retry hint; nothing that was answered with success is ever dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog

from schemas.batches import Headers
from schemas.config import Config
from schemas.errors import BrokerUnavailable, MessageTooLarge, Overloaded, RetryableError
from schemas.signals import Signal
from streams.edges.receivers import Accepted

from .division import Division, divide
from .messages import Address, Answer, OpenMessage
from .metrics import IngestMetrics
from .producer import RenewedProducer

__all__ = ["TENANT_HEADER", "Publisher"]

TENANT_HEADER = "tenant"
"""Kafka record header that carries the tenant; absent for the empty one."""

_THREAD_MIN_BYTES = 2 << 20
"""Larger requests are divided on a thread, so that the loop stays responsive."""

_log = structlog.get_logger(__name__)


class Publisher:
    """Publishes requests of every signal; one per process."""

    def __init__(self, config: Config, producer: RenewedProducer, metrics: IngestMetrics) -> None:
        self._settings = config.ingest
        self._names = config.topics.names
        self._max_message_bytes = config.kafka.producer.max_message
        self._producer = producer
        self._metrics = metrics
        self._open: dict[Address, OpenMessage] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._pending_bytes = 0
        self._unacknowledged: dict[OpenMessage, float] = {}

    async def accept(
        self, signal: Signal, data: bytes, headers: Mapping[str, str] | None = None
    ) -> Accepted:
        """Publish a receiver's request; returns once Kafka has acknowledged all of it.

        Args:
            signal: what the request holds.
            data: the bytes of an Export*ServiceRequest.
            headers: the client's request headers, lower case; they may name the tenant.

        Raises:
            MalformedMessage: not such a request.
            MessageTooLarge: every item exceeds what a message may hold.
            Overloaded: too many bytes are in flight.
            BrokerUnavailable: Kafka has not acknowledged in time.
        """
        division = await self.publish(signal, data, self.header_set(headers or {}))
        if division.oversized and len(division.oversized) == division.items:
            first = division.oversized[0]
            raise MessageTooLarge(
                f"{signal.item} {first.name!r}",
                first.size_bytes,
                "kafka.producer.max_message",
                self._max_message_bytes,
            )
        return Accepted(division.invalid + len(division.oversized), _explain(signal, division))

    def header_set(self, headers: Mapping[str, str]) -> Headers:
        """The Kafka headers of a request: what must not be mixed with others."""
        name = self._settings.tenant_header
        tenant = headers.get(name.lower(), "") if name else ""
        return ((TENANT_HEADER, tenant.encode()),) if tenant else ()

    async def publish(
        self, signal: Signal, data: bytes, headers: Headers, *, keep_invalid: bool = False
    ) -> Division:
        """Publish a request and wait for the acknowledgement; says what could not be taken."""
        if not data:
            return Division(0, [], 0, b"", [])
        self._admit(len(data))
        topic = self._names.of(signal)
        partitions = await self._partitions(topic)
        work = {
            "partitions": partitions,
            "partitioner": self._settings.partitioner,
            "logs_by": self._settings.logs_partition_by,
            "max_message_bytes": self._max_message_bytes,
            "keep_invalid": keep_invalid,
        }
        if len(data) > _THREAD_MIN_BYTES:
            division = await asyncio.to_thread(divide, signal, data, **work)
        else:
            division = divide(signal, data, **work)
        self._metrics.count(signal, division)
        answer = Answer(asyncio.get_running_loop().create_future())
        for partition, part in division.parts:
            self._join(Address(topic, partition, headers), part, answer)
        answer.arrived()
        try:
            async with asyncio.timeout(self._settings.publish_timeout):
                await answer.future
        except TimeoutError:
            self._metrics.refused.labels(reason="publish_timeout").inc()
            raise self._unavailable("Kafka has not acknowledged in time") from None
        return division

    @property
    def problem(self) -> str | None:
        """Why requests are turned away just now; None when they are not."""
        if not self._producer.available:
            return "Kafka is not reachable"
        if self._stalled_s() > self._settings.publish_timeout:
            return "Kafka does not acknowledge"
        if self._pending_bytes >= self._settings.inflight_max:
            return "ingest.inflight_max is reached"
        return None

    async def drain(self, timeout_s: float) -> None:
        """Send what is open and wait for what is in flight, at most ``timeout_s``."""
        for message in list(self._open.values()):
            self._flush(message)
        if self._sending:
            await asyncio.wait(self._sending, timeout=timeout_s)

    def _admit(self, size_bytes: int) -> None:
        if not self._producer.available:
            self._metrics.refused.labels(reason="broker_unavailable").inc()
            raise self._unavailable("Kafka is not reachable")
        if self._stalled_s() > self._settings.publish_timeout:
            self._metrics.refused.labels(reason="broker_stalled").inc()
            raise self._unavailable("Kafka does not acknowledge")
        # One request is always let in, however large, else it could never be.
        if self._pending_bytes and self._pending_bytes + size_bytes > self._settings.inflight_max:
            self._metrics.refused.labels(reason="inflight_max").inc()
            raise Overloaded("ingest.inflight_max is reached", self._settings.retry_after)

    def _unavailable(self, message: str) -> BrokerUnavailable:
        return BrokerUnavailable(message, self._settings.retry_after)

    def _stalled_s(self) -> float:
        """Age of the oldest message that is not acknowledged."""
        oldest = next(iter(self._unacknowledged.values()), None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    async def _partitions(self, topic: str) -> int:
        try:
            async with asyncio.timeout(self._settings.publish_timeout):
                return await self._producer.partitions(topic)
        except TimeoutError:
            raise self._unavailable("Kafka is not reachable") from None

    def _join(self, address: Address, part: bytes, answer: Answer) -> None:
        message = self._open.get(address)
        if message is not None and message.size_bytes + len(part) > self._max_message_bytes:
            self._flush(message)
            message = None
        if message is None:
            message = self._open[address] = OpenMessage(address)
            message.timer = asyncio.get_running_loop().call_later(
                self._settings.linger, self._flush, message
            )
        message.add(part, answer)
        self._pending_bytes += len(part)
        self._metrics.pending_bytes.set(self._pending_bytes)

    def _flush(self, message: OpenMessage) -> None:
        if message.timer is not None:
            message.timer.cancel()
        del self._open[message.address]
        self._unacknowledged[message] = time.monotonic()
        task = asyncio.get_running_loop().create_task(self._send(message))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, message: OpenMessage) -> None:
        address = message.address
        value = message.parts[0] if len(message.parts) == 1 else b"".join(message.parts)
        message.parts = []
        error: Exception | None = None
        try:
            await self._producer.send(address.topic, value, address.partition, address.headers)
        except RetryableError as raised:
            raised.retry_after_s = self._settings.retry_after
            error = raised
        except Exception as raised:
            # A request must be answered whatever went wrong; a defect stays visible in the log.
            _log.exception("publishing failed", topic=address.topic, partition=address.partition)
            error = raised
        finally:
            started = self._unacknowledged.pop(message)
            self._pending_bytes -= message.size_bytes
            self._metrics.pending_bytes.set(self._pending_bytes)
        self._metrics.message(address.topic, message.size_bytes, time.monotonic() - started, error)
        message.close(error)


def _explain(signal: Signal, division: Division) -> str:
    """The partial_success message; empty on full success."""
    said = []
    if division.invalid:
        said.append(f"{division.invalid} {signal.item}s without valid trace and span ids")
    if division.oversized:
        names = ", ".join(
            f"{item.name!r} ({item.size_bytes} bytes)" for item in division.oversized[:5]
        )
        said.append(
            f"{len(division.oversized)} {signal.item}s larger than a message may be: {names}"
        )
    return "; ".join(said)

"""From a request to acknowledged Kafka messages.

    1. admit       bytes in flight are bounded; a closed or stalled link turns requests away
    2. divide      validate, split by partition and size (division.py; on a thread when large)
    3. join        each part joins the open message of its partition and header set
    4. flush       a full message is sent at once; `linger` after the first of them was opened,
                   all open ones are sent, so that they share a produce request
    5. acknowledge the request is answered when every message with a part of it is on the log

Nothing that was answered with success is ever dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from time import perf_counter

from schemas.batches import Headers, Record
from schemas.config import Config
from schemas.errors import BrokerUnavailable, MessageTooLarge, OtlpStreamsError, Overloaded
from schemas.signals import Signal
from streams import wire
from streams.edges.receivers import Accepted

from .division import Division, Rules, divide
from .link import Link
from .messages import Address, Answer, OpenMessage
from .metrics import IngestMetrics

__all__ = ["TENANT_HEADER", "Publisher"]

TENANT_HEADER = "tenant"
"""Kafka record header that carries the tenant; absent for the empty one."""

_THREAD_MIN_BYTES = 2 << 20
"""Larger requests are divided on a thread, so that the loop stays responsive."""

_log = logging.getLogger(__name__)


class Publisher:
    """Publishes requests of every signal; one per process."""

    def __init__(self, config: Config, link: Link, metrics: IngestMetrics) -> None:
        self._settings = config.ingest
        self._topics = {signal: config.topics.names.of(signal) for signal in Signal}
        self._rules = Rules.of(config)
        self._link = link
        self._metrics = metrics
        self._open: dict[Address, OpenMessage] = {}
        self._linger: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._pending_bytes = 0
        metrics.watch_pending(lambda: self._pending_bytes)

    @property
    def problem(self) -> str | None:
        """Why requests are turned away just now; None when they are not."""
        if not self._link.open:
            return "Kafka is not reachable"
        if self._link.stalled_s > self._settings.publish_timeout:
            return "Kafka does not acknowledge"
        if self._pending_bytes >= self._settings.inflight_max:
            return "ingest.inflight_max is reached"
        return None

    async def accept(self, signal: Signal, data: bytes, headers: Mapping[str, str]) -> Accepted:
        """Publish a receiver's request; returns once Kafka has acknowledged all of it.

        Args:
            signal: what the request holds.
            data: the bytes of an Export*ServiceRequest.
            headers: the client's request headers, lower case; they may name the tenant.

        Raises:
            MalformedMessage: not such a request.
            MessageTooLarge: no item fits a message.
            Overloaded: too many bytes are in flight.
            BrokerUnavailable: Kafka has not acknowledged in time.
        """
        if not data:
            return Accepted()
        division = await self.divide(signal, data)
        if division.oversized and division.rejected == division.items:
            first = division.oversized[0]
            raise MessageTooLarge(
                f"{signal.item} {first.name!r}",
                first.size_bytes,
                "kafka.producer.max_message",
                self._rules.max_message_bytes,
            )
        await self.send(division, self._header_set(headers))
        return Accepted(division.rejected, division.explain())

    async def divide(self, signal: Signal, data: bytes, *, keep_rejected: bool = False) -> Division:
        """Admit and divide a request. Raises as :meth:`accept` does."""
        self._admit(len(data))
        topic = self._topics[signal]
        partitions = self._link.known_partitions(topic) or await self._partitions(topic)
        if len(data) > _THREAD_MIN_BYTES:
            return await asyncio.to_thread(
                divide, signal, data, partitions, self._rules, keep_rejected=keep_rejected
            )
        return divide(signal, data, partitions, self._rules, keep_rejected=keep_rejected)

    async def send(self, division: Division, headers: Headers) -> None:
        """Send the parts and wait until all are acknowledged. Raises BrokerUnavailable."""
        self._metrics.count(division)
        loop = asyncio.get_running_loop()
        answer = Answer(loop.create_future())
        topic = self._topics[division.signal]
        for partition, part in division.parts:
            self._join(Address(topic, partition, headers), part, answer)
        answer.arrived()
        # One timer a request; asyncio.timeout costs as much again as all of this.
        patience = loop.call_later(self._settings.publish_timeout, self._late, answer)
        try:
            await answer.future
        finally:
            patience.cancel()

    async def drain(self, timeout_s: float) -> None:
        """Send what is open and wait for what is in flight, at most ``timeout_s``."""
        self._flush_all()
        if self._sending:
            await asyncio.wait(self._sending, timeout=timeout_s)

    def _header_set(self, headers: Mapping[str, str]) -> Headers:
        name = self._settings.tenant_header
        # HTTP header bytes that are no UTF-8 come as surrogates; they go on as they were.
        tenant = headers.get(name.lower(), "").encode("utf-8", "surrogateescape") if name else b""
        if len(tenant) > self._settings.tenant_max:
            limit = self._settings.tenant_max
            raise MessageTooLarge("the tenant's name", len(tenant), "ingest.tenant_max", limit)
        return ((TENANT_HEADER, tenant),) if tenant else ()

    def _admit(self, size_bytes: int) -> None:
        if not self._link.open:
            raise self._unavailable("broker_unavailable", "Kafka is not reachable")
        if self._link.stalled_s > self._settings.publish_timeout:
            raise self._unavailable("broker_stalled", "Kafka does not acknowledge")
        # One request is always let in, however large, else it could never be.
        if self._pending_bytes and self._pending_bytes + size_bytes > self._settings.inflight_max:
            self._metrics.refused.labels(reason="inflight_max").inc()
            raise Overloaded("ingest.inflight_max is reached", self._settings.retry_after)

    def _late(self, answer: Answer) -> None:
        if not answer.future.done():
            answer.give_up(
                self._unavailable("publish_timeout", "Kafka has not acknowledged in time")
            )

    def _unavailable(self, reason: str, message: str) -> BrokerUnavailable:
        self._metrics.refused.labels(reason=reason).inc()
        return BrokerUnavailable(message, self._settings.retry_after)

    async def _partitions(self, topic: str) -> int:
        try:
            async with asyncio.timeout(self._settings.publish_timeout):
                return await self._link.partitions(topic)
        except TimeoutError:
            raise self._unavailable("metadata_timeout", f"{topic}: no metadata in time") from None
        except BrokerUnavailable as error:
            raise self._unavailable("broker_unavailable", str(error)) from error

    def _join(self, address: Address, part: bytes, answer: Answer) -> None:
        message = self._open.get(address)
        if message is not None and message.size_bytes + len(part) > self._rules.max_message_bytes:
            self._flush(message)
            message = None
        if message is None:
            message = self._open[address] = OpenMessage(address)
            if self._linger is None:
                loop = asyncio.get_running_loop()
                self._linger = loop.call_later(self._settings.linger, self._flush_all)
        message.add(part, answer)
        self._pending_bytes += len(part)

    def _flush_all(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        opened, self._open = self._open, {}
        for message in opened.values():
            self._flush(message)

    def _flush(self, message: OpenMessage) -> None:
        # A task each: a partition whose leader is away holds up no other one.
        task = asyncio.get_running_loop().create_task(self._send(message))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, message: OpenMessage) -> None:
        address = message.address
        record = Record(
            address.topic, wire.merge(message.parts), address.partition, headers=address.headers
        )
        message.parts = []
        error: Exception | None = None
        began_s = perf_counter()
        try:
            await self._link.send(record)
        except BrokerUnavailable as raised:
            error = BrokerUnavailable(str(raised), self._settings.retry_after)
        except Exception as raised:
            # The requests must be answered whatever it was; what is no error of ours is a
            # defect and stays visible.
            if not isinstance(raised, OtlpStreamsError):
                _log.exception("publishing to %s failed", address.topic)
            error = raised
        if error is None:
            self._metrics.acknowledged(address.topic, message.size_bytes, perf_counter() - began_s)
        else:
            self._metrics.failed(address.topic)
        self._pending_bytes -= message.size_bytes
        message.close(error)

"""Writes to ``audit``. Changes are rare, so no producer is kept for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import deque

from aiokafka.errors import KafkaError

from schemas.config import Config
from schemas.errors import OtlpStreamsError
from schemas.records import Audit
from topologies.kafka import as_ours, create_producer, start_client

from .metrics import ControlMetrics

__all__ = ["STOP_TIMEOUT_S", "AuditWriter", "this_worker"]

PENDING_MAX = 1000
"""Records that wait for a Kafka that is away; the oldest go first."""
RETRY_S = 5.0
STOP_TIMEOUT_S = 2.0

_log = logging.getLogger(__name__)


def this_worker() -> str:
    """Host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


class AuditWriter:
    """Takes records and writes them in order, again until Kafka has them."""

    def __init__(self, config: Config, metrics: ControlMetrics) -> None:
        self._config = config
        self._metrics = metrics
        self._pending: deque[Audit] = deque()
        self._task: asyncio.Task[None] | None = None

    def write(self, record: Audit) -> None:
        """Return at once."""
        if len(self._pending) >= PENDING_MAX:
            lost = self._pending.popleft()
            self._metrics.audits.labels("lost").inc()
            _log.error("audit: lost, Kafka does not take it: %s", lost.encode().decode())
        self._pending.append(record)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Write what is left, within a bounded time."""
        if self._task is None:
            return
        await asyncio.wait((self._task,), timeout=STOP_TIMEOUT_S)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        for lost in self._pending:
            self._metrics.audits.labels("lost").inc()
            _log.error("audit: not written before the stop: %s", lost.encode().decode())

    async def _work(self) -> None:
        while self._pending:
            try:
                await self._send()
            except OtlpStreamsError as error:
                _log.warning("audit: %s; next try in %g s", error, RETRY_S)
                await asyncio.sleep(RETRY_S)

    async def _send(self) -> None:
        kafka = self._config.kafka
        producer = create_producer(kafka)
        await start_client(producer, kafka)
        topic = self._config.topics.names.audit
        try:
            while self._pending:
                record = self._pending[0]
                await producer.send_and_wait(topic, record.encode(), key=record.name.encode())
                self._pending.popleft()
                self._metrics.audits.labels("written").inc()
        except (KafkaError, OSError, TimeoutError) as error:
            raise as_ours(error, f"topic {topic}") from error
        finally:
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await producer.stop()

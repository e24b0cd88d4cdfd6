"""Follows ``control``: the newest value of each name, from the topic's beginning, for ever.

A plain consumer, no group: every process reads all of it. What cannot be read, or is no value
that its setting can have, is counted, logged and ignored: the value before it stays in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry

from schemas.config import Config
from schemas.control import LOG_LEVEL, ControlSetting, control_settings
from schemas.errors import BrokerUnavailable
from schemas.records import Audit, Control, MalformedRecord, Value
from streams.edges.platform import set_log_level
from topologies.kafka import as_ours, create_consumer, start_client

from .audit import STOP_TIMEOUT_S, AuditWriter, this_worker
from .metrics import ControlMetrics
from .view import ControlView

__all__ = ["ControlFollower", "Wanted", "read_control"]

AUDIT_WAIT_S = 5.0
"""A lane that has not come to a boundary by then is in the audit without an offset."""
RETRY_S = 2.0
_POLL_MS = 1000

_log = logging.getLogger(__name__)


class Wanted(NamedTuple):
    """A value that somebody set. ``control`` None: the name's record was deleted."""

    name: str
    value: Value
    offset: int
    control: Control | None


def read_control(
    key: bytes | None, value: bytes | None, offset: int, settings: Mapping[str, ControlSetting]
) -> Wanted | str:
    """What a message on the topic wants, or a label that says why nothing.

    Raises:
        NewerVersion: a newer release wrote it.
        MalformedRecord: it is no control record, or its key is not its name.
    """
    if not value:
        control, name, wanted = None, (key or b"").decode("utf-8", "replace"), None
    else:
        control = Control.decode(value)
        name, wanted = control.name, control.value
        if key != name.encode():
            raise MalformedRecord(f"no Control record: its key {key!r} is not its name {name!r}")
    if name not in settings:
        return "unknown"
    if not settings[name].valid(wanted):
        return "invalid"
    return Wanted(name, wanted, offset, control)


class ControlFollower:
    """One a process.

    Args:
        config: the whole configuration.
        stages: names of the stages that run in this process.
        registry: where metrics appear.
    """

    def __init__(self, config: Config, stages: Sequence[str], registry: CollectorRegistry) -> None:
        self.view = ControlView(control_settings(config))
        self._config = config
        self._stages = tuple(stages)
        self._partition = TopicPartition(config.topics.names.control, 0)
        self._metrics = ControlMetrics(registry)
        self._audit = AuditWriter(config, self._metrics)
        self._began_ns = time.time_ns()
        self._effects: Mapping[str, Callable[[Any], None]] = {LOG_LEVEL: set_log_level}
        self._next = 0
        self._consumer: AIOKafkaConsumer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when the current values are in force; follow from then on.

        Waits for Kafka as long as it takes. Raises ConfigurationError if Kafka refuses us.
        """
        while True:
            try:
                self._consumer = await self._begin()
                break
            except BrokerUnavailable as error:
                _log.warning("%s; next try in %g s", error, RETRY_S)
                await asyncio.sleep(RETRY_S)
        self._following = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        """End; audit records that are under way are written within a bounded time."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        await self._close()
        if self._tasks:
            # The lanes are gone, so there is nothing more to wait for.
            _, late = await asyncio.wait(list(self._tasks), timeout=STOP_TIMEOUT_S)
            for task in late:
                task.cancel()
        await self._audit.stop()
        self._metrics.close()

    async def _begin(self) -> AIOKafkaConsumer:
        """A consumer that stands where the topic ended; what is before it is in force."""
        consumer = await self._open()
        try:
            end = (await consumer.end_offsets([self._partition]))[self._partition]
            newest: dict[str, Wanted] = {}
            while await consumer.position(self._partition) < end:
                for wanted in await self._poll(consumer):
                    newest[wanted.name] = wanted
        except (KafkaError, OSError, TimeoutError) as error:
            await _close(consumer)
            raise as_ours(error, f"topic {self._partition.topic}") from error
        except BaseException:
            await _close(consumer)
            raise
        for wanted in sorted(newest.values(), key=lambda each: each.offset):
            self._apply(wanted, at_start=True)
        return consumer

    async def _open(self) -> AIOKafkaConsumer:
        kafka = self._config.kafka
        consumer = create_consumer(kafka, auto_offset_reset="earliest")
        await start_client(consumer, kafka)
        consumer.assign([self._partition])
        consumer.seek(self._partition, self._next)
        return consumer

    async def _follow(self) -> None:
        while True:
            try:
                if self._consumer is None:
                    self._consumer = await self._open()
                while True:
                    for wanted in await self._poll(self._consumer):
                        self._apply(wanted)
            except Exception as error:  # the values in force stay; telemetry flows on
                _log.warning("control is not followed: %s; next try in %g s", error, RETRY_S)
            await self._close()
            await asyncio.sleep(RETRY_S)

    async def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _close(consumer)

    async def _poll(self, consumer: AIOKafkaConsumer) -> list[Wanted]:
        found = await consumer.getmany(timeout_ms=_POLL_MS)
        wanted = []
        for record in (record for batch in found.values() for record in batch):
            self._next = record.offset + 1
            self._metrics.offset.set(record.offset)
            each = self._read(record)
            if isinstance(each, Wanted):
                wanted.append(each)
        return wanted

    def _read(self, record: Any) -> Wanted | None:
        try:
            read = read_control(record.key, record.value, record.offset, self.view.settings)
        except MalformedRecord as error:
            result, why = error.reason, str(error)
        else:
            if isinstance(read, Wanted):
                return read
            result, why = read, f"{record.key!r} has such a name or value"
        self._metrics.records.labels(result).inc()
        # A name that only another configuration knows is nothing to worry about.
        level = logging.DEBUG if result == "unknown" else logging.WARNING
        _log.log(level, "control record %d ignored, %s: %s", record.offset, result, why)
        return None

    def _apply(self, wanted: Wanted, *, at_start: bool = False) -> None:
        name, value = wanted.name, wanted.value
        if value == self.view.explicit(name):
            self._metrics.records.labels("unchanged").inc()
            return
        self._metrics.records.labels("applied").inc()
        application = self.view.change(name, value)
        if effect := self._effects.get(name):
            effect(self.view.current(name))
        setting = self.view.settings[name]
        if setting.stage is not None and not any(map(setting.concerns, self._stages)):
            return
        control = wanted.control
        who = control.who if control else "unknown (record deleted)"
        shown = setting.shown(self.view.current(name))
        _log.info("%s is now %s, set by %s", name, shown, who)
        record = Audit(
            id=f"{this_worker()}:{self._began_ns}:{wanted.offset}",
            action="applied",
            name=name,
            before=application.before,
            after=value,
            who=who,
            at=datetime.now(UTC),
            reason=control.reason if control else "",
            control_offset=wanted.offset,
            stages=self._stages,
            worker=this_worker(),
            at_start=at_start,
        )

        async def audit() -> None:
            ranges = await application.complete(AUDIT_WAIT_S)
            self._audit.write(record.model_copy(update={"ranges": ranges}))

        task = asyncio.get_running_loop().create_task(audit())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _close(consumer: AIOKafkaConsumer) -> None:
    # Without a broker aiokafka lets the cancellation of its own requests out of stop().
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await consumer.stop()

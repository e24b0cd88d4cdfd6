"""The notify stage: one worker and one consumer group per target.

    alerts, and alerts.state at the start  ->  an Alertmanager, a webhook, Slack or PagerDuty

``run(config, target)`` is the whole worker. Kafka is the queue: a transition is committed when its
target knows of it, need not know of it, or knows of a later one of the same alert. A target that is
away holds up its own group only, and in memory is one transition an alert, at most
``max_pending``; what is told when it is back is how things are then.

What fires at the start is read from ``alerts.state``. Of that the target was told, unless the
transition comes again on ``alerts``: then it was not committed. So a restart forgets nothing that
fires, and tells again only what was under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

from schemas.batches import Batch
from schemas.config import Config
from schemas.control import ALERT_SILENCES
from schemas.errors import OtlpStreamsError
from schemas.records import AlertEvent, MalformedRecord, Value
from schemas.records.silences import Silences
from streams.edges.notifiers import (
    Known,
    Notifier,
    NotifierMetrics,
    Sender,
    Start,
    TargetMetrics,
    create_sender,
    of_event,
)
from streams.edges.platform import create_registry
from topologies.alerts import read_state
from topologies.runtime import Stage, serve
from topologies.tap import Message, follow

__all__ = ["NotifySink", "run", "stage", "start_of"]

UNSAID = ("pending", "inactive")
"""States that nobody is told of."""
RETRY_S = 2.0

_log = logging.getLogger(__name__)

ReadState = Callable[[], AsyncGenerator[Message, None]]


class NotifySink:
    """Tells one target of what is on the partition of ``alerts`` (a runtime.LastingSink)."""

    def __init__(
        self,
        name: str,
        notifier: Notifier,
        metrics: TargetMetrics,
        read_state: ReadState,
        link: str = "",
    ) -> None:
        self._name = name
        self._notifier = notifier
        self._metrics = metrics
        self._read_state = read_state
        self._link = link
        self._beginning: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Find out what fires, then work."""
        self._beginning = asyncio.get_running_loop().create_task(self._begin())

    async def deliver(self, batches: Sequence[Batch]) -> None:
        """Return when nothing of these transitions remains to be told.

        Raises MalformedRecord, BackendRefused, RetriesExhausted or TooManyAlerts.
        """
        for batch in batches:
            try:
                event = AlertEvent.of(batch.headers, batch.value)
            except MalformedRecord:
                self._metrics.transitions["malformed"].inc()
                raise
            if event.state in UNSAID:
                self._metrics.transitions["unsaid"].inc()
                continue
            await self._notifier.deliver(of_event(event, self._link))

    def adjust(self, name: str, value: Value) -> None:
        """Silences, or whether the target is told at all."""
        if name == ALERT_SILENCES:
            try:
                self._notifier.silence(Silences.of_text(str(value or "")))
            except MalformedRecord as error:  # what was valid when it was set
                _log.warning("%s: silences stay as they were: %s", self._name, error)
        elif name == f"notify.enabled.{self._name}":
            self._notifier.hold("paused", value is False)

    def freeze(self) -> None:
        """Begin nothing."""
        self._notifier.hold("frozen", True)

    async def idle(self) -> None:
        """Wait until no request is under way."""
        await self._notifier.idle()

    def thaw(self) -> None:
        """Go on."""
        self._notifier.hold("frozen", False)

    def close(self) -> None:
        """Stop for good."""
        if self._beginning is not None:
            self._beginning.cancel()
        self._notifier.close()

    async def _begin(self) -> None:
        try:
            await self._recall()
        except Exception as error:
            self._notifier.fail(error)

    async def _recall(self) -> None:
        while True:
            try:
                start = await start_of(self._read_state(), self._link)
            except OtlpStreamsError as error:
                _log.warning("%s: %s; next try in %g s", self._name, error, RETRY_S)
                await asyncio.sleep(RETRY_S)
            else:
                break
        self._notifier.begin(start)
        _log.info("%s: %d alerts fire at the start", self._name, len(start.firing))


async def start_of(messages: AsyncGenerator[Message, None], link: str = "") -> Start:
    """What is known at the start, from the messages of ``alerts.state``."""
    start = Start({}, {}, set())
    states = read_state(messages)
    async with contextlib.aclosing(states):
        async for fingerprint, event in states:
            start.firing.pop(fingerprint, None)
            start.newest.pop(fingerprint, None)
            start.unsaid.discard(fingerprint)
            if event is None:
                continue
            if event.state in UNSAID:
                start.unsaid.add(fingerprint)
                continue
            start.newest[fingerprint] = Known(event.id, event.at.timestamp())
            if event.active:
                start.firing[fingerprint] = of_event(event, link)
    return start


def stage(config: Config, target: str, sender: Sender, metrics: TargetMetrics) -> Stage:
    """The table of one target's worker."""
    settings, names = config.notify.targets[target], config.topics.names

    notifiers = dict[int, Notifier]()

    def state() -> AsyncGenerator[Message, None]:
        return follow(config.kafka, names.alerts_state, from_beginning=True, to_end=True)

    def sink(_topic: str, partition: int) -> NotifySink:
        notifier = notifiers[partition] = Notifier(target, settings, sender, metrics)
        return NotifySink(target, notifier, metrics, state, config.notify.external_url)

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        await sender.start()
        try:
            yield
        finally:
            await sender.stop()

    def warnings() -> Mapping[str, str]:
        away = not all(notifier.is_up for notifier in notifiers.values())
        return {"target": "does not answer; alerts wait for it in Kafka"} if away else {}

    return Stage(
        name=f"notify.{target}",
        topics=(names.alerts,),
        sink=sink,
        reads_topics=(names.alerts_state,),
        max_inflight=settings.max_pending,
        merge_max_bytes=0,
        lifespan=lifespan,
        warnings=warnings,
    )


async def run(config: Config, target: str) -> None:
    """Notify ``target`` until SIGTERM."""
    registry = create_registry()
    metrics = NotifierMetrics(registry).of(target)
    sender = create_sender(config.notify, target)
    await serve(stage(config, target, sender, metrics), config, registry=registry)

"""Alerts as they lie on ``alerts`` and ``alerts.state``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Collection
from typing import NamedTuple, get_args

from schemas.config import Config
from schemas.errors import ConfigurationError
from schemas.records import AlertEvent, MalformedRecord
from schemas.records.alerts import ALERT_TYPE, AlertState
from streams.edges.notifiers.matching import Matching
from topologies.kafka import list_topics
from topologies.tap import Message, follow

__all__ = ["Filters", "current", "history", "read_state"]

_ORDER = ("firing", "no_data", "pending", "resolved", "inactive")

_log = logging.getLogger(__name__)


class Filters(NamedTuple):
    """Which alerts are meant; an empty field means all."""

    rule: str = ""
    service: str = ""
    states: Collection[str] = ()
    matching: Matching = Matching(())
    """Of labels."""

    def accept(self, event: AlertEvent) -> bool:
        """Whether this one is."""
        return (
            self.rule in ("", event.rule)
            and self.service in ("", event.labels.get("service", ""))
            and (not self.states or event.state in self.states)
            and self.matching(event.labels)
        )


async def current(config: Config, filters: Filters) -> list[AlertEvent]:
    """What each alert is now: firing ones first, then by when they came to be so.

    Raises:
        ConfigurationError: there is no such topic, or Kafka refuses us.
        BrokerUnavailable: Kafka is away.
    """
    topic = config.topics.names.alerts_state
    await _exists(config, topic)
    found = dict[str, AlertEvent]()
    states = read_state(follow(config.kafka, topic, from_beginning=True, to_end=True))
    async with contextlib.aclosing(states):
        async for fingerprint, event in states:
            if event is not None and filters.accept(event):
                found[fingerprint] = event
            else:
                found.pop(fingerprint, None)
    return sorted(found.values(), key=lambda each: (_ORDER.index(each.state), each.at, each.id))


async def history(
    config: Config, filters: Filters, since_ms: int = 0
) -> tuple[list[AlertEvent], int]:
    """What alerts have become, each transition once, oldest first; and how many were no alerts.

    ``since_ms`` is by the broker's clock, Unix milliseconds. Raises as :func:`current`.
    """
    topic = config.topics.names.alerts
    await _exists(config, topic)
    found = dict[str, AlertEvent]()
    unreadable = 0
    messages = follow(config.kafka, topic, from_beginning=True, since_ms=since_ms, to_end=True)
    async with contextlib.aclosing(messages):
        async for message in messages:
            try:
                event = AlertEvent.of(message.headers, message.value)
            except MalformedRecord:
                unreadable += bool(message.value)
                continue
            if filters.accept(event):
                found.setdefault(event.id, event)
    return sorted(found.values(), key=lambda each: each.at), unreadable


async def read_state(
    messages: AsyncGenerator[Message, None],
) -> AsyncGenerator[tuple[str, AlertEvent | None], None]:
    """Fingerprints and what became of them, from messages of ``alerts.state``; the last one counts.

    None: it was taken away. What is no alert's is passed over.
    """
    async with contextlib.aclosing(messages):
        async for message in messages:
            if not message.value:
                yield (message.key or b"").decode("utf-8", "replace"), None
                continue
            kind = dict(message.headers).get("ce_type", b"").decode("utf-8", "replace")
            if kind.removeprefix(ALERT_TYPE) not in get_args(AlertState):
                continue  # detect remembers other things there
            try:
                event = AlertEvent.of(message.headers, message.value)
            except MalformedRecord as error:
                place = f"{message.topic} partition {message.partition} offset {message.offset}"
                _log.warning("%s ignored: %s", place, error)
                continue
            yield event.fingerprint, event


async def _exists(config: Config, topic: str) -> None:
    if topic not in await list_topics(config.kafka, [topic]):
        raise ConfigurationError(f"there is no topic {topic}: no alerts here (alerts.enabled)")

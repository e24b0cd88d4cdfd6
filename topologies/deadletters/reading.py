"""Dead letters as they lie on their topic, and which of them were sent back already."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple

from schemas.config import Config
from schemas.errors import ConfigurationError
from schemas.records import Audit, DeadLetter, MalformedRecord
from topologies.kafka import list_topics
from topologies.tap import Message, follow

__all__ = ["Filters", "Letter", "Replays", "letters", "one_letter", "parse_place", "replays"]


class Letter(NamedTuple):
    """A record of the dead-letter topic."""

    message: Message
    letter: DeadLetter | None
    """None: its headers cannot be read."""
    error: str = ""
    """Why they cannot."""


class Filters(NamedTuple):
    """Which letters are meant; an empty field means all."""

    reason: str = ""
    stage: str = ""
    topic: str = ""
    """Source topic."""
    since_ms: int = 0
    """Given up at this time or later, Unix milliseconds, by the broker's clock."""
    places: frozenset[tuple[int, int]] = frozenset()
    """Partition and offset on the dead-letter topic."""

    def accept(self, each: Letter) -> bool:
        """Whether this one is meant. Letters that cannot be read are only found by place."""
        message, letter = each.message, each.letter
        if self.places and (message.partition, message.offset) not in self.places:
            return False
        if message.timestamp_ms < self.since_ms:
            return False
        if letter is None:
            return not (self.reason or self.stage or self.topic)
        return (
            self.reason in ("", letter.reason)
            and self.stage in ("", letter.stage)
            and self.topic in ("", letter.topic)
        )

    def __str__(self) -> str:
        said = [f"{name} {value}" for name, value in self._asdict().items() if value]
        return ", ".join(said) or "all"


class Replays:
    """Which dead letters were sent back, from the audit topic."""

    def __init__(self) -> None:
        self._ranges: dict[int, list[tuple[int, int]]] = {}

    def add(self, partition: int, first: int, last: int) -> None:
        """These were."""
        self._ranges.setdefault(partition, []).append((first, last))

    def __contains__(self, place: tuple[int, int]) -> bool:
        partition, offset = place
        return any(first <= offset <= last for first, last in self._ranges.get(partition, ()))


async def letters(
    config: Config, begin: Mapping[int, int] | None = None
) -> AsyncGenerator[Letter, None]:
    """Every letter that is there now, in offset order per partition.

    Raises:
        ConfigurationError: there is no such topic, or Kafka refuses us.
        BrokerUnavailable: Kafka is away.
    """
    topic = config.topics.names.deadletter
    messages = follow(config.kafka, topic, from_beginning=True, begin=begin, to_end=True)
    async with contextlib.aclosing(messages):
        async for message in messages:
            yield _letter(message)


async def one_letter(config: Config, partition: int, offset: int) -> Letter:
    """The letter at this place. Raises ConfigurationError if there is none."""
    message = await one_message(config, config.topics.names.deadletter, partition, offset)
    if message is None:
        raise ConfigurationError(f"there is no dead letter at {partition}:{offset}")
    return _letter(message)


async def one_message(config: Config, topic: str, partition: int, offset: int) -> Message | None:
    """The message at this place; None if it is not there, or no longer."""
    messages = follow(
        config.kafka, topic, partitions=(partition,), begin={partition: offset}, to_end=True
    )
    async with contextlib.aclosing(messages):
        async for message in messages:
            return message if message.offset == offset else None
    return None


async def replays(config: Config) -> Replays:
    """What was sent back. Nothing, if there is no audit topic yet."""
    audit_topic, topic = config.topics.names.audit, config.topics.names.deadletter
    found = Replays()
    if not await list_topics(config.kafka, [audit_topic]):
        return found
    messages = follow(config.kafka, audit_topic, from_beginning=True, to_end=True)
    async with contextlib.aclosing(messages):
        async for message in messages:
            try:
                audit = Audit.decode(message.value)
            except MalformedRecord:
                continue
            if audit.action == "replayed":
                for each in audit.ranges:
                    if each.topic == topic and each.first is not None and each.last is not None:
                        found.add(each.partition, each.first, each.last)
    return found


def parse_place(text: str) -> tuple[int, int]:
    """``PARTITION:OFFSET``. Raises ConfigurationError."""
    partition, _, offset = text.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise ConfigurationError(f"{text!r} is not PARTITION:OFFSET, such as 3:1207")
    return int(partition), int(offset)


def _letter(message: Message) -> Letter:
    try:
        return Letter(message, DeadLetter.of(message.headers))
    except MalformedRecord as error:
        return Letter(message, None, str(error))

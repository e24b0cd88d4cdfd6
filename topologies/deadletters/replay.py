"""Sends dead letters back to where they came from, each once.

One transaction holds some letters' messages, an ``audit`` record that names the letters, and
the offset of the group ``PREFIX.deadletter-replay`` (the first letter that was never sent back:
its lag is what is left). So a run that is killed anywhere has sent either all of a transaction
and remembered it, or nothing; the next run goes on. The order of a run:

1. start the producer: an earlier run's open transaction is aborted, an earlier run that still
   lives is fenced; only now is what was sent back known for sure
2. read the audit and the group's offset
3. read letters up to the end as it was, and send
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError

from schemas.batches import Headers
from schemas.config import Config
from schemas.errors import MessageTooLarge
from schemas.records import Audit, DeadLetter, OffsetRange
from schemas.records.deadletter import REPLAYED, WAS, source_headers
from schemas.topics import topic_specs
from topologies.control.setting import person, transaction
from topologies.kafka import (
    MESSAGE_OVERHEAD_BYTES,
    AdminClient,
    ensure_topics,
    list_topics,
)

from .reading import Filters, Letter, Replays, letters, one_message, replays

__all__ = ["Outcome", "replay"]

ALL = Filters()
_COUNT_ITEMS = ("shape", "sample")
"""Stages that aggregate what they read, also what they cannot pass on."""
TRANSACTION_MAX_LETTERS = 500
TRANSACTION_MAX_BYTES = 8 << 20


@dataclass
class Outcome:
    """What a run has done, or would do."""

    sent: int = 0
    sent_bytes: int = 0
    already: int = 0
    """Sent back by an earlier run."""
    refused: list[tuple[int, int, str]] = field(default_factory=list)
    """Partition, offset, and why it is not sent back."""


@dataclass
class _Transaction:
    messages: list[tuple[str, int, bytes | None, bytes, Headers]] = field(default_factory=list)
    """Topic, partition, key, value, headers."""
    ranges: list[OffsetRange] = field(default_factory=list)
    open: dict[int, int] = field(default_factory=dict)
    """Index of the range, by partition, that the next letter would make longer."""
    size_bytes: int = 0


async def replay(
    config: Config,
    filters: Filters = ALL,
    *,
    again: bool = False,
    dry_run: bool = False,
    limit: int | None = None,
    progress: Callable[[Outcome], None] = lambda _outcome: None,
) -> Outcome:
    """Send back what ``filters`` accept and no run has sent before.

    Args:
        config: the whole configuration.
        filters: which.
        again: also what was sent before.
        dry_run: send nothing, say what would be.
        limit: at most so many.
        progress: called after each transaction.

    Raises:
        ConfigurationError: a topic is missing, Kafka refuses us.
        BrokerUnavailable: Kafka is away, or another run took over.
        MessageTooLarge: the topic does not take a message of its own any more.
    """
    names = config.topics.names
    targets = await _targets(config)
    if dry_run:
        run = _Run(config, filters, targets, await replays(config), again=again, limit=limit)
        await run.all(None, {}, progress)
        return run.outcome
    specs = [spec for spec in topic_specs(config) if spec.name == names.audit]
    await ensure_topics(config.kafka, specs, create=config.topics.create)
    group = f"{config.kafka.group_prefix}.deadletter-replay"
    async with transaction(config, group) as producer:
        run = _Run(config, filters, targets, await replays(config), again=again, limit=limit)
        begin: dict[int, int] = {}
        if not again:
            async with AdminClient(config.kafka) as admin:
                for (topic, partition), offset in (await admin.committed(group)).items():
                    if topic == names.deadletter and offset >= 0:
                        begin[partition] = offset
        await run.all(producer, begin, progress)
    return run.outcome


async def _targets(config: Config) -> Mapping[str, int]:
    """Topics that may be sent to, and how many partitions each has."""
    others = {config.topics.names.deadletter, config.topics.names.audit}
    ours = [
        spec.name
        for spec in topic_specs(config)
        if spec.cleanup_policy == "delete" and spec.name not in others
    ]
    states = await list_topics(config.kafka, ours)
    return {name: states[name].partitions if name in states else 0 for name in ours}


class _Run:
    def __init__(
        self,
        config: Config,
        filters: Filters,
        targets: Mapping[str, int],
        done: Replays,
        *,
        again: bool,
        limit: int | None,
    ) -> None:
        self.outcome = Outcome()
        self._config = config
        self._filters = filters
        self._targets = targets
        self._done = done
        self._again = again
        self._limit = limit
        self._topic = config.topics.names.deadletter
        self._group = f"{config.kafka.group_prefix}.deadletter-replay"
        self._broken: set[int] = set()
        """Partitions with a letter that stays: the group's offset must not pass it."""
        self._reached: dict[int, int] = {}
        """The group's offset by partition, where it has moved."""

    async def all(
        self,
        producer: AIOKafkaProducer | None,
        begin: Mapping[int, int],
        progress: Callable[[Outcome], None],
    ) -> None:
        """Step 3. Without a producer nothing is sent."""
        current = _Transaction()
        found = letters(self._config, begin)
        async with contextlib.aclosing(found):
            async for each in found:
                if self._limit is not None and self._limit <= self.outcome.sent + len(
                    current.messages
                ):
                    break
                await self._take(each, current)
                if (
                    len(current.messages) >= TRANSACTION_MAX_LETTERS
                    or current.size_bytes >= TRANSACTION_MAX_BYTES
                ):
                    await self._send(producer, current, progress)
                    current = _Transaction()
        if current.messages:
            await self._send(producer, current, progress)

    async def _take(self, each: Letter, current: _Transaction) -> None:
        partition, offset = each.message.partition, each.message.offset
        wanted = self._filters.accept(each)
        if (partition, offset) in self._done and not (wanted and self._again):
            self.outcome.already += wanted
            goes, stays = False, False
        else:
            goes = wanted and await self._put(each, current)
            stays = not goes
        if stays:
            self._broken.add(partition)
        elif partition not in self._broken:
            self._reached[partition] = offset + 1
        if not goes:
            current.open.pop(partition, None)

    async def _put(self, each: Letter, current: _Transaction) -> bool:
        """Into the transaction; False if it is refused."""
        message, letter = each.message, each.letter
        if letter is None:
            return self._refuse(each, each.error)
        partitions = self._targets.get(letter.topic)
        if partitions is None:
            return self._refuse(each, f"{letter.topic} is not a topic of ours")
        if letter.partition >= partitions:
            return self._refuse(each, f"{letter.topic} has no partition {letter.partition}")
        value = await self._value(each, letter)
        if value is None:
            return self._refuse(each, "its value was left out, and is no longer at its source")
        if len(value) > self._config.kafka.producer.max_message + MESSAGE_OVERHEAD_BYTES:
            return self._refuse(each, f"{len(value)} bytes, kafka.producer.max_message allows less")
        count = (REPLAYED, str(letter.replayed + 1).encode())
        headers = (*source_headers(message.headers), count)
        if letter.reason == MessageTooLarge.reason and letter.stage in _COUNT_ITEMS:
            headers += ((WAS, letter.reason.encode()),)
        current.messages.append((letter.topic, letter.partition, message.key, value, headers))
        current.size_bytes += len(value)
        self._note(message.partition, message.offset, current)
        return True

    async def _value(self, each: Letter, letter: DeadLetter) -> bytes | None:
        if letter.value_bytes is None:
            return each.message.value
        source = await one_message(self._config, letter.topic, letter.partition, letter.offset)
        return None if source is None or len(source.value) != letter.value_bytes else source.value

    def _refuse(self, each: Letter, why: str) -> bool:
        self.outcome.refused.append((each.message.partition, each.message.offset, why))
        return False

    def _note(self, partition: int, offset: int, current: _Transaction) -> None:
        """Letters that follow each other are one range, whatever markers lie between them."""
        index = current.open.get(partition)
        if index is not None:
            current.ranges[index] = current.ranges[index].model_copy(update={"last": offset})
            return
        current.open[partition] = len(current.ranges)
        current.ranges.append(
            OffsetRange(topic=self._topic, partition=partition, first=offset, last=offset)
        )

    async def _send(
        self,
        producer: AIOKafkaProducer | None,
        current: _Transaction,
        progress: Callable[[Outcome], None],
    ) -> None:
        if producer is not None:
            await self._commit(producer, current)
        self.outcome.sent += len(current.messages)
        self.outcome.sent_bytes += current.size_bytes
        progress(self.outcome)

    async def _commit(self, producer: AIOKafkaProducer, current: _Transaction) -> None:
        await producer.begin_transaction()
        sent = []
        for topic, partition, key, value, headers in current.messages:
            sent.append(
                await producer.send(
                    topic, value, key=key, partition=partition, headers=list(headers)
                )
            )
        audit = Audit(
            id=str(uuid.uuid4()),
            action="replayed",
            name="deadletter",
            who=person(),
            at=datetime.now(UTC),
            reason=f"{self._filters}{', again' if self._again else ''}",
            ranges=tuple(current.ranges),
        )
        topic = self._config.topics.names.audit
        sent.append(await producer.send(topic, audit.encode(), key=b"deadletter"))
        # A send that fails does not stop a commit.
        for index, acknowledged in enumerate(sent):
            try:
                await acknowledged
            except MessageSizeTooLargeError:
                topic, partition, _, value, _ = current.messages[index]
                limit = self._config.topics.max_message
                raise MessageTooLarge(
                    f"a message of {topic} partition {partition}",
                    len(value), "max.message.bytes of the topic", limit,
                ) from None  # fmt: skip
        if self._reached:
            at = {TopicPartition(self._topic, p): offset for p, offset in self._reached.items()}
            await producer.send_offsets_to_transaction(at, self._group)
        await producer.commit_transaction()
        self._reached.clear()

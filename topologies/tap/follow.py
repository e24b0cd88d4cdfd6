"""Messages of a topic, read without a consumer group: looking changes nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.batches import Headers
from schemas.config import Kafka
from schemas.config.problems import nearest
from schemas.errors import ConfigurationError
from topologies.kafka import as_ours, create_consumer, list_topics, start_client

__all__ = ["Message", "follow"]

_POLL_MS = 200


class Message(NamedTuple):
    """One committed message."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: Headers


async def follow(
    kafka: Kafka,
    topic: str,
    *,
    partitions: Sequence[int] = (),
    from_beginning: bool = False,
    begin: Mapping[int, int] | None = None,
    since_ms: int = 0,
    to_end: bool = False,
) -> AsyncGenerator[Message, None]:
    """Messages as they come, in offset order per partition; committed ones only.

    Args:
        kafka: the cluster.
        topic: must exist.
        partitions: which; all when empty.
        from_beginning: start with the oldest message instead of the next new one.
        begin: first offset of some partitions, whatever ``from_beginning`` says; the oldest
            message where that one is gone.
        since_ms: start with the first message of that time or later, by the broker's clock (Unix
            milliseconds); 0: as the others say.
        to_end: end at what was there when it began.

    Raises:
        ConfigurationError: no such topic or partition, or Kafka refuses us.
        BrokerUnavailable: Kafka is away.
    """
    consumer = create_consumer(kafka, auto_offset_reset="earliest")
    await start_client(consumer, kafka)
    try:
        chosen = [
            TopicPartition(topic, p) for p in await _partitions(kafka, consumer, topic, partitions)
        ]
        consumer.assign(chosen)
        ends = await consumer.end_offsets(chosen)
        starts = await _starts(consumer, ends, from_beginning, since_ms)
        for partition in chosen:
            first = (begin or {}).get(partition.partition, starts[partition])
            consumer.seek(partition, first)
        while not to_end or await _behind(consumer, ends):
            for batch in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                for record in batch:
                    if to_end and record.offset >= ends[TopicPartition(topic, record.partition)]:
                        break
                    headers = tuple((name, value or b"") for name, value in record.headers)
                    yield Message(
                        record.topic, record.partition, record.offset, record.timestamp,
                        record.key, record.value or b"", headers,
                    )  # fmt: skip
    except KafkaError as error:
        raise as_ours(error, f"topic {topic}") from error
    finally:
        await consumer.stop()


async def _partitions(
    kafka: Kafka, consumer: AIOKafkaConsumer, topic: str, wanted: Sequence[int]
) -> list[int]:
    state = (await list_topics(kafka, [topic])).get(topic)
    if state is None:
        near = nearest(topic, sorted(await consumer.topics()))
        hint = f"; did you mean {near}?" if near else ""
        raise ConfigurationError(f"there is no topic {topic!r}{hint}")
    known = range(state.partitions)
    if missing := sorted(set(wanted) - set(known)):
        raise ConfigurationError(f"{topic} has partitions 0 to {known[-1]}, not {missing[0]}")
    return sorted(wanted or known)


async def _starts(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], oldest: bool, since_ms: int
) -> Mapping[TopicPartition, int]:
    """Where reading begins, by partition."""
    if since_ms:
        found = await consumer.offsets_for_times(dict.fromkeys(ends, since_ms))
        return {p: end if found[p] is None else found[p].offset for p, end in ends.items()}
    starts: Mapping[TopicPartition, int] = ends
    if oldest:
        starts = await consumer.beginning_offsets(list(ends))
    return starts


async def _behind(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    for partition, end in ends.items():
        # Positions move over control records too, so this ends where transactions were written.
        if await consumer.position(partition) < end:
            return True
    return False

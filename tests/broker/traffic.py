"""Requests with numbered spans, what becomes of them on topics, and waiting for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = [
    "Received",
    "committed_everywhere",
    "eventually",
    "fill",
    "ids",
    "names",
    "request",
]


def request(first: int, spans: int = 5, name: str = "GET /", pad: bytes = b"") -> bytes:
    """A request of ``spans`` spans with the ids ``first``, ``first + 1``, ..."""
    message = ExportTraceServiceRequest()
    resource = message.resource_spans.add()
    attribute = resource.resource.attributes.add(key="pad")
    attribute.value.bytes_value = pad
    scope = resource.scope_spans.add()
    for number in range(first, first + spans):
        scope.spans.add(
            trace_id=number.to_bytes(16, "big"), span_id=number.to_bytes(8, "big"), name=name
        )
    return message.SerializeToString()


class Received:
    """Span ids and how often each came, with the name of its span."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, data: bytes) -> None:
        """Take a request over."""
        self.counts.update(ids(data))


def ids(data: bytes) -> list[int]:
    """Span ids of a request."""
    return [int.from_bytes(span.span_id, "big") for span in _spans(data)]


def names(data: bytes) -> set[str]:
    """Span names of a request."""
    return {span.name for span in _spans(data)}


def _spans(data: bytes) -> list[Any]:
    return [
        span
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


async def fill(bootstrap: str, topic: str, partitions: int, values: Sequence[bytes]) -> None:
    """Put values on the partitions in turn; all acknowledged."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        futures = [
            await producer.send(topic, value, partition=number % partitions)
            for number, value in enumerate(values)
        ]
        await asyncio.gather(*futures)


async def committed_everywhere(bootstrap: str, group: str, topic: str) -> bool:
    """Whether the group has committed the end of every partition."""
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
    ) as consumer:
        partitions = [TopicPartition(topic, p) for p in await _partitions(consumer, topic)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            if (await consumer.committed(partition) or 0) != ends[partition]:
                return False
        return True


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.add_topic(topic)
    found: set[int] = consumer.partitions_for_topic(topic) or set()
    return found


async def eventually(holds: Callable[[], Awaitable[object]], timeout_s: float = 20) -> None:
    """Return as soon as ``await holds()`` is true."""
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110 - the condition lies in another process
            await asyncio.sleep(0.1)

"""Traces put on the spans' topic as ingest does it, and what sampling made of them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.config import TopicNames
from streams import wire
from streams.sampling.records import VerdictRecord, decode
from tests.streams.sampling.traffic import Told, request, trace_id

from .traffic import eventually

__all__ = ["SPANS", "Seen", "Traces", "configuration", "traces"]

SPANS = 4
"""Of a trace; they come in two messages."""


def configuration(bootstrap: str, prefix: str, sampling: dict[str, Any]) -> dict[str, Any]:
    """Topics of its own, and waits that a test can afford."""
    return {
        "kafka": {
            "brokers": [bootstrap],
            "group_prefix": prefix,
            # Static membership: a worker that was killed is replaced at once.
            "consumer": {"instance_id": "one"},
        },
        "topics": {
            "names": {name: f"{prefix}-{name}" for name in TopicNames.model_fields},
            "partitions": 3,
            "replication_factor": 1,
        },
        "runtime": {"commit_interval": "200ms", "idle_tick": "100ms"},
        "sampling": {
            "enabled": True,
            "decision_wait": "1s",
            "root_wait": "0s",
            "decision_interval": "100ms",
            "order_interval": "200ms",
            **sampling,
        },
    }


class Traces:
    """Sends traces; every tenth has an error. ``sent`` has their ids by number."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self.sent: dict[int, bytes] = {}
        self.errors: set[bytes] = set()
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._rng = random.Random(20261124)

    async def send(self, count: int, per_second: float = 0) -> list[bytes]:
        """So many more, each in two messages with other traces between; their ids."""
        first = len(self.sent) + 1
        numbers = range(first, first + count)
        for number in numbers:
            self.sent[number] = trace_id(number)
            if number % 10 == 0:
                self.errors.add(self.sent[number])
        halves = [(number, half) for number in numbers for half in (0, 1)]
        # The second half of a trace comes some traces later.
        halves.sort(key=lambda each: each[0] + 5 * each[1])
        futures = []
        for number, half in halves:
            futures.append(await self._half(number, half))
            if per_second:
                await asyncio.sleep(1 / (2 * per_second))  # the pace
        await asyncio.gather(*futures)
        return [self.sent[number] for number in numbers]

    async def misplace(self) -> bytes:
        """A trace on a partition that is not its own; its id."""
        number = len(self.sent) + 1
        self.sent[number] = trace_id(number)
        for half in (0, 1):
            await (await self._half(number, half, shift=1))
        return self.sent[number]

    async def _half(self, number: int, half: int, shift: int = 0) -> asyncio.Future[Any]:
        spans = [
            Told(
                number, span, parent=0 if span == 1 else 1, name=f"GET /{number % 3}",
                error=self.sent[number] in self.errors and span == 3,
            )
            for span in range(1 + 2 * half, 3 + 2 * half)
        ]  # fmt: skip
        partition = wire.partition_of_trace(self.sent[number], self._partitions)
        partition = (partition + shift) % self._partitions
        sent: asyncio.Future[Any] = await self._producer.send(
            self._topic, request(spans), partition=partition
        )
        return sent


@asynccontextmanager
async def traces(bootstrap: str, config: dict[str, Any]) -> AsyncIterator[Traces]:
    """A sender, connected."""
    topics = config["topics"]
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        yield Traces(producer, topics["names"]["spans"], topics["partitions"])


class Seen:
    """What sampling has written so far: committed messages, each read once."""

    def __init__(self, bootstrap: str, config: dict[str, Any]) -> None:
        names, partitions = config["topics"]["names"], config["topics"]["partitions"]
        self.verdicts: dict[bytes, list[tuple[bool, str]]] = defaultdict(list)
        """By trace: kept or not, and the policy, for each verdict that there is."""
        self.spans: dict[bytes, Counter[bytes]] = defaultdict(Counter)
        """By trace: ids of spans that exporters would read, and how often each came."""
        self.states: dict[bytes, set[str]] = defaultdict(set)
        """By trace: tracestates of these spans."""
        self.sources: set[str] = set()
        """Ranges of the source that they were taken from."""
        self._decisions = names["decisions"]
        self._places = [
            TopicPartition(names[name], number)
            for name in ("decisions", "spans_out")
            for number in range(partitions)
        ]
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, isolation_level="read_committed", fetch_max_wait_ms=50
        )

    async def __aenter__(self) -> Seen:
        await self._consumer.start()
        self._consumer.assign(self._places)
        await self._consumer.seek_to_beginning(*self._places)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def update(self) -> None:
        """Take in what is committed now."""
        ends = await self._consumer.end_offsets(self._places)
        while any([await self._consumer.position(place) < ends[place] for place in self._places]):
            for records in (await self._consumer.getmany(timeout_ms=100)).values():
                for record in records:
                    if record.topic == self._decisions:
                        self._decided(record.value)
                    else:
                        self._passed(record)

    async def settled(self, ids: Iterable[bytes], timeout_s: float = 30) -> set[bytes]:
        """Wait until all are decided and every span of the kept ones has come; the kept ones."""
        ids = list(ids)

        async def done() -> bool:
            await self.update()
            return self.verdicts.keys() >= set(ids) and all(map(self._whole, self.kept(ids)))

        await eventually(done, timeout_s)
        return self.kept(ids)

    def kept(self, ids: Iterable[bytes]) -> set[bytes]:
        """Those of them that were."""
        return {trace for trace in ids if any(kept for kept, _ in self.verdicts.get(trace, ()))}

    def _whole(self, trace: bytes) -> bool:
        return len(self.spans.get(trace, ())) == SPANS

    def _decided(self, value: bytes) -> None:
        record = decode(value)
        if not isinstance(record, VerdictRecord):
            return
        rows = record.traces
        policies = record.groups.policy[rows.group].tolist()
        halves = zip(rows.trace_id_high.tolist(), rows.trace_id_low.tolist(), strict=True)
        for (high, low), policy, kept in zip(halves, policies, rows.kept.tolist(), strict=True):
            trace = (high << 64 | low).to_bytes(16, "big")
            self.verdicts[trace].append((kept, record.policies[policy]))

    def _passed(self, record: ConsumerRecord) -> None:
        self.sources.add(dict(record.headers)["sampling.source"].decode())
        message = ExportTraceServiceRequest.FromString(record.value)
        for resource in message.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans[span.trace_id][span.span_id] += 1
                    self.states[span.trace_id].add(span.trace_state)

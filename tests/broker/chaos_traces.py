"""Traces whose spans come over time and over messages, some late, some astray; all is recorded."""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from streams import wire
from tests.streams.sampling.traffic import Told, request, trace_id

__all__ = ["NOISE", "TENANT", "Sent", "Traffic", "spans"]

NOISE = "GET /health"
"""Operation that a policy drops, if it has no error."""
TENANT = "tenant"
STEP_S = 0.03
TRACES_A_STEP = 2
WITHIN_S = 0.7
"""From a trace's first span to its last that is in time."""
LATE_S = (1.5, 5.0)
LATE, ASTRAY, ALL_ASTRAY, FAILED, TOO_LATE_FAILED, QUIET, POISON = (
    0.06, 0.04, 0.01, 0.08, 0.3, 0.15, 0.005
)  # fmt: skip


class Sent(NamedTuple):
    """An acknowledged message."""

    partition: int
    offset: int
    value: bytes


class _Due(NamedTuple):
    at_s: float
    number: int
    partition: int
    tenant: bytes
    told: Told


class Traffic:
    """Sends as if for ever, until ``stop``; ``messages`` are those that Kafka has acknowledged."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, rng: random.Random) -> None:
        self.messages: list[Sent] = []
        self._bootstrap = bootstrap
        self._topic = topic
        self._partitions = partitions
        self._rng = rng
        self._due: list[_Due] = []
        self._traces = rng.randrange(1 << 40)
        """Number of the last trace; their ids differ from seed to seed."""
        self._spans = 0
        self._poison = 0
        self._stopped = False

    def stop(self) -> None:
        """No more traces; what is under way of begun ones follows at once."""
        self._stopped = True

    async def run(self) -> None:
        """Until it is stopped and all is acknowledged."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=120_000,
        )
        await producer.start()
        waiting: set[asyncio.Task[None]] = set()

        async def send(partition: int, tenant: bytes, value: bytes) -> None:
            headers = [(TENANT, tenant)] if tenant else []
            done = await producer.send_and_wait(
                self._topic, value, partition=partition, headers=headers
            )
            self.messages.append(Sent(partition, done.offset, value))

        try:
            while not self._stopped or self._due:
                now_s = time.monotonic()
                if not self._stopped:
                    for _ in range(TRACES_A_STEP):
                        self._plan(now_s)
                for message in self._messages(float("inf") if self._stopped else now_s):
                    task = asyncio.create_task(send(*message))
                    waiting.add(task)
                    task.add_done_callback(waiting.discard)
                await asyncio.sleep(STEP_S)
            await asyncio.gather(*waiting)
        finally:
            await producer.stop()

    def _plan(self, now_s: float) -> None:
        """A new trace: when each of its spans comes, where, and what it says."""
        rng = self._rng
        self._traces += 1
        number, count = self._traces, rng.randint(2, 5)
        home = wire.partition_of_trace(trace_id(number), self._partitions)
        tenant = rng.choice([b"", b"", b"t1", b"t2"])
        service = rng.choice(["cart", "cart", "shop", "some"])
        name = NOISE if rng.random() < QUIET else f"GET /{rng.randrange(20)}"
        late, astray = rng.random() < LATE, rng.random() < ASTRAY
        all_astray = rng.random() < ALL_ASTRAY
        failed = rng.random() < FAILED
        for span in range(1, count + 1):
            last = span == count
            delay_s = 0.0 if span == 1 else rng.uniform(0, WITHIN_S)
            if last and late:
                delay_s = rng.uniform(*LATE_S)
            error = (failed and span == 1) or (last and late and rng.random() < TOO_LATE_FAILED)
            shift = 1 if all_astray or (astray and last) else 0
            told = Told(
                number, span, int(span > 1), service, name,
                error=error, took_ms=rng.randint(1, 500), fill=rng.randint(0, 300),
            )  # fmt: skip
            self._spans += 1
            place = (home + shift) % self._partitions
            heapq.heappush(self._due, _Due(now_s + delay_s, self._spans, place, tenant, told))

    def _messages(self, until_s: float) -> Iterator[tuple[int, bytes, bytes]]:
        """Partition, tenant and value of what is due."""
        found: dict[tuple[int, bytes], list[Told]] = defaultdict(list)
        while self._due and self._due[0].at_s <= until_s:
            due = heapq.heappop(self._due)
            found[due.partition, due.tenant].append(due.told)
        for (partition, tenant), told in found.items():
            yield partition, tenant, request(told)
        if self._rng.random() < POISON:
            self._poison += 1
            # A field that is longer than the message.
            value = b"\x0a\xff\x7fpoison %d" % self._poison
            yield self._rng.randrange(self._partitions), b"", value


def spans(value: bytes) -> Iterator[tuple[str, Span]]:
    """Service and span of a request; raises DecodeError for poison."""
    for resource in ExportTraceServiceRequest.FromString(value).resource_spans:
        [attribute] = resource.resource.attributes
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield attribute.value.string_value, span

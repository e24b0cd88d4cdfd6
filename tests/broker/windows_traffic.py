"""Spans, log records and points for windows: on every partition all the time, in event time.

The truth is what lies on the topics then (windows_oracle.py reads it). Durations are multiples of
1/512 s, so that their sums are exact in any order.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from typing import Any

from aiokafka import AIOKafkaProducer
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.config import TopicNames
from streams import wire

__all__ = ["CLOSER", "COUNTER", "DELAY_S", "WindowTraffic"]

CLOSER = "closer"
"""Service of the last items of all, which come late enough to close the windows before them."""
COUNTER = "requests"
STEP_S = 0.1
DELAY_S = 1.5
"""Items are at most so old when they are sent."""
TENANTS = (b"", b"", b"other")
SEVERITIES = (9, 9, 13, 17)
TICK_NS = 1_953_125
"""1/512 s."""


class WindowTraffic:
    """Sends as if for ever, until ``stop``."""

    def __init__(
        self, bootstrap: str, names: TopicNames, partitions: int, rng: random.Random
    ) -> None:
        self.latest_ms = 0
        """The latest event time of an item."""
        self._bootstrap = bootstrap
        self._names = names
        self._partitions = partitions
        self._rng = rng
        self._spans = rng.randrange(1, 1 << 40)
        self._counters = [0] * partitions
        self._stopped = False
        self._producer: AIOKafkaProducer | None = None
        self._waiting: list[asyncio.Future[Any]] = []

    def stop(self) -> None:
        """No more items."""
        self._stopped = True

    async def run(self, closers_after_ms: int) -> None:
        """Until it is stopped, and so long after everything else the closers are sent."""
        async with AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=120_000,
        ) as self._producer:
            while not self._stopped:
                await self._step(time.time_ns())
                await asyncio.sleep(STEP_S)
            await asyncio.gather(*self._waiting)
            # Nobody gets ahead of the broker's time, so the closers have to wait for theirs.
            due_ms = self.latest_ms + closers_after_ms
            await asyncio.sleep(max(0.0, due_ms / 1000 - time.time()))
            await self._close(due_ms)
            await asyncio.gather(*self._waiting)

    async def _step(self, now_ns: int) -> None:
        rng = self._rng
        service, tenant = f"s{rng.randrange(3)}", rng.choice(TENANTS)
        spans: dict[int, ExportTraceServiceRequest] = defaultdict(ExportTraceServiceRequest)
        wanted = set(range(self._partitions))
        count = rng.randrange(9)
        while wanted or count > 0:
            trace = self._trace()
            partition = wire.partition_of_trace(trace, self._partitions)
            if partition in wanted or count > 0:
                wanted.discard(partition)
                count -= 1
                self._span(spans[partition], service, trace, self._time(now_ns))
        for partition, request in spans.items():
            await self._send(self._names.spans, partition, request, tenant)
        for partition in range(self._partitions):
            await self._send(self._names.logs, partition, self._logs(service, now_ns), tenant)
            await self._send(self._names.metrics, partition, self._points(partition, now_ns))

    def _time(self, now_ns: int) -> int:
        found = now_ns - round(self._rng.uniform(0, DELAY_S) * 1e9)
        self.latest_ms = max(self.latest_ms, found // 1_000_000)
        return found

    def _trace(self) -> bytes:
        self._spans += 1
        return (self._spans * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128)).to_bytes(16, "big")

    def _span(
        self, request: ExportTraceServiceRequest, service: str, trace: bytes, end_ns: int
    ) -> None:
        rng = self._rng
        if not request.resource_spans:
            resource = request.resource_spans.add()
            resource.resource.attributes.add(key="service.name").value.string_value = service
            resource.scope_spans.add()
        span = (
            request.resource_spans[0]
            .scope_spans[0]
            .spans.add(
                trace_id=trace,
                span_id=self._spans.to_bytes(8, "big"),
                name=f"GET /{rng.randrange(2)}",
                start_time_unix_nano=end_ns - TICK_NS * rng.randrange(1, 2000),
                end_time_unix_nano=end_ns,
            )
        )
        if rng.random() < 0.2:
            span.status.code = span.status.STATUS_CODE_ERROR

    def _logs(self, service: str, now_ns: int) -> ExportLogsServiceRequest:
        request = ExportLogsServiceRequest()
        resource = request.resource_logs.add()
        resource.resource.attributes.add(key="service.name").value.string_value = service
        scope = resource.scope_logs.add()
        for _ in range(self._rng.randrange(1, 4)):
            scope.log_records.add(
                time_unix_nano=self._time(now_ns), severity_number=self._rng.choice(SEVERITIES)
            )
        return request

    def _points(self, partition: int, now_ns: int) -> ExportMetricsServiceRequest:
        """A cumulative stream lies on one partition, and its points come in order."""
        self._counters[partition] += self._rng.randrange(1, 100)
        self.latest_ms = max(self.latest_ms, now_ns // 1_000_000)
        return _point(f"m{partition}", self._counters[partition], now_ns)

    async def _close(self, time_ms: int) -> None:
        time_ns = time_ms * 1_000_000
        for partition in range(self._partitions):
            spans = ExportTraceServiceRequest()
            trace = next(
                trace
                for trace in iter(self._trace, None)
                if wire.partition_of_trace(trace, self._partitions) == partition
            )
            self._span(spans, CLOSER, trace, time_ns)
            await self._send(self._names.spans, partition, spans)
            logs = ExportLogsServiceRequest()
            resource = logs.resource_logs.add()
            resource.resource.attributes.add(key="service.name").value.string_value = CLOSER
            resource.scope_logs.add().log_records.add(time_unix_nano=time_ns)
            await self._send(self._names.logs, partition, logs)
            await self._send(self._names.metrics, partition, _point(CLOSER, 1, time_ns))

    async def _send(self, topic: str, partition: int, request: Any, tenant: bytes = b"") -> None:
        assert self._producer is not None
        headers = [("tenant", tenant)] if tenant else []
        value = request.SerializeToString()
        self._waiting = [each for each in self._waiting if not each.done()]
        self._waiting.append(
            await self._producer.send(topic, value, partition=partition, headers=headers)
        )


def _point(service: str, value: int, time_ns: int) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    metric = resource.scope_metrics.add().metrics.add(name=COUNTER)
    metric.sum.aggregation_temporality = metric.sum.aggregation_temporality = 2
    metric.sum.is_monotonic = True
    metric.sum.data_points.add(time_unix_nano=time_ns, as_int=value)
    return request

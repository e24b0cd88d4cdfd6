"""The OpenTelemetry SDK for Python sends all three signals; what arrives is what it sent."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcMetrics,
)
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as HttpMetrics,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from schemas.signals import Signal
from streams.edges.receivers import CollectingAcceptor
from streams.wire.json import REQUESTS

from .conftest import Servers, Start

RESOURCE = Resource.create({"service.name": "shop", "replica": 3})


class Recorded:
    """Keeps, as protobuf, what an exporter is given to send."""

    def __init__(self, exporter: Any, encode: Any) -> None:
        self.sent: list[bytes] = []
        export = exporter.export

        def record(data: Any, *args: Any, **options: Any) -> Any:
            self.sent.append(encode(data).SerializeToString())
            return export(data, *args, **options)

        exporter.export = record


def exporters(servers: Servers, transport: str) -> tuple[Any, Any, Any]:
    if transport.startswith("grpc"):
        options = {"endpoint": f"http://127.0.0.1:{servers.grpc.port}", "insecure": True}
        if transport == "grpc gzip":
            import grpc

            options["compression"] = grpc.Compression.Gzip
        return GrpcSpans(**options), GrpcMetrics(**options), GrpcLogs(**options)  # type: ignore[arg-type]
    base = f"http://127.0.0.1:{servers.http.port}/v1"
    kind = {"http": "none", "http gzip": "gzip", "http deflate": "deflate"}[transport]
    compression = Compression(kind)
    return (
        HttpSpans(f"{base}/traces", compression=compression),
        HttpMetrics(f"{base}/metrics", compression=compression),
        HttpLogs(f"{base}/logs", compression=compression),
    )


def work(servers: Servers, transport: str) -> dict[Signal, list[bytes]]:
    """What an instrumented program does; the requests that its exporters were given."""
    spans, metrics, logs = exporters(servers, transport)
    recorded = {
        Signal.TRACES: Recorded(spans, encode_spans),
        Signal.METRICS: Recorded(metrics, encode_metrics),
        Signal.LOGS: Recorded(logs, encode_logs),
    }
    tracing = TracerProvider(resource=RESOURCE)
    tracing.add_span_processor(BatchSpanProcessor(spans))
    metering = MeterProvider(
        [PeriodicExportingMetricReader(metrics, export_interval_millis=60_000)], resource=RESOURCE
    )
    logging_ = LoggerProvider(resource=RESOURCE)
    logging_.add_log_record_processor(BatchLogRecordProcessor(logs))

    tracer = tracing.get_tracer("shop.orders", "1.2")
    meter = metering.get_meter("shop.orders")
    orders = meter.create_counter("orders", unit="1")
    duration = meter.create_histogram("duration", unit="ms")
    logger = logging.Logger("shop")
    logger.addHandler(LoggingHandler(logger_provider=logging_))
    for number in range(50):
        with tracer.start_as_current_span("order", kind=trace.SpanKind.SERVER) as parent:
            parent.set_attributes({"n": number, "tags": ["a", "ü"], "ratio": 0.5, "ok": True})
            link = trace.Link(parent.get_span_context(), {"why": "retry"})
            with tracer.start_as_current_span("pay", links=[link]) as child:
                child.add_event("charged", {"amount": 12.5})
                if number % 10 == 0:
                    child.record_exception(ValueError("declined"))
                    child.set_status(trace.Status(trace.StatusCode.ERROR, "declined"))
                logger.warning("order %d", number, extra={"number": number})
        orders.add(1, {"shop": number % 3})
        duration.record(number * 1.5)
    for provider in (tracing, metering, logging_):
        provider.force_flush()
        provider.shutdown()
    return {signal: one.sent for signal, one in recorded.items()}


def items(signal: Signal, requests: Iterable[bytes]) -> Counter[bytes]:
    """Every item with the resource and scope that it came under."""
    found: Counter[bytes] = Counter()
    for data in requests:
        for envelope in REQUESTS[signal].FromString(data).ListFields()[0][1]:
            for scoped in envelope.ListFields()[1][1]:
                fields = {f.name: value for f, value in scoped.ListFields()}
                for item in next(
                    fields[n] for n in ("spans", "metrics", "log_records") if n in fields
                ):
                    found[
                        b"|".join(
                            part.SerializeToString(deterministic=True)
                            for part in (envelope.resource, scoped.scope, item)
                        )
                    ] += 1
    return found


@pytest.mark.filterwarnings("ignore:.LoggingHandler.*:DeprecationWarning")
@pytest.mark.parametrize("transport", ["grpc", "grpc gzip", "http", "http gzip", "http deflate"])
async def test_what_arrives_is_what_was_sent(
    start: Start, collecting: CollectingAcceptor, transport: str
) -> None:
    servers = await start(collecting)
    sent = await asyncio.to_thread(work, servers, transport)
    for signal in Signal:
        assert items(signal, collecting.of(signal)) == items(signal, sent[signal])
    assert collecting.items[Signal.TRACES] == 100
    assert collecting.items[Signal.LOGS] == 50
    assert collecting.items[Signal.METRICS] >= 4  # three series of orders, one of duration

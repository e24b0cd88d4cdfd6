"""Small requests of each signal, built with the official classes."""

from __future__ import annotations

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.signals import Signal

__all__ = ["request_of"]


def request_of(signal: Signal, items: int = 3, padding: str = "") -> bytes:
    """A request with so many items; ``padding`` makes it longer."""
    if signal is Signal.TRACES:
        traces = ExportTraceServiceRequest()
        spans = traces.resource_spans.add().scope_spans.add()
        for number in range(1, items + 1):
            spans.spans.add(
                trace_id=number.to_bytes(16, "big"),
                span_id=number.to_bytes(8, "big"),
                name=f"GET /{padding}",
                kind=2,
                start_time_unix_nano=1_700_000_000_000_000_000 + number,
            )
        return traces.SerializeToString()
    if signal is Signal.METRICS:
        metrics = ExportMetricsServiceRequest()
        metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name=f"m{padding}")
        for number in range(items):
            metric.gauge.data_points.add(as_int=number, time_unix_nano=1)
        return metrics.SerializeToString()
    logs = ExportLogsServiceRequest()
    records = logs.resource_logs.add().scope_logs.add()
    for number in range(1, items + 1):
        records.log_records.add(
            time_unix_nano=number, severity_number=9
        ).body.string_value = padding
    return logs.SerializeToString()

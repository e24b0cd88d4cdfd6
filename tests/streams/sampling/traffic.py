"""Spans to sample, made by the protobuf library from a few words a span."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streams import wire

__all__ = ["Told", "request", "spans_of", "trace_id"]

START_MS = 1_700_000_000_000


class Told(NamedTuple):
    """A span in words."""

    trace: int
    span: int = 1
    parent: int = 0
    """0: it is a root."""
    service: str = "cart"
    name: str = "GET"
    error: bool = False
    took_ms: int = 10
    trace_state: str = ""
    fill: int = 0
    """Bytes of an attribute."""


def trace_id(number: int) -> bytes:
    """16 bytes, spread so that numbers differ in all halves; 0: an invalid one."""
    if not number:
        return bytes(16)
    return (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big") + (
        number * 0xD1B54A32D192ED03 % 2**64
    ).to_bytes(8, "big")


def request(spans: Iterable[Told], start_ms: int = START_MS) -> bytes:
    """One request; spans of a service that follow each other share a resource."""
    message = ExportTraceServiceRequest()
    service, scope = None, None
    for told in spans:
        if scope is None or told.service != service:
            service = told.service
            resource = message.resource_spans.add()
            resource.resource.attributes.add(key="service.name").value.string_value = service
            scope = resource.scope_spans.add()
        span = scope.spans.add(
            trace_id=trace_id(told.trace),
            span_id=told.span.to_bytes(8, "big"),
            name=told.name,
            trace_state=told.trace_state,
            start_time_unix_nano=start_ms * 10**6,
            end_time_unix_nano=(start_ms + told.took_ms) * 10**6,
        )
        if told.parent:
            span.parent_span_id = told.parent.to_bytes(8, "big")
        if told.error:
            span.status.code = 2
        if told.fill:
            span.attributes.add(key="fill").value.string_value = "x" * told.fill
    return message.SerializeToString()


def spans_of(value: bytes) -> list[tuple[bytes, bytes]]:
    """(trace id, span id) of a request's spans, in order."""
    scan = wire.scan_traces(value, strict_ids=False)
    ids = zip(scan.trace_id_high.tolist(), scan.trace_id_low.tolist(), strict=True)
    traces = [(high << 64 | low).to_bytes(16, "big") for high, low in ids]
    return [
        (trace, span.to_bytes(8, "big"))
        for trace, span in zip(traces, scan.span_id.tolist(), strict=True)
    ]

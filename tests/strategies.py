"""Hypothesis strategies for OTLP requests, as protobuf messages and as bytes.

``requests(signal)`` draws a whole ``Export*ServiceRequest``: empty things, unicode, nested
values, unknown fields at every level. ``encodings(message)`` draws other bytes for the same
message: fields in any order, repeated scalars packed or not, lengths with padding, singular
fields written twice.
"""

from __future__ import annotations

import struct
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    EntityRef,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from schemas.signals import Signal

__all__ = [
    "REQUESTS",
    "any_values",
    "encodings",
    "key_values",
    "log_records",
    "metrics",
    "requests",
    "resources",
    "scopes",
    "spans",
    "varint",
    "with_unknown_fields",
]

REQUESTS: dict[Signal, Any] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
}

texts = st.one_of(
    st.sampled_from(["", "a", "service.name", "GET /api/orders", "x" * 127, "y" * 128, "z" * 300]),
    st.text(max_size=20),
)
keys = st.one_of(st.sampled_from(["service.name", "http.route", "k", ""]), st.text(max_size=8))
times = st.one_of(st.just(0), st.integers(0, 2**64 - 1))
uint32s = st.one_of(st.just(0), st.integers(0, 2**32 - 1))
int64s = st.one_of(st.integers(-3, 300), st.integers(-(2**63), 2**63 - 1))
enums = st.one_of(st.integers(0, 5), st.sampled_from([24, 256, 2**31 - 1, -1, -(2**31)]))
doubles = st.floats(allow_nan=False)
trace_ids = st.binary(min_size=16, max_size=16).filter(any)
span_ids = st.binary(min_size=8, max_size=8).filter(any)


def maybe(strategy: st.SearchStrategy[Any], otherwise: Any) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(otherwise), strategy)


def few(strategy: st.SearchStrategy[Any], most: int = 2) -> st.SearchStrategy[list[Any]]:
    return st.lists(strategy, max_size=most)


def varint(value: int, padding: int = 0) -> bytes:
    """Varint of a number below 2^64; ``padding`` adds that many redundant bytes."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    for _ in range(padding):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


@st.composite
def unknown_fields(draw: st.DrawFn) -> bytes:
    """One field with a number that no OTLP message has."""
    number = draw(st.sampled_from([31, 32, 100, 1000, 2**29 - 1]))
    wire_type = draw(st.sampled_from([0, 1, 2, 5]))
    tag = varint(number << 3 | wire_type)
    if wire_type == 0:
        return tag + varint(draw(st.integers(0, 2**64 - 1)))
    if wire_type == 2:
        body: bytes = draw(st.binary(max_size=12))
        return tag + varint(len(body)) + body
    size = 8 if wire_type == 1 else 4
    return tag + draw(st.binary(min_size=size, max_size=size))


@st.composite
def with_unknown_fields(draw: st.DrawFn, messages: st.SearchStrategy[Any]) -> Any:
    """The same messages, now and then with unknown fields."""
    message = draw(messages)
    if draw(st.integers(0, 3)):
        return message
    extra = b"".join(draw(st.lists(unknown_fields(), min_size=1, max_size=2)))
    return type(message).FromString(message.SerializeToString() + extra)


def _key_values(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(KeyValue, key=keys, value=maybe(values, None))


any_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.builds(AnyValue, string_value=texts),
        st.builds(AnyValue, int_value=int64s),
        st.builds(AnyValue, bool_value=st.booleans()),
        st.builds(AnyValue, double_value=doubles),
        st.builds(AnyValue, bytes_value=st.binary(max_size=8)),
        st.builds(AnyValue),
    ),
    lambda inner: with_unknown_fields(
        st.one_of(
            st.builds(AnyValue, array_value=st.builds(ArrayValue, values=few(inner))),
            st.builds(
                AnyValue, kvlist_value=st.builds(KeyValueList, values=few(_key_values(inner)))
            ),
        )
    ),
    max_leaves=4,
)
key_values = with_unknown_fields(_key_values(any_values))
attributes = few(key_values, 3)

resources = with_unknown_fields(
    st.builds(
        Resource,
        attributes=attributes,
        dropped_attributes_count=uint32s,
        entity_refs=few(st.builds(EntityRef, schema_url=texts, type=texts, id_keys=few(texts)), 1),
    )
)
scopes = with_unknown_fields(
    st.builds(InstrumentationScope, name=texts, version=texts, attributes=attributes)
)
events = st.builds(Span.Event, time_unix_nano=times, name=texts, attributes=attributes)
links = st.builds(
    Span.Link,
    trace_id=maybe(trace_ids, b""),
    span_id=maybe(span_ids, b""),
    trace_state=texts,
    attributes=attributes,
    flags=uint32s,
)
spans = with_unknown_fields(
    st.builds(
        Span,
        trace_id=trace_ids,
        span_id=span_ids,
        parent_span_id=maybe(span_ids, b""),
        trace_state=texts,
        flags=uint32s,
        name=texts,
        kind=enums,
        start_time_unix_nano=times,
        end_time_unix_nano=times,
        attributes=attributes,
        dropped_attributes_count=uint32s,
        events=few(events, 1),
        links=few(links, 1),
        status=maybe(st.builds(Status, code=enums, message=texts), None),
    )
)
log_records = with_unknown_fields(
    st.builds(
        LogRecord,
        time_unix_nano=times,
        observed_time_unix_nano=times,
        severity_number=enums,
        severity_text=texts,
        body=maybe(any_values, None),
        attributes=attributes,
        flags=uint32s,
        trace_id=maybe(trace_ids, b""),
        span_id=maybe(span_ids, b""),
        event_name=texts,
    )
)
exemplars = st.builds(
    m.Exemplar,
    filtered_attributes=few(key_values, 1),
    time_unix_nano=times,
    as_double=doubles,
    span_id=maybe(span_ids, b""),
    trace_id=maybe(trace_ids, b""),
)
_point = {
    "attributes": attributes,
    "start_time_unix_nano": times,
    "time_unix_nano": times,
    "flags": uint32s,
}
number_points = with_unknown_fields(
    st.one_of(
        st.builds(m.NumberDataPoint, as_int=int64s, exemplars=few(exemplars, 1), **_point),
        st.builds(m.NumberDataPoint, as_double=doubles, **_point),
    )
)
histogram_points = with_unknown_fields(
    st.builds(
        m.HistogramDataPoint,
        count=times,
        sum=maybe(doubles, None),
        bucket_counts=few(times, 3),
        explicit_bounds=few(doubles, 3),
        exemplars=few(exemplars, 1),
        **_point,
    )
)
buckets = st.builds(
    m.ExponentialHistogramDataPoint.Buckets,
    offset=st.integers(-(2**31), 2**31 - 1),
    bucket_counts=few(times, 3),
)
exponential_points = with_unknown_fields(
    st.builds(
        m.ExponentialHistogramDataPoint,
        count=times,
        scale=st.integers(-10, 20),
        zero_count=times,
        positive=maybe(buckets, None),
        negative=maybe(buckets, None),
        exemplars=few(exemplars, 1),
        **_point,
    )
)
summary_points = with_unknown_fields(
    st.builds(
        m.SummaryDataPoint,
        count=times,
        sum=doubles,
        quantile_values=few(
            st.builds(m.SummaryDataPoint.ValueAtQuantile, quantile=doubles, value=doubles)
        ),
        **_point,
    )
)
temporality = enums
metrics = with_unknown_fields(
    st.one_of(
        [
            st.builds(m.Metric, name=texts, unit=texts, metadata=few(key_values, 1), **{kind: data})
            for kind, data in {
                "gauge": with_unknown_fields(st.builds(m.Gauge, data_points=few(number_points, 3))),
                "sum": st.builds(
                    m.Sum,
                    data_points=few(number_points, 3),
                    aggregation_temporality=temporality,
                    is_monotonic=st.booleans(),
                ),
                "histogram": st.builds(
                    m.Histogram,
                    data_points=few(histogram_points),
                    aggregation_temporality=temporality,
                ),
                "exponential_histogram": st.builds(
                    m.ExponentialHistogram,
                    data_points=few(exponential_points),
                    aggregation_temporality=temporality,
                ),
                "summary": st.builds(m.Summary, data_points=few(summary_points)),
            }.items()
        ]
        + [st.builds(m.Metric, name=texts)]
    )
)


def _request(signal: Signal, group: Any, scope: Any, field: str, items: Any) -> Any:
    scoped = with_unknown_fields(
        st.builds(scope, scope=maybe(scopes, None), schema_url=texts, **{field: few(items, 3)})
    )
    grouped = with_unknown_fields(
        st.builds(
            group,
            resource=maybe(resources, None),
            schema_url=texts,
            **{f"scope_{signal}" if signal != Signal.TRACES else "scope_spans": few(scoped)},
        )
    )
    name = "resource_spans" if signal == Signal.TRACES else f"resource_{signal}"
    return with_unknown_fields(st.builds(REQUESTS[signal], **{name: few(grouped, 3)}))


_BY_SIGNAL = {
    Signal.TRACES: _request(Signal.TRACES, ResourceSpans, ScopeSpans, "spans", spans),
    Signal.LOGS: _request(Signal.LOGS, ResourceLogs, ScopeLogs, "log_records", log_records),
    Signal.METRICS: _request(Signal.METRICS, m.ResourceMetrics, m.ScopeMetrics, "metrics", metrics),
}


def requests(signal: Signal) -> st.SearchStrategy[Any]:
    """Export requests of a signal, with valid ids."""
    return _BY_SIGNAL[signal]


_FIXED = {
    FieldDescriptor.TYPE_DOUBLE: ("<d", 1),
    FieldDescriptor.TYPE_FIXED64: ("<Q", 1),
    FieldDescriptor.TYPE_SFIXED64: ("<q", 1),
    FieldDescriptor.TYPE_FIXED32: ("<I", 5),
}
_ZIGZAG = FieldDescriptor.TYPE_SINT32
_DELIMITED = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def _scalar(field: Any, value: Any) -> tuple[int, bytes]:
    if field.type in _FIXED:
        form, wire_type = _FIXED[field.type]
        return wire_type, struct.pack(form, value)
    if field.type == _ZIGZAG:
        value = value << 1 if value >= 0 else ~(value << 1)
    return 0, varint(int(value) & (2**64 - 1))


@st.composite
def encodings(draw: st.DrawFn, message: Message) -> bytes:
    """Bytes that parse to ``message`` (unknown fields apart, which are not written)."""
    return _encode(draw, message)


def _encode(draw: st.DrawFn, message: Message) -> bytes:
    pieces: list[bytes] = []

    def delimited(number: int, body: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(body), draw(st.integers(0, 1))) + body

    for field, value in message.ListFields():
        number = field.number
        values = list(value) if field.is_repeated else [value]
        if field.message_type is not None:
            parts = [delimited(number, _encode(draw, each)) for each in values]
            if not field.is_repeated and draw(st.booleans()):
                parts.insert(0, delimited(number, b""))  # merges with the next
            pieces.append(b"".join(parts))
        elif field.type in _DELIMITED:
            raw = [v.encode() if isinstance(v, str) else v for v in values]
            if not field.is_repeated and field.type == FieldDescriptor.TYPE_STRING:
                raw = [b"earlier"] * draw(st.integers(0, 1)) + raw
            pieces.append(b"".join(delimited(number, each) for each in raw))
        else:
            encoded = [_scalar(field, each) for each in values]
            wire_type = encoded[0][0]
            if field.is_repeated and draw(st.booleans()):
                pieces.append(delimited(number, b"".join(each for _, each in encoded)))
            else:
                if not field.is_repeated and draw(st.booleans()):
                    encoded.insert(0, _scalar(field, 1))  # the last one counts
                tag = varint(number << 3 | wire_type)
                pieces.append(b"".join(tag + each for _, each in encoded))
    return b"".join(draw(st.permutations(pieces)))

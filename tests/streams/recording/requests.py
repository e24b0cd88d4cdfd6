"""Requests with ids and times wherever OTLP has them, for hypothesis."""

from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.signals import Signal

TYPES = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}
TRACE_IDS = st.one_of(
    st.binary(min_size=16, max_size=16), st.sampled_from([b"", bytes(16), b"short", b"\1" * 16])
)
SPAN_IDS = st.one_of(
    st.binary(min_size=8, max_size=8), st.sampled_from([b"", bytes(8), b"longer than 8", b"\1" * 8])
)
TIMES = st.one_of(
    st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**64 - 1, 1_674_981_729_000_000_000])
)
TEXTS = st.text(max_size=6)


@st.composite
def traces(draw) -> ExportTraceServiceRequest:
    message = ExportTraceServiceRequest()
    for _ in range(draw(st.integers(0, 2))):
        resource = message.resource_spans.add(schema_url=draw(TEXTS))
        resource.resource.attributes.add(key="service.name").value.string_value = draw(TEXTS)
        for _ in range(draw(st.integers(0, 2))):
            scope = resource.scope_spans.add()
            scope.scope.name = draw(TEXTS)
            for _ in range(draw(st.integers(0, 3))):
                span = scope.spans.add(
                    trace_id=draw(TRACE_IDS),
                    span_id=draw(SPAN_IDS),
                    parent_span_id=draw(SPAN_IDS),
                    name=draw(TEXTS),
                    flags=draw(st.integers(0, 2**32 - 1)),
                    start_time_unix_nano=draw(TIMES),
                    end_time_unix_nano=draw(TIMES),
                )
                if draw(st.booleans()):
                    span.events.add(time_unix_nano=draw(TIMES), name=draw(TEXTS))
                if draw(st.booleans()):
                    span.links.add(trace_id=draw(TRACE_IDS), span_id=draw(SPAN_IDS))
    return message


@st.composite
def logs(draw) -> ExportLogsServiceRequest:
    message = ExportLogsServiceRequest()
    for _ in range(draw(st.integers(0, 2))):
        scope = message.resource_logs.add().scope_logs.add()
        for _ in range(draw(st.integers(0, 3))):
            record = scope.log_records.add(
                time_unix_nano=draw(TIMES),
                observed_time_unix_nano=draw(TIMES),
                trace_id=draw(TRACE_IDS),
                span_id=draw(SPAN_IDS),
            )
            record.body.string_value = draw(TEXTS)
    return message


@st.composite
def metrics(draw) -> ExportMetricsServiceRequest:
    message = ExportMetricsServiceRequest()
    kinds = ["gauge", "sum", "histogram", "exponential_histogram", "summary"]
    for _ in range(draw(st.integers(0, 2))):
        scope = message.resource_metrics.add().scope_metrics.add()
        for kind in draw(st.lists(st.sampled_from(kinds), max_size=4)):
            metric = scope.metrics.add(name=draw(TEXTS))
            getattr(metric, kind).SetInParent()
            for _ in range(draw(st.integers(0, 2))):
                point = getattr(metric, kind).data_points.add(
                    start_time_unix_nano=draw(TIMES), time_unix_nano=draw(TIMES)
                )
                if kind != "summary" and draw(st.booleans()):
                    point.exemplars.add(
                        time_unix_nano=draw(TIMES),
                        trace_id=draw(TRACE_IDS),
                        span_id=draw(SPAN_IDS),
                        as_int=draw(st.integers(-5, 5)),
                    )
    return message


REQUESTS = st.one_of(
    st.tuples(st.just(Signal.TRACES), traces()),
    st.tuples(st.just(Signal.LOGS), logs()),
    st.tuples(st.just(Signal.METRICS), metrics()),
)

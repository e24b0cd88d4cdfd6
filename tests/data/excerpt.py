"""Cuts the bundled excerpt out of the whole recording: ``python -m tests.data.excerpt FOLDER``.

Whole traces that begin within a few minutes of one burst, their log records, and the metric
points of the same minutes. Spans that the source holds twice are taken once. Root spans, all
of which the benchmark's gateway calls ``/*``, are named after the route that they lead to, as
the semantic conventions want it, so that there are operations to be told apart.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.signals import Signal
from streams.recording import frames
from topologies.demo_data import EXCERPT

BEGIN = datetime(2023, 1, 29, 8, 42, 30, tzinfo=UTC).timestamp() * 1e9
END = datetime(2023, 1, 29, 8, 44, 15, tzinfo=UTC).timestamp() * 1e9
TYPES = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
}


def requests(folder: Path, signal: Signal) -> Iterator:
    with (folder / f"{signal}.otlp.zst").open("rb") as stream:
        for request in frames.read(stream, signal, lambda _, data: data):
            yield TYPES[signal].FromString(request.data)


def keep(items, condition) -> None:
    kept = [item for item in items if condition(item)]
    del items[:]
    items.extend(kept)


def store(signal: Signal, messages: list) -> None:
    with (EXCERPT / f"{signal}.otlp.zst").open("wb") as stream:
        frames.write(stream, (m.SerializeToString() for m in messages), level=22)


def name_roots(messages: list) -> None:
    """``/*`` becomes ``POST /api/v1/users/login``, from the spans below it.

    Source: semantic conventions, HTTP spans, "Name": ``{method} {http.route}``.
    """
    spans = {
        (span.trace_id, span.span_id): span
        for message in messages
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }
    calls = sorted(
        (span for span in spans.values() if span.name.startswith("/")),
        key=lambda span: span.start_time_unix_nano,
        reverse=True,  # the first call has the last word
    )
    for span in calls:
        caller = spans.get((span.trace_id, span.parent_span_id))
        if caller is None:
            continue
        root = spans.get((span.trace_id, caller.parent_span_id))
        if root is not None and not root.parent_span_id and caller.name.startswith("HTTP "):
            root.name = f"{caller.name.removeprefix('HTTP ')} {span.name}"


def main(folder: Path) -> None:
    begins: dict[bytes, int] = {}
    for message in requests(folder, Signal.TRACES):
        for scope in (s for r in message.resource_spans for s in r.scope_spans):
            for span in scope.spans:
                start = span.start_time_unix_nano
                begins[span.trace_id] = min(begins.get(span.trace_id, start), start)
    traces = {trace for trace, begin in begins.items() if BEGIN <= begin < END}

    seen: set[bytes] = set()

    def first_of_ours(item) -> bool:
        key = item.SerializeToString()
        if item.trace_id not in traces or key in seen:
            return False
        seen.add(key)
        return True

    for signal, resources, scopes, items in (
        (Signal.TRACES, "resource_spans", "scope_spans", "spans"),
        (Signal.LOGS, "resource_logs", "scope_logs", "log_records"),
    ):
        kept, count = [], 0
        for message in requests(folder, signal):
            for resource in getattr(message, resources):
                for scope in getattr(resource, scopes):
                    keep(getattr(scope, items), first_of_ours)
                keep(getattr(resource, scopes), lambda scope, items=items: getattr(scope, items))
            keep(getattr(message, resources), lambda r, scopes=scopes: getattr(r, scopes))
            here = sum(
                len(getattr(s, items)) for r in getattr(message, resources)
                for s in getattr(r, scopes)
            )  # fmt: skip
            if here:
                kept.append(message)
                count += here
        if signal is Signal.TRACES:
            name_roots(kept)
        store(signal, kept)
        print(signal, count, "items", len(kept), "requests")

    points, kept = 0, []
    for message in requests(folder, Signal.METRICS):
        metrics = [m for r in message.resource_metrics for s in r.scope_metrics for m in s.metrics]
        times = [p.time_unix_nano for m in metrics for p in m.gauge.data_points]
        if min(times) >= BEGIN - 60e9 and max(times) < END:
            kept.append(message)
            points += len(times)
    store(Signal.METRICS, kept)
    print(len(traces), "traces;", points, "points", len(kept), "requests")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

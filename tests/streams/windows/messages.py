"""Messages of the topic `windows`, made by the protobuf library: for who reads them, as an oracle.

A group is what the operator knows of it in one window, in plain numbers; ``messages`` gives the
records of a window as they lie on the topic, the closing one last.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)

from schemas.batches import Record

__all__ = ["Exemplar", "Group", "Kind", "closing", "distribution", "message", "messages"]

Kind = Literal[
    "spans",
    "logs",
    "gauge",
    "sum",
    "up_down_sum",
    "up_down_sum_delta",
    "histogram",
    "exponential_histogram",
    "summary",
]
Attribute = str | bool | int | float
SCOPE = "otlp-streams.windows"
_SCALE = 3


@dataclass(frozen=True)
class Exemplar:
    """The greatest value, and whose it is."""

    value: float
    time: int
    trace_id: bytes
    span_id: bytes


@dataclass(frozen=True)
class Group:
    """One group in one window."""

    kind: Kind
    service: str = ""
    tenant: str = ""
    metric: str = ""
    unit: str = ""
    output: str = ""
    """Of the rule; empty: the usual name."""
    attributes: tuple[tuple[str, Attribute], ...] = ()
    count: int = 0
    errors: int = 0
    sum: float = 0.0
    min: float = math.nan
    max: float = math.nan
    zero: int = 0
    scale: int = _SCALE
    positive: dict[int, int] = field(default_factory=dict)
    """Counts by exponential index, or by place among explicit bounds."""
    negative: dict[int, int] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()
    last: float = math.nan
    last_time: int = 0
    exemplar: Exemplar | None = None
    start_ms: int | None = None
    """Where it begins, if not where the window does (cumulative)."""


def distribution(group: Group, values: Iterable[float], scale: int = _SCALE) -> Group:
    """``group`` with these values in it, none of them negative."""
    found = list(values)
    positive: dict[int, int] = {}
    for value in found:
        if value > 0:
            index = math.ceil(math.log2(value) * 2**scale) - 1
            positive[index] = positive.get(index, 0) + 1
    return replace(
        group,
        count=len(found),
        sum=math.fsum(found),
        min=min(found, default=math.nan),
        max=max(found, default=math.nan),
        zero=sum(value == 0 for value in found),
        scale=scale,
        positive=positive,
        last=found[-1] if found else math.nan,
    )


def messages(
    rule: str,
    length_ms: int,
    end_ms: int,
    groups: Sequence[Group] = (),
    *,
    silent_sources: int = 0,
    next_offset: int = 0,
    partition: int = 0,
    topic: str = "windows",
) -> list[Record]:
    """A window's records: one for each tenant, and the closing one."""
    window = ("window", f"{rule}/{length_ms}/{end_ms}".encode())
    records = []
    for tenant in sorted({group.tenant for group in groups}):
        own = [group for group in groups if group.tenant == tenant]
        value = message(rule, length_ms, end_ms, own).SerializeToString()
        headers = (window, *([("tenant", tenant.encode())] if tenant else []))
        records.append(Record(topic, value, partition, None, headers))
    value = closing(rule, length_ms, end_ms, len(groups), silent_sources).SerializeToString()
    headers = (window, ("window.closed", b"1"), ("window.next", b"%d" % next_offset))
    return [*records, Record(topic, value, partition, None, headers)]


def closing(
    rule: str, length_ms: int, end_ms: int, series: int, silent_sources: int
) -> ExportMetricsServiceRequest:
    """The last message of a window."""
    request = ExportMetricsServiceRequest()
    scope = _scope(request.resource_metrics.add().scope_metrics.add(), rule, length_ms)
    for name, unit, value in (
        ("otlp_streams.window.series", "{series}", series),
        ("otlp_streams.window.silent_sources", "{source}", silent_sources),
    ):
        point = scope.metrics.add(name=name, unit=unit).gauge.data_points.add(as_int=value)
        _times(point, length_ms, end_ms)
    return request


def message(
    rule: str, length_ms: int, end_ms: int, groups: Sequence[Group], *, cumulative: bool = False
) -> ExportMetricsServiceRequest:
    """Groups of one tenant; services, metrics and groups in the order in which they are given."""
    request = ExportMetricsServiceRequest()
    for service in dict.fromkeys(group.service for group in groups):
        resource = request.resource_metrics.add()
        if service:
            resource.resource.attributes.append(_pair("service.name", service))
        scope = _scope(resource.scope_metrics.add(), rule, length_ms)
        metrics: dict[str, Metric] = {}
        for group in groups:
            if group.service == service:
                _add(scope, metrics, group, length_ms, end_ms, cumulative)
    return request


def _scope(scope, rule, length_ms):
    scope.scope.name = SCOPE
    scope.scope.attributes.append(_pair("window.rule", rule))
    scope.scope.attributes.append(_pair("window.length_ms", length_ms))
    return scope


def _pair(key: str, value: Attribute) -> KeyValue:
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    if isinstance(value, float):
        return KeyValue(key=key, value=AnyValue(double_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _times(point, length_ms, end_ms, start_ms=None):
    start = end_ms - length_ms if start_ms is None else start_ms
    point.start_time_unix_nano = start * 1_000_000
    point.time_unix_nano = end_ms * 1_000_000


def _add(scope, metrics, group, length_ms, end_ms, cumulative):
    temporality = (
        AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        if cumulative
        else AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    )

    def metric(name: str, unit: str) -> Metric:
        if name not in metrics:
            metrics[name] = scope.metrics.add(name=name, unit=unit)
        return metrics[name]

    def begin(point):
        _times(point, length_ms, end_ms, group.start_ms if cumulative else None)
        point.attributes.extend(_pair(key, value) for key, value in group.attributes)
        return point

    def total(name: str, unit: str, *, as_int: int | None = None, as_double: float | None = None):
        found = metric(name, unit).sum
        found.aggregation_temporality = temporality
        found.is_monotonic = group.kind != "up_down_sum_delta"
        point: NumberDataPoint = begin(found.data_points.add())
        if as_int is not None:
            point.as_int = as_int
        else:
            point.as_double = as_double

    def exponential(name: str, unit: str):
        found = metric(name, unit).exponential_histogram
        found.aggregation_temporality = temporality
        point: ExponentialHistogramDataPoint = begin(found.data_points.add())
        point.scale, point.zero_count = group.scale, group.zero
        for buckets, counts in (
            (point.positive, group.positive), (point.negative, group.negative)
        ):  # fmt: skip
            if counts:
                least, most = min(counts), max(counts)
                buckets.offset = least
                buckets.bucket_counts.extend(counts.get(i, 0) for i in range(least, most + 1))
        _sums(point, group)

    def explicit(name: str, unit: str):
        found = metric(name, unit).histogram
        found.aggregation_temporality = temporality
        point: HistogramDataPoint = begin(found.data_points.add())
        if group.kind == "histogram" and group.positive:
            point.explicit_bounds.extend(group.bounds)
            size = len(group.bounds) + 1
            point.bucket_counts.extend(group.positive.get(i, 0) for i in range(size))
        _sums(point, group)

    if group.kind == "spans":
        name = group.output or "traces.span.metrics"
        total(f"{name}.calls", "{span}", as_int=group.count)
        total(f"{name}.errors", "{span}", as_int=group.errors)
        exponential(f"{name}.duration", "s")
        return
    if group.kind == "logs":
        total(group.output or "log.record.count", "{record}", as_int=group.count)
        return
    name = group.output or f"window.{group.metric}"
    if group.kind in ("sum", "up_down_sum_delta"):
        total(name, group.unit, as_double=group.sum)
    elif group.kind in ("histogram", "summary"):
        explicit(name, group.unit)
    else:
        exponential(name, group.unit)
        if group.kind != "exponential_histogram":
            gauge = metric(f"{name}.last", group.unit).gauge
            begin(gauge.data_points.add()).as_double = group.last


def _sums(point, group):
    point.count = group.count
    if not math.isnan(group.sum):
        point.sum = group.sum
    if not math.isnan(group.min):
        point.min = group.min
    if not math.isnan(group.max):
        point.max = group.max
    if group.exemplar is not None:
        exemplar = point.exemplars.add(
            time_unix_nano=group.exemplar.time,
            trace_id=group.exemplar.trace_id,
            span_id=group.exemplar.span_id,
        )
        exemplar.as_double = group.exemplar.value

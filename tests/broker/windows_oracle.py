"""What windows and alerts must be, from what lies on the sources; and what they are.

expected    every item in its window, by the official library's objects
Topics      committed messages of sources and results
check       the two are equal, and nothing is told twice
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.config import Config
from schemas.errors import OtlpStreamsError
from schemas.records.alerts import AlertEvent
from streams.windows.closing import Closed, read_closing

from .windows_traffic import CLOSER, COUNTER

__all__ = ["Messages", "Series", "Topics", "check", "closings", "expected", "unfinished"]

Messages = Mapping[int, Sequence[ConsumerRecord]]
CALLS, ERRORS, DURATION = (
    f"traces.span.metrics.{name}" for name in ("calls", "errors", "duration")
)
LOGS, INCREASE = "log.record.count", f"window.{COUNTER}"
_SEVERITIES = {9: "INFO", 13: "WARN", 17: "ERROR"}


class Series(NamedTuple):
    """What is aggregated."""

    tenant: str
    service: str
    metric: str
    attribute: str
    """The value of the one that tells groups apart; empty: nothing does."""


Windows = dict[tuple[str, int, int], dict[Series, tuple[float, ...]]]
"""By rule, length and end: what is said of series."""


@dataclass(frozen=True)
class Topics:
    """What is on the topics, committed."""

    spans: Messages
    logs: Messages
    metrics: Messages
    windows: Messages
    out: Messages
    alerts: Messages
    state: Messages
    dead: Messages
    ends: Mapping[str, str]
    """Of stages that are not done: what they wait for."""


# --- what must be ----------------------------------------------------------------------------


class _Item(NamedTuple):
    rule: str
    series: Series
    time_ms: int
    values: tuple[float, ...]


def _items(topics: Topics) -> Iterator[_Item]:
    for message, tenant in _first(topics.spans):
        for resource in ExportTraceServiceRequest.FromString(message.value).resource_spans:
            service = _service(resource)
            for scope in resource.scope_spans:
                for span in scope.spans:
                    took_s = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
                    time_ms = span.end_time_unix_nano // 1_000_000
                    for metric, values in (
                        (CALLS, (1.0,)),
                        (ERRORS, (float(span.status.code == 2),)),
                        (DURATION, (1.0, took_s, took_s, took_s)),
                    ):
                        series = Series(tenant, service, metric, span.name)
                        yield _Item("spans", series, time_ms, values)
    for message, tenant in _first(topics.logs):
        for resource in ExportLogsServiceRequest.FromString(message.value).resource_logs:
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    severity = _SEVERITIES.get(record.severity_number, "")
                    series = Series(tenant, _service(resource), LOGS, severity)
                    yield _Item("logs", series, record.time_unix_nano // 1_000_000, (1.0,))
    yield from _increases(topics)


def _increases(topics: Topics) -> Iterator[_Item]:
    """Of streams without a start: what a point has more than the one before it."""
    last: dict[str, float] = {}
    for message, tenant in _first(topics.metrics):
        for resource in ExportMetricsServiceRequest.FromString(message.value).resource_metrics:
            service = _service(resource)
            [metric] = resource.scope_metrics[0].metrics
            [point] = metric.sum.data_points
            before = last.get(service)
            last[service] = point.as_int
            if before is not None and service != CLOSER:
                series = Series(tenant, service, INCREASE, "")
                increase = (float(point.as_int - before),)
                yield _Item("requests", series, point.time_unix_nano // 1_000_000, increase)


def _first(messages: Messages) -> Iterator[tuple[ConsumerRecord, str]]:
    """Messages with their tenant; not those that sampling has sent to another partition."""
    for message in _every(messages):
        headers = dict(message.headers)
        if "sampling.rekeyed" not in headers:
            yield message, headers.get("tenant", b"").decode()


def expected(topics: Topics, config: Config) -> Windows:
    """Every item of the sources in its windows, but for the closers."""
    found: Windows = defaultdict(dict)
    lengths = {rule.name: rule.lengths_ms for rule in config.windows.rules}
    for item in _items(topics):
        if item.series.service == CLOSER:
            continue
        for length in lengths[item.rule]:
            end = item.time_ms // length * length + length
            window = found[item.rule, length, end]
            before = window.get(item.series)
            window[item.series] = item.values if before is None else _add(before, item.values)
    return dict(found)


def _add(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
    if len(a) == 1:
        return (a[0] + b[0],)
    return a[0] + b[0], a[1] + b[1], min(a[2], b[2]), max(a[3], b[3])


# --- what is ---------------------------------------------------------------------------------


def _told(topics: Topics) -> Windows:
    """Raises AssertionError for what is told twice."""
    found: Windows = defaultdict(dict)
    for message in _every(topics.windows):
        headers = dict(message.headers)
        rule, length, end = headers["window"].decode().split("/")
        window = found[rule, int(length), int(end)]
        if "window.closed" in headers:
            continue
        for series, values in _points(message):
            assert series not in window, f"window {headers['window']} says {series} twice"
            if series.service != CLOSER:
                window[series] = values
    return {window: series for window, series in found.items() if series}


def _points(message: ConsumerRecord) -> Iterator[tuple[Series, tuple[float, ...]]]:
    tenant = dict(message.headers).get("tenant", b"").decode()
    for resource in ExportMetricsServiceRequest.FromString(message.value).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points:
                    attribute = "".join(each.value.string_value for each in point.attributes)
                    series = Series(tenant, _service(resource), metric.name, attribute)
                    if kind == "exponential_histogram":
                        buckets = sum(point.positive.bucket_counts) + point.zero_count
                        assert buckets == point.count, f"{series}: {buckets} in buckets"
                        yield series, (point.count, point.sum, point.min, point.max)
                    else:
                        number = point.as_double or point.as_int
                        yield series, (float(number),)


def closings(topics: Topics) -> dict[int, list[Closed]]:
    """Of windows, by partition and in order."""
    return {
        partition: [
            closed for each in records if (closed := read_closing(each.headers)) is not None
        ]
        for partition, records in topics.windows.items()
    }


def _service(resource: Any) -> str:
    return "".join(
        each.value.string_value
        for each in resource.resource.attributes
        if each.key == "service.name"
    )


def _every(messages: Messages) -> Iterator[ConsumerRecord]:
    for partition in sorted(messages):
        yield from messages[partition]


# --- both ------------------------------------------------------------------------------------


def unfinished(topics: Topics, config: Config, partitions: int, latest_ms: int) -> str:
    """What there is still to do; empty if nothing is."""
    said = closings(topics)
    for partition in range(partitions):
        for rule in config.windows.rules:
            for length in rule.lengths_ms:
                wanted = latest_ms // length * length + length
                ends = [
                    each.end_ms
                    for each in said.get(partition, ())
                    if (each.rule, each.length_ms) == (rule.name, length)
                ]
                if max(ends, default=0) < wanted:
                    return f"{rule.name}/{length} of {partition} is at {ends[-1:]}, not {wanted}"
    return "; ".join(f"{stage}: {what}" for stage, what in topics.ends.items())


def check(topics: Topics, config: Config) -> dict[str, Any]:
    """Figures. Raises AssertionError for anything that is not as it must be."""
    assert not list(_every(topics.dead)), "there are dead letters"
    wanted, told = expected(topics, config), _told(topics)
    _same_windows(wanted, told)
    _each_closed_once(topics)
    exported = _export_adds_up(topics, wanted, config)
    transitions = _alerts_follow(topics, wanted, config)
    return {
        "windows": sum(map(len, wanted.values())),
        "items": sum(sum(s[0] for s in w.values()) for k, w in wanted.items() if k[0] == "logs"),
        "exported series": exported,
        "transitions": transitions,
    }


def _same_windows(wanted: Windows, told: Windows) -> None:
    for window in sorted(wanted.keys() | told.keys()):
        expects, says = wanted.get(window, {}), told.get(window, {})
        for series in sorted(expects.keys() | says.keys()):
            a, b = expects.get(series), says.get(series)
            assert a == b, f"window {window}: {series} is {b}, must be {a}"


def _each_closed_once(topics: Topics) -> None:
    for partition, closed in closings(topics).items():
        last: dict[tuple[str, int], int] = {}
        for each in closed:
            key = (each.rule, each.length_ms)
            before = last.get(key, each.end_ms - each.length_ms)
            assert each.end_ms == before + each.length_ms, (
                f"partition {partition}: {key} is closed at {each.end_ms} after {before}"
            )
            last[key] = each.end_ms


def _export_adds_up(topics: Topics, wanted: Windows, config: Config) -> int:
    """Backends get sums since the beginning: never less than before, and all of it in the end."""
    total: Counter[Series] = Counter()
    shortest = {rule.name: rule.lengths_ms[0] for rule in config.windows.rules}
    for (rule, length, _), window in wanted.items():
        if length == shortest[rule]:
            for series, values in window.items():
                if series.metric in (CALLS, ERRORS, LOGS, INCREASE):
                    total[series] += int(values[0])
    last: Counter[Series] = Counter()
    for message in _every(topics.out):
        for series, (value, *_) in _points(message):
            if series.service != CLOSER and series.metric in (CALLS, ERRORS, LOGS, INCREASE):
                assert value >= last[series], f"export: {series} {value} after {last[series]}"
                last[series] = int(value)
    for series in total.keys() | last.keys():
        assert last[series] == total[series], (
            f"export: {series} is {last[series]} in the end, must be {total[series]}"
        )
    return len(total)


def _alerts_follow(topics: Topics, wanted: Windows, config: Config) -> int:
    must, are = _transitions(topics, wanted, config), defaultdict(list)
    newest: dict[bytes, str] = {}
    for message in _every(topics.alerts):
        event = AlertEvent.of(message.headers, message.value)
        assert event.series is not None
        if event.series.service != CLOSER:
            name = str(event.series.attributes["span.name"])
            series = Series(event.series.tenant, event.series.service, CALLS, name)
            are[series].append((event.state, round(event.at.timestamp() * 1000)))
        newest[message.key] = event.state
    for series in must.keys() | are.keys():
        a, b = must.get(series, []), are.get(series, [])
        if a != b:
            twice = [each for each, count in Counter(b).items() if count > 1]
            lost, more = [e for e in a if e not in b], [e for e in b if e not in a]
            raise AssertionError(f"alerts: {series}: lost {lost}, more {more}, twice {twice}")
    states = dict(_states(_every(topics.state)))
    assert newest.items() <= states.items(), "alerts.state is not what alerts has said last"
    return sum(map(len, must.values()))


def _states(messages: Iterable[ConsumerRecord]) -> Iterator[tuple[bytes, str]]:
    for message in messages:
        try:
            yield message.key, AlertEvent.of(message.headers, message.value).state
        except OtlpStreamsError:
            continue  # which rules hold


def _transitions(
    topics: Topics, wanted: Windows, config: Config
) -> dict[Series, list[tuple[str, int]]]:
    """Of the one rule there is: a threshold on the number of spans, by nothing but its windows."""
    [rule] = config.alerts.rules
    assert rule.threshold is not None
    length = round(rule.on.length * 1000)
    mine = (rule.on.window, length)
    latest = min(
        max((e.end_ms for e in closed if (e.rule, e.length_ms) == mine), default=0)
        for closed in closings(topics).values()
    )
    counts: dict[Series, dict[int, float]] = defaultdict(dict)
    for (name, its_length, end), window in wanted.items():
        if (name, its_length) == mine:
            for series, values in window.items():
                if series.metric == CALLS:
                    counts[series][end] = values[0]
    found: dict[Series, list[tuple[str, int]]] = {}
    for series, of_series in counts.items():
        fires = False
        said = []
        for end in range(min(of_series), latest + 1, length):
            if (of_series.get(end, 0) > rule.threshold.value) != fires:
                fires = not fires
                said.append(("firing" if fires else "resolved", end))
        if said:
            found[series] = said
    assert not math.isnan(latest)
    return found

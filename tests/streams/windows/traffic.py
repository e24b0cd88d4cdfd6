"""Small worlds of telemetry for windows: few names, times around one moment, all that can be wrong.

``batches`` draws messages of one signal with few different groups, so that items meet in cells.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m

from schemas.batches import Batch
from schemas.config import WindowRule, Windows
from schemas.signals import Signal
from tests.strategies import REQUESTS

__all__ = ["NOW_MS", "SETTINGS", "batches", "items", "message"]

NOW_MS = 1_700_000_000_000
SETTINGS = Windows(
    rules=(
        WindowRule(name="spans", signal="spans", by=("span.name", "span.kind", "status.code")),
        WindowRule(name="services", signal="spans", export=False),
        WindowRule(
            name="keys", signal="spans", by=("k", "resource.pod", "scope.s"), output="keys",
            match={"status.code": ["STATUS_CODE_ERROR", "STATUS_CODE_OK"], "k": ["v", 1, True]},
        ),
        WindowRule(name="logs", signal="logs", by=("severity",)),
        WindowRule(name="log_keys", signal="logs", by=("k",), match={"severity": "ERROR"}),
        WindowRule(name="all", signal="metrics", metric="*", by=("k",), export=False),
        WindowRule(
            name="some", signal="metrics", metric="m.*", match={"resource.service.name": "a"},
        ),
    ),
    buckets_max=4,
)  # fmt: skip

_services = st.sampled_from([None, "a", "b"])
_k: st.SearchStrategy[Any] = st.sampled_from([None, None, "v", "w", 1, 2, True, 1.5, b"no scalar"])
_ms = st.sampled_from([0, 0, 5, 900, 10_000, 59_000, 60_000, -4, -12_000, 61_000, None])
"""Before or after the message; None: no time."""
_trace_ids = st.sampled_from([b"t" * 16, b"u" * 16, b"\xff" * 16])


def _attributes(**values: Any) -> list[KeyValue]:
    made = []
    for key, value in values.items():
        if value is None:
            continue
        each = KeyValue(key=key)
        kind = {str: "string", bool: "bool", int: "int", float: "double", bytes: "bytes"}
        setattr(each.value, f"{kind[type(value)]}_value", value)
        made.append(each)
    return made


def _nanos(ms: int | None, stamp_ms: int) -> int:
    return 0 if ms is None else (stamp_ms + ms) * 1_000_000 + 250


@st.composite
def _span(draw: st.DrawFn, stamp_ms: int) -> dict[str, Any]:
    end = _nanos(draw(_ms), stamp_ms)
    took = draw(st.sampled_from([0, 1, 1_000_000, 1 << 30, 3_000_000_000, 10**15, -5, None]))
    return {
        "trace_id": draw(_trace_ids),
        "span_id": draw(st.sampled_from([b"s" * 8, b"r" * 8])),
        "name": draw(st.sampled_from(["", "GET", "POST"])),
        "kind": draw(st.sampled_from([0, 2, 3, 6, -1])),
        "status": {"code": draw(st.sampled_from([0, 1, 2, 2, 5]))},
        "start_time_unix_nano": 0 if took is None else max(end - took, 0),
        "end_time_unix_nano": end,
        "attributes": _attributes(k=draw(_k)),
    }


@st.composite
def _record(draw: st.DrawFn, stamp_ms: int) -> dict[str, Any]:
    return {
        "time_unix_nano": _nanos(draw(_ms), stamp_ms),
        "observed_time_unix_nano": _nanos(draw(_ms), stamp_ms),
        "severity_number": draw(st.sampled_from([0, 1, 4, 9, 17, 17, 18, 24, 25])),
        "attributes": _attributes(k=draw(_k)),
    }


_numbers = st.sampled_from([0.0, 1.0, -2.5, 3.0, 1e-9, 1e9, 0.1, float("inf"), float("nan")])
_bounds = st.sampled_from([[], [1.0], [1.0, 5.0], [1.0, 5.0, 25.0], [5.0, 1.0], [1.0] * 4])
_counts = st.lists(st.sampled_from([0, 0, 1, 2, 70]), max_size=4)


@st.composite
def _number_point(draw: st.DrawFn) -> Any:
    which = draw(st.sampled_from(["as_double", "as_double", "as_int", ""]))
    value: Any = draw(st.integers(-5, 5)) if which == "as_int" else draw(_numbers)
    return m.NumberDataPoint(**{which: value} if which else {})


@st.composite
def _extremes(draw: st.DrawFn, names: tuple[str, ...]) -> dict[str, float]:
    return {name: draw(_numbers) for name in names if draw(st.integers(0, 3))}


@st.composite
def _explicit_point(draw: st.DrawFn) -> Any:
    bounds = draw(_bounds)
    size = len(bounds) + 1 + draw(st.sampled_from([0, 0, 0, 0, 1]))
    counts = [draw(st.sampled_from([0, 1, 5])) for _ in range(size)]
    if not bounds and draw(st.booleans()):
        counts = []
    return m.HistogramDataPoint(
        count=sum(counts) + draw(st.sampled_from([0, 0, 0, 1])),
        bucket_counts=counts,
        explicit_bounds=bounds,
        **draw(_extremes(("sum", "min", "max"))),
    )


@st.composite
def _exponential_point(draw: st.DrawFn) -> Any:
    positive, negative = draw(_counts), draw(_counts)
    zero = draw(st.integers(0, 2))
    wide = draw(st.sampled_from([0, 0, 200]))
    if wide:
        positive = [1, *[0] * wide, 1]
    return m.ExponentialHistogramDataPoint(
        count=sum(positive) + sum(negative) + zero + draw(st.sampled_from([0, 0, 0, 1])),
        zero_count=zero,
        scale=draw(st.sampled_from([3, 3, 5, 8, 0, -2])),
        positive={"offset": draw(st.integers(-9, 9)), "bucket_counts": positive},
        negative={"offset": draw(st.integers(-9, 9)), "bucket_counts": negative},
        **draw(_extremes(("sum", "min", "max"))),
    )


@st.composite
def _metric(draw: st.DrawFn, stamp_ms: int) -> Any:
    data = draw(st.sampled_from(["gauge", "sum", "histogram", "exponential_histogram", "summary"]))
    metric = m.Metric(
        name=draw(st.sampled_from(["m.x", "m.y", "n"])), unit=draw(st.sampled_from(["", "s"]))
    )
    held = getattr(metric, data)
    if data in ("sum", "histogram", "exponential_histogram"):
        held.aggregation_temporality = draw(st.sampled_from([1, 1, 2, 2, 0, 7]))
    if data == "sum":
        held.is_monotonic = draw(st.booleans())
    for _ in range(draw(st.integers(1, 2))):
        if data in ("gauge", "sum"):
            point = draw(_number_point())
        elif data == "histogram":
            point = draw(_explicit_point())
        elif data == "exponential_histogram":
            point = draw(_exponential_point())
        else:
            point = m.SummaryDataPoint(count=draw(st.integers(0, 9)), sum=draw(_numbers))
        point.time_unix_nano = _nanos(draw(_ms), stamp_ms)
        point.start_time_unix_nano = _nanos(draw(_ms), stamp_ms)
        point.flags = draw(st.sampled_from([0, 0, 0, 0, 1, 2]))
        point.attributes.extend(_attributes(k=draw(_k)))
        if data != "summary" and draw(st.booleans()):
            point.exemplars.add(
                as_double=draw(st.sampled_from([1.0, 2.0])), trace_id=draw(_trace_ids),
                time_unix_nano=_nanos(draw(_ms), stamp_ms),
            )  # fmt: skip
        held.data_points.append(point)
    return metric


_FIELDS = {
    Signal.TRACES: ("resource_spans", "scope_spans", "spans"),
    Signal.LOGS: ("resource_logs", "scope_logs", "log_records"),
    Signal.METRICS: ("resource_metrics", "scope_metrics", "metrics"),
}
_STRATEGIES = {Signal.TRACES: _span, Signal.LOGS: _record, Signal.METRICS: _metric}

Item = tuple[str | None, str | None, str | None, Any]
"""Service, pod, scope attribute, and the item."""


def items(signal: Signal, stamp_ms: int = NOW_MS) -> st.SearchStrategy[list[Item]]:
    """Items of messages with the broker's time ``stamp_ms``."""
    return st.lists(
        st.tuples(
            _services,
            st.sampled_from([None, "p"]),
            st.sampled_from([None, "x"]),
            _STRATEGIES[signal](stamp_ms),
        ),
        max_size=8,
    )


def message(signal: Signal, parts: list[Item]) -> bytes:
    """A request with these items."""
    outer, middle, inner = _FIELDS[signal]
    request = REQUESTS[signal]()
    for service, pod, scope, item in parts:
        group = getattr(request, outer).add()
        group.resource.attributes.extend(_attributes(**{"service.name": service}, pod=pod))
        scoped = getattr(group, middle).add()
        scoped.scope.attributes.extend(_attributes(s=scope))
        if signal == Signal.METRICS:
            getattr(scoped, inner).append(item)
        else:
            getattr(scoped, inner).add(**item)
    data: bytes = request.SerializeToString()
    return data


@st.composite
def batches(draw: st.DrawFn, signal: Signal, most: int = 6) -> list[tuple[Batch, list[Item]]]:
    """Messages in order of offset, with the items they were made from."""
    made = []
    stamp_ms = NOW_MS
    for offset in range(draw(st.integers(0, most))):
        stamp_ms += draw(st.sampled_from([0, 1, 3000, 20_000]))
        parts = draw(items(signal, stamp_ms))
        headers: Any = draw(
            st.sampled_from(
                [(), (), (("tenant", b"t"),), (("tenant", b"t"), ("sampling.rekeyed", b"1"))]
            )
        )
        value = message(signal, parts)
        made.append((Batch("source", 3, offset, stamp_ms, None, value, headers), parts))
    return made

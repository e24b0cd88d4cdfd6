"""Windows in the battery: several sources, several kinds, closed by batches and by ticks."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial

from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from schemas.batches import Batch, Record
from schemas.config.windows import WindowRule
from schemas.config.windows import Windows as Settings
from streams.windows.records import decode
from streams.windows.windows import Windows
from tests.operators.battery import PARTITION, Case
from tests.streams.windows.some_partials import Cell, Group, Point, record

__all__ = ["WINDOWS"]

_SETTINGS = Settings(
    rules=(
        WindowRule(name="spans", signal="spans", by=("span.name",), lengths=(1, 3)),
        WindowRule(
            name="metrics", signal="metrics", metric="*", lengths=(2,), statistics=("p50", "rate")
        ),
    ),
    allowed_lateness=1,
    idle_after=1,
    source_timeout=6,
    cardinality_limit=3,
    streams_max=2,
    stale_after=4,
)
# Below what a configuration may say, so that limits are reached within a history.
_TIGHT = _SETTINGS.model_copy(update={"forget_after": 2, "stale_after": 2, "open_cells_max": 4})
_TOPICS = {"spans": "spans", "logs": "logs", "metrics": "metrics"}
_BEGIN_MS = 1_700_000_000_000
_BOUNDS = [(1.0, 2.0, 4.0), (2.0, 4.0, 8.0), ()]


def _make(settings: Settings) -> Windows:
    return Windows(
        settings, topics=_TOPICS, output="windows", export="out", partition=PARTITION,
        max_bytes=1000,
    )  # fmt: skip


_numbers = st.integers(0, 3)


@st.composite
def _rows(draw: st.DrawFn, topic: str, time_ms: int) -> list[Cell | Point]:
    rows: list[Cell | Point] = []
    for _ in range(draw(st.integers(0, 3))):
        at = time_ms - draw(st.sampled_from([0, 0, 500, 1500, 2500, 6000]))
        count = draw(st.integers(1, 3))
        if topic == "spans":
            group = Group(
                "spans", tenant=draw(st.sampled_from(["", "t"])),
                attributes=(("span.name", draw(st.sampled_from("abc"))),),
            )  # fmt: skip
            index = draw(st.integers(-200, 200))
            rows.append(
                Cell(count=count, sum=0.5 * count, min=0.5, max=0.5, errors=draw(st.integers(0, 1)),
                     buckets={(False, index): count}, group=group, pane_ms=at // 1000 * 1000,
                     exemplar=(0.5, at, 1, 2, draw(_numbers)))
            )  # fmt: skip
            continue
        kind = draw(st.sampled_from(["gauge", "sum", "histogram", "exponential_histogram"]))
        group = Group("metrics", kind, metric="m")
        value, start = float(draw(st.integers(0, 9))), draw(st.sampled_from([0, 1, 2]))
        bounds = draw(st.sampled_from(_BOUNDS)) if kind == "histogram" else None
        place = draw(st.integers(0, 0 if bounds is None else len(bounds)))
        buckets = {(False, place): count} if kind.endswith("histogram") else {}
        if kind == "gauge":
            rows.append(
                Cell(count=1, sum=value, min=value, max=value, last=(at, value), group=group,
                     pane_ms=at // 1000 * 1000, buckets={(False, 3): 1})
            )  # fmt: skip
        else:
            rows.append(
                Point(count=0 if kind == "sum" else count, sum=value, bounds=bounds, group=group,
                      buckets=buckets, stream=draw(_numbers), time_ms=at,
                      start_ms=start and _BEGIN_MS + 1000 * start)
            )  # fmt: skip
    return rows


@st.composite
def _values(draw: st.DrawFn) -> bytes:
    topic = draw(st.sampled_from(["spans", "spans", "metrics", "strange"]))
    progress = _BEGIN_MS + 500 * draw(st.integers(0, 20))
    partitions = draw(st.sampled_from([1, 1, 2]))
    return record(
        _SETTINGS, draw(_rows(topic, progress)), topic=topic, progress_ms=progress,
        partition=draw(st.integers(0, partitions - 1)), partitions=partitions,
        idle=draw(st.sampled_from([False, False, True])),
    )  # fmt: skip


def _points(record: Record) -> Iterator[tuple[str, str, object, int, int, bool]]:
    """Tenant, metric, attributes, end, value and whether it is cumulative, of calls."""
    tenant = dict(record.headers).get("tenant", b"").decode()
    for resource in ExportMetricsServiceRequest.FromString(record.value).resource_metrics:
        for metric in resource.scope_metrics[0].metrics:
            if metric.name.endswith(".calls"):
                for point in metric.sum.data_points:
                    yield (
                        tenant, metric.name, str(point.attributes), point.time_unix_nano,
                        point.as_int, metric.sum.aggregation_temporality == 2,
                    )  # fmt: skip


def _told_once(batches: Sequence[Batch], visible: Sequence[Record]) -> None:
    """Every window is closed once, in order; nothing is counted twice, and sums add up."""
    closed: dict[tuple[str, str], list[int]] = defaultdict(list)
    deltas: Counter[tuple[str, str, object]] = Counter()
    totals: dict[tuple[str, str, object], list[int]] = defaultdict(list)
    by_length: Counter[str] = Counter()
    for each in visible:
        assert len(each.value) <= 1000
        headers = dict(each.headers)
        if "window.closed" in headers:
            rule, length, end = headers["window"].decode().split("/")
            closed[rule, length].append(int(end))
        length = headers.get("window", b"//").decode().split("/")[1]
        for tenant, name, attributes, _, value, cumulative in _points(each):
            if cumulative:
                totals[tenant, name, attributes].append(value)
            else:
                by_length[length] += value
                if length == "1000":
                    deltas[tenant, name, attributes] += value
    for ends in closed.values():
        assert all(left < right for left, right in itertools.pairwise(ends))
    for key, values in totals.items():
        assert values == sorted(values)
        assert values[-1] == deltas[key]
    partials = [decode(each.value) for each in batches]
    items = sum(
        int(each.cells.count[each.groups.rule[each.cells.group] == 0].sum())
        for each in partials
        if each.header.topic == "spans"
    )
    assert all(count <= items for count in by_length.values())


WINDOWS = [
    Case(
        name,
        partial(_make, settings),
        _values(),
        st.sampled_from([b"", b"\x89OSR", b"{}"]),
        scan=lambda _topic, value: decode(value),
        holds=_told_once,
        examples=40,
    )
    for name, settings in (("windows", _SETTINGS), ("windows at their limits", _TIGHT))
]

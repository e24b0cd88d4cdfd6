"""What cumulative streams increase by, and what backends get of it."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from schemas.batches import Record
from schemas.config import WindowRule, Windows
from schemas.operators import Scanned
from streams.windows import windows as operator
from streams.windows.counts_windows import WindowCounts
from streams.windows.records import decode
from tests.streams.windows.some_partials import Cell, Group, Point, batch, record

T = 1_700_000_000_000
SETTINGS = Windows(
    rules=(WindowRule(name="m", signal="metrics", metric="*", lengths=(10,)),),
    allowed_lateness=0,
    stale_after=60,
)
SUM = Group("m", "sum", metric="requests")
HISTOGRAM = Group("m", "histogram", metric="size")
EXPONENTIAL = Group("m", "exponential_histogram", metric="took")
SUMMARY = Group("m", "summary", metric="old")


class Host:
    """An operator that is given rows, and time."""

    def __init__(self, settings: Windows = SETTINGS, partition: int = 0) -> None:
        self.settings = settings
        self.counts = WindowCounts()
        self.operator = operator.Windows(
            settings, topics={"spans": "spans", "logs": "logs", "metrics": "metrics"},
            output="windows", export="out", partition=partition, max_bytes=100_000,
            counts=self.counts,
        )  # fmt: skip
        self.offset = 0

    def take(self, progress_s: float, *rows: Cell | Point, **header: Any) -> list[Record]:
        """A record whose source is so many seconds behind T."""
        progress_ms = T + int(progress_s * 1000)
        header = {"topic": "metrics", "progress_ms": progress_ms} | header
        value = record(self.settings, rows, **header)
        self.offset += 1
        taken = batch(value, self.offset, header.get("now_ms") or progress_ms)
        return list(self.operator.process(Scanned(taken, decode(value))).records)


def point(second: float, value: float = 0.0, group: Group = SUM, **more: Any) -> Point:
    return Point(
        time_ms=T + int(second * 1000), sum=value, group=group, **({"count": 0} | more)
    )  # fmt: skip


def told(records: list[Record], topic: str = "windows") -> dict[int, Any]:
    """The first metric's point of each window by its end, in seconds after T."""
    found = {}
    for each in records:
        if each.topic != topic:
            continue
        request = ExportMetricsServiceRequest.FromString(each.value)
        metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
        if "window.closed" not in dict(each.headers):
            held = getattr(metric, metric.WhichOneof("data"))
            (one,) = held.data_points
            found[(one.time_unix_nano // 1_000_000 - T) // 1000] = one
    return found


def increases(
    *points: Point, settings: Windows = SETTINGS
) -> tuple[dict[int, float], WindowCounts]:
    """By the end of their windows."""
    host = Host(settings)
    made = host.take(0, *points) + host.take(1000)
    return {end: each.as_double for end, each in told(made).items()}, host.counts


def test_an_increase_is_the_difference_of_two_points() -> None:
    found, counts = increases(point(1, 5), point(11, 7), point(21, 7), point(22, 10))
    assert found == {20: 2.0, 30: 3.0}
    assert counts.new_streams == 1
    assert counts.resets == 0


def test_points_may_come_in_any_order() -> None:
    found, _ = increases(point(22, 10), point(1, 5), point(21, 7), point(11, 7))
    assert found == {20: 2.0, 30: 3.0}


def test_a_stream_that_began_since_is_counted_from_its_beginning() -> None:
    before, _ = increases(point(1, 5, start_ms=T - 20_000), point(2, 6, start_ms=T - 20_000))
    assert before == {10: 1.0}
    since, _ = increases(point(1, 5, start_ms=T), point(2, 6, start_ms=T))
    assert since == {10: 6.0}


def test_resets_by_value_and_by_start() -> None:
    by_value, counts = increases(point(1, 5), point(11, 3), point(12, 4))
    assert by_value == {20: 4.0}
    assert counts.resets == 1
    start = {"start_ms": T - 20_000}
    by_start, counts = increases(
        point(1, 5, **start), point(11, 8, start_ms=T + 5000), point(12, 9, start_ms=T + 5000)
    )
    assert by_start == {20: 9.0}
    assert counts.resets == 1


def test_two_writers_of_one_stream_are_not_added_up() -> None:
    old, new = {"start_ms": T - 30_000}, {"start_ms": T - 20_000}
    found, counts = increases(
        point(1, 5, **new), point(2, 100, **old), point(3, 6, **new), point(4, 101, **old)
    )
    assert found == {10: 1.0}
    assert counts.overlaps == 2


def test_a_point_that_comes_twice_counts_once() -> None:
    found, counts = increases(point(1, 5), point(2, 7), point(2, 7))
    assert found == {10: 2.0}
    assert counts.duplicates == 1


def test_what_happened_in_a_gap_is_not_known() -> None:
    found, counts = increases(point(1, 5), point(62, 9), point(63, 10))
    assert found == {70: 1.0}
    assert counts.gaps == 1
    began, counts = increases(point(1, 5), point(62, 9, start_ms=T + 30_000))
    assert began == {70: 9.0}, "unless the stream says that it began in it"


def test_a_late_point_is_left_out_and_the_next_one_has_its_increase() -> None:
    host = Host()
    made = host.take(0, point(1, 5)) + host.take(10)
    made += host.take(11, point(9, 7), point(11, 8)) + host.take(1000)
    assert {end: each.as_double for end, each in told(made).items()} == {20: 3.0}
    assert host.counts.late == {("m", 0): 1}


def test_streams_of_another_tenant_or_kind_are_others() -> None:
    other = Group("m", "sum", metric="requests", tenant="t")
    _, counts = increases(point(1, 5), point(2, 7), point(3, 1, other))
    assert counts.new_streams == 2
    assert counts.resets == 0


def test_streams_seen_least_lately_are_forgotten_for_others() -> None:
    host = Host(SETTINGS.model_copy(update={"streams_max": 2}))
    made = host.take(0, *(point(i, 5, stream=i) for i in (1, 2, 3)))
    made += host.take(10, *(point(10 + i, 9, stream=i) for i in (1, 2, 3))) + host.take(1000)
    assert sum(each.as_double for each in told(made).values()) == 8.0
    assert host.counts.forgotten_streams == 2


def test_explicit_histograms() -> None:
    bounds = (1.0, 5.0)

    def at(second: float, *counts: int, of: tuple[float, ...] = bounds) -> Point:
        return point(
            second, float(sum(counts)), HISTOGRAM, count=sum(counts), bounds=of,
            buckets={(False, i): count for i, count in enumerate(counts)},
        )  # fmt: skip

    host = Host()
    made = host.take(0, at(1, 1, 1, 1), at(2, 3, 1, 2)) + host.take(1000)
    (one,) = told(made).values()
    assert list(one.bucket_counts) == [2, 0, 1]
    assert list(one.explicit_bounds) == [1.0, 5.0]
    assert (one.count, one.sum) == (3, 3.0)
    assert not one.HasField("min")

    host = Host()
    changed = [at(1, 1, 1, 1), at(2, 3, 1, 2, of=(2.0, 5.0)), at(3, 4, 1, 2, of=(2.0, 5.0))]
    (one,) = told(host.take(0, *changed) + host.take(1000)).values()
    assert list(one.bucket_counts) == [1, 0, 0], "only what follows on the change"
    assert host.counts.bounds_changes == 1

    host = Host()
    made = host.take(0, at(1, 5, 5, 5), at(2, 5, 6, 4)) + host.take(1000)
    (one,) = told(made).values()
    assert list(one.bucket_counts) == [5, 6, 4], "a bucket that shrinks is a reset"
    assert host.counts.resets == 1


def test_explicit_histograms_of_other_bounds_meet_on_those_they_share() -> None:
    def cell(of: tuple[float, ...], *counts: int) -> Cell:
        return Cell(
            count=sum(counts), sum=1.0, min=0.0, max=9.0, bounds=of, group=HISTOGRAM, pane_ms=T,
            buckets={(False, i): count for i, count in enumerate(counts)},
        )  # fmt: skip

    parts = [
        cell((1.0, 2.0, 4.0), 1, 2, 3, 4), cell((2.0, 4.0, 8.0), 10, 20, 30, 40),
        cell((1.0, 4.0), 100, 200, 300),
    ]  # fmt: skip
    for order in (parts, parts[::-1], [parts[1], parts[0], parts[2]]):
        host = Host()
        made = [each for part in order for each in host.take(0, part)] + host.take(1000)
        (one,) = told(made).values()
        assert list(one.explicit_bounds) == [4.0]
        assert list(one.bucket_counts) == [6 + 30 + 300, 4 + 70 + 300]
        assert one.count == 10 + 100 + 600


def test_exponential_histograms_of_other_scales() -> None:
    def at(second: float, scale: int, zero: int, **counts: int) -> Point:
        buckets = {(False, int(i[1:])): count for i, count in counts.items()}
        count = zero + sum(counts.values())
        return point(
            second, 1.0, EXPONENTIAL, count=count, zero=zero, scale=scale, buckets=buckets
        )  # fmt: skip

    host = Host()
    made = host.take(0, at(1, 3, 1, i8=1, i9=2), at(2, 2, 2, i4=7, i5=1)) + host.take(1000)
    (one,) = told(made).values()
    assert (one.scale, one.positive.offset, list(one.positive.bucket_counts)) == (2, 4, [4, 1])
    assert (one.count, one.zero_count) == (6, 1)


def test_summaries_have_counts_and_sums() -> None:
    host = Host()
    points = [point(1, 5.0, SUMMARY, count=2), point(2, 8.5, SUMMARY, count=4)]
    (one,) = told(host.take(0, *points) + host.take(1000)).values()
    assert (one.count, one.sum, list(one.bucket_counts)) == (2, 3.5, [])


@pytest.mark.parametrize("temporality", ["cumulative", "delta"])
def test_backends_get_sums_since_the_group_was_first_seen(temporality: str) -> None:
    host = Host(SETTINGS.model_copy(update={"temporality": temporality}))
    made = host.take(0, point(1, 5), point(2, 6), point(12, 8)) + host.take(30, point(31, 9))
    found = told(made + host.take(1000), "out")
    values = {end: each.as_double for end, each in found.items()}
    starts = {(each.start_time_unix_nano // 1_000_000 - T) // 1000 for each in found.values()}
    if temporality == "delta":
        assert values == {10: 1.0, 20: 2.0, 40: 1.0}
        assert starts == {0, 10, 30}
    else:
        assert values == {10: 1.0, 20: 3.0, 40: 4.0}
        assert starts == {0}


def test_a_group_that_was_forgotten_begins_anew() -> None:
    settings = SETTINGS.model_copy(update={"forget_after": 100.0})
    host = Host(settings)
    made = host.take(0, point(1, 5), point(2, 6)) + host.take(200)
    assert host.counts.forgotten_groups == {"m": 1}
    assert host.operator.state.groups == {"m": 0}
    made += host.take(300, point(301, 7), point(302, 9)) + host.take(1000)
    found = told(made, "out")
    assert {end: each.as_double for end, each in found.items()} == {10: 1.0, 310: 2.0}
    assert (found[310].start_time_unix_nano // 1_000_000 - T) // 1000 == 300

"""Limits of windows, and what is said when one is reached; restarts with other settings."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from schemas.batches import Record
from schemas.config import WindowRule, Windows
from schemas.errors import MalformedMessage
from schemas.operators import Scanned
from schemas.records import MalformedRecord
from streams.windows import windows as operator
from streams.windows.bounds import SETS_MAX
from streams.windows.counts_windows import WindowCounts
from tests.streams.windows.some_partials import Cell, Group, Point, batch, partial
from tests.streams.windows.test_cumulative import Host, T, point, told

RULES = (
    WindowRule(name="spans", signal="spans", by=("span.name",), lengths=(10, 60)),
    WindowRule(name="m", signal="metrics", metric="*", lengths=(10,)),
)
SETTINGS = Windows(rules=RULES, allowed_lateness=0)


def span(i: int, second: int = 0, tenant: str = "", **more: Any) -> Cell:
    group = Group("spans", tenant=tenant, attributes=(("span.name", f"GET /{i}"),))
    return Cell(group=group, pane_ms=T + second * 1000, **({"count": 1} | more))


def gauge(value: float, service: str = "cart", **group: Any) -> Cell:
    of = Group("m", "gauge", metric="g", service=service, **group)
    return Cell(count=1, sum=value, min=value, max=value, last=(1, value), group=of, pane_ms=T)


def requests(
    made: Sequence[Record], topic: str = "windows", length_ms: int = 10_000
) -> list[tuple[str, Any]]:
    """Tenant and request of each message with groups."""
    found = []
    for each in made:
        headers = dict(each.headers)
        window = headers.get("window", b"//").decode().split("/")[1]
        if each.topic != topic or "window.closed" in headers:
            continue
        if topic != "windows" or int(window) == length_ms:
            request = ExportMetricsServiceRequest.FromString(each.value)
            found.append((headers.get("tenant", b"").decode(), request))
    return found


def calls(made: Sequence[Record], **which: Any) -> dict[tuple[str, str, str], int]:
    """By tenant, resource and attributes."""
    found = {}
    for tenant, request in requests(made, **which):
        for resource in request.resource_metrics:
            metric = resource.scope_metrics[0].metrics[0]
            for each in metric.sum.data_points:
                service = "".join(a.value.string_value for a in resource.resource.attributes)
                said = (f"{each.key}={each.value}".strip() for each in each.attributes)
                found[tenant, service, ", ".join(said)] = each.as_int
    return found


OVERFLOW = "otel.metric.overflow=bool_value: true, otlp_streams.partition=int_value: {}"


def test_groups_beyond_the_limit_become_one_of_each_tenant() -> None:
    host = Host(SETTINGS.model_copy(update={"cardinality_limit": 2}))
    rows = [span(i, tenant=tenant, count=i + 1) for i in range(4) for tenant in ("", "t")]
    made = host.take(0, *rows, topic="spans") + host.take(1, *rows, topic="spans")
    found = calls([*made, *host.take(10, topic="spans")])
    assert found == {
        ("", "cart", 'span.name=string_value: "GET /0"'): 2,
        ("t", "cart", 'span.name=string_value: "GET /0"'): 2,
        ("", "", OVERFLOW.format(0)): 2 * (2 + 3 + 4),
        ("t", "", OVERFLOW.format(0)): 2 * (2 + 3 + 4),
    }
    assert host.counts.overflow == {"spans": 12}
    assert host.operator.state.groups["spans"] == 2


def test_what_is_beyond_the_limit_has_one_writer_a_series() -> None:
    """Each partition of `windows` has such a group; backends must not take them for one."""
    found = []
    for partition in range(2):
        host = Host(SETTINGS.model_copy(update={"cardinality_limit": 1}), partition)
        made = host.take(0, span(0), span(1), topic="spans") + host.take(10, topic="spans")
        found += [key for key in calls(made, topic="out") if "overflow" in key[2]]
    assert found == [("", "", OVERFLOW.format(partition)) for partition in range(2)]


def test_what_was_forgotten_makes_room() -> None:
    settings = {"cardinality_limit": 2, "forget_after": 60.0, "stale_after": 60.0}
    host = Host(SETTINGS.model_copy(update=settings))
    host.take(0, span(0), span(1), span(2), topic="spans")
    host.take(400, topic="spans")
    assert host.counts.forgotten_groups == {"spans": 3}, "the one for overflow, too"
    made = host.take(401, span(2, 400), span(3, 400), topic="spans")
    found = calls([*made, *host.take(410, topic="spans")])
    assert {attribute for _, _, attribute in found} == {
        'span.name=string_value: "GET /2"', 'span.name=string_value: "GET /3"',
    }  # fmt: skip


def test_a_source_far_behind_does_not_fill_the_memory() -> None:
    host = Host(SETTINGS.model_copy(update={"open_cells_max": 12, "source_timeout": 3600}))
    made: list[Record] = []
    host.take(0, topic="spans", partition=1, partitions=2)
    for second in range(0, 200, 10):
        made += host.take(second, span(0, second), topic="spans", partitions=2)
        assert host.operator.state.open_cells <= 13
    assert host.counts.forced >= 6
    assert list(calls(made).values()) == [1]
    late = host.take(0, span(1, 10), topic="spans", partition=1, partitions=2)
    assert not late
    assert host.counts.late["spans", 10_000] == 1


def test_long_windows_that_are_too_large_cost_no_short_ones() -> None:
    rules = (RULES[0].model_copy(update={"lengths": (10.0, 3600.0)}),)
    host = Host(SETTINGS.model_copy(update={"rules": rules, "open_cells_max": 100}))
    made: list[Record] = []
    for second in range(0, 300, 10):
        # Half of them at first, so that a window that is not over has something to lose.
        for half in (range(55), range(55, 110)):
            made += host.take(second, *(span(i, second) for i in half), topic="spans")
            assert host.operator.state.open_cells <= 165
    made += host.take(300, topic="spans")
    assert host.counts.late.keys() == {("spans", 3_600_000)}
    found = [
        point.as_int
        for _, request in requests(made)
        for point in request.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points
    ]
    assert found == [1] * 110 * 30


def test_points_that_wait_do_not_fill_the_memory() -> None:
    host = Host(SETTINGS.model_copy(update={"open_cells_max": 12, "source_timeout": 3600}))
    made: list[Record] = []
    host.take(0, partition=1, partitions=2)
    for second in range(0, 200, 5):
        made += host.take(second, point(second, float(second), start_ms=T), partitions=2)
        assert host.operator.state.waiting_points <= 13
    assert host.counts.forced > 10
    assert host.counts.late == {}
    made += host.take(200, partitions=2) + host.take(200, partition=1, partitions=2)
    assert sum(each.as_double for each in told(made).values()) == 195


@pytest.mark.parametrize("temporality", ["cumulative", "delta"])
def test_messages_are_no_larger_than_a_record_may_be(temporality: str) -> None:
    settings = SETTINGS.model_copy(update={"temporality": temporality})
    counts = WindowCounts()
    host = Host(settings)
    host.operator = operator.Windows(
        settings, topics={"spans": "spans", "logs": "logs", "metrics": "metrics"},
        output="windows", export="out", partition=3, max_bytes=4_000, counts=counts,
    )  # fmt: skip
    buckets = {(False, i): 1 for i in range(12)}
    rows = [span(i, count=12, sum=3.0, min=0.1, max=1.0, buckets=buckets) for i in range(50)]
    large = dataclasses.replace(rows[0].group, attributes=(("span.name", "x" * 4000),))
    made = host.take(0, *rows, dataclasses.replace(rows[0], group=large), topic="spans")
    made += host.take(10, topic="spans")
    for topic in ("windows", "out"):
        sizes = [len(request.SerializeToString()) for _, request in requests(made, topic)]
        assert max(sizes) <= 4_000
        assert sorted(sizes)[len(sizes) // 2] > 2_000, "parts are not cut too early"
        points: dict[str, set[str]] = defaultdict(set)
        for _, request in requests(made, topic):
            for metric in request.resource_metrics[0].scope_metrics[0].metrics:
                held = getattr(metric, metric.WhichOneof("data"))
                here = {str(point.attributes) for point in held.data_points}
                assert not here & points[metric.name]
                points[metric.name] |= here
        assert {len(each) for each in points.values()} == {50}
    assert counts.oversized_groups == 2
    assert {each.partition for each in made} == {3}


def test_all_metrics_of_a_group_are_in_one_message() -> None:
    host = Host()
    rows = [span(i, count=1) for i in range(200)]
    small = operator.Windows(
        SETTINGS, topics={"spans": "spans", "logs": "logs", "metrics": "metrics"},
        output="windows", export=None, partition=0, max_bytes=3_000,
    )  # fmt: skip
    host.operator, host.settings = small, SETTINGS
    made = host.take(0, *rows, topic="spans") + host.take(10, topic="spans")
    found = requests(made)
    assert len(found) > 10
    for _, request in found:
        metrics = request.resource_metrics[0].scope_metrics[0].metrics
        groups = [
            [str(p.attributes) for p in getattr(m, m.WhichOneof("data")).data_points]
            for m in metrics
        ]
        assert groups[0] == groups[1] == groups[2]


def test_partials_of_other_rules_are_counted() -> None:
    host = Host(SETTINGS)
    host.take(0, span(0), topic="spans", digests={"spans": "another"})
    host.take(0, Cell(group=Group("gone"), pane_ms=T), topic="spans")
    assert host.counts.ignored == {"rule": 2}
    host.take(0, span(0), topic="spans", pane_ms=4000)
    assert host.counts.ignored == {"rule": 2, "pane": 1}
    assert host.counts.cells == {}


def test_a_series_with_another_kind_or_unit_is_another_one() -> None:
    host = Host(SETTINGS)
    host.take(0, gauge(1.0))
    assert host.counts.type_changes == {}
    other = Group("m", "up_down_sum", metric="g")
    host.take(0, dataclasses.replace(gauge(5.0), group=other))
    made = host.take(0, gauge(2.0, unit="s")) + host.take(10)
    assert host.counts.type_changes == {"m": 2}
    sums = []
    for _, request in requests(made):
        for metric in request.resource_metrics[0].scope_metrics[0].metrics:
            sums += [point.sum for point in metric.exponential_histogram.data_points]
    assert sorted(sums) == [1.0, 2.0, 5.0], "nothing is mixed, nothing lost"


def test_too_many_sets_of_bounds_lose_their_bounds_and_no_count() -> None:
    host = Host(SETTINGS)
    group = Group("m", "histogram", metric="h")
    rows = [
        Cell(count=1, sum=1.0, bounds=(1.0, float(i + 2)), buckets={(False, 1): 1}, group=group,
             pane_ms=T)
        for i in range(SETS_MAX + 10)
    ]  # fmt: skip
    made = host.take(0, *rows) + host.take(10)
    ((_, request),) = requests(made)
    (found,) = request.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points
    assert found.count == sum(found.bucket_counts) == SETS_MAX + 10
    assert host.counts.refused_bounds > 0


def test_statistics_on_request() -> None:
    every = ("average", "rate", "p50", "p90", "p99", "min", "max")
    rules = (
        RULES[0].model_copy(update={"statistics": every}),
        RULES[1].model_copy(update={"statistics": every}),
    )
    host = Host(SETTINGS.model_copy(update={"rules": rules}))
    values = np.linspace(0.1, 10, 100)
    buckets: dict[tuple[bool, int], int] = defaultdict(int)
    for value in values:
        buckets[False, int(np.ceil(np.log2(value) * 8)) - 1] += 1
    rows = [
        span(0, count=100, sum=float(values.sum()), min=0.1, max=10.0, buckets=dict(buckets)),
        span(1, count=1),
    ]
    made = host.take(0, *rows, topic="spans") + host.take(10, topic="spans")
    names = {}
    for _, request in requests(made):
        for metric in request.resource_metrics[0].scope_metrics[0].metrics:
            if metric.WhichOneof("data") == "gauge":
                for point in metric.gauge.data_points:
                    if "GET /0" in str(point.attributes):
                        names[metric.name.rsplit(".", 1)[1]] = point.as_double
    assert names.keys() == set(every)
    assert names["rate"] == 10.0
    assert names["average"] == pytest.approx(5.05)
    assert (names["min"], names["max"]) == (0.1, 10.0)
    for name, value in (("p50", 5.0), ("p90", 9.0), ("p99", 9.9)):
        assert names[name] == pytest.approx(value, rel=0.05)
    bounds = {"bounds": (1.0, 2.0), "buckets": {(False, 1): 10}}
    histogram = Cell(count=10, sum=15.0, group=Group("m", "histogram", metric="h"), pane_ms=T)
    delta = Cell(count=2, sum=-30.0, group=Group("m", "up_down_sum_delta", metric="d"), pane_ms=T)
    made = host.take(0, dataclasses.replace(histogram, **bounds), delta) + host.take(10)
    ((_, request),) = requests(made)
    found = {
        metric.name: metric.gauge.data_points[0].as_double
        for metric in request.resource_metrics[0].scope_metrics[0].metrics
        if metric.WhichOneof("data") == "gauge"
    }
    assert found["window.h.p50"] == 1.5
    assert found["window.h.rate"] == 1.0
    assert found["window.d.rate"] == -3.0
    assert "window.h.min" not in found, "it is not known"


# --- restarts ------------------------------------------------------------------------------------


def restarted(host: Host, **update: Any) -> Host:
    """Another one with its state, and other settings."""
    new = Host(host.settings.model_copy(update=update))
    new.operator.restore(iter(host.operator.snapshot()))
    new.offset = host.offset
    return new


def with_something() -> Host:
    host = Host(SETTINGS)
    host.take(1, span(0), span(1), topic="spans")
    host.take(1, gauge(3.0), Point(time_ms=T + 1, sum=3.0, group=Group("m", "sum", metric="s")))
    return host


def test_a_rule_that_was_changed_begins_anew_and_others_go_on() -> None:
    rules = (RULES[0].model_copy(update={"by": ("other",)}), RULES[1])
    host = restarted(with_something(), rules=rules)
    assert host.counts.dropped_groups == 2
    assert host.operator.state.groups == {"spans": 0, "m": 2}
    assert not calls(host.take(10, topic="spans"))
    (found,) = told(host.take(10)).values()
    assert found.sum == 3.0


def test_rules_may_change_places() -> None:
    host = restarted(with_something(), rules=RULES[::-1])
    assert host.counts.dropped_groups == 0
    assert len(calls(host.take(10, topic="spans"))) == 2
    (found,) = told(host.take(10)).values()
    assert found.sum == 3.0


def test_a_length_that_is_gone_is_dropped_and_a_new_one_begins() -> None:
    rules = (RULES[0].model_copy(update={"lengths": (20.0, 60.0)}), RULES[1])
    host = restarted(with_something(), rules=rules)
    host.take(15, span(0, 0), topic="spans")
    made = host.take(60, topic="spans")
    assert sum(calls(made, length_ms=20_000).values()) == 1
    assert sum(calls(made, length_ms=60_000).values()) == 3


def test_sums_for_backends_begin_anew_when_another_length_is_exported() -> None:
    host = with_something()
    first = calls(host.take(10, topic="spans"), topic="out")
    same = restarted(host)
    same.take(11, span(0, 10), topic="spans")
    assert max(calls(same.take(20, topic="spans"), topic="out").values()) == 2
    rules = (RULES[0].model_copy(update={"export_length": 60.0}), RULES[1])
    host = restarted(host, rules=rules)
    host.take(11, span(0, 10), topic="spans")
    made = calls(host.take(60, topic="spans"), topic="out")
    assert set(first.values()) == {1}
    assert sorted(made.values()) == [1, 2], "of the whole minute, and nothing twice"


def test_a_damaged_state_is_refused() -> None:
    chunks = list(with_something().operator.snapshot())
    for damaged in (chunks[:-1], chunks[1:], [*chunks, chunks[-1]], [chunks[0], chunks[0]]):
        with pytest.raises(MalformedMessage):
            Host(SETTINGS).operator.restore(iter(damaged))


def test_a_group_that_makes_no_sense_is_refused_and_leaves_no_trace() -> None:
    host = Host(SETTINGS)
    for text in (b"{", b"[]", b'{"kind":"none"}', b'{"kind":"spans","tenant":1}'):
        wrong = partial(SETTINGS, [span(0), span(1)], topic="spans", progress_ms=T)
        wrong.key_text = wrong.key_text[: int(wrong.groups.text_stop[0])] + text
        wrong.groups.text_stop[1] = len(wrong.key_text)
        with pytest.raises(MalformedRecord):
            host.operator.process(Scanned(batch(b"", 1, T), wrong))
    assert host.operator.state.groups == {}
    assert not host.take(0, topic="spans", partitions=2)


def test_gauges_of_a_partition_go_with_its_operator() -> None:
    host = Host(SETTINGS)
    host.take(1, span(0), topic="spans")
    assert host.counts.partitions[0].open_cells == 2
    assert host.counts.partitions[0].watermarks == {"spans": T + 1000}
    del host.operator
    assert not host.counts.partitions

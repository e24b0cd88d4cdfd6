"""Messages as the protobuf library makes them become rows with just what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from schemas.batches import Batch, Headers
from schemas.config.alerts import Alerts
from schemas.config.anomaly import Anomaly
from schemas.config.windows import WindowRule, Windows
from schemas.errors import MalformedMessage
from schemas.operators import Scanned
from streams import wire
from streams.alerts import intake
from streams.alerts.counts import DetectCounts, DetectState
from streams.alerts.panels import Panels
from streams.alerts.series import Series
from streams.alerts.statistics import STATISTICS
from tests.operators.detecting import MANY, alerts, detect
from tests.streams.windows.messages import Exemplar, Group, distribution, message, messages

LENGTH_MS, END_MS = 10_000, 1_700_000_010_000
WINDOW = f"spans/{LENGTH_MS}/{END_MS}".encode()
RULES = (
    WindowRule(name="spans", signal="spans", by=("span.name",)),
    WindowRule(name="logs", signal="logs", by=("severity",)),
    WindowRule(name="any", signal="metrics", metric="*"),
    WindowRule(name="one", signal="metrics", metric="m", output="renamed"),
)
KINDS = ("gauge", "sum", "up_down_sum", "exponential_histogram", "summary")


class Said(NamedTuple):
    """A group, and the values in it."""

    group: Group
    values: list[float]


_texts = st.text(st.characters(codec="utf-8"), max_size=8)
_values = st.one_of(
    _texts, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)
)
_attributes = st.dictionaries(_texts.filter(bool), _values, max_size=3).map(
    lambda found: tuple(sorted(found.items()))
)


@st.composite
def said(draw: st.DrawFn, rule: str, suffix: str) -> Said:
    kind = draw(st.sampled_from(KINDS)) if rule == "any" else rule
    values = draw(st.lists(st.floats(1e-3, 1e2) | st.just(0.0), min_size=1, max_size=60))
    trace = draw(st.none() | st.binary(min_size=16, max_size=16).filter(any))
    group = Group(
        kind,
        service=draw(st.sampled_from(["", "cart", "shop"])),
        metric=f"{kind}{suffix}" if rule == "any" else "",
        attributes=draw(_attributes),
        errors=draw(st.integers(0, 2**40)),
        exemplar=None if trace is None else Exemplar(max(values), 1, trace, b"12345678"),
    )
    return Said(distribution(group, values), values)


def panels() -> Panels:
    made = Panels(Alerts(), Windows(rules=RULES), Anomaly(), DetectCounts(), DetectState())
    made.want((rule.name, LENGTH_MS) for rule in RULES)
    return made


def take(made: Panels, value: bytes, rule: str = "spans", tenant: str = "") -> intake.Points:
    channel = made.channel(rule, LENGTH_MS)
    assert channel is not None
    assert made.open(channel, END_MS, True)
    header = intake.WindowHeader(rule, LENGTH_MS, END_MS, False, tenant)
    points = intake.read(value, wire.scan_metrics(value), channel.rule, header)
    made.take(points, channel, tenant, True)
    return points


def rows(made: Panels, rule: str = "spans") -> dict[Series, dict[str, float]]:
    channel = made.channel(rule, LENGTH_MS)
    assert channel is not None
    ids, seen, values = made.window(channel)
    assert seen.all()
    return {
        made.describe(number): dict(zip(STATISTICS, values[:, row].tolist(), strict=True))
        for row, number in enumerate(ids.tolist())
    }


def expected(group: Group, values: Sequence[float]) -> dict[str, float]:
    row = dict.fromkeys(STATISTICS, math.nan)
    count = float(len(values))
    row |= {"count": count, "rate": count / 10}
    if group.kind == "sum":
        return row | {"count": math.nan, "sum": group.sum, "rate": group.sum / 10}
    if group.kind == "logs":
        return row
    row |= {"sum": group.sum, "average": group.sum / count}
    row |= {"min": min(values), "max": max(values)}
    if group.kind == "spans":
        row |= {"errors": float(group.errors), "error_ratio": group.errors / count}
    if group.kind != "summary":
        for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
            row[name] = sorted(values)[max(math.ceil(q * len(values)), 1) - 1]
    if group.kind in ("gauge", "up_down_sum"):
        row["last"] = group.last
    return row


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_rows_say_what_messages_say(data: st.DataObject) -> None:
    rule = data.draw(st.sampled_from(["spans", "logs", "any"]))
    suffix = data.draw(st.sampled_from(["", ".last", ".p99"]))
    drawn = data.draw(
        st.lists(
            said(rule, suffix),
            min_size=1,
            max_size=6,
            # True, 1 and 1.0 are equal for Python, and three values for OTLP.
            unique_by=lambda each: (each.group.service, each.group.metric, each.group.attributes),
        )
    )
    tenant = data.draw(st.sampled_from(["", "a"]))
    value = message(rule, LENGTH_MS, END_MS, [g for g, _ in drawn]).SerializeToString()
    made = panels()
    points = take(made, value, rule, tenant)
    assert (points.foreign, points.faulty) == (0, 0)
    found = rows(made, rule)
    assert len(found) == len(drawn)
    numbers = {made.describe(number): number for number in range(len(drawn))}
    for group, values in drawn:
        series = Series(rule, LENGTH_MS, tenant, group.service, group.metric, group.attributes)
        for name, wanted in expected(group, values).items():
            tolerance = 0.045 if name in ("p50", "p90", "p99") else 1e-12
            assert found[series][name] == pytest.approx(wanted, rel=tolerance, nan_ok=True), name
        if group.kind not in ("logs", "sum", "summary"):
            trace = group.exemplar.trace_id.hex() if group.exemplar else ""
            assert made.exemplar(numbers[series]) == trace


def test_explicit_histogram() -> None:
    """Quantiles are linear between bounds, as in Prometheus."""
    group = Group(
        "histogram", "cart", metric="m", bounds=(1.0, 2.0, 4.0), count=10, sum=20.0,
        positive={1: 5, 2: 5}, min=1.5, max=3.0,
    )  # fmt: skip
    made = panels()
    take(made, message("any", LENGTH_MS, END_MS, [group]).SerializeToString(), "any")
    (row,) = rows(made, "any").values()
    assert (row["count"], row["sum"], row["min"], row["max"]) == (10, 20, 1.5, 3)
    assert (row["p50"], row["p90"]) == (2.0, 3.0)  # the latter is within what is known
    assert math.isnan(row["last"])


def test_metric_with_another_name_out_is_the_one_that_went_in() -> None:
    group = distribution(Group("gauge", "cart", metric="m", output="renamed"), [1.0, 3.0])
    made = panels()
    take(made, message("one", LENGTH_MS, END_MS, [group]).SerializeToString(), "one")
    ((series, row),) = rows(made, "one").items()
    assert series.metric == "m"
    assert (row["count"], row["last"]) == (2, 3)


def test_same_group_of_another_rule_length_or_tenant_is_another_series() -> None:
    value = message("spans", LENGTH_MS, END_MS, [Group("spans", "cart", count=1)])
    data = value.SerializeToString()
    scan = wire.scan_metrics(data)
    found = set()
    for rule, length_ms, tenant in (
        ("spans", 10_000, ""), ("spans", 60_000, ""), ("services", 10_000, ""),
        ("spans", 10_000, "a"), ("spans", 10_000, "b"),
    ):  # fmt: skip
        header = intake.WindowHeader(rule, length_ms, END_MS, False, tenant)
        found.add(int(intake.read(data, scan, RULES[0], header).series[0]))
    assert len(found) == 5


def test_order_of_attributes_does_not_matter() -> None:
    pairs = (("a", 1), ("b", "x"))
    made = panels()
    for attributes in (pairs, pairs[::-1]):
        group = Group("logs", "cart", attributes=attributes, count=3)
        take(made, message("logs", LENGTH_MS, END_MS, [group]).SerializeToString(), "logs")
    ((series, row),) = rows(made, "logs").items()
    assert (series.attributes, row["count"]) == (pairs, 3)


def test_long_texts_are_cut_and_stay_different() -> None:
    groups = [Group("logs", "s" * 2000, attributes=(("k", "v" * 1000 + x),)) for x in "ab"]
    made = panels()
    take(made, message("logs", LENGTH_MS, END_MS, groups).SerializeToString(), "logs")
    found = list(rows(made, "logs"))
    assert len({series.attributes for series in found}) == 2
    assert all(len(str(s.attributes[0][1])) <= 500 and len(s.service) <= 500 for s in found)


def test_points_of_other_scopes_and_points_without_sense_do_not_count() -> None:
    request = message(
        "spans", LENGTH_MS, END_MS, [distribution(Group("spans", "cart", errors=1), [0.1])]
    )
    foreign = request.resource_metrics.add()
    foreign.CopyFrom(request.resource_metrics[0])
    foreign.resource.attributes[0].value.string_value = "shop"
    foreign.scope_metrics[0].scope.name = "otlp-streams.windows.not"
    unnamed = foreign.scope_metrics.add()
    unnamed.CopyFrom(foreign.scope_metrics[0])
    unnamed.ClearField("scope")
    for metric in request.resource_metrics[0].scope_metrics[0].metrics:
        if metric.name.endswith(".errors"):
            metric.sum.data_points[0].as_double = math.nan
    made = panels()
    points = take(made, request.SerializeToString())
    assert (points.foreign, points.faulty) == (6, 1)
    ((series, row),) = rows(made).items()
    assert series.service == "cart"
    assert row["count"] == 1
    assert math.isnan(row["errors"])


def test_attributes_of_any_kind() -> None:
    """What is no single value is named by its text."""
    request = message("logs", LENGTH_MS, END_MS, [Group("logs", "cart", count=1)])
    point = request.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0]
    for key in "abc":
        point.attributes.add(key=key)
    point.attributes[0].value.bytes_value = b"\xff"
    point.attributes[1].value.array_value.values.add(int_value=7)
    made = panels()
    take(made, request.SerializeToString(), "logs")
    ((series, _),) = rows(made, "logs").items()
    attributes = dict(series.attributes)
    assert "377" in str(attributes["a"])
    assert "7" in str(attributes["b"])
    assert attributes["c"] == ""


def test_closing_message() -> None:
    record = messages("spans", LENGTH_MS, END_MS, [Group("spans", "a")], silent_sources=3)[-1]
    header = intake.window_header(record.headers)
    assert header == intake.WindowHeader("spans", LENGTH_MS, END_MS, True, "")
    found = intake.closing(record.value, wire.scan_metrics(record.value))
    assert found == intake.Closing(1, 3)
    assert intake.closing(b"", wire.scan_metrics(b"")) == intake.Closing(0, 0)


@pytest.mark.parametrize(
    "headers",
    [
        (("window", b"spans/10000"),),
        (("window", b"spans/10000/x"),),
        (("window", b"spans/0/1"),),
        (("window", b"spans/10000/-1"),),
        (("window", b"spans/10000/253402300800000"),),
        (("window", b"\xff/10000/1"),),
        (("window", WINDOW), ("tenant", b"\xff")),
    ],
)
def test_header_that_says_no_window_is_for_the_dead_letters(headers: Headers) -> None:
    with pytest.raises(MalformedMessage, match="window"):
        intake.window_header(headers)


def test_message_that_is_no_telemetry_is_for_the_dead_letters_and_leaves_nothing() -> None:
    operator = detect(alerts(MANY))
    before = operator.snapshot()
    for value in (b"\xff", b"\n"):
        for more in ((), (("window.closed", b"1"),)):
            batch = Batch("windows", 3, 0, 0, None, value, (("window", WINDOW), *more))
            with pytest.raises(MalformedMessage):
                operator.process(Scanned(batch, None))
    assert operator.snapshot() == before


def test_telemetry_of_others_is_counted_and_passed_over() -> None:
    counts = DetectCounts()
    operator = detect(alerts(MANY), counts=counts)
    value = ExportMetricsServiceRequest().SerializeToString()
    for headers in ((), (("window", b"strange/10000/10000"),), (("window", b"logs/10000/10000"),)):
        operator.process(Scanned(Batch("windows", 3, 0, 0, None, value, headers), None))
    assert counts.foreign_messages == 1
    assert counts.unknown_messages == 1
    assert counts.passed_messages == 1
    assert operator.series == 0

"""What windows and alerts made of a demonstration, and whether that is as it should be."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from schemas.config import Config
from tests.streams.windows.messages import Group, distribution, messages
from topologies.demo.alarms import Alarms
from topologies.demo.backend import without_windows
from topologies.demo.seen import Seen
from topologies.demo.services import Services

SEEN = Seen(
    calls=90, late=10, windows=5, length_ms=5000, exported=7,
    transitions=Counter({("ManyErrors", "firing"): 1}),
    incident="errors at shop", lasted_s=60.0, noticed={"ManyErrors": 12.0},
)  # fmt: skip


def test_all_spans_are_in_windows_or_late_and_the_incident_is_told():
    assert SEEN.problems(Config(), 100, may_repeat=False) == []
    text = " ".join(SEEN.sentences())
    assert "90 spans are in 5 windows" in text
    assert "10 were late" in text
    assert "ManyErrors after 12 s" in text
    assert SEEN.as_dict()["incident"]["noticed_s"] == {"ManyErrors": 12.0}


@pytest.mark.parametrize(
    ("spans", "may_repeat", "said"),
    [(101, False, "windows have 100 spans, 101"), (99, False, "100 spans, 99"), (99, True, "")],
)
def test_a_sum_that_is_wrong_is_said(spans, may_repeat, said):
    assert said in " ".join(SEEN.problems(Config(), spans, may_repeat=may_repeat))
    assert bool(said) == bool(SEEN.problems(Config(), spans, may_repeat=may_repeat))


def test_an_incident_that_nobody_tells_of_is_said_once_its_time_is_over():
    unseen = SEEN._replace(noticed={})
    assert "no alert" in unseen.problems(Config(), 100, may_repeat=False)[0]
    assert unseen._replace(lasted_s=20.0).problems(Config(), 100, may_repeat=False) == []
    # Without any history nothing but errors is sure to be seen.
    slow = unseen._replace(incident="latency at shop")
    assert slow.problems(Config(), 100, may_repeat=False) == []


def services():
    return Services.of(Config.model_validate({"windows": {"enabled": True}}))


def records(rule="services", end_ms=20_000):
    groups = [
        distribution(Group("spans", service), values)
        for service, values in (("shop", [0.1] * 8 + [2.0] * 2), ("till", [0.5]))
    ]
    return messages(rule, 10_000, end_ms, groups)


def taken(record):
    return SimpleNamespace(headers=list(record.headers), value=record.value, topic=record.topic)


def test_windows_of_services_are_added_up_and_shown():
    seen = services()
    for record in records() + records("other") + records(end_ms=10_000):
        seen.taken(taken(record))
    assert seen.calls == 2 * 11
    assert seen.newest["shop"].end_ms == 20_000
    assert seen.newest["shop"].calls == 10
    assert np.isclose(seen.newest["shop"].p99_s, 2.0, rtol=0.05)
    assert "shop 1 calls/s" in seen.line()


def test_without_windows_there_is_nothing_to_see():
    assert Services.of(Config()) is None


def test_points_of_windows_are_told_from_what_was_sent():
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    scope.scope.name = "theirs"
    scope.metrics.add(name="cpu").gauge.data_points.add(as_double=1.0)
    theirs = request.SerializeToString()
    (ours, *_) = records()
    rest, points = without_windows(theirs + ours.value)
    kept = ExportMetricsServiceRequest.FromString(rest)
    names = [
        metric.name
        for resource in kept.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
    assert names == ["cpu"]
    assert points >= 4


def test_no_alert_is_said_so():
    said = []
    assert "no alert" in str(Alarms(said.append).__rich__())
    assert said == []

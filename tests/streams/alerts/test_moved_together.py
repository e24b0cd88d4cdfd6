"""What else of a service was unusual when an alert fired, and which traces to look at."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from schemas.records.alerts import AlertEvent
from tests.operators.detecting import alerts, detect
from tests.streams.windows.messages import Exemplar

from .hosting import Host, requests

STATISTICS = ("rate", "average", "error_ratio")
ON = {"window": "spans", "length": "10s"}
STRANGE: list[dict[str, Any]] = [
    {
        "name": f"Strange-{statistic}",
        "on": {**ON, "statistic": statistic},
        "match": {"tenant": {"regex": ".*"}},
        "anomaly": {"sensitivity": 100, "min_change": 1.0},
    }
    for statistic in STATISTICS
]
SLOW = {"name": "Slow", "on": {**ON, "statistic": "max"}, "threshold": {"op": ">", "value": 2}}
CALM = 400


def story(**settings: Any) -> list[AlertEvent]:
    """A service becomes slow in one operation, another fails, a third and others stay."""
    rng = random.Random(4)
    h = Host(lambda counts: detect(alerts(*STRANGE, SLOW, **settings), counts=counts))
    told: list[AlertEvent] = []
    for number in range(1, CALM + 3):
        wrong = number > CALM
        groups = []
        for service in ("cart", "shop"):
            for name in ("add", "pay", "see"):
                here = wrong and service == "cart"
                slow = 50 if here and name == "pay" else 1
                durations = [slow * 0.1 * (1 + 0.2 * rng.random())] * rng.randint(18, 22)
                errors = 15 if here and name == "add" else rng.randint(0, 1)
                groups.append(requests(service, durations, errors, span_name=name))
        groups = [
            replace(g, exemplar=Exemplar(g.max, 1, bytes(15) + bytes([n + 1]), b"\1" * 8))
            for n, g in enumerate(groups)
        ]
        found = h.window(*groups)
        if number <= 20:
            assert h.counts.partitions[3].learning_total == 18
        told += [e for e in found if wrong and e.state == "firing"]
    assert h.counts.values == 18 * (CALM + 2)
    assert sum(h.counts.anomalies.values()) == sum(
        count for (rule, state), count in h.counts.transitions.items()
        if state == "firing" and rule != "Slow"
    )  # fmt: skip
    return told


def named(event: AlertEvent) -> set[tuple[object, str]]:
    return {(each.attributes.get("span.name"), each.statistic) for each in event.moved_with}


def test_an_alert_names_what_moved_with_it() -> None:
    told = story()
    alarms = {(e.rule, e.labels["span.name"]): e for e in told}
    assert {e.labels["service"] for e in told} == {"cart"}
    slow = alarms["Slow", "pay"]
    errors = alarms["Strange-error_ratio", "add"]
    average = alarms["Strange-average", "pay"]
    # The same series with another statistic, and another operation of the service.
    assert named(slow) >= {("pay", "average"), ("add", "error_ratio")}
    assert ("pay", "average") in named(errors)
    assert ("add", "error_ratio") not in named(errors), "itself"
    assert ("add", "error_ratio") in named(average)
    for event in told:
        scores = [each.score or 0 for each in event.moved_with]
        assert scores == sorted(scores, reverse=True)
    moved = next(m for m in slow.moved_with if m.statistic == "average")
    assert moved.value is not None
    assert moved.high is not None
    assert moved.value > 4 > moved.high
    assert average.detector
    assert average.score is not None
    assert average.high is not None
    assert average.value is not None
    assert average.value > average.high
    assert slow.exemplars[0].trace_id == f"{2:032x}"


def test_how_many_are_named_is_bounded() -> None:
    assert {len(event.moved_with) for event in story(moved_with_max=1)} == {1}
    assert {len(event.moved_with) for event in story(moved_with_max=0)} == {0}

"""Detect: windows in order, series that come and go, rules that change, crashes."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st

from schemas.batches import Batch
from schemas.config.alerts import Alerts
from schemas.records.alerts import AlertEvent
from streams.alerts.counts import DetectCounts
from streams.alerts.detect import Detect
from tests.operators import battery
from tests.operators.detecting import (
    DETECTING,
    ERRORS,
    LENGTH_MS,
    MANY,
    SILENT,
    STATE,
    VECTORS,
    alerts,
    detect,
)
from tests.streams.windows.messages import messages

from .hosting import DELAY_MS, FIRST_MS, Host, of_rules, requests

COUNT = {"window": "spans", "length": "10s", "statistic": "count"}
BUSY = {"name": "Busy", "on": COUNT, "threshold": {"op": ">=", "value": 3}}
QUIET = {"name": "Quiet", "on": COUNT, "threshold": {"op": "==", "value": 0}}
LATENCY = {
    "name": "Latency",
    "on": {**COUNT, "statistic": "average"},
    "threshold": {"op": ">", "value": 0},
    "no_data": "resolve",
}


def host(*rules: dict[str, Any], **more: Any) -> Host:
    settings = alerts(*rules, **more)
    return Host(lambda counts: detect(settings, counts=counts))


def shown(events: list[AlertEvent]) -> list[tuple[str, str, str]]:
    """Rule, state and service or span name."""
    return [
        (e.rule, e.state, e.labels.get("span.name") or e.labels.get("service", "")) for e in events
    ]


# --- windows ---------------------------------------------------------------------------------


def test_alert_says_what_happened_where_and_when() -> None:
    h = host(BUSY)
    (event,) = h.window(requests("cart", [0.1] * 3, span_name="GET"), requests("shop"))
    assert (event.rule, event.state, event.value, event.threshold) == ("Busy", "firing", 3, ">= 3")
    assert event.series is not None
    assert event.series.service == "cart"
    assert event.series.attributes == {"span.name": "GET"}
    assert event.window is not None
    assert (event.window.rule, event.window.length_ms) == ("spans", LENGTH_MS)
    assert int(event.window.end.timestamp() * 1000) == FIRST_MS + LENGTH_MS
    state = h.visible[-1]
    assert (state.topic, state.partition, state.key) == (STATE, 3, event.fingerprint.encode())
    assert AlertEvent.of(state.headers, state.value) == event


def test_group_that_did_not_come_has_no_items_and_unknown_durations() -> None:
    h = host(QUIET, LATENCY)
    assert shown(h.window(requests("cart"))) == [("Latency", "firing", "cart")]
    assert shown(h.window()) == [("Quiet", "firing", "cart"), ("Latency", "resolved", "cart")]
    assert shown(h.window(requests("cart"))) == [
        ("Quiet", "resolved", "cart"),
        ("Latency", "firing", "cart"),
    ]


def test_window_is_judged_when_it_is_closed_and_not_before() -> None:
    h = host(BUSY)
    *parts, last = messages("spans", LENGTH_MS, FIRST_MS, [requests("cart", [0.1] * 3)])
    assert h.send(parts, FIRST_MS) == []
    assert shown(h.send([last], FIRST_MS)) == [("Busy", "firing", "cart")]


def test_windows_of_other_rules_and_lengths_are_judged_for_themselves() -> None:
    minute = {**BUSY, "name": "BusyMinute", "on": {**COUNT, "length": "1m"}}
    h = host(BUSY, minute)
    assert shown(h.window(requests("cart", [0.1] * 3))) == [("Busy", "firing", "cart")]
    found = h.window(requests("cart", [0.1] * 4), number=1, length_ms=60_000)
    assert shown(found) == [("BusyMinute", "firing", "cart")]
    assert h.counts.windows == 2


def test_window_that_is_over_does_not_come_again() -> None:
    h = host(BUSY)
    h.window(requests("cart"), number=5)
    assert h.window(requests("cart", [0.1] * 3), number=5) == []
    assert h.window(requests("cart", [0.1] * 3), number=4) == []
    assert h.counts.late_messages == 4
    assert h.counts.windows == 1
    assert shown(h.window(requests("cart", [0.1] * 3), number=6)) == [("Busy", "firing", "cart")]


def test_window_that_is_never_closed_is_not_judged() -> None:
    """Half of a window must not be taken for one, nor for a part of the next."""
    h = host(BUSY, QUIET)
    h.window(requests("cart"), requests("shop"))
    first, _ = messages("spans", LENGTH_MS, FIRST_MS + 2 * LENGTH_MS, [requests("cart", [1] * 3)])
    assert h.send([first], FIRST_MS) == []
    assert shown(h.window(requests("cart"), number=3)) == [("Quiet", "firing", "shop")]
    assert h.counts.unclosed_windows == 1


def test_windows_that_no_rule_looks_at_are_passed_over() -> None:
    h = host(BUSY)
    h.window(requests("cart", [0.1] * 3), rule="services")
    assert (h.counts.passed_messages, h.counts.messages, h.counts.windows) == (1, 0, 0)
    assert h.operator.series == 0


# --- series ----------------------------------------------------------------------------------


def test_more_series_than_there_is_room_for_are_counted() -> None:
    h = host(BUSY, series_max=2)
    groups = [requests("cart", [0.1] * 3, span_name=name) for name in "abcd"]
    assert [name for _, _, name in shown(h.window(*groups))] == ["a", "b"]
    # calls, errors and durations
    assert h.counts.overflowed_points == 6
    assert h.counts.new_series == 2


def test_silent_series_are_forgotten_with_their_alerts_and_make_room() -> None:
    h = host({**LATENCY, "no_data": "keep"}, series_max=1, series_memory=60)
    assert shown(h.window(requests("cart"))) == [("Latency", "firing", "cart")]
    for _ in range(5):
        h.window(requests("shop"))
    assert h.operator.series == 1
    h.window(number=7)
    assert h.operator.series == 1
    (event,) = h.window(number=8)
    assert (event.state, event.reason) == ("resolved", "series_gone")
    assert (h.operator.series, h.counts.forgotten_series) == (0, 1)
    assert shown(h.window(requests("shop"))) == [("Latency", "firing", "shop")]


def test_absence_is_unknown_while_sources_are_silent() -> None:
    h = host(SILENT)
    for number in range(1, 5):
        assert h.window(requests("cart"), rule="services", number=number) == []
    (pipeline,) = h.window(rule="services", number=5, silent_sources=2)
    assert (pipeline.rule, pipeline.state) == ("PipelineStalled", "firing")
    assert "2 source partitions" in pipeline.annotations["summary"]
    found = shown(h.window(rule="services", number=6))
    assert found == [("Silent", "firing", "cart"), ("PipelineStalled", "resolved", "")]


# --- rules -----------------------------------------------------------------------------------

OTHER = """
- name: Other
  on: {window: spans, length: 10s, statistic: count}
  threshold: {op: ">", value: 0}
"""


def test_rules_change_from_the_next_message_on() -> None:
    h = host(BUSY)
    assert shown(h.window(requests("cart", [0.1] * 3))) == [("Busy", "firing", "cart")]
    h.operator.adjust("alerts.rules", OTHER)
    (gone, fires) = h.window(requests("cart", [0.1] * 3))
    assert (gone.rule, gone.state, gone.reason) == ("Busy", "resolved", "rule_removed")
    assert (fires.rule, fires.state) == ("Other", "firing")
    assert sum(map(of_rules, h.visible)) == 1
    h.operator.adjust("alerts.rules", "")
    assert shown(h.window(requests("cart", [0.1] * 3))) == [
        ("Other", "resolved", "cart"),
        ("Busy", "firing", "cart"),
    ]
    assert h.counts.rule_changes == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- {name: Wrong}", "Wrong|when|on"),
        (OTHER.replace("spans", "nothing"), "nothing"),
        (OTHER.replace("count", "cuont"), "line"),
        ("- [", "line"),
        (7, "text"),
        ("#" * 300_000, "bytes"),
    ],
)
def test_wrong_rules_are_refused_and_the_old_ones_stay(text: Any, why: str) -> None:
    import re

    h = host(BUSY)
    h.operator.adjust("alerts.rules", text)
    assert h.counts.refused_rules == 1
    (warning,) = h.counts.warnings
    assert re.search(why, warning)
    assert shown(h.window(requests("cart", [0.1] * 3))) == [("Busy", "firing", "cart")]
    assert not any(map(of_rules, h.visible))
    h.operator.adjust("alerts.rules", OTHER)
    assert h.counts.warnings == ()


def test_windows_that_nobody_looks_at_any_more_are_forgotten() -> None:
    h = host(BUSY)
    h.window(requests("cart"), requests("shop"))
    h.operator.adjust("alerts.rules", OTHER.replace("spans", "services"))
    h.window(requests("cart"))
    assert (h.operator.series, h.counts.forgotten_series) == (0, 2)


def test_rules_of_another_configuration_count_after_the_restart_and_in_every_replay() -> None:
    h = host(BUSY)
    h.snapshot()
    assert shown(h.window(requests("cart", [0.1] * 3))) == [("Busy", "firing", "cart")]
    changed = alerts({**BUSY, "name": "Changed"})
    h.restart(lambda counts: detect(changed, counts=counts))
    assert shown(h.window(requests("cart", [0.1] * 3))) == [
        ("Busy", "resolved", "cart"),
        ("Changed", "firing", "cart"),
    ]
    h.restart(lambda counts: detect(changed, counts=counts))
    assert h.window(requests("cart", [0.1] * 3)) == []
    assert shown(h.window(requests("cart"))) == [("Changed", "resolved", "cart")]


def test_rules_that_were_set_are_in_force_for_the_messages_that_are_replayed() -> None:
    h = host(BUSY)
    h.snapshot()
    h.operator.adjust("alerts.rules", OTHER)
    assert shown(h.window(requests("cart"))) == [("Other", "firing", "cart")]
    h.restart(settings=[("alerts.rules", OTHER)])
    assert h.window(requests("cart")) == []
    h.restart(settings=[("alerts.rules", "- {name: Wrong}")])
    assert h.window(requests("cart")) == []


# --- crashes ---------------------------------------------------------------------------------


def history(seed: int) -> list[battery.Step]:
    """Traffic of an hour in which everything happens; rules that change; pauses."""
    rng = random.Random(seed)
    steps: list[battery.Step] = []
    offset, texts = 0, [OTHER, "", "- {name: Wrong}", OTHER.replace("> 0", ">= 5")]
    number = 0
    while number < 40:
        number += rng.choice([1, 1, 1, 1, 1, 4])
        for rule in ("spans", "services"):
            names = [name for name in "abc" if rng.random() < 0.7]
            groups = [
                requests(
                    rng.choice(["cart", "shop"]),
                    [rng.random()] * rng.choice([1, 2, 4]),
                    errors=rng.choice([0, 0, 1, 4]),
                    **({"span_name": name} if rule == "spans" else {}),
                )
                for name in (names if rule == "spans" else names[:1])
            ]
            end_ms = FIRST_MS + number * LENGTH_MS
            silent = rng.choice([0] * 8 + [1])
            for each in messages(rule, LENGTH_MS, end_ms, groups, silent_sources=silent):
                steps.append(
                    Batch("source", 3, offset, end_ms + DELAY_MS, None, each.value, each.headers)
                )
                offset += rng.choice([1, 1, 2])
        if rng.random() < 0.1:
            steps.append(battery.Adjust("alerts.rules", rng.choice(texts)))
        if rng.random() < 0.2:
            later = rng.choice([1000, 40_000, 100_000])
            steps.append(battery.Tick(FIRST_MS + number * LENGTH_MS + DELAY_MS + later))
    return steps


RULES = (
    ERRORS,
    {**MANY, "threshold": {"op": ">=", "value": 2}},
    {**SILENT, "absence": {"sensitivity": 10, "history": 2}},
    BUSY,
    {**LATENCY, "no_data": "keep", "no_data_after": "20s"},
    VECTORS,
)


SETTINGS = alerts(*RULES, stalled_after=60, series_memory=120, active_max=3)
SEEDS = range(4)


def test_histories_have_everything() -> None:
    states: set[tuple[bool, str]] = set()
    changes = forgotten = 0
    for seed in SEEDS:
        h = Host(lambda counts: detect(SETTINGS, counts=counts))
        case = battery.Case("", lambda h=h: h.operator, st.nothing(), st.nothing())  # type: ignore[misc]
        told = battery.records(battery.run(case, h.operator, history(seed)))
        events = [AlertEvent.decode(r.value) for r in told if not of_rules(r)]
        states |= {(event.rule == "PipelineStalled", event.state) for event in events}
        changes += h.counts.rule_changes
        forgotten += h.counts.forgotten_series
    assert changes
    assert forgotten
    every = ("inactive", "pending", "firing", "resolved", "no_data")
    assert states == {*((False, state) for state in every), (True, "firing"), (True, "resolved")}


@pytest.mark.parametrize("seed", SEEDS)
def test_no_transition_is_lost_or_told_twice_wherever_it_dies(seed: int) -> None:
    steps = history(seed)
    rng = random.Random(seed)
    case = battery.Case(
        "detect", partial(detect, SETTINGS), DETECTING[0].values, DETECTING[0].poison,
        holds=DETECTING[0].holds,
    )  # fmt: skip
    found = battery.run(case, case.make(), steps)
    told = battery.records(found)
    assert told
    for _ in range(8):
        crash = rng.randrange(len(steps))
        tried = battery.History(steps, rng.randint(0, crash), crash)
        battery.recovery_goes_on(case, tried)
        battery.snapshots_go_on(case, tried)
    battery.deterministic(case, battery.History(steps, 0, 0))


def test_snapshot_of_the_middle_of_a_window() -> None:
    h = host(BUSY)
    first, last = messages("spans", LENGTH_MS, FIRST_MS, [requests("cart", [0.1] * 3)])
    h.send([first], FIRST_MS)
    h.snapshot()
    h.restart()
    assert shown(h.send([last], FIRST_MS)) == [("Busy", "firing", "cart")]


@pytest.mark.parametrize("damage", ["short", "long", "other", "torn", "order"])
def test_damaged_snapshot_is_refused(damage: str) -> None:
    from schemas.errors import MalformedMessage

    h = host(BUSY)
    h.window(requests("cart"))
    chunks = list(h.operator.snapshot())
    wrong = {
        "short": chunks[:-1],
        "long": [*chunks, chunks[-1]],
        "other": chunks[::-1],
        "torn": [chunks[0][:-8], *chunks[1:]],
        "order": [chunks[0], *chunks[:0:-1]],
    }[damage]
    with pytest.raises(MalformedMessage):
        detect(alerts(BUSY)).restore(wrong)


def test_it_is_told_of_every_window_that_was_closed() -> None:
    ends: list[int] = []

    def make(counts: DetectCounts) -> Detect:
        return detect(alerts(BUSY), counts=counts, closed=ends.append)

    h = Host(make)
    h.window(requests("cart"))
    h.window()
    h.restart()
    assert ends == [FIRST_MS + LENGTH_MS, FIRST_MS + 2 * LENGTH_MS]


def test_counts_of_a_partition_go_with_its_operator() -> None:
    counts = DetectCounts()
    operator = detect(Alerts(builtin=True), counts=counts)
    assert counts.partitions[3].series == 0
    del operator
    assert not counts.partitions


def test_values_that_detection_cannot_use_are_counted_once() -> None:
    strange = {
        "name": "Strange",
        "on": {**COUNT, "statistic": "p99"},
        "anomaly": {"sensitivity": 1},
    }
    h = host(strange)
    h.window(requests("cart"))
    h.snapshot()
    h.window()
    assert (h.counts.left_out["missing"], h.counts.values) == (1, 2)
    h.restart()
    assert h.counts.left_out["missing"] == 1
    h.window()
    assert (h.counts.left_out["missing"], h.counts.values) == (2, 3)
    assert h.counts.partitions[3].watched == 1


def test_series_that_go_to_other_partitions_are_not_absent() -> None:
    h = host(BUSY, SILENT)
    for number in range(1, 4):
        h.window(requests("cart", [0.1] * 3), number=number)
        h.window(requests("cart"), rule="services", number=number)
    h.snapshot()

    def more(counts: DetectCounts) -> Detect:
        return detect(alerts(BUSY, SILENT), counts=counts, partitions=2)

    h.restart(more)
    (event,) = h.window(number=4)
    assert (event.state, event.reason) == ("resolved", "series_gone")
    assert h.window(rule="services", number=4) == []
    assert h.operator.series == 0
    # From the same snapshot, with what was told since.
    h.restart(more)
    assert h.operator.series == 0
    assert h.window(rule="services", number=5) == []
    assert sum(map(of_rules, h.visible)) == 1

"""`PipelineStalled`: on the broker's clock, once, and not forgotten by a crash."""

from __future__ import annotations

import pytest

from schemas.records.alerts import AlertEvent
from tests.operators.detecting import SILENT, alerts, detect

from .hosting import DELAY_MS, FIRST_MS, LENGTH_MS, Host, requests

AFTER_S = 30


def host() -> Host:
    settings = alerts(SILENT, stalled_after=AFTER_S)
    return Host(lambda counts: detect(settings, counts=counts))


def closed_ms(h: Host) -> int:
    """The broker's time of the last closing message."""
    return FIRST_MS + h.number * LENGTH_MS + DELAY_MS


def test_it_fires_when_no_window_is_closed_for_long_and_once() -> None:
    h = host()
    h.window(requests("cart"), rule="services")
    limit_ms = closed_ms(h) + LENGTH_MS + AFTER_S * 1000
    assert h.tick(limit_ms) == []
    assert not h.counts.partitions[3].stalled
    (event,) = h.tick(limit_ms + 1)
    assert (event.rule, event.state, event.reason) == ("PipelineStalled", "firing", "pipeline")
    assert event.labels == {
        "alertname": "PipelineStalled", "severity": "critical", "partition": "3",
    }  # fmt: skip
    assert event.series is None
    assert "30s" in event.annotations["summary"]
    assert h.counts.partitions[3].stalled
    assert h.tick(limit_ms + 60_000) == []
    (resolved,) = h.window(requests("cart"), rule="services", number=20)
    assert (resolved.state, resolved.fingerprint) == ("resolved", event.fingerprint)
    assert resolved.starts_at == event.starts_at
    assert resolved.ends_at is not None
    assert h.tick(closed_ms(h) + 1000) == []


def test_it_waits_for_the_shortest_windows_only() -> None:
    h = host()
    h.window(number=1, length_ms=3_600_000, rule="services")
    last_ms = FIRST_MS + 3_600_000 + DELAY_MS
    assert h.tick(last_ms + 3_600_000) == []
    h.send([], 0)
    h.window(number=360, rule="services")
    assert [e.state for e in h.tick(last_ms + LENGTH_MS + AFTER_S * 1000 + 1)] == ["firing"]


def test_windows_of_one_rule_stand_still_while_others_are_closed() -> None:
    """All sources of its topic are silent: of these windows nothing comes, not even how many."""
    h = host()
    h.window(rule="services", number=1)
    events = [each for n in range(1, 9) for each in h.window(rule="logs", number=n)]
    assert [e.state for e in events] == ["firing"]
    h.restart()
    assert h.window(rule="logs") == []
    assert [e.state for e in h.window(rule="services")] == ["resolved"]


def test_after_an_outage_of_everything_each_rule_has_time_to_come_back() -> None:
    h = host()
    h.window(rule="services", number=1)
    h.window(rule="logs", number=1)
    h.restart()
    assert h.window(rule="logs", number=90) == []
    assert h.window(rule="services", number=90) == []
    h.restart()
    assert h.window(rule="logs", number=200) == []
    events = [each for n in range(201, 209) for each in h.window(rule="logs", number=n)]
    assert [e.state for e in events] == ["firing"]


def test_windows_of_a_rule_that_there_is_not_are_not_missed() -> None:
    h = host()
    h.window(rule="gone", number=1)
    assert [each for n in range(1, 20) for each in h.window(rule="logs", number=n)] == []


def test_nothing_is_late_before_anything_has_come() -> None:
    assert host().tick(FIRST_MS) == []


def test_silent_sources_are_told_of_until_they_speak() -> None:
    h = host()
    (event,) = h.window(rule="services", silent_sources=3)
    assert (event.state, "3 source partitions" in event.annotations["summary"]) == ("firing", True)
    assert h.counts.partitions[3].silent_sources == 3
    assert h.window(rule="services", silent_sources=1) == []
    # Other windows come of other sources.
    assert h.window(rule="logs", number=h.number) == []
    assert [e.state for e in h.window(rule="services")] == ["resolved"]
    assert h.counts.partitions[3].silent_sources == 0


def test_silence_of_a_rule_that_is_gone_is_forgotten() -> None:
    h = host()
    assert [e.state for e in h.window(rule="gone", silent_sources=3)] == ["firing"]
    states = [e.state for _ in range(8) for e in h.window(rule="logs")]
    assert states == ["resolved"]


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_crash_neither_repeats_nor_forgets_it(snapshot: bool) -> None:
    h = host()
    h.window(requests("cart"), rule="services")
    if snapshot:
        h.snapshot()
    late_ms = closed_ms(h) + 60_000
    h.tick(late_ms)
    h.restart()
    assert h.tick(late_ms + 1000) == []
    h.window(rule="services", number=9)
    h.restart()
    assert h.tick(closed_ms(h) + 1000) == []
    assert [e.state for e in h.states() if e.rule == "PipelineStalled"] == ["firing", "resolved"]


def test_each_time_is_another_alert_though_the_clock_went_back() -> None:
    h = host()
    h.window(rule="services")
    late_ms = closed_ms(h) + 120_000
    events: list[AlertEvent] = []
    for _ in range(3):
        events += h.tick(late_ms)
        events += h.window(rule="services")
        h.restart()
    ids = {event.id for event in events}
    assert len(events) == len(ids) == 6
    assert all(e.ends_at is None or e.ends_at >= e.starts_at for e in events)

"""Everything that is counted can be scraped, and what deserves a look is said."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from schemas.config import Alerts, Windows
from streams.alerts.counts import DetectCounts, DetectState
from streams.alerts.rules import builtin_left_out
from streams.windows.counts_windows import WindowCounts, WindowState
from streams.windows.partial_counts import PartialCounts
from topologies.detection import DetectConcerns, DetectMetrics
from topologies.windowing import PartialMetrics, WindowConcerns, WindowMetrics

_KEYS = {"items": ("spans", "rule"), "dropped": ("spans", "ahead")}
_LENGTHS = ("late", "windows", "emitted", "skipped")


def numbered(counts: object) -> int:
    """A different number in each of its fields; the next one."""
    number = 1001
    for field in fields(counts):  # type: ignore[arg-type]
        value = getattr(counts, field.name)
        if isinstance(value, Counter):
            pair = isinstance(counts, PartialCounts) or field.name in ("anomalies", "transitions")
            key = ("rule", 10_000) if field.name in _LENGTHS else ("a", "b") if pair else "a"
            value[key] = number
        elif isinstance(value, int):
            setattr(counts, field.name, number)
        else:
            continue
        number += 1
    return number


@pytest.mark.parametrize(
    ("counts", "metrics"),
    [
        (PartialCounts(), PartialMetrics),
        (WindowCounts(), WindowMetrics),
        (DetectCounts(), DetectMetrics),
    ],
)
def test_each_count_is_a_metric(counts: object, metrics: type) -> None:
    registry = CollectorRegistry()
    after = numbered(counts)
    metrics(registry, counts)
    served = generate_latest(registry).decode()
    values = {line.rpartition(" ")[2] for line in served.splitlines() if line[0] != "#"}
    assert {f"{float(number)}" for number in range(1001, after)} <= values
    assert after > 1005


def test_windows_tell_how_far_they_are() -> None:
    counts, registry = WindowCounts(), CollectorRegistry()
    WindowMetrics(registry, counts, lambda: 1_000.0)
    state = WindowState(
        watermarks={"otlp_spans": 990_000}, silent_sources={"otlp_spans": 2}, groups={"spans": 7},
        behind_sources={"otlp_spans": 1},
    )  # fmt: skip
    state.open_windows = 3
    counts.partitions[4] = state
    served = generate_latest(registry).decode()
    for line in (
        'otlp_streams_windows_watermark_seconds{partition="4",topic="otlp_spans"} 990.0',
        'otlp_streams_windows_watermark_lag_seconds{partition="4",topic="otlp_spans"} 10.0',
        'otlp_streams_windows_silent_sources{partition="4",topic="otlp_spans"} 2.0',
        'otlp_streams_windows_behind_sources{partition="4",topic="otlp_spans"} 1.0',
        'otlp_streams_windows_groups{partition="4",rule="spans"} 7.0',
        'otlp_streams_windows_open{partition="4"} 3.0',
    ):
        assert line in served
    del state
    assert 'partition="4"' not in generate_latest(registry).decode()


def test_detection_tells_how_long_windows_take_to_come_here() -> None:
    registry = CollectorRegistry()
    metrics = DetectMetrics(registry, DetectCounts(), lambda: 100.0)
    metrics.closed(88_000)
    metrics.closed(101_000)
    served = generate_latest(registry).decode()
    name = "otlp_streams_alerts_window_end_to_evaluation_seconds"
    assert f'{name}_bucket{{le="12.5"}} 2.0' in served
    assert f'{name}_bucket{{le="10.0"}} 1.0' in served
    assert f"{name}_sum 12.0" in served


def test_what_deserves_a_look_while_windows_are_made() -> None:
    counts = WindowCounts()
    concerns = WindowConcerns(counts)
    assert concerns() == {}
    counts.overflow["spans"] += 3
    one, other = WindowState(), WindowState()
    counts.partitions[0], counts.partitions[1] = one, other
    one.silent_sources, other.silent_sources = {"otlp_logs": 2}, {"otlp_logs": 3, "otlp_spans": 0}
    other.behind_sources = {"otlp_logs": 1, "otlp_spans": 0}
    found = concerns()
    assert found.keys() == {"overflow", "silent.otlp_logs", "behind.otlp_logs"}
    assert "1 partitions of otlp_logs" in found["behind.otlp_logs"]
    assert "3 partitions of otlp_logs" in found["silent.otlp_logs"]


def test_what_deserves_a_look_while_detection_works() -> None:
    counts = DetectCounts()
    concerns = DetectConcerns(counts)
    assert concerns() == {}
    counts.refusal = "line 3: no"
    counts.partitions[7] = state = DetectState(stalled=True, suppressed=2)
    found = concerns()
    assert found.keys() == {"rules", "stalled", "suppressed"}
    assert "line 3: no" in found["rules"]
    assert "7" in found["stalled"]
    counts.refusal, state.stalled, state.suppressed = "", False, 0
    assert concerns() == {}


def test_built_in_rules_that_do_not_run_deserve_a_look() -> None:
    only_spans = Windows.model_validate({"rules": [{"name": "spans", "signal": "spans"}]})
    left_out = builtin_left_out(Alerts(), only_spans)
    found = DetectConcerns(DetectCounts(), left_out)()["builtin"]
    assert "ServiceSilent" in found
    assert "no rule of windows.rules is called" in found

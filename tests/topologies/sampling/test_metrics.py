"""What sampling counts, as somebody who scrapes it sees it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from schemas.config import Sampling
from schemas.config.load import load
from schemas.signals import Signal
from streams.sampling.counts import EmitCounts, SampleCounts, State
from streams.sampling.key_counts import OTHER
from tests.streams.sampling.test_explain import order
from topologies.concerns import CONCERN_S
from topologies.sampling import EmitMetrics, SampleMetrics, Targets, concerns_of
from topologies.sampling.targets import Target

POLICIES = """
sampling:
  default: keep
  policies:
  - {name: health, match: {operation: /health}, never: true}
  - {name: errors, match: {status: error}, always: true}
  - {name: vip, match: {service: vip}, always: true, exempt: true}
  - {name: front, match: {service: front}, budget: {spans_per_second: 300}}
  - {name: limited, match: {service: batch}, rate_limit: {traces_per_second: 5}}
  - {name: rest, match: {span_count: {min: 2}}, budget: {traces_per_second: 40}}
  - {name: some, match: {service: odd}, probability: 0.5}
"""


def samples(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """By name and label values, as text in Prometheus' format has them."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(s.name, *s.labels.values()): s.value for f in families for s in f.samples}


def settings() -> Sampling:
    return load(POLICIES).sampling


def test_counts_of_sample_as_they_are_now() -> None:
    registry, counts = CollectorRegistry(), SampleCounts(keys_max=2)
    SampleMetrics(registry, counts, Targets(settings()))
    counts.spans, counts.early_traces = 100, 3
    counts.kept_traces["errors"] += 4
    counts.kept_spans["errors"] += 12
    counts.dropped_traces["rest"] += 9
    counts.dropped_spans["rest"] += 90
    counts.late_dropped_spans = 2
    state = State(open_traces=7, oldest_undecided_ms=1500, kept_remembered=5)
    counts.partitions[3] = state
    counts.end_to_decision_ms.observe([50, 10_000, 10_001, 10**9])
    found = samples(registry)
    prefix = "otlp_streams_sampling"
    assert found[f"{prefix}_spans_total",] == 100
    assert found[f"{prefix}_early_traces_total",] == 3
    assert found[f"{prefix}_kept_traces_total", "errors"] == 4
    assert found[f"{prefix}_kept_spans_total", "errors"] == 12
    assert found[f"{prefix}_dropped_traces_total", "rest"] == 9
    assert found[f"{prefix}_dropped_spans_total", "rest"] == 90
    assert found[f"{prefix}_late_spans_total", "dropped"] == 2
    assert found[f"{prefix}_late_spans_total", "kept"] == 0
    assert found[f"{prefix}_open_traces", "3"] == 7
    assert found[f"{prefix}_undecided_age_seconds", "3"] == 1.5
    assert found[f"{prefix}_remembered_traces", "3", "kept"] == 5
    buckets = {
        k[1]: v for k, v in found.items() if k[0] == f"{prefix}_end_to_decision_seconds_bucket"
    }
    assert (buckets["0.1"], buckets["7.5"], buckets["10.0"], buckets["12.5"]) == (1, 1, 2, 3)
    assert buckets["+Inf"] == 4
    del state  # its partition is somebody else's now
    assert (f"{prefix}_open_traces", "3") not in samples(registry)


def test_keys_are_bounded_and_what_is_beyond_is_counted_together() -> None:
    registry, counts = CollectorRegistry(), SampleCounts(keys_max=2)
    SampleMetrics(registry, counts)
    for n in range(50):
        hashes = np.array([n + 10, n % 2 + 1], np.uint64)
        names = [f'service="{n}"\nx', f"service={n % 2}"]
        kept, dropped, represented = np.array([[1, 0], [0, 1], [2.5, 0]])
        counts.keys.add(
            hashes, kept, dropped, represented, lambda at, names=names: [names[i] for i in at]
        )
    keys = {k: v for k, v in samples(registry).items() if "_key_traces_" in k[0]}
    assert len(keys) <= 2 * 3
    assert sum(keys.values()) == 100
    assert keys["otlp_streams_sampling_key_traces_total", OTHER, "kept"] > 0
    estimated = {k: v for k, v in samples(registry).items() if "_key_estimated_" in k[0]}
    assert len(estimated) <= 3
    assert sum(estimated.values()) == 50 * 2.5


def test_targets_are_what_is_set_and_what_counts_against_them() -> None:
    adjusted: dict[str, Any] = {}
    counts = SampleCounts()
    targets = Targets(settings(), adjusted.get)
    for i, name in enumerate(("errors", "vip", "front", "limited", "rest", "some", "default")):
        counts.kept_traces[name] += 10**i
        counts.kept_spans[name] += 2 * 10**i
    assert list(targets.now(counts)) == [
        # Errors stand above the first budget; what comes after the last one is taken from that.
        Target("front", "spans", 300, 2 * (1 + 100)),
        Target("limited", "traces", 5, 1000),
        Target("rest", "traces", 40, 1_111_000),
    ]
    adjusted["sampling.rest.traces_per_second"] = 15
    assert [each.per_second for each in targets.now(counts)] == [300, 5, 15]
    assert (
        list(Targets(load("sampling: {policies: [{name: a, always: true}]}").sampling).now(counts))
        == []
    )


def test_counts_of_emit() -> None:
    registry, counts = CollectorRegistry(), EmitCounts()
    metrics = EmitMetrics(registry, counts)
    day_ms = 86_400_000
    arrived_ms = 10 * day_ms
    about = replace(order(10, 20, {}), time_ms=arrived_ms)
    for now_ms, ago_ms in (
        (arrived_ms + 3000, [5000, 1000, -2000, 2 * day_ms]),
        (arrived_ms - 1, []),  # a clock may be behind Kafka's
    ):
        ends_ms = now_ms - np.array(ago_ms, np.int64)
        metrics.taken(about, ends_ms.astype(np.uint64) * np.uint64(10**6), now_ms)
    counts.orders, counts.removed_offsets, counts.records = 3, 17, 2
    counts.spans["rest"] += 8
    found = samples(registry)
    name = "otlp_streams_sampling_root_end_to_emit_seconds"
    assert found[f"{name}_count",] == 4
    assert found[f"{name}_sum",] == 5 + 1 + 0 + day_ms / 1000
    assert [found[f"{name}_bucket", bound] for bound in ("0.1", "1.0", "5.0", "300.0")] == [
        1, 2, 3, 3,
    ]  # fmt: skip
    assert found["otlp_streams_sampling_skewed_roots_total",] == 2, "one ahead, one long ago"
    assert found["otlp_streams_sampling_emit_orders_total",] == 3
    assert found["otlp_streams_sampling_lost_source_offsets_total",] == 17
    assert found["otlp_streams_sampling_emit_messages_total",] == 2
    assert found["otlp_streams_sampling_emit_spans_total", "rest"] == 8
    assert found["otlp_streams_sampling_arrival_to_emit_seconds_sum",] == 3
    assert found["otlp_streams_sampling_arrival_to_emit_seconds_count",] == 2


def test_what_has_grown_is_a_concern_for_a_while() -> None:
    now_s, counts = [0.0], SampleCounts()
    concerns = concerns_of(counts, f"otlp_{Signal.TRACES}", lambda: now_s[0])
    assert concerns() == {}
    counts.wrong_partition_spans = 1200
    assert "1,200 spans" in concerns()["wrong_partition_spans"]
    now_s[0] += CONCERN_S
    assert concerns()
    now_s[0] += 1
    assert concerns() == {}
    counts.wrong_partition_spans += 1
    assert concerns()
    counts.set_back_s = 3600.0
    assert "ran back by 3,600 s" in concerns()["set_back_s"]
    lost = EmitCounts(removed_offsets=5)
    assert set(concerns_of(lost, "otlp_spans", lambda: 0.0)()) == {"removed_offsets"}

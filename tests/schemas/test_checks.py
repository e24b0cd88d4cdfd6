"""What no section alone can know."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config import Config
from schemas.config.checks import cross_check
from schemas.config.load import load


def problems(text: str) -> list[str]:
    return [str(p) for p in cross_check(load(text))]


def test_the_defaults_fit_together() -> None:
    assert cross_check(Config()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("topics: {max_message: 500000}",
         "kafka.producer.max_message: 1000000 bytes is more than topics.max_message, 500000"),
        ("ingest: {http: {endpoint: 'localhost:9'}, grpc: {endpoint: 'localhost:9'}}",
         "ingest.http.endpoint: localhost:9 is taken by ingest.grpc.endpoint"),
        ("ingest: {http: {endpoint: '0.0.0.0:8888'}}",
         "telemetry.endpoint: 127.0.0.1:8888 is taken by ingest.http.endpoint"),
        ("telemetry: {endpoint: '[::]:4317'}",
         "telemetry.endpoint: [::]:4317 is taken by ingest.grpc.endpoint"),
        ("ingest: {sources: [{topic: otlp_logs, signal: logs}]}",
         "ingest.sources[0].topic: 'otlp_logs' is topics.names.logs: ingest would feed itself"),
        ("ingest: {sources: [{topic: a, signal: logs}, {topic: a, signal: traces}]}",
         "ingest.sources[1].topic: 'a' is ingest.sources[0] already"),
        ("ingest: {inflight_max: 63MiB}",
         "ingest.inflight_max: 63MiB is less than ingest.max_request, 64MiB"),
        ("ingest: {grpc: {enabled: false}, http: {enabled: false}}",
         "ingest: neither ingest.grpc nor ingest.http is enabled, and there are no ingest.sources"),
        ("runtime: {retry_initial: 20s}",
         "runtime.retry_initial: 20s is more than runtime.retry_maximum, 10s"),
        ("runtime: {restart_initial: 40s}",
         "runtime.restart_initial: 40s is more than runtime.restart_maximum, 30s"),
        ("runtime: {drain_timeout: 15s}",
         "runtime.drain_timeout: 15s must be less than runtime.stop_timeout, 15s"),
        ("export: {backends: {b: {retry: {initial: 50s}}}}",
         "export.backends.b.retry.initial: 50s is more than export.backends.b.retry.maximum, 30s"),
        ("notify: {targets: {t: {type: alertmanager, retry: {initial: 50s}}}}",
         "notify.targets.t.retry.initial: 50s is more than notify.targets.t.retry.maximum, 30s"),
        ("export: {backends: {b: {signals: []}}}",
         "export.backends.b.signals: no signal would go to this backend"),
        ("export: {backends: {b: {tls: {enabled: true}}}}",
         "export.backends.b.endpoint: says http:// (plain text) although tls.enabled is true"),
        ("alerts: {enabled: true}", "alerts.enabled: needs windows.enabled: true"),
        ("windows: {enabled: true}\nalerts: {enabled: true, rules: [{name: a, threshold: "
         "{op: '>', value: 1}, on: {window: spams, length: 10s, statistic: count}}]}",
         "alerts.rules[0].on.window: no rule of windows.rules is called 'spams'; did you"),
        ("windows: {enabled: true, record_max: 2MiB}",
         "windows.record_max: 2MiB is more than kafka.producer.max_message, 1000000"),
        ("windows: {enabled: true, source_timeout: 5s}",
         "windows.source_timeout: 5s is less than three times runtime.idle_tick"),
        ("windows: {enabled: true, rules: [{name: a, signal: spans, lengths: [6h]}]}\n"
         "topics: {retention: 6h}",
         "windows.rules[0].lengths: 6h and the wait for what is late are more than topics."),
        ("windows: {enabled: true, rules: [{name: a, signal: logs}]}\nshape: {signals: [traces]}",
         "windows.rules[0].signal: nothing reads logs here"),
        ("sampling: {enabled: true}\ntopics: {retention: 90s, decisions_retention: 1d}",
         "topics.retention: 90s is less than 4 times the 24s that sampling may need"),
        ("sampling: {enabled: true, decision_wait: 1h, decision_memory: 1h}\n"
         "topics: {retention: 4h}",
         "topics.retention: 4h is less than 4 times the 3614s that"),
        ("sampling: {enabled: true}\ntopics: {decisions_retention: 23h}",
         "topics.decisions_retention: 23h is less than topics.retention, 1d"),
        ("sampling: {enabled: true, decision_memory: 9s}",
         "sampling.decision_memory: 9s is less than sampling.decision_wait, 10s"),
        ("sampling: {enabled: true, order_max: 2MB}",
         "sampling.order_max: 2000000 is more than kafka.producer.max_message, 1000000"),
        ("sampling: {enabled: true, order_source_max: 65MiB}",
         "sampling.order_source_max: 65MiB is more than runtime.lanes_max, 64MiB"),
    ],
)  # fmt: skip
def test_a_contradiction_is_named(text: str, said: str) -> None:
    found = problems(text)
    assert len(found) == 1
    assert found[0].startswith(said)


@pytest.mark.parametrize(
    "text",
    [
        "ingest: {http: {endpoint: '127.0.0.1:0'}, grpc: {endpoint: '127.0.0.1:0'}}",
        "ingest: {http: {endpoint: '127.0.0.1:4317', enabled: false}}",
        "ingest: {http: {endpoint: '127.0.0.2:4317'}}",
        "ingest: {grpc: {enabled: false}, http: {enabled: false}, "
        "sources: [{topic: a, signal: logs}]}",
        "ingest: {http: {enabled: false}}",
        "ingest: {inflight_max: 64MiB}",
        "sampling: {decision_memory: 9s}\ntopics: {retention: 60s}",
    ],
)
def test_listeners_that_do_not_meet(text: str) -> None:
    assert problems(text) == []


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.floats(0.001, 600), st.floats(0.001, 600))
def test_only_a_drain_shorter_than_the_stop_passes(drain: float, stop: float) -> None:
    text = f"runtime: {{drain_timeout: {min(drain, 300)}, stop_timeout: {stop}}}"
    assert (problems(text) == []) == (min(drain, 300) < stop)


def test_every_problem_is_listed() -> None:
    assert len(problems("topics: {max_message: 500000}\nruntime: {retry_initial: 20s}")) == 2


def test_the_example_files_run() -> None:
    for file in (Path(__file__).parents[2] / "deploy").glob("*otlp-streams*.yaml"):
        assert problems(file.read_text()) == [], file

"""Injected faults: what is said to have happened did happen, and nothing else did."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigurationError
from schemas.signals import Signal
from streams.recording import frames
from streams.recording.frames import Request
from streams.recording.identity import identities
from streams.recording.inject import inject, parse
from streams.recording.laps import AS_RECORDED, Lap
from streams.recording.latency import Timed, delay
from streams.recording.layout import find
from topologies.demo_data import FILES

from .requests import TYPES


@pytest.fixture(scope="module")
def excerpt():
    requests = []
    for path in FILES:
        with path.open("rb") as stream:
            requests += frames.read(stream, frames.guess_signal(path.name), lambda s, d: d)
    return requests


@pytest.fixture(scope="module")
def begin(excerpt):
    return min(find(r.signal, r.data).earliest_ns for r in excerpt if r.signal is Signal.TRACES)


def spans(requests):
    return {
        (span.trace_id, span.span_id): (resource.resource.attributes[0].value.string_value, span)
        for request in requests if request.signal is Signal.TRACES
        for resource in TYPES[request.signal].FromString(request.data).resource_spans
        for scope in resource.scope_spans for span in scope.spans
    }  # fmt: skip


def counts(requests):
    total = defaultdict(int)
    for request in requests:
        total[request.signal] += len(identities(request.signal, request.data))
    return total


def run(excerpt, begin, text, seed=1):
    injection = parse(text, begin)
    requests, (truth,) = inject(excerpt, [injection], np.random.default_rng(seed))
    again, _ = inject(excerpt, [injection], np.random.default_rng(seed))
    assert requests == again, "a seed says it all"
    return injection, requests, truth


def test_errors(excerpt, begin):
    injection, requests, truth = run(excerpt, begin, "errors:ts-order-service@10s+40s,rate=0.5")
    before, after = spans(excerpt), spans(requests)
    failed = {key for key, (_, span) in after.items() if span.status.code == 2}
    possible = {
        key for key, (service, span) in before.items()
        if injection.covers(service, span.start_time_unix_nano)
    }  # fmt: skip
    assert failed < possible
    assert 0.3 < len(failed) / len(possible) < 0.7
    assert truth.altered == {Signal.TRACES: len(failed)}
    assert truth.trace_ids == {trace_id for trace_id, _ in failed}
    for key in failed:
        span = after[key][1]
        assert span.events[0].name == "exception"
        assert span.attributes[0].key == "error.type"
    assert [r for r in requests if r.signal is not Signal.TRACES] == [
        r for r in excerpt if r.signal is not Signal.TRACES
    ]
    assert all(after[key] == before[key] for key in before if key not in failed)


def test_errors_reach_the_ancestors_when_asked(excerpt, begin):
    _, requests, truth = run(excerpt, begin, "errors:ts-order-service@10s+20s,ancestors=true")
    after = spans(requests)
    failed = {key for key, (_, span) in after.items() if span.status.code == 2}
    assert truth.altered[Signal.TRACES] == len(failed)
    for trace_id, span_id in failed:
        parent = after[trace_id, span_id][1].parent_span_id
        assert not parent or (trace_id, parent) in failed
    assert any(not span.events for _, span in (after[key] for key in failed))


def test_latency(excerpt, begin):
    injection, requests, truth = run(
        excerpt, begin, "latency:ts-order-service@10s+40s,factor=3,add=50ms"
    )
    before, after = spans(excerpt), spans(requests)
    changed = {key for key in before if after[key] != before[key]}
    assert truth.altered[Signal.TRACES] == len(changed) > 0
    assert {trace_id for trace_id, _ in changed} == truth.trace_ids
    roots = 0
    for key, (service, span) in before.items():
        now = after[key][1]
        took = span.end_time_unix_nano - span.start_time_unix_nano
        takes = now.end_time_unix_nano - now.start_time_unix_nano
        assert takes >= took
        assert now.start_time_unix_nano >= span.start_time_unix_nano
        caller = before.get((key[0], span.parent_span_id))
        if injection.covers(service, span.start_time_unix_nano) and (
            caller is None or caller[0] != service
        ):
            assert takes >= 3 * took + 50_000_000
        if caller is not None:
            parent, parent_now = caller[1], after[key[0], span.parent_span_id][1]
            if parent.start_time_unix_nano <= span.start_time_unix_nano:
                assert parent_now.start_time_unix_nano <= now.start_time_unix_nano
            if span.end_time_unix_nano <= parent.end_time_unix_nano:
                assert now.end_time_unix_nano <= parent_now.end_time_unix_nano
        elif key in changed:
            roots += 1
            assert takes > took, "the root waits"
    assert roots
    assert counts(requests) == counts(excerpt)


def test_load(excerpt, begin):
    _, requests, truth = run(excerpt, begin, "load:ts-order-service@10s+40s,factor=2.5")
    before, after = spans(excerpt), spans(requests)
    added = {key: value for key, value in after.items() if key not in before}
    assert all(after[key] == before[key] for key in before)
    assert truth.added[Signal.TRACES] == len(added) > 0
    assert truth.trace_ids == {trace_id for trace_id, _ in added}
    assert {trace_id for trace_id, _ in before}.isdisjoint(truth.trace_ids)
    for (trace_id, _), (_, span) in added.items():
        assert not span.parent_span_id or (trace_id, span.parent_span_id) in added, "whole traces"
    total = counts(requests)
    assert total[Signal.LOGS] == counts(excerpt)[Signal.LOGS] + truth.added[Signal.LOGS]
    assert truth.added[Signal.LOGS] > 0
    assert total[Signal.METRICS] == counts(excerpt)[Signal.METRICS]


def test_silence(excerpt, begin):
    injection, requests, truth = run(excerpt, begin, "silence:ts-order-service@10s+70s")
    before, after = spans(excerpt), spans(requests)
    gone = {key for key in before if key not in after}
    assert gone == {
        key for key, (service, span) in before.items()
        if injection.covers(service, span.start_time_unix_nano)
    }  # fmt: skip
    assert truth.dropped[Signal.TRACES] == len(gone) > 0
    was, now = counts(excerpt), counts(requests)
    assert {s: was[s] - now[s] for s in Signal} == truth.dropped
    assert truth.dropped[Signal.LOGS] > 0
    assert truth.dropped[Signal.METRICS] > 0


def test_several_faults_and_the_truth_in_a_laps_own_terms(excerpt, begin):
    injections = [
        parse("silence:ts-price-service@0s+1h", begin),
        parse("errors:*@2023-01-29T08:43:00Z+5s", begin),
    ]
    requests, truths = inject(excerpt, injections, np.random.default_rng(3))
    assert "ts-price-service" not in {service for service, _ in spans(requests).values()}
    lap = Lap(b"\7" * 16, b"\7" * 8, 1_000)
    record = truths[1].record(lap, 4)
    assert record["kind"] == "errors"
    assert record["lap"] == 4
    assert record["start_unix_nano"] == 1_674_981_780_000_001_000
    assert record["end_unix_nano"] - record["start_unix_nano"] == 5_000_000_000
    plain = truths[1].record(AS_RECORDED, 0)
    assert plain["trace_ids"]
    assert record["trace_ids"] == sorted(
        lap.trace_id(bytes.fromhex(one)).hex() for one in plain["trace_ids"]
    )


def test_untouched_requests_keep_their_bytes(excerpt, begin):
    _, requests, _ = run(excerpt, begin, "errors:nobody@0s+1h")
    assert requests == excerpt


def test_items_of_other_metric_kinds_are_silenced():
    message = TYPES[Signal.METRICS]()
    resource = message.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "a"
    metrics = resource.scope_metrics.add().metrics
    for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary"):
        metric = metrics.add(name=kind)
        getattr(metric, kind).data_points.add(time_unix_nano=5)
        getattr(metric, kind).data_points.add(time_unix_nano=50)
    request = Request(Signal.METRICS, message.SerializeToString())
    injection = parse("silence:a@0s+5us", 0)._replace(end_ns=10)
    (left,), (truth,) = inject([request], [injection], np.random.default_rng(0))
    assert truth.dropped == {Signal.METRICS: 5}
    assert len(identities(*left)) == 5
    nothing, _ = inject([left], [injection._replace(end_ns=51)], np.random.default_rng(0))
    assert nothing == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("eror:a@1s+1s", "did you mean errors"),
        ("errors:a@1s", "KIND:SERVICE@START"),
        ("errors:@1s+1s", "KIND:SERVICE@START"),
        ("errors:a@soon+1s", "duration"),
        ("errors:a@1s+1s,rate=2", "out of range"),
        ("errors:a@1s+1s,factor=2", "no option 'factor'"),
        ("latency:a@1s+1s,factor=0.5", "less than 1"),
        ("latency:a@1s+1s,factor=nan", "out of range"),
        ("errors:a@1s+1s,ancestors=maybe", "true or false"),
        ("silence:a@1s+1s,rate=1", "none"),
        ("silence:a@2023-13-01T00:00:00Z+1s", "month"),
    ],
)
def test_wrong_injections_say_what_is_wrong(text, says):
    with pytest.raises(ConfigurationError, match=says):
        parse(text, 0)


def test_children_in_turn_add_up_in_parallel_count_once():
    spans_ = {
        b"root": Timed(b"", 0, 100),
        b"one": Timed(b"root", 0, 40, own_ns=10),
        b"with": Timed(b"root", 5, 39, own_ns=7),
        b"then": Timed(b"root", 50, 90, own_ns=5),
        b"late": Timed(b"root", 60, 200, own_ns=1000),
        b"leaf": Timed(b"then", 55, 60),
    }
    changes = delay(spans_)
    assert changes[b"root"].longer_ns == 15
    assert changes[b"then"].moved_ns == 10
    assert changes[b"leaf"].moved_ns == 10
    assert changes[b"with"].moved_ns == 0
    assert changes[b"root"].within_ns(45) == 10


def test_circles_of_parents_are_left_alone():
    spans_ = {
        b"a": Timed(b"b", 0, 1, 5), b"b": Timed(b"a", 0, 1, 5), b"c": Timed(b"c", 0, 2, 5)
    }  # fmt: skip
    assert {key: change.longer_ns for key, change in delay(spans_).items()} == {b"c": 5}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_order_and_nesting_survive_delays(data):
    n = data.draw(st.integers(1, 14))
    times = st.integers(0, 60)
    spans_ = {}
    for i in range(n):
        start, length = data.draw(times), data.draw(times)
        parent = b"" if i == 0 else bytes([data.draw(st.integers(0, i - 1))])
        spans_[bytes([i])] = Timed(parent, start, start + length, data.draw(st.integers(0, 9)))
    changes = delay(spans_)
    moved = {
        key: (s.start_ns + changes[key].moved_ns,
              s.end_ns + changes[key].moved_ns + changes[key].longer_ns)
        for key, s in spans_.items()
    }  # fmt: skip
    for key, span in spans_.items():
        assert changes[key].longer_ns >= span.own_ns
        if span.parent:
            parent = spans_[span.parent]
            if parent.start_ns <= span.start_ns:
                assert moved[span.parent][0] <= moved[key][0]
            if span.end_ns <= parent.end_ns:
                assert moved[key][1] <= moved[span.parent][1]
        for other, sibling in spans_.items():
            if sibling.parent == span.parent != b"" and span.end_ns <= sibling.start_ns:
                assert moved[key][1] <= moved[other][0] or key == other

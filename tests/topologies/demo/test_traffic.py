"""What the demonstration sends, and what it says about that."""

import json
from collections import Counter

import numpy as np
import pytest

from schemas.errors import ConfigurationError
from schemas.signals import Signal
from streams.recording.laps import fresh
from streams.recording.messages import parse, spans
from streams.wire import json as wire_json
from topologies.demo.incident import EVERY_S, INCIDENT, Incident, period
from topologies.demo.ledger import Ledger
from topologies.demo.sampled import Verdict
from topologies.demo.traffic import (
    FAULT_KINDS,
    FAULTS,
    Source,
    Traffic,
    clients_for,
    loading,
    recorded,
)  # fmt: skip


@pytest.fixture(scope="module")
def source():
    return Source(3, INCIDENT, FAULTS, 1)


@pytest.fixture(scope="module")
def recording(source):
    return recorded(source)


def by_trace(recording):
    found = {}
    for ref in spans(map(parse, recording.frames)):
        found.setdefault(ref.span.trace_id, []).append(ref.span)
    return found


async def test_a_seed_says_it_all(source, recording):
    async with loading(source) as (task, truth):
        again, incident = await task
    assert incident.period == period(INCIDENT)
    assert truth is None
    assert [frame.data for frame in again.frames] == [frame.data for frame in recording.frames]


def test_faults_are_where_they_are_said_to_be_and_few(recording):
    traces = by_trace(recording)
    truths = [t for t in recording.truths if t.injection.kind in FAULT_KINDS]
    failed = {t for t, found in traces.items() if any(span.status.code == 2 for span in found)}
    said = set().union(*(t.trace_ids for t in truths if t.injection.kind == "errors"))
    assert failed == said
    slow = set().union(*(t.trace_ids for t in truths if t.injection.kind == "latency"))
    for trace_id in slow:
        found = traces[trace_id]
        begin = min(span.start_time_unix_nano for span in found)
        assert max(span.end_time_unix_nano for span in found) - begin > 3e9
    assert 0 < len(failed) < 0.1 * len(traces)
    assert 0 < len(slow) < 0.1 * len(traces)


def test_a_lap_begins_with_traces_and_its_counts_are_its_own(recording):
    first = recording.frames[0]
    assert first.signal is Signal.TRACES
    assert first.layout.latest_ns == recording.begin_ns
    for signal in Signal:
        items = sum(f.layout.items for f in recording.frames if f.signal is signal)
        assert recording.items[signal] == items > 0


def request_with(trace_id):
    message = wire_json.REQUESTS[Signal.TRACES]()
    message.resource_spans.add().scope_spans.add().spans.add(trace_id=trace_id, span_id=b"1" * 8)
    return message.SerializeToString()


async def test_truth_is_written_and_marked_in_the_ids_of_the_lap(source, recording, tmp_path):
    ledger = Ledger(1000, sampled=True)
    file = tmp_path / "truth.jsonl"
    lap = fresh(np.random.default_rng(5), 10**9)
    with file.open("w") as truth:
        Traffic("127.0.0.1:1", recording, source, ledger, truth=truth).lap(0, lap)
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert [record["kind"] for record in records] == [t.injection.kind for t in recording.truths]
    (latency,) = (record for record in records if record["kind"] == "latency")
    (truth,) = (t for t in recording.truths if t.injection.kind == "latency")
    ids = {lap.trace_id(trace_id) for trace_id in truth.trace_ids}
    assert set(map(bytes.fromhex, latency["trace_ids"])) == ids
    assert ids
    (trace_id, *_) = ids
    ledger.sent(Signal.TRACES, request_with(trace_id))
    ledger.decided(trace_id, Verdict(True, "slow", 1.0))
    assert ledger.sampled.injected[("latency", True)] == 1


async def test_what_cannot_be_is_said_before_anything_is_loaded(source, tmp_path):
    wrong = source._replace(truth_file=tmp_path / "no" / "folder")
    with pytest.raises(ConfigurationError, match="folder"):
        async with loading(wrong):
            pass
    for wrong in ({"injections": ("erors:a@1s+1s",)}, {"incident": "erors:a@1s+1s"}):
        with pytest.raises(ConfigurationError, match="did you mean errors"):
            async with loading(source._replace(**wrong)):
                pass


def test_an_incident_comes_and_goes_and_comes_again():
    fault = period("silence:a@10s+15s")
    there = [second for second in range(180) if fault.covers(second)]
    second_time = 10 + round(EVERY_S)
    assert there == [*range(10, 25), *range(second_time, second_time + 15)]
    assert fault.over(18, 8)
    assert not fault.over(17, 8)


def test_requests_of_an_incident_are_the_same_requests_with_the_fault(recording):
    fault = period("errors:ts-order-service@0s+1s")
    incident = Incident(fault, recording.frames, np.random.default_rng(1))
    healthy = sum(map(failures, recording.frames), Counter())
    ill = sum((failures(incident.choose(frame)) for frame in recording.frames), Counter())
    assert healthy["ts-order-service", True] < 0.05 * healthy["ts-order-service", False]
    assert ill["ts-order-service", False] == 0
    assert {k: v for k, v in ill.items() if k[0] != "ts-order-service"} == {
        k: v for k, v in healthy.items() if k[0] != "ts-order-service"
    }
    assert ill.total() == healthy.total()


def failures(frame):
    if frame.signal is not Signal.TRACES:
        return Counter()
    return Counter((ref.service, ref.span.status.code == 2) for ref in spans([parse(frame)]))


def test_of_what_is_silent_nothing_is_sent(recording):
    incident = Incident(period("silence:*@0s+1s"), recording.frames, np.random.default_rng(1))
    assert [incident.choose(frame) for frame in recording.frames] == [None] * len(recording.frames)


def test_a_rate_is_so_many_clients():
    assert 40 < clients_for(4000) < 80
    assert clients_for(1) == 1

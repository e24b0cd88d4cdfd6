"""What the demonstration sends, and what it says about that."""

from collections import Counter

import numpy as np
import pytest

from schemas.errors import ConfigurationError
from schemas.signals import Signal
from streams.recording.laps import fresh
from streams.recording.messages import parse, spans
from topologies.demo.incident import EVERY_S, INCIDENT, Incident, period
from topologies.demo.marking import Marking, endings
from topologies.demo.traffic import (
    FAULT_KINDS,
    FAULTS,
    Source,
    clients_for,
    loading,
    recorded,
)  # fmt: skip
from topologies.replay import Pace


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


def test_faulty_traces_are_marked_in_the_ids_of_the_lap_if_they_are_sent_whole(recording):
    pace, marked = Pace(1.0), []
    of = endings(recording, pace, FAULT_KINDS)
    expected = {(t.injection.kind, i) for t in recording.truths for i in t.trace_ids}
    ids = [e.trace_id for found in of.values() for e in found]
    assert sorted(ids) == sorted({trace_id for _, trace_id in expected})
    laps = [fresh(np.random.default_rng(n), 10**9) for n in range(2)]
    phase_s = pace.lap_s(recording) / 2
    marking = Marking(of, lambda kind, found: marked.extend((kind, i) for i in found), phase_s)
    for lap in laps:
        marking.lap(lap)
        for _, frame in pace.schedule(recording):
            marking.due(frame)
    whole = {
        (e.kind, laps[0].trace_id(e.trace_id))
        for found in of.values()
        for e in found
        if e.first_s >= phase_s
    }
    everything = {(e.kind, laps[1].trace_id(e.trace_id)) for found in of.values() for e in found}
    assert set(marked) == whole | everything
    assert 0 < len(whole) < len(everything) == len(ids)


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


def test_a_rate_is_so_many_clients(recording):
    assert 40 < clients_for(4000, recording) < 80
    assert clients_for(1, recording) == 1

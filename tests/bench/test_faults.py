"""The fault benchmark tells the truth: faults are where they are said to be, and judged fairly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.signals import Signal
from tests.alert_events import event
from topologies.demo_data import EXCERPT

from .fault_metrics import judge_metrics
from .fault_pipeline import Aggregating, Kept, Raised
from .fault_traffic import Fault, Pool, Sent, Traffic, schedule
from .faults import BEGIN_S, GRACE_S, configuration, judge

SERVICE, OTHER = "ts-route-service", "ts-price-service"
FROM_S, TO_S, STOP_S = BEGIN_S + 40, BEGIN_S + 80, BEGIN_S + 120
NS = 1_000_000_000


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool(EXCERPT)


def sent(pool: Pool, *faults: Fault, seed: int = 1) -> list[Sent]:
    traffic = Traffic(pool, faults, np.random.default_rng(seed), rate=1.5)
    return [each for second in traffic.seconds(BEGIN_S, STOP_S) for each in second]


class Span(NamedTuple):
    trace_id: bytes
    span_id: bytes
    service: str
    start_s: float
    seconds: float
    failed: bool
    sent_s: int

    @property
    def hit(self) -> bool:
        """Whether it begins in the fault."""
        return FROM_S <= self.start_s < TO_S


def spans(everything: Sequence[Sent]) -> Iterator[Span]:
    for each in everything:
        if each.signal is not Signal.TRACES:
            continue
        for resource in ExportTraceServiceRequest.FromString(each.data).resource_spans:
            service = resource.resource.attributes[0].value.string_value
            for scope in resource.scope_spans:
                for span in scope.spans:
                    start, end = span.start_time_unix_nano, span.end_time_unix_nano
                    yield Span(
                        span.trace_id, span.span_id, service, start / NS, (end - start) / NS,
                        span.status.code == 2, each.second,
                    )  # fmt: skip


def test_all_of_it_follows_from_the_seed(pool: Pool) -> None:
    fault = Fault("errors", SERVICE, FROM_S, TO_S, 0.5)
    once = sent(pool, fault)
    assert once == sent(pool, fault)
    assert once != sent(pool, fault, seed=2)
    found = list(spans(once))
    assert len({(span.trace_id, span.span_id) for span in found}) == len(found) > 3_000
    # A batch processor sends what is over, at most five seconds later.
    ends: dict[bytes, tuple[float, int]] = {}
    for span in found:
        end_s = span.start_s + span.seconds
        ends[span.trace_id] = max(ends.get(span.trace_id, (0.0, 0)), (end_s, span.sent_s))
    assert all(end_s - 1 <= sent_s <= end_s + 5 for end_s, sent_s in ends.values())
    logs = [each for each in once if each.signal is Signal.LOGS]
    assert logs
    ids = {
        record.trace_id
        for each in logs
        for resource in ExportLogsServiceRequest.FromString(each.data).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    }
    assert ids <= {span.trace_id for span in found}


def test_errors_are_at_their_service_and_in_their_time(pool: Pool) -> None:
    found = list(spans(sent(pool, Fault("errors", SERVICE, FROM_S, TO_S, 0.5))))
    assert {span.service for span in found if span.failed} == {SERVICE}
    assert all(span.hit for span in found if span.failed)
    hit = [span.failed for span in found if span.hit and span.service == SERVICE]
    assert len(hit) > 100
    assert np.mean(hit) == pytest.approx(0.5, abs=0.1)


def test_silence_is_of_one_service_and_ends(pool: Pool) -> None:
    found = list(spans(sent(pool, Fault("silence", SERVICE, FROM_S, TO_S, 0.0))))
    there = Counter((span.service, span.hit) for span in found)
    assert there[SERVICE, True] == 0
    assert there[SERVICE, False] > 100
    assert there[OTHER, True] > 100


def test_latency_is_the_factor_it_is_said_to_be(pool: Pool) -> None:
    quiet = {span.span_id: span for span in spans(sent(pool))}
    slow = list(spans(sent(pool, Fault("latency", SERVICE, FROM_S, TO_S, 5.0))))
    # The same traces as without the fault until the first that waits: its ids are the same, too.
    same = [(quiet[s.span_id], s) for s in slow if s.span_id in quiet and s.service == SERVICE]
    before = [(old, new) for old, new in same if new.start_s < FROM_S - 5]
    assert len(before) > 100
    assert all(old.seconds == new.seconds for old, new in before)
    inside = [s.seconds for s in slow if s.hit and s.service == SERVICE]
    outside = [s.seconds for s in slow if not s.hit and s.service == SERVICE]
    # Of spans within each other each takes its own share longer.
    assert 1.7 < np.mean(inside) / np.mean(outside) <= 6
    other = [[s.seconds for s in slow if s.hit == hit and s.service == OTHER] for hit in (0, 1)]
    assert np.mean(other[1]) / np.mean(other[0]) == pytest.approx(1, abs=0.5)


def test_load_is_more_of_what_touches_the_service(pool: Pool) -> None:
    found = list(spans(sent(pool, Fault("load", OTHER, FROM_S, TO_S, 5.0))))
    hit = sum(span.hit for span in found if span.service == OTHER)
    usual = sum(not span.hit for span in found if span.service == OTHER) / 2
    assert hit / usual == pytest.approx(5, rel=0.4)
    assert len({(span.trace_id, span.span_id) for span in found}) == len(found)


def test_faults_are_drawn_by_the_seed_and_leave_time_to_recover(pool: Pool) -> None:
    def drawn(seed: int) -> list[Fault]:
        return schedule(
            pool, np.random.default_rng(seed), begin_s=0, stop_s=36_000, length_s=180, pause_s=420
        )

    faults = drawn(3)
    assert faults == drawn(3) != drawn(4)
    kinds = ["errors", "latency", "load", "silence"]
    assert [fault.kind for fault in faults[:8]] == 2 * kinds
    gaps = [b.start_s - a.stop_s for a, b in pairwise(faults)]
    assert min(gaps) >= 420
    assert len({fault.service for fault in faults}) > 10
    assert all(fault.stop_s <= 36_000 for fault in faults)


def raised(at_s: float, service: str, state: str = "firing") -> Raised:
    return Raised(at_s, event(service, state))


def test_only_what_fires_for_the_service_in_time_is_a_find() -> None:
    faults = [Fault("errors", "a", 1000, 1180, 1.0), Fault("silence", "b", 2000, 2180, 0.0)]
    found, false = judge(
        faults,
        [
            raised(999, "a"),  # before
            raised(1010, "c"),  # beside
            raised(1040, "a", "pending"),
            raised(1050, "a", "resolved"),
            raised(1060, "a"),
            raised(1070, "a"),
            raised(2180 + 61, "b"),  # of the fault, but too late to be a find
            raised(2180 + GRACE_S + 1, "b"),
        ],
    )
    assert [each.delay_s for each in found] == [60, None]
    assert [each.rules for each in found] == [("HighErrorRatio",), ("HighErrorRatio",)]
    assert [each.elsewhere for each in found] == [1, 0]
    assert [(each.at_s, each.event.labels["service"]) for each in false] == [
        (999, "a"), (2180 + GRACE_S + 1, "b"),
    ]  # fmt: skip


def test_recorded_faults_are_judged_from_the_first_word_on() -> None:
    faults = [Fault("cpu", s, at, at + 600, 0.0) for s, at in (("a", 0), ("a", 7200), ("b", 9000))]
    heard = [raised(3600, "c"), raised(7320, "a"), raised(7330, "a"), raised(12_000, "b")]
    judged = judge_metrics(faults, heard, 0.0, 14_400.0)
    assert judged.delays_s == [None, 120, None]
    assert judged.silent_s == [True, False, False]
    assert judged.outside == 2
    assert judged.outside_h == pytest.approx((14_400 - 600 - 3600 - 2 * 660) / 3600, abs=0.05)
    # Ten minutes before the one alert of b, of the moments of a and b.
    assert judged.by_chance == pytest.approx(0.5 * 600 / (3600 * judged.outside_h), rel=0.2)


def test_what_windows_say_can_be_kept(pool: Pool, tmp_path: Path) -> None:
    config = configuration()
    signals = (Signal.TRACES, Signal.LOGS)
    aggregating = Aggregating(config, partitions=2, signals=signals, seed=1)
    traffic = Traffic(pool, (), np.random.default_rng(1), rate=3.0)
    said = [
        (second, aggregating.second(second, sent))
        for second, sent in enumerate(traffic.seconds(BEGIN_S, BEGIN_S + 60), BEGIN_S)
    ]
    kept = Kept(tmp_path / "seed.zst")
    assert not kept
    kept.write(said)
    assert kept
    again = kept.read(config.topics.names.windows)
    assert again == {second: records for second, records in said if records}
    assert sum(map(len, again.values())) > 10

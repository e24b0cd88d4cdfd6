"""The operator ``sample``: its decisions, and what it does with what should not be."""

from __future__ import annotations

import gc
from collections.abc import Iterable

import numpy as np
import pytest

from schemas.batches import Batch, Headers, Record
from schemas.config.sampling import Sampling
from schemas.errors import MalformedMessage, PermanentError
from schemas.operators import Scanned
from schemas.records import MalformedRecord, NewerVersion
from streams import wire
from streams.sampling import consistent
from streams.sampling.counts import SampleCounts
from streams.sampling.outgoing import REKEYED
from streams.sampling.records import VerdictRecord, WorkOrder, decode
from streams.sampling.sample import Sample
from tests.streams.sampling.host import DECISIONS, SPANS
from tests.streams.sampling.test_records import with_header
from tests.streams.sampling.traffic import START_MS, Told, request, spans_of, trace_id

ALL: dict[str, object] = {"policies": [{"name": "all", "always": True}]}
NONE: dict[str, object] = {"policies": [{"name": "none", "never": True}]}
HALF: dict[str, object] = {"policies": [{"name": "half", "probability": 0.5}]}
HOUR_MS = 3_600_000


class One:
    """One partition: what goes in, and the log that comes out."""

    def __init__(
        self, settings: dict[str, object] | None = None, partition: int = 0, partitions: int = 1
    ) -> None:
        more = {"decision_wait": 2.0, "root_wait": 0.0, **(ALL if settings is None else settings)}
        self.settings = Sampling.model_validate(more)
        self.partition, self.partitions = partition, partitions
        self.counts = SampleCounts()
        self.letters: list[tuple[Batch, PermanentError]] = []
        self.operator = self.make(self.counts)
        self.now_ms, self.offset = START_MS, 0
        self.taken: list[Batch] = []
        self.log: list[Record] = []
        self.elsewhere: list[Record] = []

    def make(self, counts: SampleCounts | None = None) -> Sample:
        def letter(batch: Batch, error: PermanentError) -> Record:
            self.letters.append((batch, error))
            return Record("letters", error.remainder or b"")

        return Sample(
            self.settings, source=SPANS, decisions=DECISIONS, partition=self.partition,
            partitions=self.partitions, counts=counts, dead_letter=letter,
        )  # fmt: skip

    def send(
        self, spans: Iterable[Told], later_ms: int = 100, headers: Headers = (), start_ms: int = 0
    ) -> None:
        self.send_bytes(request(spans, start_ms or self.now_ms), later_ms, headers)

    def send_bytes(self, value: bytes, later_ms: int = 100, headers: Headers = ()) -> None:
        self.now_ms += later_ms
        batch = Batch(SPANS, self.partition, self.offset, self.now_ms, None, value, headers)
        self.offset += 1
        scan = wire.scan_traces(value, strict_ids=False)
        self._keep(self.operator.process(Scanned(batch, scan)).records)
        self.taken.append(batch)

    def tick(self, later_ms: int) -> None:
        self.now_ms += later_ms
        self._keep(self.operator.tick(self.now_ms).records)

    def _keep(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.topic == DECISIONS:
                self.log.append(record)
            elif record.topic == SPANS:
                self.elsewhere.append(record)

    def restart(self, *, snapshot: bool = False, from_start: bool = False) -> None:
        """As the runtime does it: snapshot or the whole log, and the source behind the orders.

        ``from_start``: more of the source than is needed.
        """
        chunks = self.operator.snapshot()
        self.operator = self.make(self.counts)
        if snapshot:
            self.operator.restore(iter(chunks))
        else:
            for record in self.log:
                self.operator.recall(Batch(DECISIONS, 0, 0, 0, None, record.value, ()))
        end = self.orders[-1].stop if self.orders else 0
        for batch in self.taken:
            if batch.offset >= end or from_start:
                scan = wire.scan_traces(batch.value, strict_ids=False)
                assert not self.operator.process(Scanned(batch, scan, replayed=True)).records

    @property
    def orders(self) -> list[WorkOrder]:
        found = [decode(record.value) for record in self.log]
        return [each for each in found if isinstance(each, WorkOrder)]

    @property
    def verdicts(self) -> dict[bytes, bool]:
        found: dict[bytes, bool] = {}
        for record in self.verdict_records:
            for trace, kept in zip(ids(record.traces), record.traces.kept.tolist(), strict=True):
                assert trace not in found
                found[trace] = kept
        return found

    @property
    def verdict_records(self) -> list[VerdictRecord]:
        found = [decode(record.value) for record in self.log]
        return [each for each in found if isinstance(each, VerdictRecord)]

    def listed(self, offset: int) -> list[bytes]:
        """Traces of the orders whose range has this offset."""
        return [
            trace
            for order in self.orders
            if order.start <= offset < order.stop
            for trace in ids(order.traces)
        ]


def ids(traces: object) -> list[bytes]:
    high, low = traces.trace_id_high, traces.trace_id_low  # type: ignore[attr-defined]
    both = zip(high.tolist(), low.tolist(), strict=True)
    return [(first << 64 | second).to_bytes(16, "big") for first, second in both]


# --- decisions and orders --------------------------------------------------------------------


def test_a_trace_is_decided_when_its_wait_is_over_and_ordered_then() -> None:
    one = One()
    one.send([Told(1)])
    one.send([Told(1, span=2, parent=1), Told(2)], 1000)
    assert one.verdicts == {}
    one.tick(1400)
    assert one.verdicts == {trace_id(1): True}
    assert one.orders[-1].stop == 1, "message 1 has a span of trace 2, which is open"
    assert one.listed(0) == [trace_id(1)]
    one.tick(1000)
    assert one.verdicts == {trace_id(1): True, trace_id(2): True}
    assert (one.orders[-1].start, one.orders[-1].stop) == (1, 2)
    assert one.listed(1) == sorted([trace_id(1), trace_id(2)], key=lambda each: each[8:])


def test_an_order_without_kept_traces_is_written_all_the_same() -> None:
    """It says from where a replay begins."""
    one = One(NONE)
    one.send([Told(1)])
    one.tick(3000)
    assert one.verdicts == {trace_id(1): False}
    assert (one.orders[-1].start, one.orders[-1].stop) == (0, 1)
    assert one.listed(0) == []


def test_late_spans_follow_their_trace_also_after_restarts() -> None:
    for snapshot in (False, True):
        one = One(HALF)
        one.send([Told(number) for number in range(1, 21)])
        one.tick(3000)
        kept = {trace for trace, keep in one.verdicts.items() if keep}
        assert 0 < len(kept) < 20
        one.tick(2000)
        one.restart(snapshot=snapshot)
        one.send([Told(number, span=2, parent=1) for number in range(1, 21)])
        one.restart(snapshot=snapshot)
        one.tick(2000)
        assert len(one.verdicts) == 20
        assert set(one.listed(1)) == kept
        assert one.counts.late_kept_spans == len(kept)
        assert one.counts.late_dropped_spans == 20 - len(kept)


def test_a_replay_may_begin_before_the_end_of_the_last_order() -> None:
    found = []
    for from_start in (False, True):
        one = One(HALF)
        for number in range(1, 41):
            one.send([Told(number), Told(number - 1 or 1, span=2)], 200)
        one.restart(from_start=from_start)
        one.send([Told(5, span=3), Told(39, span=3)])
        one.tick(3000)
        found.append([record.value for record in one.log])
    assert found[0] == found[1]


def test_the_tenant_is_part_of_the_key() -> None:
    one = One()
    one.send([Told(1)], headers=(("tenant", b"acme"),))
    one.send([Told(2)], 0)
    one.tick(3000)
    texts = [*one.verdict_records[-1].key_texts.values()]
    assert texts == [
        "tenant=acme service=cart operation=GET status=ok",
        "service=cart operation=GET status=ok",
    ]
    assert one.counts.keys[texts[0]].kept == 1


def test_a_threshold_that_a_trace_came_with_is_kept_over_a_restart() -> None:
    one = One(HALF)
    one.send([Told(1, trace_state="ot=th:c;rv:ffffffffffffff")])
    one.tick(2900)
    quarter = consistent.decode("c")
    assert one.verdict_records[0].thresholds.tolist() == [quarter]
    assert one.orders[-1].traces.threshold.tolist() == [quarter]
    one.restart()
    one.send([Told(1, span=2)])
    one.tick(3000)
    assert one.orders[-1].traces.threshold.tolist() == [quarter]


def test_a_step_of_many_traces_is_in_several_records_and_comes_back_whole() -> None:
    one = One({**HALF, "order_max": 10_000})
    for first in range(1, 2001, 100):
        one.send([Told(number, fill=20) for number in range(first, first + 100)], 1)
    one.tick(3000)
    records = one.verdict_records
    assert len(records) > 2
    assert [(r.part, r.parts) for r in records] == [(n, len(records)) for n in range(len(records))]
    assert all(len(record.value) <= 10_000 for record in one.log)
    assert len(one.verdicts) == 2000
    one.restart()
    one.send([Told(number, span=2) for number in range(1, 2001)])
    one.tick(3000)
    kept = {trace for trace, keep in one.verdicts.items() if keep}
    assert len(one.verdicts) == 2000
    last = [order for order in one.orders if order.stop == one.offset]
    assert len(last) == last[0].parts > 1, "one message cannot be cut: its traces are divided"
    assert sorted(one.listed(one.offset - 1)) == sorted(kept)


def test_a_number_of_a_policy_is_set_at_run_time() -> None:
    one = One(HALF)
    one.operator.adjust("sampling.half.probability", 1.0)
    one.send([Told(number) for number in range(1, 11)])
    one.tick(3000)
    assert all(one.verdicts.values())
    assert one.counts.adjusted == {"sampling.half.probability": 1.0}
    one.operator.adjust("sampling.half.probability", None)
    one.send([Told(number) for number in range(101, 141)])
    one.tick(3000)
    assert not all(one.verdicts.values())


# --- what should not be ----------------------------------------------------------------------


def test_a_trace_of_a_hundred_thousand_spans() -> None:
    one = One()
    for message in range(20):
        one.send([Told(1, span=message * 5000 + n + 1, parent=1) for n in range(5000)], 1)
    one.tick(3000)
    (record,) = one.verdict_records
    assert record.traces.spans.tolist() == [100_000]
    assert (one.orders[-1].start, one.orders[-1].stop) == (0, 20)


def test_spans_with_zero_ids_are_counted_and_go_to_the_dead_letters() -> None:
    one = One()
    one.send([Told(0), Told(1), Told(2, span=0)])
    one.tick(3000)
    assert one.verdicts.keys() == {trace_id(1)}
    assert one.counts.invalid_spans == 2
    ((batch, error),) = one.letters
    assert (batch.offset, error.reason) == (0, "items_rejected")
    assert error.remainder is not None
    assert spans_of(error.remainder) == [(bytes(16), b"\0" * 7 + b"\1"), (trace_id(2), bytes(8))]


def test_span_ids_that_come_twice_are_two_spans() -> None:
    one = One()
    one.send([Told(1), Told(1)])
    one.tick(3000)
    assert one.verdict_records[0].traces.spans.tolist() == [2]


@pytest.mark.parametrize("off_ms", [-5 * HOUR_MS, 5 * HOUR_MS])
def test_clocks_that_are_hours_off_change_nothing_but_are_counted(off_ms: int) -> None:
    one = One()
    one.send([Told(1)], start_ms=one.now_ms + off_ms)
    one.tick(1900)
    assert one.verdicts == {}
    one.tick(700)
    assert one.verdicts == {trace_id(1): True}
    assert one.counts.skewed_traces == (1 if off_ms > 0 else 0), "5 h ago may be true"
    one.send([Told(2)], start_ms=one.now_ms - 30 * HOUR_MS)
    one.tick(3000)
    assert one.counts.skewed_traces == (2 if off_ms > 0 else 1)
    assert sum(one.counts.end_to_decision_ms.buckets) == (0 if off_ms > 0 else 1)


def test_the_brokers_time_may_go_back() -> None:
    one = One()
    one.send([Told(1)], 1000)
    one.send([Told(2)], -800)
    one.now_ms += 800
    one.tick(2000)
    assert one.verdicts == {trace_id(1): True, trace_id(2): True}


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_brokers_clock_that_was_ahead_is_set_right(snapshot: bool) -> None:
    """Nothing waits until it is as late as it was once, and nothing is decided otherwise."""
    logs = []
    for restarts in (False, True):
        one = One()
        one.send([Told(1)])
        one.send([Told(2)], HOUR_MS)
        one.send([Told(3)], -HOUR_MS)
        for number in range(4, 64):
            one.send([Told(number), Told(number - 3, span=2)], 100)
            if restarts and number % 7 == 0:
                one.restart(snapshot=snapshot)
        assert len(one.operator._open) < 30, "a trace waits for two seconds"
        assert one.operator._state.oldest_undecided_ms < 3000
        assert one.orders[-1].stop > one.offset - 40
        assert one.counts.set_back_s == HOUR_MS / 1000
        # It is late again: nothing is counted twice.
        one.send([Told(64)], HOUR_MS)
        assert one.orders[-1].time_ms - one.now_ms < 10_000
        one.tick(3000)
        assert len(one.verdicts) == 64
        logs.append([record.value for record in one.log])
    assert logs[0] == logs[1]


def test_a_tick_after_a_clock_was_set_back() -> None:
    one = One()
    one.send([Told(1)], HOUR_MS)
    for number in range(2, 30):
        one.send([Told(number)], 1000 if number > 2 else 1000 - HOUR_MS)
    highest_ms = START_MS + HOUR_MS  # what the host counts from
    for passed_ms in (1000, 1000):
        highest_ms += passed_ms
        one.now_ms = highest_ms
        one.tick(0)
    one.tick(1500)
    assert len(one.verdicts) == 29


def test_spans_without_an_end_are_decided_and_their_latency_is_not_known() -> None:
    one = One({"policies": [{"name": "slow", "match": {"latency": {"min": "1s"}}, "always": True}]})
    message = request([Told(1, took_ms=5000)])
    at = message.index((START_MS * 10**6 + 5000 * 10**6).to_bytes(8, "little"))
    one.send_bytes(message[:at] + bytes(8) + message[at + 8 :])
    one.tick(3000)
    assert one.verdicts == {trace_id(1): False}
    assert one.verdict_records[0].traces.duration_ms.tolist() == [0.0]
    assert one.counts.timeless_traces == 1


def test_a_trace_that_never_ends_is_decided_once_and_holds_up_nothing() -> None:
    one = One({**ALL, "root_wait": 1.0})
    for span in range(1, 101):
        one.send([Told(1, span=span, parent=1), Told(span + 1)], 100)
    assert one.verdicts[trace_id(1)]
    assert one.counts.late_kept_spans > 70
    assert one.offset - one.orders[-1].stop < 35, "orders go on, at most the wait behind"
    one.tick(5000)
    assert all(trace_id(1) in one.listed(offset) for offset in range(100))


def test_spans_that_are_hours_late_are_a_new_trace() -> None:
    """What is decided is remembered for ``decision_memory``, and then no longer."""
    one = One({**ALL, "decision_memory": 60.0})
    one.send([Told(1)])
    one.tick(3000)
    one.send([Told(2)], 50_000)
    one.send([Told(1, span=2)], 100)
    assert one.counts.late_kept_spans == 1, "50 s: it is remembered"
    for number in range(3, 30):
        one.send([Told(number)], 10_000)
    assert one.operator._state.kept_remembered < 12
    before = len(one.verdict_records)
    one.send([Told(1, span=3)])
    one.tick(3000)
    again = [trace for record in one.verdict_records[before:] for trace in ids(record.traces)]
    assert trace_id(1) in again
    assert trace_id(1) in one.listed(one.offset - 1)


@pytest.mark.parametrize("restart", [None, False, True])
@pytest.mark.parametrize("kind", ["kept", "dropped"])
def test_late_spans_follow_where_nothing_had_come_for_long(kind: str, restart: bool | None) -> None:
    one = One(ALL if kind == "kept" else NONE)
    one.send([Told(1)])
    one.tick(5000)
    one.send([Told(2)], HOUR_MS)
    one.tick(5000)
    if restart is not None:
        one.restart(snapshot=restart)
    one.send([Told(2, span=2)], 1000)
    late = one.counts.late_kept_spans, one.counts.late_dropped_spans
    assert late == ((1, 0) if kind == "kept" else (0, 1))
    one.tick(5000)
    assert len(one.verdicts) == 2, "each is decided once"


@pytest.mark.parametrize("snapshot", [False, True])
@pytest.mark.parametrize("bound", ["kept_max", "dropped_max"])
def test_what_had_to_make_place_is_not_decided_again_after_a_crash(
    bound: str, snapshot: bool
) -> None:
    """As long as its spans are not ordered: they are replayed."""
    policies = [{"name": "some", "budget": {"traces_per_second": 20}}]
    waits = {"decision_wait": 10.0, "root_wait": 0.5}
    one = One({"policies": policies, bound: 5, **waits})
    one.send([Told(10_000, parent=5)])  # without a root: it holds up the orders
    one.send([Told(number) for number in range(1, 3001)])
    one.tick(1500)
    assert len(one.verdicts) == 3000
    assert one.counts.forgotten_kept + one.counts.forgotten_dropped > 0
    one.restart(snapshot=snapshot)
    assert len(one.operator._open) == 1
    one.tick(15_000)
    assert len(one.verdicts) == 3001, "each is decided once"
    kept = {trace for trace, keep in one.verdicts.items() if keep}
    assert set(one.listed(1)) >= kept - {trace_id(10_000)}


@pytest.mark.parametrize("snapshot", [False, True])
@pytest.mark.parametrize("kind", ["kept", "dropped"])
def test_a_late_span_at_the_end_of_the_memory_is_one_after_a_crash_too(
    kind: str, snapshot: bool
) -> None:
    one = One({**(ALL if kind == "kept" else NONE), "decision_memory": 5.0})
    one.send([Told(1)])
    one.tick(3000)
    for number in range(100, 148):
        one.send([Told(number)])
    one.send([Told(1, span=2)], 100)
    at = one.offset - 1
    for number in range(200, 215):
        one.send([Told(number)])
    late = one.counts.late_kept_spans + one.counts.late_dropped_spans
    assert (late, one.orders[-1].stop < at) == (1, True)
    one.restart(snapshot=snapshot)
    for number in range(300, 350):
        one.send([Told(number)])
    one.tick(5000)
    assert trace_id(1) in one.verdicts, "once"
    assert (trace_id(1) in one.listed(at)) == (kind == "kept")


@pytest.mark.parametrize("kind", ["kept", "dropped"])
def test_memory_is_bounded_and_what_it_loses_is_counted(kind: str) -> None:
    policy = ALL if kind == "kept" else NONE
    one = One({**policy, "kept_max": 5, "dropped_max": 1})
    for first in range(1, 8001, 400):
        one.send([Told(number) for number in range(first, first + 400)], 3000)
        one.tick(2600)
    lost = one.counts.forgotten_kept if kind == "kept" else one.counts.forgotten_dropped
    assert lost > 1000
    assert (one.counts.forgotten_generations > 0) == (kind == "dropped")
    held = len(getattr(one.operator._decisions, kind))
    # The filter of dropped traces takes a few new ones for known.
    assert 8000 - 30 <= lost + held <= 8000
    assert held < 1000


def test_too_many_open_traces_are_decided_early() -> None:
    one = One({**HALF, "max_open_traces": 3})
    one.send([Told(number) for number in range(1, 11)])
    assert one.counts.early_traces == 7
    (record,) = one.verdict_records
    assert record.traces.early.all()
    assert ids(record.traces) == [trace_id(number) for number in range(1, 8)], "the oldest"
    one.tick(3000)
    assert not one.verdict_records[-1].traces.early.any()


OURS, THEIRS = (
    [n for n in range(1, 60) if int(wire.partition_by_trace(
        wire.scan_traces(request([Told(n)])), 4)[0]) == partition]
    for partition in (2, 1)
)  # fmt: skip


def test_spans_on_the_wrong_partition_are_sent_to_the_right_one_once() -> None:
    one = One(partition=2, partitions=4)
    headers = (("tenant", b"a"), ("sampling.source", b"spans/2/0-1"))
    one.send([Told(OURS[0]), Told(THEIRS[0]), Told(THEIRS[1])], headers=headers)
    (record,) = one.elsewhere
    assert (record.partition, spans_of(record.value)) == (
        1, [(trace_id(n), b"\0" * 7 + b"\1") for n in THEIRS[:2]],
    )  # fmt: skip
    assert record.headers == (("tenant", b"a"), (REKEYED, b"spans/2/0"))
    assert one.counts.wrong_partition_spans == 2
    one.tick(3000)
    assert one.verdicts.keys() == {trace_id(OURS[0])}
    one.restart()
    one.tick(1000)
    assert len(one.elsewhere) == 1


def test_spans_that_were_sent_here_stay_whatever_the_number_of_partitions_says() -> None:
    """Workers may disagree about it for a while: nothing goes round in circles."""
    one = One(partition=2, partitions=4)
    one.send([Told(THEIRS[0]), Told(OURS[0])], headers=((REKEYED, b"spans/0/77"),))
    assert one.elsewhere == []
    assert one.counts.returned_spans == 1
    one.tick(3000)
    assert one.verdicts.keys() == {trace_id(THEIRS[0]), trace_id(OURS[0])}


def test_another_number_of_partitions_counts_from_the_next_message_on() -> None:
    """What had been taken is taken in the replay, what was sent away is not.

    That a trace is known here changes nothing: its further spans come elsewhere anyway.
    """
    both = [n for n in range(1, 200) if _place(n, 4) == 2 and _place(n, 8) == 6]
    one = One(partition=2, partitions=4)
    one.send([Told(both[0])])
    one.partitions = 8
    one.restart()
    one.send([Told(both[0], span=2), Told(both[1])])
    sent = [(trace_id(both[0]), b"\0" * 7 + b"\2"), (trace_id(both[1]), b"\0" * 7 + b"\1")]
    assert [spans_of(record.value) for record in one.elsewhere] == [sent]
    assert one.counts.partition_changes == 1
    assert one.orders[-1].partitions == ((0, 4), (1, 8))
    one.restart()
    one.tick(3000)
    assert one.verdicts.keys() == {trace_id(both[0])}
    assert one.verdict_records[0].traces.spans.tolist() == [1]
    assert one.counts.partition_changes == 1


def test_a_trace_that_was_sent_here_and_comes_here_by_mistake_as_well() -> None:
    """Each span is taken once, here or there, also after a restart."""
    one = One(partition=2, partitions=4)
    number = THEIRS[0]
    one.send([Told(number)])
    one.send([Told(number, span=2)], headers=((REKEYED, b"spans/0/77"),))
    one.send([Told(number, span=3)])
    assert len(one.elsewhere) == 2
    one.tick(1950)
    assert one.verdicts == {}
    one.tick(600)
    one.restart()
    one.tick(2000)
    assert one.verdict_records[0].traces.spans.tolist() == [1]
    assert one.listed(1) == [trace_id(number)]
    assert one.orders[-1].strangers, "spans of it in other messages are not to be sent"


def test_a_long_pause_does_not_make_a_trace_that_is_known_belong_here() -> None:
    """Nobody worked, and nothing was decided, since partitions were added."""
    moved = next(n for n in range(1, 200) if _place(n, 4) == 2 and _place(n, 8) == 6)
    mine = next(n for n in range(1, 200) if _place(n, 8) == 2)
    one = One(partition=2, partitions=4)
    one.send([Told(moved)])
    one.partitions = 8
    one.restart()
    one.send([Told(mine)])
    one.send([Told(moved, span=2)], later_ms=100 * HOUR_MS)
    sent = [(trace_id(moved), b"\0" * 7 + b"\2")]
    assert [spans_of(record.value) for record in one.elsewhere] == [sent]
    one.restart()
    one.tick(3000)
    assert one.verdicts.keys() == {trace_id(moved), trace_id(mine)}
    assert one.verdict_records[0].traces.spans.tolist() == [1, 1]
    assert one.orders[-1].strangers, "emit must not take it either"


def _place(number: int, partitions: int) -> int:
    return int(wire.partition_by_trace(wire.scan_traces(request([Told(number)])), partitions)[0])


def test_unknown_fields_in_the_log_are_passed_over_and_newer_records_are_refused() -> None:
    one = One()
    one.send([Told(1)])
    one.tick(3000)
    for record in one.log:
        grown = with_header(record.value, colour="green")
        one.operator.recall(Batch(DECISIONS, 0, 0, 0, None, grown, ()))
        newer = with_header(record.value, schema_version=2)
        with pytest.raises(NewerVersion):
            one.operator.recall(Batch(DECISIONS, 0, 0, 0, None, newer, ()))
    with pytest.raises(MalformedRecord):
        one.operator.recall(Batch(DECISIONS, 0, 0, 0, None, b"?", ()))


def test_what_is_no_snapshot_is_refused() -> None:
    one = One()
    one.send([Told(1)])
    one.tick(3000)
    chunks = [*one.operator.snapshot()]
    for at in range(len(chunks)):
        with pytest.raises(MalformedMessage):
            one.make().restore(iter([*chunks[:at], b"\xff?", *chunks[at + 1 :]]))
        with pytest.raises(MalformedMessage):
            one.make().restore(iter(chunks[:at]))
    one.make().restore(iter(chunks))


def test_nothing_is_counted_in_a_replay() -> None:
    one = One(HALF)
    one.send([Told(number) for number in range(1, 21)])
    one.tick(3000)
    one.send([Told(number, span=2) for number in range(1, 30)])
    before = repr([value for name, value in vars_of(one.counts) if name != "partitions"])
    one.restart()
    assert repr([v for name, v in vars_of(one.counts) if name != "partitions"]) == before


def vars_of(counts: SampleCounts) -> list[tuple[str, object]]:
    found = [(name, getattr(counts, name)) for name in counts.__dataclass_fields__]
    plain = {"end_to_decision_ms": lambda v: v.buckets, "keys": lambda v: [*v.items()]}
    return [(name, plain.get(name, lambda v: v)(value)) for name, value in found]


def test_what_a_partition_holds_is_told() -> None:
    one = One()
    one.send([Told(1), Told(2)])
    one.send([Told(3)], 1000)
    state = one.counts.partitions[0]
    assert (state.open_traces, state.oldest_undecided_ms) == (3, 1000)
    one.tick(1400)
    assert (state.open_traces, state.kept_remembered, state.oldest_undecided_ms) == (1, 2, 1400)


def test_a_partition_is_told_of_as_long_as_an_operator_has_it() -> None:
    counts = SampleCounts()

    def make() -> Sample:
        settings = Sampling()
        return Sample(
            settings, source="s", decisions="d", partition=2, partitions=3, counts=counts
        )  # fmt: skip

    before = make()
    now = make()
    del before  # a recovery makes a new one
    gc.collect()
    assert counts.partitions[2] is now._state
    del now
    gc.collect()
    assert not counts.partitions


def test_counts_by_policy_and_key() -> None:
    one = One(HALF)
    one.send([Told(number, error=number % 4 == 0) for number in range(1, 201)])
    one.tick(3000)
    counts, kept = one.counts, sum(one.verdicts.values())
    assert counts.kept_traces == counts.kept_spans == {"half": kept}
    assert counts.dropped_traces == {"half": 200 - kept}
    assert {key: k.kept + k.dropped for key, k in counts.keys.items()} == {
        "service=cart operation=GET status=ok": 150,
        "service=cart operation=GET status=error": 50,
    }
    assert sum(k.represented for _, k in counts.keys.items()) == pytest.approx(2 * kept)
    assert sum(counts.end_to_decision_ms.buckets) == 200
    assert np.isclose(counts.end_to_decision_ms.total / 200, 3000 + 100 - 10)

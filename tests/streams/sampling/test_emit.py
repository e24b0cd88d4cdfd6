"""The operator ``emit``: work orders to spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.batches import Batch, Headers, Record
from schemas.errors import MalformedMessage, MessageTooLarge, PermanentError
from schemas.operators import Scanned, Source
from schemas.signals import Signal
from streams import wire
from streams.sampling import consistent
from streams.sampling.counts import EmitCounts
from streams.sampling.emit import Emit
from streams.sampling.listed import Listed
from streams.sampling.outgoing import REKEYED, SOURCE
from streams.sampling.records import OrderedTraces, WorkOrder
from tests.strategies import requests
from tests.streams.sampling.test_records import VERDICTS
from tests.streams.sampling.traffic import START_MS, Told, request, spans_of, trace_id

HALF = consistent.threshold(0.5)


def order(traces: dict[int, int], start: int = 0, stop: int = 100) -> WorkOrder:
    """``traces``: number to threshold."""
    listed = [trace_id(number) for number in traces]
    return WorkOrder(
        "spans", 3, start, stop, 2_000, 1_900, ("errors", "rest"),
        OrderedTraces(
            np.array([int.from_bytes(each[:8], "big") for each in listed], np.uint64),
            np.array([int.from_bytes(each[8:], "big") for each in listed], np.uint64),
            np.array([number % 2 for number in traces], np.int32),
            np.array([*traces.values()], np.uint64), np.zeros(len(traces), np.uint8),
        ),
    )  # fmt: skip


def message(offset: int, value: bytes, headers: Headers = ()) -> Batch:
    return Batch("spans", 3, offset, 0, None, value, headers)


class Carried:
    """An order that was carried out."""

    def __init__(
        self,
        work: WorkOrder,
        batches: Sequence[Batch],
        *,
        removed: int = 0,
        max_bytes: int = 1 << 20,
    ) -> None:
        self.counts = EmitCounts()
        self.letters: list[tuple[Batch, PermanentError]] = []

        def letter(batch: Batch, error: PermanentError) -> Record:
            self.letters.append((batch, error))
            return Record("letters", b"")

        self.taken: list[tuple[WorkOrder, list[int]]] = []
        emit = Emit(
            output="out", max_bytes=max_bytes, counts=self.counts, dead_letter=letter,
            taken=lambda order, ends: self.taken.append((order, ends.tolist())),
        )  # fmt: skip
        decision = Batch("decisions", 3, 7, 0, None, work.encode(), ())
        outcome = emit.process(Scanned(decision, work, source=Source(removed, batches)))
        assert outcome.replay_from is None
        self.records = [record for record in outcome.records if record.topic == "out"]

    @property
    def spans(self) -> list[tuple[bytes, bytes]]:
        return [span for record in self.records for span in spans_of(record.value)]


def test_spans_of_listed_traces_are_sent_with_their_threshold() -> None:
    batches = [
        message(4, request([Told(1), Told(2), Told(3, trace_state="x=y")])),
        message(6, request([Told(3, span=2), Told(4)])),
    ]
    done = Carried(order({1: 0, 3: HALF, 5: 0}), batches)
    (record,) = done.records
    assert (record.topic, record.partition, record.key) == ("out", 3, None)
    assert record.headers == ((SOURCE, b"spans/3/0-100"),)
    sent = ExportTraceServiceRequest.FromString(record.value)
    states = {
        (span.trace_id, int.from_bytes(span.span_id, "big")): span.trace_state
        for resource in sent.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }
    assert states == {
        (trace_id(1), 1): "ot=th:0",
        (trace_id(3), 1): "ot=th:8,x=y",
        (trace_id(3), 2): "ot=th:8",
    }
    assert done.counts.spans == {"rest": 3}
    assert (done.counts.source_messages, done.counts.source_spans) == (2, 5)
    assert (done.counts.records, done.counts.bytes) == (1, len(record.value))


def test_ends_of_kept_root_spans_are_told_once_an_order() -> None:
    def ended(*traces: int, took_ms: int = 10, parent: int = 0, start_ms: int = START_MS) -> bytes:
        told = (Told(trace, took_ms=took_ms, parent=parent) for trace in traces)
        return request(told, start_ms)

    batches = [
        message(1, ended(1, 2)),  # 2 is not kept
        message(2, ended(3, took_ms=500)),
        message(3, ended(1, 3, took_ms=9000, parent=1)),
        message(4, ended(5, took_ms=0, start_ms=0)),  # has no end
    ]
    done = Carried(order({1: 0, 3: HALF, 5: 0}), batches)
    ns = 10**6
    ((_, ends),) = done.taken
    assert ends == [(START_MS + 10) * ns, (START_MS + 500) * ns]
    ((work, ends),) = Carried(order({}), []).taken
    assert (len(work.traces.policy), ends) == (0, [])


def test_a_tracestate_without_room_for_ours_is_counted() -> None:
    members = ",".join(f"m{n}=1" for n in range(32))
    spans = [Told(1, trace_state=members), Told(1, span=2, trace_state="m=1")]
    done = Carried(order({1: HALF}), [message(1, request(spans))])
    assert done.counts.shortened_states == 1
    (record,) = done.records
    sent = ExportTraceServiceRequest.FromString(record.value)
    first, second = sent.resource_spans[0].scope_spans[0].spans
    assert first.trace_state == f"ot=th:8,{members.rpartition(',')[0]}"
    assert second.trace_state == "ot=th:8,m=1"


def test_messages_with_equal_headers_are_joined_and_no_others() -> None:
    tenant: Headers = (("tenant", b"a"),)
    batches = [
        message(1, request([Told(1)]), tenant),
        message(2, request([Told(1, span=2)])),
        message(3, request([Told(1, span=3)]), (*tenant, (REKEYED, b"spans/0/9"))),
        message(4, request([Told(1, span=4)]), tenant),
    ]
    done = Carried(order({1: 0}), batches)
    found = {
        tuple(int.from_bytes(span, "big") for _, span in spans_of(record.value)): record.headers
        for record in done.records
    }
    source = (SOURCE, b"spans/3/0-100")
    assert found == {(1, 3, 4): (*tenant, source), (2,): (source,)}


def test_records_are_filled_up_to_their_largest_size() -> None:
    batches = [message(n, request([Told(1, span=n + 1, fill=300)])) for n in range(40)]
    done = Carried(order({1: 0}), batches, max_bytes=2000)
    assert [int.from_bytes(span, "big") for _, span in done.spans] == [*range(1, 41)]
    assert min(len(record.value) for record in done.records[:-1]) > 1400
    assert max(len(record.value) for record in done.records) < 2000 - 100


def test_a_span_that_fits_no_record_becomes_a_dead_letter_and_the_rest_is_sent() -> None:
    batches = [message(4, request([Told(1), Told(1, span=2, fill=3000), Told(1, span=3)]))]
    done = Carried(order({1: 0}), batches, max_bytes=2000)
    assert [int.from_bytes(span, "big") for _, span in done.spans] == [1, 3]
    assert done.counts.oversized_spans == 1
    ((batch, error),) = done.letters
    assert (batch.offset, type(error)) == (4, MessageTooLarge)
    assert "span 'GET' of a kept trace" in str(error)


def test_what_retention_has_removed_is_counted_and_the_rest_is_sent() -> None:
    done = Carried(order({1: 0}, 0, 10), [message(9, request([Told(1)]))], removed=8)
    assert done.counts.removed_offsets == 8
    assert len(done.spans) == 1
    gone = Carried(order({1: 0}, 0, 10), [], removed=10)
    assert (gone.records, gone.counts.removed_offsets, gone.counts.orders) == ([], 10, 1)


def test_a_message_that_is_no_telemetry_is_passed_over() -> None:
    """``sample`` has sent it to the dead letters."""
    batches = [message(1, b"\xff"), message(2, request([Told(1)]))]
    done = Carried(order({1: 0}), batches)
    assert len(done.spans) == 1
    assert done.counts.unreadable_messages == 1
    assert done.letters == []


def test_spans_that_were_sent_to_their_partition_are_not_sent_on_here() -> None:
    """Though their trace is listed: others of it came here in another way."""
    scan = wire.scan_traces(request([Told(n) for n in range(1, 60)]))
    here = (wire.partition_by_trace(scan, 4) == 3).tolist()
    ours, theirs = here.index(True) + 1, here.index(False) + 1
    batches = [
        message(9, request([Told(theirs, span=9), Told(ours, span=9)])),
        message(10, request([Told(theirs, span=10), Told(ours, span=10)])),
        message(11, request([Told(theirs, span=11)]), ((REKEYED, b"spans/0/5"),)),
    ]
    work = replace(
        order({ours: 0, theirs: 0}), partitions=((0, 1), (10, 4)), strangers_until_ms=3_000
    )
    done = Carried(work, batches)
    assert {(trace, span[-1]) for trace, span in done.spans} == {
        (trace_id(theirs), 9), (trace_id(ours), 9), (trace_id(ours), 10), (trace_id(theirs), 11),
    }  # fmt: skip
    assert sum(done.counts.spans.values()) == 4


def test_spans_without_valid_ids_are_never_sent() -> None:
    work = order({1: 0})
    zero = OrderedTraces(*(np.append(each, np.zeros(1, each.dtype)) for each in work.traces))
    both = WorkOrder(work.topic, work.partition, work.start, work.stop, 0, 0, work.policies, zero)
    done = Carried(both, [message(1, request([Told(0), Told(1), Told(1, span=0)]))])
    assert done.spans == [(trace_id(1), (1).to_bytes(8, "big"))]


def test_what_has_nothing_to_be_sent_has_no_records() -> None:
    emit, counts = Emit(output="out", max_bytes=1000), EmitCounts()
    batch = Batch("decisions", 3, 7, 0, None, b"", ())
    for scan in (VERDICTS, order({})):
        assert emit.process(Scanned(batch, scan)).records == ()
    assert emit.process(Scanned(batch, order({1: 0}), replayed=True)).records == ()
    with pytest.raises(ValueError, match="without its source"):
        emit.process(Scanned(batch, order({1: 0})))
    assert Carried(order({9: 0}), [message(1, request([Told(1)]))]).records == []
    assert emit.tick(10**9).records == ()
    emit.restore(iter(emit.snapshot()))
    with pytest.raises(MalformedMessage):
        emit.restore(iter([b""]))
    assert counts.orders == 0


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    st.lists(requests(Signal.TRACES).map(lambda m: m.SerializeToString()), min_size=1, max_size=4),
    st.data(),
)
def test_any_listing_selects_what_a_plain_reading_selects(
    values: list[bytes], data: st.DataObject
) -> None:
    """Also ids that agree in one half."""
    scans = [wire.scan_traces(value) for value in values]
    known = sorted({span for value in values for span in spans_of(value)})
    traces = sorted({trace for trace, _ in known})
    chosen = data.draw(st.lists(st.sampled_from(traces), unique=True)) if traces else []
    others = [trace[:8] + bytes(7) + b"\1" for trace in chosen[:2] if trace[:8] != bytes(8)]
    listed = list(dict.fromkeys([*chosen, *others]))
    table = OrderedTraces(
        np.array([int.from_bytes(each[:8], "big") for each in listed], np.uint64),
        np.array([int.from_bytes(each[8:], "big") for each in listed], np.uint64),
        np.arange(len(listed), dtype=np.int32), np.arange(len(listed), dtype=np.uint64),
        np.zeros(len(listed), np.uint8),
    )  # fmt: skip
    lookup = Listed(table, len(listed))
    for value, scan in zip(values, scans, strict=True):
        found = lookup.find(scan)
        for at, (trace, _) in enumerate(spans_of(value)):
            assert bool(found.keep[at]) == (trace in listed)
            if trace in listed:
                assert int(found.threshold[at]) == listed.index(trace)
    everything = [trace for value in values for trace, _ in spans_of(value)]
    assert lookup.spans.tolist()[: len(listed)] == [everything.count(each) for each in listed]

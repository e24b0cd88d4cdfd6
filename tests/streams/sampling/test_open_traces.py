"""Open traces against plain dictionaries, with whatever batches, times and ids come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.signals import Signal
from streams.sampling.columns import SpanFacts
from streams.sampling.dropped_traces import DroppedTraces
from streams.sampling.kept_traces import KeptTraces
from streams.sampling.open_traces import Fate, OpenTraces
from streams.sampling.root_lags import RootLags
from streams.wire import partition_by_trace, scan_traces
from tests.strategies import requests
from tests.streams.sampling.batches import LOW56, Span, batch, facts_of, rows_of, scan_of
from tests.streams.sampling.plain_tables import PlainDropped, PlainKept, PlainOpen

FIELDS = 2
TOP = (1 << 64) - 1
LAGS = {1: 700, 2: 5_000, 3: 100_000}

# Ids that differ in few places: sequential, the same low or the same high half.
trace_ids = st.one_of(
    st.integers(1, 12),
    st.integers(1, 12).map(lambda high: high << 64),
    st.integers(1, 12).map(lambda high: high << 64 | 5),
    st.sampled_from([(1 << 128) - 1, 1 << 127, 0xDEADBEEF << 96 | 77]),
)
times = st.sampled_from([0, 0, 1, 50, 51, 10**18, 10**18 + 1, TOP - 1, TOP])
hashes = st.sampled_from([0, 1, 2, 3, TOP])
spans = st.builds(
    Span,
    trace=trace_ids,
    root=st.booleans(),
    start=times,
    end=times,
    size=st.sampled_from([2, 93, 528, (1 << 31) - 10]),
    error=st.booleans(),
    operation=st.sampled_from([1, 2, 3, 4, TOP]),
    service=hashes,
    extra=st.tuples(hashes, hashes),
    matched=st.sampled_from([0, 1, 6, 1 << 31]),
    randomness=st.sampled_from([None, None, 0, 1, LOW56]),
    threshold=st.sampled_from([0, 0, 1 << 55, LOW56]),
    valid=st.sampled_from([True] * 9 + [False]),
)
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("absorb"),
            st.lists(spans, max_size=8),
            st.sampled_from([0, 1, 99, 500, 3_000, 60_000, 10**8]),  # milliseconds later
            st.sampled_from([1, 1, 2, 1 << 27]),  # messages later
        ),
        st.tuples(st.just("due"), st.sampled_from([-1, 0, 400, 1_000, 2_500, 20_000])),
        st.tuples(st.just("oldest"), st.integers(0, 3)),
        st.tuples(st.just("order"), st.integers(0, 5)),
        st.tuples(st.just("restore")),
    ),
    max_size=25,
)


class Both:
    """The real tables and the plain ones, given the same."""

    def __init__(
        self, partitions: int, partitioner: Any, seed: int, start_ms: int, offset: int
    ) -> None:
        self.partitions, self.partitioner, self.seed = partitions, partitioner, seed
        self.open = OpenTraces(
            1 + 1_000 * seed,
            FIELDS,
            partition=partitions - 1,
            partitions=partitions,
            partitioner=partitioner,
            decision_wait_ms=3_000,
            root_wait_ms=1_000,
            decision_interval_ms=500,
            seed=seed,
        )
        self.kept, self.dropped = KeptTraces(4, 50_000, seed=seed), DroppedTraces(1 << 10, 50_000)
        self.lags = RootLags()
        self.lags.set(np.array(list(LAGS), np.uint64), np.array(list(LAGS.values())))
        self.plain = PlainOpen(3_000, 1_000, 500, LAGS)
        self.plain_kept = PlainKept(4, 50_000)
        self.plain_dropped = PlainDropped(4, 50_000)
        self.offset, self.time_ms = offset, start_ms
        self.handed_out: list[dict[str, Any]] = []

    def absorb(self, spans: list[Span], later_ms: int, messages: int) -> None:
        self.time_ms += later_ms
        self.offset += messages
        scan, facts = batch(spans, FIELDS)
        place = partition_by_trace(scan, self.partitions, self.partitioner).tolist()
        self.plain.clock = max(self.plain.clock, self.time_ms)
        before = len(self.plain.traces)
        expected = []
        for k, span in enumerate(spans):
            if not span.valid:
                expected.append(Fate.INVALID)
            elif span.trace in self.plain.traces:
                expected.append(Fate.OPEN)
            elif self.plain_kept.counts(span.trace, self.offset, self.time_ms):
                expected.append(Fate.KEPT)
                self.plain_kept.note(span.trace, self.offset, self.offset)
            elif place[k] != self.partitions - 1:
                expected.append(Fate.MISPLACED)
            elif self.plain_dropped.counts(span.trace, self.offset, self.time_ms):
                expected.append(Fate.DROPPED)
            else:
                expected.append(Fate.OPEN)
            if expected[-1] == Fate.OPEN:
                self.plain.add(span, FIELDS, self.offset, 9)
        absorbed = self.open.absorb(
            scan,
            facts,
            self.offset,
            self.time_ms,
            9,
            kept=self.kept,
            dropped=self.dropped,
            lags=self.lags,
        )
        assert absorbed.fate.tolist() == expected
        count = expected.count
        assert absorbed[1:] == (
            count(Fate.OPEN),
            len(self.plain.traces) - before,
            count(Fate.KEPT),
            count(Fate.DROPPED),
            count(Fate.MISPLACED),
            count(Fate.INVALID),
        )
        mask = absorbed.misplaced_mask
        assert (mask is None) == (Fate.MISPLACED not in expected)
        assert mask is None or mask.tolist() == [e == Fate.MISPLACED for e in expected]

    def decide(self, got: list[dict[str, Any]], expected: list[dict[str, Any]], now: int) -> None:
        """Traces came in the right order; every other one is kept from now on."""
        assert [row["first"] for row in got] == sorted(row["first"] for row in got)

        def by_id(row: dict[str, Any]) -> tuple[int, int]:
            return row["trace_id_high"], row["trace_id_low"]

        assert sorted(got, key=by_id) == sorted(expected, key=by_id)
        self.handed_out += got
        rows = [(row["trace_id_high"] << 64 | row["trace_id_low"], row) for row in got]
        kept = [(i, 3, 4, row["first"], row["last"]) for i, row in rows if i % 2]
        gone = [i for i, _ in rows if i % 2 == 0]
        self.plain_kept.add(kept, now, self.offset + 1)
        self.kept.add(
            *_halves([k[0] for k in kept]),
            *_kept_columns(kept),
            now_ms=now,
            offset=self.offset + 1,
            **_range(kept),
        )
        self.dropped.add(*_halves(gone), now, self.offset + 1)
        self.plain_dropped.add(gone, now, self.offset + 1)

    def run(self, step: tuple[Any, ...]) -> None:
        kind, *given = step
        if kind == "absorb":
            self.absorb(*given)
        elif kind == "due":
            now = self.time_ms + given[0]
            self.decide(rows_of(self.open.due(now)), self.plain.due(now), now)
        elif kind == "oldest":
            got = rows_of(self.open.oldest(*given))
            expected = self.plain.oldest(*given)
            assert [row["trace_id_low"] for row in got] == [row["trace_id_low"] for row in expected]
            self.decide(got, expected, self.time_ms)
        elif kind == "order":
            start, stop = self.plain_kept.ordered, self.offset + given[0] - 2
            listed = self.kept.overlapping(start, stop)
            ids = zip(listed.trace_id_high.tolist(), listed.trace_id_low.tolist(), strict=True)
            decisions = zip(listed.threshold.tolist(), listed.policy.tolist(), strict=True)
            got_order = [(h << 64 | low, *d) for (h, low), d in zip(ids, decisions, strict=True)]
            assert got_order == self.plain_kept.overlapping(start, stop)
            self.kept.retire(stop)
            self.plain_kept.retire(stop)
            self.kept.expire(self.time_ms)
            self.plain_kept.expire(self.time_ms)
            self.dropped.expire(self.time_ms, stop)
            self.plain_dropped.expire(self.time_ms, stop)
        else:
            self.restart()
        first = [t["first"] for t in self.plain.traces.values()]
        arrived = [t["arrived_ms"] for t in self.plain.traces.values()]
        assert len(self.open) == len(first)
        assert self.open.first_offset == min(first, default=None)
        assert self.open.oldest_arrival_ms == min(arrived, default=None)
        assert len(self.kept) == len(self.plain_kept.decided)
        assert self.kept.active == len(self.plain_kept.active)
        assert self.kept.forgotten == self.plain_kept.forgotten

    def restart(self) -> None:
        """What was decided comes from snapshots; open traces are not in one."""
        kept = KeptTraces(4, 50_000, seed=self.seed + 1)
        kept.restore(self.kept.chunks())
        assert kept.chunks() == self.kept.chunks()
        dropped = DroppedTraces(1 << 10, 50_000)
        dropped.restore(self.dropped.chunks())
        assert dropped.chunks() == self.dropped.chunks()
        self.kept, self.dropped = kept, dropped


def _halves(ids: list[int]) -> tuple[Any, Any]:
    return np.array([i >> 64 for i in ids], np.uint64), np.array([i & TOP for i in ids], np.uint64)


def _kept_columns(kept: list[tuple[int, ...]]) -> tuple[Any, Any]:
    return np.array([k[1] for k in kept], np.uint64), np.array([k[2] for k in kept], np.int32)


def _range(kept: list[tuple[int, ...]]) -> dict[str, Any]:
    first, last = (np.array([k[c] for k in kept], np.int64) for c in (3, 4))
    return {"first": first, "last": last}


@pytest.mark.parametrize(
    ("partitions", "partitioner"), [(1, "fnv1a"), (2, "fnv1a"), (2, "murmur2")]
)
@settings(max_examples=200, derandomize=True)
@given(
    steps=steps,
    start_ms=st.sampled_from([0, (1 << 32) - 1_000, 1_700_000_000_000]),
    offset=st.sampled_from([0, (1 << 32) - 3, (1 << 40) - 3]),
)
def test_tables_are_as_dictionaries_would_be(
    partitions: int, partitioner: str, steps: list[tuple[Any, ...]], start_ms: int, offset: int
) -> None:
    # Seed and capacity place things elsewhere in memory: nothing else may differ.
    some, others = (Both(partitions, partitioner, seed, start_ms, offset) for seed in (0, 1))
    for step in [*steps, ("due", 10**9)]:
        some.run(step)
        others.run(step)
        assert some.handed_out == others.handed_out
    assert len(some.open) == 0
    assert some.kept.chunks() == others.kept.chunks()
    assert some.dropped.chunks() == others.dropped.chunks()


@settings(max_examples=100, derandomize=True)
@given(st.lists(spans, max_size=30), st.lists(st.integers(1, 10)))
def test_how_spans_are_cut_into_batches_does_not_matter(
    all_spans: list[Span], sizes: list[int]
) -> None:
    whole, pieces = Both(1, "fnv1a", 0, 10**12, 0), Both(1, "fnv1a", 0, 10**12, 0)
    whole.absorb(all_spans, 0, 0)
    for size in [*sizes, len(all_spans)]:
        pieces.absorb(all_spans[:size], 0, 0)
        all_spans = all_spans[size:]
    one, other = (b.open.due(2 * 10**12) for b in (whole, pieces))
    assert rows_of(one) == rows_of(other)


@settings(max_examples=50, derandomize=True)
@given(requests(Signal.TRACES))
def test_spans_of_real_requests(message: Any) -> None:
    scan = scan_traces(message.SerializeToString(), strict_ids=False)
    tables = OpenTraces(10), KeptTraces(10, 1), DroppedTraces(1 << 10, 1)
    opened, kept, dropped = tables
    absorbed = opened.absorb(scan, facts_of(scan), 5, 10, 0, kept=kept, dropped=dropped)
    found = {(r["trace_id_high"], r["trace_id_low"]): r for r in rows_of(opened.due(10**6))}
    everything = [s for r in message.resource_spans for k in r.scope_spans for s in k.spans]
    good = [s for s in everything if any(s.trace_id) and len(s.trace_id) == 16]
    good = [s for s in good if any(s.span_id) and len(s.span_id) == 8]
    assert absorbed.spans + absorbed.invalid == len(everything)
    assert sum(row["spans"] for row in found.values()) == absorbed.spans
    for span in good:
        key = (int.from_bytes(span.trace_id[:8]), int.from_bytes(span.trace_id[8:]))
        assert found[key]["end"] >= span.end_time_unix_nano


def tables(**settings: Any) -> tuple[OpenTraces, dict[str, Any]]:
    return OpenTraces(100, **settings), {
        "kept": KeptTraces(10, 10),
        "dropped": DroppedTraces(1 << 10, 10),
    }


def test_a_trace_of_a_hundred_thousand_spans_and_sums_that_would_wrap() -> None:
    opened, others = tables()
    many = 100_000
    scan = scan_of({"trace_id_low": 7, "stop": (1 << 31) - 1, "status": 2}, many)
    for offset in range(3):
        opened.absorb(scan, facts_of(scan), offset, 0, 0, **others)
    (row,) = rows_of(opened.due(10**6))
    assert (row["spans"], row["errors"]) == (3 * many, 3 * many)
    assert row["bytes"] == (1 << 32) - 1


def test_a_bounded_number_of_traces_is_handed_out_and_the_rest_later() -> None:
    opened, others = tables(decision_wait_ms=3_000, root_wait_ms=1_000, decision_interval_ms=500)
    some, roots = ([Span(trace=i, root=i % 2 == 0) for i in range(n, 41, 2)] for n in (1, 2))
    opened.absorb(*batch(some), 0, 0, 0, **others)
    opened.absorb(*batch(roots), 1, 1_500, 0, **others)
    found: list[int] = []
    while len(few := opened.due(3_000, at_most=7).trace_id_low):
        assert len(few) <= 7
        found += few.tolist()
    assert sorted(found) == list(range(1, 41))
    # Those that waited for their whole time come first.
    assert found[:20] == list(range(1, 41, 2))


def test_waiting_for_the_root_can_be_turned_off() -> None:
    opened, others = tables(decision_wait_ms=3_000, root_wait_ms=0)
    opened.absorb(*batch([Span(trace=1, root=True)]), 0, 0, 0, **others)
    assert rows_of(opened.due(2_999)) == []
    assert len(rows_of(opened.due(3_000))) == 1


def test_a_tick_from_the_future_is_not_remembered() -> None:
    opened, others = tables(decision_wait_ms=3_000, root_wait_ms=1_000, decision_interval_ms=500)
    opened.due(10**12)
    opened.absorb(*batch([Span(trace=1, root=True)]), 0, 0, 0, **others)
    assert rows_of(opened.due(999)) == []
    assert len(rows_of(opened.due(1_000))) == 1


def test_replayed_for_long_without_a_decision() -> None:
    """The wheel turns on while nothing is handed out, and gives all at the end."""
    opened, others = tables(decision_wait_ms=3_000, root_wait_ms=1_000, decision_interval_ms=500)
    for second in range(300):
        spans_now = [Span(trace=1_000 * second + k, root=True) for k in range(1, 4)]
        opened.absorb(*batch(spans_now), second, second * 1_000, 0, **others)
    due = opened.due(0)
    assert due.trace_id_low.tolist()[-1] // 1_000 == 298
    assert due.first.tolist() == sorted(due.first.tolist())
    assert len(due.first) == 299 * 3
    assert len(opened) == 3


def test_columns_that_are_read_only_or_scattered_are_taken() -> None:
    opened, others = tables(fields=2)
    scan, facts = batch([Span(trace=k, matched=5) for k in range(1, 5)], 2)
    columns = {name: np.repeat(getattr(facts, name), 2)[::2] for name in ("service", "matched")}
    frozen = np.broadcast_to(np.uint64(1), (2, 4))
    assert not frozen.flags.writeable
    facts = SpanFacts(extra=frozen, randomness=facts.randomness, threshold=frozen[0], **columns)
    opened.absorb(scan, facts, 0, 0, 0, **others)
    rows = rows_of(opened.due(10**6))
    assert [r["matched"] for r in rows] == [5] * 4
    assert [r["extra"] for r in rows] == [[1, 1]] * 4


def test_settings_that_make_no_sense() -> None:
    for wrong in (
        {"decision_wait_ms": 0},
        {"root_wait_ms": -1},
        {"partition": 2, "partitions": 2},
        {"partitioner": "sarama"},
    ):
        with pytest.raises(ValueError, match=r"\w"):
            OpenTraces(10, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="capacity"):
        OpenTraces(0)
    opened, others = tables(fields=1)
    with pytest.raises(ValueError, match="fields"):
        opened.absorb(*batch([Span(trace=1)], 2), 0, 0, 0, **others)
    scan, facts = batch([Span(trace=1)], 1)
    for short in ("service", "matched", "randomness", "threshold"):
        with pytest.raises(ValueError, match="spans"):
            opened.absorb(
                scan, facts._replace(**{short: getattr(facts, short)[:0]}), 0, 0, 0, **others
            )
    assert len(opened) == 0

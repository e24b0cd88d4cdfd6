"""The operators of sampling, and what must be true of whatever they make visible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st

from schemas.batches import Batch, Record
from schemas.config.sampling import Sampling
from schemas.operators import Source
from streams import wire
from streams.sampling.consistent import UNKNOWN
from streams.sampling.emit import Emit
from streams.sampling.outgoing import REKEYED, SOURCE
from streams.sampling.records import OrderedTraces, VerdictRecord, WorkOrder, decode
from streams.sampling.sample import Sample
from tests.operators.battery import PARTITION, TOPIC, Adjust, Case
from tests.streams.sampling.traffic import Told, request, spans_of, trace_id

__all__ = ["SAMPLING"]

DECISIONS, OUTPUT = "decisions", "output"
PARTITIONS = 4


def _where(number: int, partitions: int = PARTITIONS) -> int:
    scan = wire.scan_traces(request([Told(number)]))
    return int(wire.partition_by_trace(scan, partitions)[0])


OURS = [number for number in range(1, 200) if _where(number) == PARTITION][:8]
THEIRS = [number for number in range(1, 50) if _where(number) != PARTITION][:3]


def policies(*each: dict[str, Any], **more: Any) -> Sampling:
    """Settings with short waits, so that a few steps see everything."""
    short = {
        "decision_wait": 4.0, "root_wait": 2.0, "order_interval": 1.0, "order_source_max": 1024,
        "policies": each,
    }  # fmt: skip
    return Sampling.model_validate({**short, **more})


MIXED = policies(
    {"name": "errors", "match": {"status": "error"}, "always": True, "exempt": True},
    {"name": "slow", "match": {"latency": {"min": "1s"}}, "probability": 0.5},
    {"name": "some", "match": {"span_count": {"min": 2}}, "rate_limit": {"traces_per_second": 40}},
    {"name": "rest", "budget": {"traces_per_second": 2.0}},
)
FEW_OPEN = policies(
    {"name": "half", "probability": 0.5}, max_open_traces=2, order_max=10_000, order_interval=0.0
)
OTHERWISE = policies(
    {"name": "nearly-all", "probability": 0.9}, decision_wait=2.0, root_wait=0.0, key=["service"]
)


def sample(settings: Sampling, partitions: int = PARTITIONS) -> Sample:
    return Sample(
        settings, source=TOPIC, decisions=DECISIONS, partition=PARTITION, partitions=partitions
    )


_told = st.builds(
    Told,
    trace=st.sampled_from([*OURS, *OURS, *THEIRS]) | st.just(0),
    span=st.integers(0, 3),
    parent=st.sampled_from([0, 0, 1]),
    service=st.sampled_from(["cart", "shop"]),
    name=st.sampled_from(["GET", "PUT"]),
    error=st.sampled_from([False, False, False, True]),
    took_ms=st.sampled_from([5, 5, 2000]),
    trace_state=st.sampled_from(
        ["", "", "ot=th:8", "ot=rv:0123456789abcd", "ot=th:c;rv:f00000000000ff"]
    ),
    fill=st.sampled_from([0, 0, 700]),
)
requests = st.lists(_told, min_size=1, max_size=4).map(request)
poison = st.sampled_from([b"\n", b"\xff", b"\x08\x01"])


def sampled_as_said(batches: Sequence[Batch], visible: Sequence[Record]) -> None:
    """One verdict a trace; orders tile the source and list the kept traces in their range.

    Every span is taken here or was sent to its partition, once.
    """
    verdicts: dict[bytes, bool] = {}
    orders: list[WorkOrder] = []
    elsewhere: Counter[tuple[bytes, bytes]] = Counter()
    for record in visible:
        if record.topic == TOPIC:
            assert any(name == REKEYED for name, _ in record.headers)
            assert record.partition != PARTITION
            elsewhere.update(spans_of(record.value))
            continue
        found = decode(record.value)
        if isinstance(found, WorkOrder):
            orders.append(found)
            continue
        for trace, kept in zip(_ids(found.traces), found.traces.kept.tolist(), strict=True):
            assert trace not in verdicts, "decided twice"
            verdicts[trace] = kept
    if batches:
        assert orders[0].start == orders[0].stop == batches[0].offset
    end = orders[0].start if orders else 0
    listed: dict[tuple[int, int], Counter[bytes]] = {}
    for order in orders:
        assert order.stop >= order.start
        assert order.start == end or (order.start, order.stop) in listed, "orders tile the source"
        end = order.stop
        of_range = listed.setdefault((order.start, order.stop), Counter())
        of_range.update(_ids(order.traces))
        assert max(of_range.values(), default=1) == 1, "a trace is in one part"
        assert all(verdicts[trace] for trace in _ids(order.traces)), "listed and not kept"
    came: Counter[tuple[bytes, bytes]] = Counter()
    for batch in batches:
        here = next((r for r in listed if r[0] <= batch.offset < r[1]), None)
        for span in spans_of(batch.value):
            trace = span[0]
            if not any(trace) or not any(span[1]):
                continue
            came[span] += 1
            if here is None or elsewhere[span]:
                continue
            assert trace in verdicts, "ordered and not decided"
            assert listed[here][trace] == verdicts[trace], "kept means listed"
    for span, count in elsewhere.items():
        assert count <= came[span], "sent twice"
        assert span[0] not in verdicts or _counts_differ(orders), "sent away and taken"


def _counts_differ(orders: Sequence[WorkOrder]) -> bool:
    return len({count for order in orders for _, count in order.partitions}) > 1


def _ids(traces: Any) -> list[bytes]:
    ids = zip(traces.trace_id_high.tolist(), traces.trace_id_low.tolist(), strict=True)
    return [(high << 64 | low).to_bytes(16, "big") for high, low in ids]


def _sampling() -> Iterator[Case]:
    settable = st.builds(
        Adjust,
        st.sampled_from(["sampling.rest.traces_per_second", "sampling.slow.probability"]),
        st.sampled_from([0.5, 0.01, None]),
    )
    for name, settings in (("", MIXED), (", few open", FEW_OPEN)):
        yield Case(
            f"sample{name}",
            partial(sample, settings),
            requests,
            poison,
            scan=lambda _topic, value: wire.scan_traces(value, strict_ids=False),
            holds=sampled_as_said,
            changed=partial(sample, OTHERWISE, 2 * PARTITIONS),
            adjustments=settable,
            steps_max=14,
            examples=60,
        )


# --- emit ------------------------------------------------------------------------------------


def _source(offsets: range) -> list[Batch]:
    """Messages that work orders are about."""
    made = []
    for offset in offsets:
        spans = [Told(1 + (offset + n) % 5, span=1 + offset * 4 + n) for n in range(offset % 4)]
        headers = ((("tenant", b"a"),), ())[offset % 2]
        value = b"\xff" if offset == 7 else request(spans)
        made.append(Batch(TOPIC, PARTITION, offset, 0, None, value, headers))
    return made


THERE = _source(range(4, 14))


def _orders() -> st.SearchStrategy[bytes]:
    @st.composite
    def order(draw: st.DrawFn) -> bytes:
        numbers = draw(st.lists(st.integers(1, 5), unique=True, max_size=4))
        ids = [trace_id(number) for number in numbers]
        start = draw(st.integers(0, 14))
        thresholds = st.sampled_from([0, 1 << 55, UNKNOWN])
        size = len(ids)
        return WorkOrder(
            TOPIC, PARTITION, start, start + draw(st.integers(0, 8)), 5, 4, ("one", "two"),
            OrderedTraces(
                np.array([int.from_bytes(i[:8], "big") for i in ids], np.uint64),
                np.array([int.from_bytes(i[8:], "big") for i in ids], np.uint64),
                np.array([n % 2 for n in numbers], np.int32),
                np.array(draw(st.lists(thresholds, min_size=size, max_size=size)), np.uint64),
                np.zeros(size, np.uint8),
            ),
        ).encode()  # fmt: skip

    return order()


def _read(record: VerdictRecord | WorkOrder) -> Source | None:
    """The host's reading of a range, of which retention has removed the first messages."""
    if not isinstance(record, WorkOrder) or not len(record.traces.policy):
        return None
    first, last = THERE[0].offset, THERE[-1].offset + 1
    removed = max(0, min(first, record.stop) - record.start)
    removed += max(0, record.stop - max(last, record.start))
    return Source(removed, [b for b in THERE if record.start <= b.offset < record.stop])


def _emitted(batches: Sequence[Batch], visible: Sequence[Record]) -> None:
    """Of each order exactly the listed traces' spans that are still there, by headers."""
    wanted: Counter[tuple[str, bytes, tuple[bytes, bytes]]] = Counter()
    for batch in batches:
        order = decode(batch.value)
        assert isinstance(order, WorkOrder)
        listed = set(_ids(order.traces))
        where = f"{TOPIC}/{PARTITION}/{order.start}-{order.stop}"
        for source in THERE:
            if order.start <= source.offset < order.stop and source.value != b"\xff":
                tenant = dict(source.headers).get("tenant", b"")
                wanted.update((where, tenant, s) for s in spans_of(source.value) if s[0] in listed)
    got: Counter[tuple[str, bytes, tuple[bytes, bytes]]] = Counter()
    for record in visible:
        headers = dict(record.headers)
        assert record.topic == OUTPUT
        assert record.partition == PARTITION
        where, tenant = headers[SOURCE].decode(), headers.get("tenant", b"")
        got.update((where, tenant, span) for span in spans_of(record.value))
    assert got == wanted


def _emitting() -> Iterator[Case]:
    for max_bytes in (1 << 20, 400):
        yield Case(
            f"emit in records of {max_bytes}",
            lambda max_bytes=max_bytes: Emit(output=OUTPUT, max_bytes=max_bytes),  # type: ignore[misc]
            _orders(),
            st.sampled_from([b"", b"no order", b"\x89OSR" + bytes(12)]),
            scan=lambda _topic, value: decode(value),
            source=_read,
            holds=_emitted,
            steps_max=8,
            examples=40,
        )


SAMPLING = [*_sampling(), *_emitting()]

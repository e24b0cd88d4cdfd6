"""Division against the official protobuf library: nothing lost, nothing foreign, all in bounds."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.errors import MalformedMessage
from schemas.signals import Signal
from streams import wire
from tests.strategies import requests
from tests.streams.wire.oracle import flat, parse
from topologies.ingest.division import Division, Rules, divide

RULES = Rules("fnv1a", "resource", 1_000_000)


def spans(*ids: tuple[int, int], name: str = "GET /") -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for trace, span in ids:
        scope.spans.add(
            trace_id=trace.to_bytes(16, "big") if trace else b"",
            span_id=span.to_bytes(8, "big") if span else b"",
            name=name,
        )
    return request.SerializeToString()


def contents(division: Division) -> Counter[tuple[bytes, ...]]:
    found: Counter[tuple[bytes, ...]] = Counter()
    for _, part in division.parts:
        found.update(below_the_request(division.signal, part))
    return found


def below_the_request(signal: Signal, data: bytes) -> list[tuple[bytes, ...]]:
    """Items with their resource, scope and metric; every part has what the request itself had."""
    return [(item, *envelopes) for item, _, *envelopes in flat(signal, parse(signal, data))]


@settings(max_examples=60)
@given(
    data=st.data(),
    signal=st.sampled_from(list(Signal)),
    partitions=st.integers(1, 20),
    limit=st.sampled_from([200, 2_000, 1_000_000]),
    logs_by=st.sampled_from(["resource", "trace_id"]),
    partitioner=st.sampled_from(["fnv1a", "murmur2"]),
)
def test_parts_hold_every_item_once(
    data: st.DataObject,
    signal: Signal,
    partitions: int,
    limit: int,
    logs_by: str,
    partitioner: str,
) -> None:
    request = data.draw(requests(signal))
    body = request.SerializeToString()
    rules = Rules(partitioner, logs_by, limit)  # type: ignore[arg-type]
    division = divide(signal, body, partitions, rules, keep_rejected=True)
    assert all(0 <= partition < partitions for partition, _ in division.parts)
    assert all(len(part) <= limit for _, part in division.parts)
    everything = contents(division)
    if division.remainder:
        everything.update(below_the_request(signal, division.remainder))
    assert everything == Counter(below_the_request(signal, body))
    assert division.items == sum(everything.values())
    assert division.rejected == division.items - sum(contents(division).values())
    assert bool(division.explain()) == bool(division.rejected)


def test_a_trace_lies_on_one_partition_wherever_it_comes_from() -> None:
    first = divide(Signal.TRACES, spans(*((n, 1) for n in range(1, 50))), 12, RULES)
    second = divide(Signal.TRACES, spans(*((n, 2) for n in range(1, 50))), 12, RULES)

    def places(division: Division) -> dict[int, int]:
        return {
            high: partition
            for partition, part in division.parts
            for high in wire.scan_traces(part).trace_id_low.tolist()
        }

    assert places(first) == places(second)
    assert len(set(places(first).values())) > 1


def test_spans_without_ids_are_counted_and_left_out() -> None:
    division = divide(Signal.TRACES, spans((1, 1), (0, 2), (3, 0)), 4, RULES, keep_rejected=True)
    assert (division.items, division.invalid, division.rejected) == (3, 2, 2)
    assert sum(wire.scan_traces(part).items for _, part in division.parts) == 1
    assert wire.scan_traces(division.remainder, strict_ids=False).items == 2
    assert "2 spans without valid trace and span ids" in division.explain()


def test_an_item_larger_than_a_message_is_rejected_by_name() -> None:
    body = spans((1, 1)) + spans((2, 2), name="huge" + "x" * 5_000) + spans((3, 3))
    division = divide(Signal.TRACES, body, 1, Rules("fnv1a", "resource", 2_000), keep_rejected=True)
    assert [item.name[:4] for item in division.oversized] == ["huge"]
    assert sum(wire.scan_traces(part).items for _, part in division.parts) == 2
    assert wire.scan_traces(division.remainder).items == 1
    assert "larger than a message may be" in division.explain()


def test_logs_go_by_trace_only_where_they_have_one() -> None:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for trace in (b"", *(n.to_bytes(16, "big") for n in range(1, 40))):
        scope.log_records.add(trace_id=trace)
    by_trace = divide(
        Signal.LOGS, request.SerializeToString(), 12, Rules("fnv1a", "trace_id", 1_000_000)
    )
    by_resource = divide(Signal.LOGS, request.SerializeToString(), 12, RULES)
    assert len(by_resource.parts) == 1
    assert len(by_trace.parts) > 1
    home = by_resource.parts[0][0]
    on_home = dict(by_trace.parts)[home]
    assert 0 in wire.scan_logs(on_home).trace_id_low.tolist()


def test_bytes_that_are_no_request_name_the_offset() -> None:
    with pytest.raises(MalformedMessage, match="at byte"):
        divide(Signal.TRACES, spans((1, 1))[:-3], 4, RULES)


def test_a_request_without_items_has_no_parts() -> None:
    assert divide(Signal.METRICS, b"", 4, RULES).parts == []

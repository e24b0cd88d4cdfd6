"""Partitions are those that the Collector and Kafka's own clients choose."""

from __future__ import annotations

import numpy as np
import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.signals import Signal
from streams import wire
from tests.strategies import REQUESTS, requests


def fnv1a(key: bytes) -> int:
    """RFC 9923's reference loop, 32 bits."""
    value = 2166136261
    for byte in key:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def expected(key: bytes, partitions: int, partitioner: str) -> int:
    if partitioner == "murmur2":
        return (murmur2(key) & 0x7FFFFFFF) % partitions
    value = fnv1a(key)
    signed = value - 2**32 if value >= 2**31 else value
    return abs(signed) % partitions


def test_the_reference_itself() -> None:
    assert fnv1a(b"") == 0x811C9DC5
    assert fnv1a(b"a") == 0xE40C292C
    assert fnv1a(b"foobar") == 0xBF9CF968


def traces(ids: list[bytes]) -> bytes:
    request = REQUESTS[Signal.TRACES]()
    spans = request.resource_spans.add().scope_spans.add().spans
    for trace_id in ids:
        spans.add(trace_id=trace_id, span_id=b"s" * 8)
    data: bytes = request.SerializeToString()
    return data


@pytest.mark.parametrize("partitioner", ["fnv1a", "murmur2"])
def test_by_trace(partitioner: wire.Partitioner) -> None:
    rng = np.random.default_rng(3)
    ids = [rng.bytes(16) for _ in range(1000)] + [b"\xff" * 16, bytes(15) + b"\x01"]
    scan = wire.scan_traces(traces(ids))
    for partitions in (1, 2, 12, 64, 1000):
        found = wire.partition_by_trace(scan, partitions, partitioner)
        assert found.dtype == np.int32
        assert found.tolist() == [
            expected(trace_id.hex().encode(), partitions, partitioner) for trace_id in ids
        ]
        assert wire.partition_of_trace(ids[7], partitions, partitioner) == found[7]


@pytest.mark.parametrize("partitioner", ["fnv1a", "murmur2"])
@pytest.mark.parametrize("signal", list(Signal))
def test_by_resource(signal: Signal, partitioner: wire.Partitioner) -> None:
    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(requests(signal), st.integers(1, 70))
    def check(request, partitions: int) -> None:
        scan = wire.scan(signal, request.SerializeToString())
        hashes = scan.resource_hash.tolist()
        assert wire.partition_by_resource(scan, partitions, partitioner).tolist() == [
            expected(hashes[r].to_bytes(8, "big"), partitions, partitioner)
            for r in scan.resource.tolist()
        ]

    check()


def test_log_records_outside_of_traces_follow_their_resource() -> None:
    request = REQUESTS[Signal.LOGS]()
    for name in ("a", "b", "c", "d"):
        group = request.resource_logs.add()
        group.resource.attributes.add(key="service.name").value.string_value = name
        records = group.scope_logs.add().log_records
        records.add(trace_id=b"t" * 16)
        records.add()
    scan = wire.scan_logs(request.SerializeToString())
    by_trace = wire.partition_by_trace(scan, 64).tolist()
    assert by_trace[::2] == [expected((b"t" * 16).hex().encode(), 64, "fnv1a")] * 4
    assert by_trace[1::2] == wire.partition_by_resource(scan, 64).tolist()[1::2]
    assert len(set(by_trace[1::2])) > 1


def test_wrong_arguments_are_refused() -> None:
    scan = wire.scan_traces(b"")
    with pytest.raises(ValueError, match="at least 1"):
        wire.partition_by_trace(scan, 0)
    with pytest.raises(ValueError, match="16 bytes, not 15"):
        wire.partition_of_trace(b"x" * 15, 1)
    with pytest.raises(ValueError, match="fnv1a or murmur2"):
        wire.partition_by_trace(scan, 1, "crc32")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="by resource"):
        wire.partition_by_trace(wire.scan_metrics(b""), 1)

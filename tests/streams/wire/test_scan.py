"""Columns, ranges and names equal what the official protobuf library reads."""

from __future__ import annotations

import threading
from time import perf_counter

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.errors import TooManyItems
from schemas.signals import Signal
from streams import wire
from streams.wire.attributes import read_fields
from streams.wire.copying import fit, plan, write
from streams.wire.fields import MESSAGES, Kind
from streams.wire.items import read_logs, read_points, read_spans
from streams.wire.partition import by_resource, by_trace
from streams.wire.sampled import rewrite
from streams.wire.scratch import scratch
from streams.wire.text import hash_array
from streams.wire.tracestate import read_states
from streams.wire.tree import build_tree
from tests.strategies import REQUESTS, encodings, requests, varint
from tests.streams.wire.oracle import assert_scan, parse

SIGNALS = list(Signal)
RESOURCE_HASH = 0xD68BFA69B005262A
NAME_HASH = 0x91988F15F9A52A40
# Not shrunk: requests are small already, and shrinking takes minutes.
bounded = settings(max_examples=60, deadline=None, derandomize=True, phases=[Phase.generate])


@pytest.mark.parametrize("signal", SIGNALS)
def test_columns_equal_protobuf(signal: Signal) -> None:
    @bounded
    @given(requests(signal))
    def check(request) -> None:
        data = request.SerializeToString()
        scan = wire.scan(signal, data)
        assert_scan(signal, data, request, scan)
        assert scan.valid.all()

    check()


@pytest.mark.parametrize("signal", SIGNALS)
def test_other_encodings_of_the_same_message(signal: Signal) -> None:
    @bounded
    @given(st.data())
    def check(draw) -> None:
        request = draw.draw(requests(signal))
        data = draw.draw(encodings(request))
        parsed = REQUESTS[signal].FromString(data)
        assert_scan(signal, data, parsed, wire.scan(signal, data))

    check()


def test_field_table_is_that_of_the_installed_protocol() -> None:
    """Walk all descriptors: each message and field is in the table, with the right kind."""
    by_type = {
        "string": Kind.STRING,
        "bytes": Kind.BYTES,
        "fixed": Kind.FIXED64,
        "double": Kind.FIXED64,
        "fixed32": Kind.FIXED32,
    }
    names = {
        value: key[5:].lower()
        for key, value in vars(type(ExportTraceServiceRequest.DESCRIPTOR.fields[0])).items()
        if key.startswith("TYPE_")
    }
    seen: set[str] = set()

    def walk(descriptor) -> None:
        if descriptor.full_name in seen:
            return
        seen.add(descriptor.full_name)
        table = MESSAGES[descriptor.name]
        assert set(table) == {f.number for f in descriptor.fields}, descriptor.full_name
        for field in descriptor.fields:
            row = table[field.number]
            where = f"{descriptor.full_name}.{field.name}"
            if field.message_type is not None:
                assert row.kind in (Kind.MESSAGE, Kind.CHILD), where
                assert row.message == field.message_type.name, where
                walk(field.message_type)
                continue
            kind = names[field.type]
            if kind in ("fixed64", "sfixed64"):
                kind = "fixed"
            expected = by_type.get(kind, Kind.VARINT)
            if field.is_repeated and expected in (Kind.VARINT, Kind.FIXED64):
                expected = {Kind.VARINT: Kind.VARINTS, Kind.FIXED64: Kind.FIXED64S}[expected]
            if expected == Kind.BYTES and field.name.endswith("trace_id"):
                expected = Kind.TRACE_ID
            elif expected == Kind.BYTES and field.name.endswith("span_id"):
                expected = Kind.SPAN_ID
            assert row.kind == expected, where

    for request in REQUESTS.values():
        walk(request.DESCRIPTOR)
    assert {name.rsplit(".", 1)[-1] for name in seen} == set(MESSAGES)


def resource_hash(*attributes: tuple[str, str]) -> int:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    for key, value in attributes:
        group.resource.attributes.add(key=key).value.string_value = value
    return int(wire.scan_traces(request.SerializeToString()).resource_hash[0])


def test_resource_hash_ignores_order_and_sees_values() -> None:
    a, b = ("service.name", "cart"), ("host.name", "n1")
    assert resource_hash(a, b) == resource_hash(b, a)
    assert len({resource_hash(a), resource_hash(b), resource_hash(a, b), resource_hash()}) == 4
    assert resource_hash(a) != resource_hash(("service.name", "card"))


def test_hashes_are_stable_across_releases() -> None:
    """They travel: partitions of metrics, sampling keys. A change here is a breaking one."""
    assert resource_hash(("service.name", "cart")) == RESOURCE_HASH
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(
        trace_id=b"t" * 16, span_id=b"s" * 8, name="GET /api/v1/orders"
    )
    assert wire.scan_traces(request.SerializeToString()).name_hash.tolist() == [NAME_HASH]


def test_service_name() -> None:
    request = ExportTraceServiceRequest()
    for name in ("", "ts-order-service", "s" * 200, "服务"):
        group = request.resource_spans.add()
        group.resource.attributes.add(key="host.name").value.string_value = "n"
        if name:
            group.resource.attributes.add(key="service.name").value.string_value = name
    request.resource_spans.add().resource.attributes.add(key="service.name").value.int_value = 3
    data = request.SerializeToString()
    scan = wire.scan_traces(data)
    assert [scan.service_name(data, k) for k in range(5)] == [
        "",
        "ts-order-service",
        "s" * 200,
        "服务",
        "",
    ]


def test_metric_data_written_twice_is_merged() -> None:
    first, second = ExportMetricsServiceRequest(), ExportMetricsServiceRequest()
    metric = first.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    metric.sum.data_points.add(as_int=1, time_unix_nano=1)
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = 2
    other = second.resource_metrics.add().scope_metrics.add().metrics.add()
    other.sum.data_points.add(as_int=2, time_unix_nano=2)
    body = metric.SerializeToString() + other.SerializeToString()

    def wrap(body: bytes) -> bytes:
        return bytes([0x12, len(body)]) + body

    scoped = wrap(wrap(body))
    data = bytes([0x0A, len(scoped)]) + scoped
    request = ExportMetricsServiceRequest.FromString(data)
    scan = wire.scan_metrics(data)
    assert_scan(Signal.METRICS, data, request, scan)
    only_second = wire.select(data, scan, np.array([False, True]))
    kept = ExportMetricsServiceRequest.FromString(only_second)
    kept_metric = kept.resource_metrics[0].scope_metrics[0].metrics[0]
    assert kept_metric.sum.is_monotonic
    assert kept_metric.sum.aggregation_temporality == 2
    assert [p.as_int for p in kept_metric.sum.data_points] == [2]


@pytest.mark.parametrize("field", [5, 7, 9, 10, 11])
def test_only_data_with_a_temporality_has_one(field: int) -> None:
    """Field 2 of a gauge or a summary is unknown to the protocol, whatever it holds."""

    def message(number: int, body: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(body)) + body

    data = message(field, b"\x10\x02" + message(1, b""))
    request = message(1, message(2, message(2, data)))
    official = parse(Signal.METRICS, request)
    assert_scan(Signal.METRICS, request, official, wire.scan_metrics(request))
    assert wire.scan_metrics(request).temporality.tolist() == [0 if field in (5, 11) else 2]


@pytest.mark.parametrize("signal", SIGNALS)
def test_empty_request(signal: Signal) -> None:
    scan = wire.scan(signal, b"")
    assert scan.items == 0
    assert wire.split(b"", scan, np.empty(0, np.int32), 4) == []
    assert wire.select(b"", scan, np.empty(0, np.bool_)) == b""


def test_more_items_than_the_arrays_hold_at_first() -> None:
    for signal, inner in (("traces", b""), ("logs", b"\x12\x00" * 50_000)):
        scoped = b"\x12" + length(inner) + inner
        data = b"\x0a" + length(scoped) + scoped
        scan = wire.scan(Signal(signal), data)
        assert scan.items == len(inner) // 2
    many = b"\x0a\x00" * 20_000
    assert wire.scan_logs(many).resources == 20_000


def test_a_bound_on_items_protects_memory() -> None:
    for most in (wire.ITEMS_MAX - 2, wire.ITEMS_MAX):  # the request is a node, too
        resources = b"\x0a\x00" * most
        scope = b"\x12\x00" * most
        scope = b"\x12" + length(scope) + scope
        records = b"\x0a" + length(scope) + scope
        if most < wire.ITEMS_MAX:
            assert wire.scan_logs(resources).resources == most
            assert wire.scan_logs(records).items == most
            continue
        for data in (resources, records + records):
            with pytest.raises(TooManyItems, match="more than 1,048,576 items, or resources"):
                wire.scan_logs(data)
    assert len(scratch.leaves) < 1 << 17, "what only huge requests needed is given back"


def length(body: bytes) -> bytes:
    out, size = bytearray(), len(body)
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*out, size])


def test_unknown_column_says_so() -> None:
    scan = wire.scan_traces(b"")
    with pytest.raises(AttributeError, match="no column"):
        _ = scan.severity
    with pytest.raises(KeyError):
        scan.column("severity")


def test_other_threads_run_during_a_scan() -> None:
    name = "é".encode() * 60  # not ASCII: takes long
    span = b"\x0a\x10" + b"t" * 16 + b"\x12\x08" + b"s" * 8 + b"\x2a" + length(name) + name
    spans = (b"\x12" + length(span) + span) * 400_000
    scoped = b"\x12" + length(spans) + spans
    data = b"\x0a" + length(scoped) + scoped
    wire.warm_up()
    spent: list[float] = []

    def work() -> None:
        spent.append(perf_counter())
        assert wire.scan_traces(data).items == 400_000
        spent.append(perf_counter())

    thread = threading.Thread(target=work)
    thread.start()
    stamps = []
    while thread.is_alive():
        stamps.append(perf_counter())
        thread.join(0.0002)
    begin, end = spent
    quarter = (end - begin) / 4
    # The middle of the scan lies inside one kernel: with the GIL held nothing happens there.
    assert sum(begin + quarter < stamp < end - quarter for stamp in stamps) >= 3


def test_no_input_makes_kernels_compile_again() -> None:
    """numba compiles for each type of its arguments; ten seconds in the middle of the traffic."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for name in "ab":
        scope.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name=name)
    data = request.SerializeToString()
    wire.warm_up("requests", "facts", "sampled")
    kernels = [build_tree, read_spans, read_logs, read_points, plan, write, fit, by_trace]
    kernels += [read_states, read_fields, rewrite, hash_array]
    fixed = np.array([0, 1], np.int32)
    fixed.flags.writeable = False
    for raw in (data, bytearray(data), memoryview(data), memoryview(bytearray(data))):
        scan = wire.scan_traces(raw)  # type: ignore[arg-type]
        parts = [fixed, np.array([0, 1, 0, 0], np.int32)[::2], np.array([1, 0], np.int64), [0, 1]]
        for part in parts:
            wire.split(raw, scan, np.asarray(part), 2)  # type: ignore[arg-type]
        wire.select(raw, scan, np.array([True, False]))  # type: ignore[arg-type]
        wire.split_by_size(raw, scan, 50)  # type: ignore[arg-type]
        wire.partition_by_trace(scan, 3)
        wire.partition_by_resource(scan, 3, "murmur2")
        wire.trace_state(raw, scan)  # type: ignore[arg-type]
        wire.service_hash(raw, scan)  # type: ignore[arg-type]
        wire.hash64(raw)  # type: ignore[arg-type]
        for fields in ([], [wire.SERVICE_NAME], [wire.Attribute("span", "k")] * 2):
            wire.lookup(raw, scan, fields)  # type: ignore[arg-type]
        for keep in (np.array([1, 0]), np.array([True, False, True])[::2], np.zeros(2, np.bool_)):
            for threshold in (np.array([0, 1]), np.arange(4, dtype=np.uint64)[::2]):
                wire.sampled(raw, scan, keep, threshold, 1 << 20)  # type: ignore[arg-type]
                wire.sampled(data, scan, keep, threshold, 1)  # type: ignore[arg-type]
    wire.scan_logs(b"")
    wire.scan_metrics(b"")
    for kernel in (*kernels, by_resource):
        assert len(kernel.signatures) == 1, kernel

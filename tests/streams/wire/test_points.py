"""What points say is what the official library reads; what makes no sense is marked."""

from __future__ import annotations

import itertools
import math
import random
import struct
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m

from schemas.errors import MalformedMessage
from schemas.signals import Signal
from streams import wire
from streams.wire import PointFault
from tests.strategies import REQUESTS, encodings, requests
from tests.streams.wire.oracle import items

bounded = settings(max_examples=150, deadline=None, derandomize=True, phases=[Phase.generate])
NAN = float("nan")


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def optional(point: Any, name: str) -> float:
    return float(getattr(point, name)) if point.HasField(name) else NAN


def beyond(scale: int, buckets: Any) -> bool:
    """Whether buckets are for values that no double has."""
    if scale < -10:
        return True
    size = len(buckets.bucket_counts)
    least, most = -(1074 * 2.0**scale) - 1, 1024 * 2.0**scale
    last = buckets.offset + size - 1
    return size > 0 and (buckets.offset < math.floor(least) or last > min(most, 2**31 - 1))


def expected_fault(kind: str, point: Any) -> int:
    if point.flags & 1:
        return PointFault.NO_RECORDED_VALUE
    if kind in ("gauge", "sum"):
        which = point.WhichOneof("value")
        if which is None:
            return PointFault.NO_VALUE
        return 0 if math.isfinite(getattr(point, which)) else PointFault.NOT_FINITE
    extremes = [point.sum] if kind == "summary" or point.HasField("sum") else []
    if kind != "summary":
        extremes += [getattr(point, n) for n in ("min", "max") if point.HasField(n)]
    if not all(map(math.isfinite, extremes)):
        return PointFault.NOT_FINITE
    wrong = 0
    if kind == "histogram":
        counts, limits = list(point.bucket_counts), list(point.explicit_bounds)
        if (counts or limits) and len(counts) != len(limits) + 1:
            wrong |= PointFault.BUCKET_COUNTS
        if counts and sum(counts) % 2**64 != point.count:
            wrong |= PointFault.BUCKET_COUNTS
        rising = all(a < b for a, b in itertools.pairwise(limits))
        if not rising or not all(map(math.isfinite, limits)):
            wrong |= PointFault.BUCKET_BOUNDS
    elif kind == "exponential_histogram":
        total = sum(point.positive.bucket_counts) + sum(point.negative.bucket_counts)
        if (total + point.zero_count) % 2**64 != point.count:
            wrong |= PointFault.BUCKET_COUNTS
        if any(beyond(point.scale, each) for each in (point.positive, point.negative)):
            wrong |= PointFault.BUCKET_BOUNDS
    return wrong


def best_exemplar(point: Any) -> tuple[float, int, bytes, bytes]:
    best = (NAN, 0, b"", b"")
    for each in getattr(point, "exemplars", ()):
        which = each.WhichOneof("value")
        value = float(getattr(each, which)) if which else NAN
        if math.isfinite(value) and not value <= best[0]:
            trace = each.trace_id if len(each.trace_id) == 16 else b""
            span = each.span_id if len(each.span_id) == 8 else b""
            best = (value, each.time_unix_nano, trace, span)
    return best


def assert_read(data: bytes, request: Any) -> wire.Points:
    scan = wire.scan_metrics(data, strict_ids=False)
    said = wire.points(data, scan)
    units = wire.metric_units(data, scan)
    for i, item in enumerate(items(Signal.METRICS, request)):
        metric: Any = item.envelopes[3]
        kind, point = metric.WhichOneof("data"), item.message
        start, stop = units[item.metric].tolist()
        assert data[start:stop].decode() == metric.unit
        assert said.faults[i] == expected_fault(kind, point), (kind, point)
        assert said.flags[i] == point.flags
        which = point.WhichOneof("value") if kind in ("gauge", "sum") else None
        value = float(getattr(point, which)) if which else NAN
        assert bits(said.value[i]) == bits(value)
        if kind in ("gauge", "sum"):
            best = best_exemplar(point)
        else:
            assert said.count[i] == point.count
            total = point.sum if kind == "summary" else optional(point, "sum")
            assert bits(said.sum[i]) == bits(total)
            best = (NAN, 0, b"", b"") if kind == "summary" else best_exemplar(point)
        assert bits(said.exemplar_value[i]) == bits(best[0])
        assert said.exemplar_time[i] == best[1]
        ids = (said.exemplar_trace_id_high[i], said.exemplar_trace_id_low[i])
        assert (int(ids[0]) << 64 | int(ids[1])) == int.from_bytes(best[2], "big")
        assert said.exemplar_span_id[i] == int.from_bytes(best[3], "big")
        first, middle = said.counts_start(i), int(said.positive_stop[i])
        positive = said.counts[first:middle].tolist()
        negative = said.counts[middle : int(said.negative_stop[i])].tolist()
        limits = said.bounds[said.bounds_start(i) : int(said.bounds_stop[i])]
        if kind in ("histogram", "exponential_histogram"):
            assert bits(said.min[i]) == bits(optional(point, "min"))
            assert bits(said.max[i]) == bits(optional(point, "max"))
        if kind == "histogram":
            assert positive == list(point.bucket_counts)
            assert limits.tobytes() == b"".join(map(bits, point.explicit_bounds))
        elif kind == "exponential_histogram":
            assert said.scale[i] == point.scale
            assert said.zero_count[i] == point.zero_count
            assert bits(said.zero_threshold[i]) == bits(point.zero_threshold)
            assert positive == list(point.positive.bucket_counts)
            assert negative == list(point.negative.bucket_counts)
            assert said.positive_offset[i] == point.positive.offset
            assert said.negative_offset[i] == point.negative.offset
        else:
            assert not positive
        assert kind == "exponential_histogram" or not negative
        assert kind == "histogram" or not len(limits)
    return said


@bounded
@given(st.data())
def test_points_say_what_the_library_reads(draw: st.DataObject) -> None:
    request = draw.draw(requests(Signal.METRICS))
    data = request.SerializeToString()
    if draw.draw(st.booleans()):
        data = draw.draw(encodings(request))
        request = REQUESTS[Signal.METRICS].FromString(data)
    assert_read(data, request)


values = st.one_of(st.floats(), st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, math.inf, NAN]))
counts = st.lists(st.integers(0, 300), max_size=6)


@st.composite
def sensible(draw: st.DrawFn) -> Any:
    """A request whose histograms are mostly right, and now and then wrong in one thing."""
    off = draw(st.sampled_from([0, 0, 0, 1]))
    buckets = draw(counts)
    limits = sorted(set(draw(st.lists(st.floats(-1e9, 1e9), min_size=0, max_size=5))))
    extra = {name: draw(values) for name in ("sum", "min", "max") if draw(st.booleans())}
    explicit = [draw(st.integers(0, 2**40)) for _ in range(len(limits) + 1 + off)]
    histogram = m.HistogramDataPoint(
        count=sum(explicit) + draw(st.sampled_from([0, 0, 0, 1])),
        bucket_counts=explicit,
        explicit_bounds=draw(st.permutations(limits)) if draw(st.booleans()) else limits,
        **extra,
    )
    exponential = m.ExponentialHistogramDataPoint(
        count=2 * sum(buckets) + 3 + off,
        zero_count=3,
        scale=draw(st.sampled_from([-11, -10, -1, 0, 3, 20, 25])),
        positive={"offset": draw(st.integers(-9000, 9000)), "bucket_counts": buckets},
        negative={"offset": draw(st.integers(-3, 3)), "bucket_counts": buckets},
        zero_threshold=0.5,
        **extra,
    )
    number = m.NumberDataPoint(as_double=draw(values))
    data = [
        m.Metric(name="h", unit="s", histogram={"data_points": [histogram]}),
        m.Metric(name="e", exponential_histogram={"data_points": [exponential, exponential]}),
        m.Metric(name="g", unit="By", gauge={"data_points": [number, m.NumberDataPoint()]}),
    ]
    request = REQUESTS[Signal.METRICS]()
    request.resource_metrics.add().scope_metrics.add().metrics.extend(draw(st.permutations(data)))
    return request


@bounded
@given(st.data())
def test_histograms_that_make_sense_and_those_that_do_not(draw: st.DataObject) -> None:
    request = draw.draw(sensible())
    data = draw.draw(st.one_of(st.just(request.SerializeToString()), encodings(request)))
    assert_read(data, REQUESTS[Signal.METRICS].FromString(data))


def histograms() -> bytes:
    """Half a kilobyte of points of every kind, to be damaged."""
    exemplar = m.Exemplar(as_int=3, time_unix_nano=7, trace_id=b"t" * 16, span_id=b"s" * 8)
    half = {"offset": -3, "bucket_counts": [1, 0, 300]}
    explicit = m.HistogramDataPoint(
        start_time_unix_nano=1, time_unix_nano=2, count=9, sum=4.5, min=0.1, max=9.0,
        bucket_counts=[2, 3, 4], explicit_bounds=[0.5, 8.0], exemplars=[exemplar],
    )  # fmt: skip
    exponential = m.ExponentialHistogramDataPoint(
        time_unix_nano=9, count=605, sum=1.0, zero_count=3, scale=3, positive=half, negative=half,
        exemplars=[exemplar, exemplar], zero_threshold=0.25,
    )  # fmt: skip
    data = [
        m.Metric(name="h", unit="s", histogram={"data_points": [explicit, explicit]}),
        m.Metric(name="e", exponential_histogram={"data_points": [exponential]}),
        m.Metric(name="s", summary={"data_points": [{"count": 3, "sum": 1.5}]}),
    ]
    return metrics_request(*data, gauge(("k", "v")), resource={"service.name": "s"})


def agree(data: bytes) -> str:
    try:
        wire.scan_metrics(data, strict_ids=False)
    except MalformedMessage:
        return "refused"
    assert_read(data, REQUESTS[Signal.METRICS].FromString(data))
    return "accepted"


def test_damaged_bytes() -> None:
    rng = random.Random(5)
    data = histograms()
    seen: Counter[str] = Counter(agree(data[:size]) for size in range(1, len(data)))
    for _ in range(2000):
        changed = bytearray(data)
        at = rng.randrange(len(changed))
        changed[at : at + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
        seen[agree(bytes(changed))] += 1
    assert all(seen[how] > 100 for how in ("accepted", "refused")), seen


def metrics_request(*points: m.Metric, resource: dict[str, str] | None = None) -> bytes:
    request = REQUESTS[Signal.METRICS]()
    group = request.resource_metrics.add()
    for key, value in (resource or {}).items():
        group.resource.attributes.add(key=key).value.string_value = value
    group.scope_metrics.add().metrics.extend(points)
    data: bytes = request.SerializeToString()
    return data


def gauge(*attributes: tuple[str, str], name: str = "m", unit: str = "s", value: float = 1) -> Any:
    metric = m.Metric(name=name, unit=unit)
    point = metric.gauge.data_points.add(as_double=value)
    for key, text in attributes:
        point.attributes.add(key=key).value.string_value = text
    return metric


def identity(data: bytes) -> list[int]:
    scan = wire.scan_metrics(data)
    found = wire.stream_identity(data, scan, wire.points(data, scan))
    return [int(each) for each in found]


def test_a_stream_is_the_same_in_any_order_of_attributes() -> None:
    one, other = (("a", "1"), ("b", "2")), (("b", "2"), ("a", "1"))
    data = metrics_request(gauge(*one), gauge(*other), gauge(*one, value=5))
    assert len(set(identity(data))) == 1
    swapped = metrics_request(gauge(*one), resource={"x": "1", "y": "2"})
    again = metrics_request(gauge(*one), resource={"y": "2", "x": "1"})
    assert identity(swapped) == identity(again) != identity(data)[:1]


def scoped(**scope: Any) -> bytes:
    request = REQUESTS[Signal.METRICS].FromString(metrics_request(gauge(("a", "1"))))
    for name, value in scope.items():
        setattr(request.resource_metrics[0].scope_metrics[0].scope, name, value)
    data: bytes = request.SerializeToString()
    return data


def test_streams_that_differ_in_one_thing() -> None:
    others = [
        metrics_request(gauge(("a", "1"))),
        metrics_request(gauge(("a", "2"))),
        metrics_request(gauge(("a", "1"), name="n")),
        metrics_request(gauge(("a", "1"), unit="ms")),
        metrics_request(gauge(("a", "1")), resource={"service.name": "s"}),
        scoped(name="library"),
        scoped(version="library"),
    ]
    found = [identity(data)[0] for data in others]
    assert len(set(found)) == len(found)
    assert identity(scoped(name="")) == identity(others[0])


def test_a_scan_of_another_message_is_refused() -> None:
    data = metrics_request(gauge())
    scan = wire.scan_metrics(data)
    said = wire.points(data, scan)
    for call in (
        lambda: wire.points(data + b"\0", scan),
        lambda: wire.metric_units(b"", scan),
        lambda: wire.stream_identity(b"", scan, said),
    ):
        with pytest.raises(ValueError, match="the scan is of"):
            call()


def test_integers_and_no_points() -> None:
    metric = m.Metric(name="i", sum={"data_points": [{"as_int": -(2**63)}, {"as_int": 7}]})
    data = metrics_request(metric)
    assert wire.points(data, wire.scan_metrics(data)).value.tolist() == [-(2.0**63), 7.0]
    nothing = wire.points(b"", wire.scan_metrics(b""))
    assert not len(nothing.value)
    assert nothing.counts.dtype == np.uint64

"""Exponential buckets are those of the OpenTelemetry data model, exactly; quantiles are near."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.signals import Signal
from streams import wire
from streams.windows.exponential import BUCKETS_MAX, SCALE_MAX, fitting_shift, indices
from streams.windows.quantiles import point_quantiles
from streams.wire.compiling import kernel
from tests.strategies import REQUESTS
from tests.streams.windows.partials_oracle import index_of

bounded = settings(max_examples=200, deadline=None, derandomize=True)
WANTED = np.array([0.0, 0.01, 0.5, 0.9, 0.99, 1.0])
BASE = 2 ** (2**-SCALE_MAX)
ERROR = (BASE - 1) / (BASE + 1)


@bounded
@given(st.lists(st.floats(5e-324, 1.7e308), min_size=1, max_size=20))
def test_indices_are_exact(values: list[float]) -> None:
    assert indices(np.array(values)).tolist() == [index_of(value) for value in values]


def test_indices_at_and_beside_every_bound() -> None:
    powers = [2.0**e for e in range(-1074, 1024)]
    assert indices(np.array(powers)).tolist() == [8 * e - 1 for e in range(-1074, 1024)]
    near = [2.0 ** (k / 8) for k in range(-200, 200)]
    near += [math.nextafter(value, to) for value in near for to in (0, math.inf)]
    assert indices(np.array(near)).tolist() == [index_of(value) for value in near]


@kernel
def _shift(least, most):  # type: ignore[no-untyped-def]
    return fitting_shift(least, most)


@bounded
@given(st.integers(-9000, 9000), st.integers(0, 18_000))
def test_buckets_are_halved_until_they_fit_and_no_further(least: int, width: int) -> None:
    shift = _shift(least, least + width)
    assert ((least + width) >> shift) - (least >> shift) < BUCKETS_MAX
    before = shift - 1
    assert not shift or ((least + width) >> before) - (least >> before) >= BUCKETS_MAX


def exponential(values: np.ndarray, scale: int, extremes: bool = True) -> wire.Points:
    request = REQUESTS[Signal.METRICS]()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    point = metric.exponential_histogram.data_points.add(count=len(values), scale=scale)
    point.zero_count = int(np.count_nonzero(values == 0))
    for side, chosen in (
        (point.positive, values[values > 0]),
        (point.negative, -values[values < 0]),
    ):
        if len(chosen):
            at = indices(chosen) >> (SCALE_MAX - scale)
            side.offset = int(at.min())
            side.bucket_counts.extend(np.bincount(at - at.min()).tolist())
    if extremes and len(values):
        point.min, point.max = float(values.min()), float(values.max())
    return request.SerializeToString()


def read(data: bytes) -> np.ndarray:
    scan = wire.scan_metrics(data)
    return point_quantiles(WANTED, scan, wire.points(data, scan))[:, 0]


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_from_a_millisecond_to_100_seconds_are_within_5_percent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.exp(rng.uniform(math.log(0.001), math.log(100), 1000))
    values[:2] = 0.001, 100.0
    assert indices(values).max() - indices(values).min() < BUCKETS_MAX, "no coarser than scale 3"
    true = np.quantile(values, WANTED, method="inverted_cdf")
    for extremes in (True, False):
        found = read(exponential(values, SCALE_MAX, extremes))
        assert np.all(np.abs(found - true) <= true * (ERROR + 1e-9))
        assert np.all(np.abs(found - true) <= true * 0.05)


@bounded
@given(
    st.lists(
        st.one_of(st.just(0.0), st.floats(1e-6, 1e6), st.floats(-1e6, -1e-6)),
        min_size=1, max_size=50,
    ),
    st.sampled_from([3, 2, 0, -2]),
)  # fmt: skip
def test_quantiles_of_any_sign(drawn: list[float], scale: int) -> None:
    values = np.array(drawn)
    base = 2 ** (2.0**-scale)
    error = (base - 1) / (base + 1) + 1e-9
    true = np.quantile(values, WANTED, method="inverted_cdf")
    found = read(exponential(values, scale))
    assert np.all(np.abs(found - true) <= np.abs(true) * error)
    assert np.all(np.diff(found) >= 0)
    assert found[-1] <= values.max()


def explicit(counts: list[int], bounds: list[float], **more: float) -> bytes:
    request = REQUESTS[Signal.METRICS]()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    metric.histogram.data_points.add(
        count=sum(counts), bucket_counts=counts, explicit_bounds=bounds, **more
    )
    data: bytes = request.SerializeToString()
    return data


@pytest.mark.parametrize(
    ("data", "median", "most"),
    [
        (explicit([10, 0], [4.0]), 2.0, 4.0),
        (explicit([10, 0], [4.0], min=2.0, max=4.0), 3.0, 4.0),
        (explicit([0, 10, 0], [4.0, 8.0]), 6.0, 8.0),
        (explicit([0, 10], [4.0]), 4.0, 4.0),
        (explicit([0, 10], [4.0], max=6.0), 5.0, 6.0),
        (explicit([5, 5], [0.0]), 0.0, 0.0),
        (explicit([10], [], min=1.0, max=3.0), 2.0, 3.0),
        (explicit([10], []), math.nan, math.nan),
        (explicit([0, 0], [4.0]), math.nan, math.nan),
        (explicit([1, 1, 1], [4.0]), math.nan, math.nan),
        (exponential(np.zeros(0), 3), math.nan, math.nan),
    ],
)
def test_quantiles_of_explicit_buckets(data: bytes, median: float, most: float) -> None:
    found = read(data)
    assert np.array_equal(found[[2, 5]], [median, most], equal_nan=True)


def test_other_points_have_no_quantiles() -> None:
    request = REQUESTS[Signal.METRICS]()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    metrics.add(name="m").gauge.data_points.add(as_double=1)
    metrics.add(name="s").summary.data_points.add(count=1, sum=1)
    data = request.SerializeToString()
    scan = wire.scan_metrics(data)
    assert np.isnan(point_quantiles(WANTED, scan, wire.points(data, scan))).all()

"""A record of partials is what was written, or it is refused: no place in it leads elsewhere."""

from __future__ import annotations

import random
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.batches import Batch
from schemas.operators import Scanned
from schemas.records import MalformedRecord, NewerVersion
from schemas.records.windows import BOUNDS, BUCKETS, CELLS, CUMULATIVE, GROUPS, PartialsHeader
from schemas.signals import Signal
from streams import wire
from streams.packing import pack
from streams.windows.partials import Partials
from streams.windows.records import (
    Buckets,
    Cells,
    CumulativePoints,
    Groups,
    Partial,
    decode,
    encode,
)
from tests.strategies import REQUESTS
from tests.streams.windows.traffic import NOW_MS, SETTINGS
from tests.streams.wire.test_points import gauge, histograms, metrics_request


def sample() -> bytes:
    """A record with cells and cumulative points, both with buckets, explicit ones too."""
    request = REQUESTS[Signal.METRICS].FromString(histograms())
    metrics = request.resource_metrics[0].scope_metrics[0].metrics
    metrics[0].histogram.aggregation_temporality = 1
    metrics[1].exponential_histogram.aggregation_temporality = 2
    second = metrics.add()
    second.CopyFrom(metrics[0])
    second.histogram.aggregation_temporality = 2
    request.MergeFromString(metrics_request(gauge(value=-3.0), gauge(value=8.0)))
    for group in request.resource_metrics:
        for metric in group.scope_metrics[0].metrics:
            for point in getattr(metric, metric.WhichOneof("data")).data_points:
                point.time_unix_nano = NOW_MS * 1_000_000
    operator = Partials(
        SETTINGS, signal=Signal.METRICS, source="source", partition=0, partitions=1, output="o",
        output_partitions=1,
    )  # fmt: skip
    value = request.SerializeToString()
    batch = Batch("source", 0, 0, NOW_MS, None, value, ())
    operator.process(Scanned(batch, wire.scan_metrics(value)))
    (record,) = operator.flush()
    return record.value


SAMPLE = sample()


def parts(partial: Partial) -> list[tuple[str, Any, str]]:
    """Every column as owner, name."""
    owners = ("groups", "cells", "points", "buckets")
    found = [
        (owner, getattr(partial, owner), field.name)
        for owner in owners
        for field in fields(getattr(partial, owner))
    ]
    return [*found, ("bounds_stop", partial, "bounds_stop"), ("bound", partial, "bound")]


def test_columns_are_those_of_the_contract_in_its_order() -> None:
    for kind, table, prefix in (
        (Groups, GROUPS, "group_"), (Cells, CELLS, "cell_"),
        (CumulativePoints, CUMULATIVE, "point_"), (Buckets, BUCKETS, "bucket_"),
    ):  # fmt: skip
        assert [prefix + field.name for field in fields(kind)] == [c.name for c in table]
    assert [column.name for table in BOUNDS for column in table] == ["bounds_stop", "bound"]


def test_what_was_written_is_read() -> None:
    partial = decode(SAMPLE)
    assert len(partial.cells.count) > 2
    assert len(partial.points.count) > 2
    assert len(partial.bound)
    again = decode(encode(partial))
    for (_, one, name), (_, other, _) in zip(parts(partial), parts(again), strict=True):
        assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True), name
    assert again.key_text == partial.key_text
    assert encode(again) == encode(partial)


def wrong(owner: str, name: str, row: int, value: Any) -> bytes:
    """The sample with one number replaced."""
    partial = decode(SAMPLE)
    held = partial if owner == "" else getattr(partial, owner)
    column: NDArray[Any] = getattr(held, name).copy()
    column[row] = value
    setattr(held, name, column)
    return encode(partial)


@pytest.mark.parametrize(
    ("owner", "name", "row", "value"),
    [
        ("groups", "rule", 0, -1),
        ("groups", "rule", -1, 99),
        ("groups", "text_stop", 0, -1),
        ("groups", "text_stop", -1, 1),
        ("groups", "text_stop", 0, 2**31 - 1),
        ("cells", "group", 0, -1),
        ("cells", "group", 0, 99),
        ("cells", "pane", 0, -1),
        ("cells", "pane", 0, 2**62),
        ("cells", "scale", 0, 4),
        ("cells", "scale", 0, -11),
        ("cells", "bounds", 0, -2),
        ("cells", "bounds", 0, 99),
        ("cells", "buckets_stop", 0, -1),
        ("cells", "buckets_stop", 0, 2**31 - 1),
        ("points", "group", 0, 99),
        ("points", "bounds", -1, 99),
        ("points", "buckets_stop", -1, 0),
        ("points", "buckets_stop", 0, 2**31 - 1),
        ("buckets", "index", 0, 2**31 - 1),
        ("buckets", "index", 0, -(2**31)),
        ("buckets", "negative", 0, 2),
        ("buckets", "count", 0, 0),
        ("", "bounds_stop", 0, -1),
        ("", "bounds_stop", -1, 2**31 - 1),
        ("", "bound", 0, 1e9),
        ("", "bound", 0, np.nan),
        ("", "bound", -1, np.inf),
    ],
)
def test_a_wrong_number_is_refused(owner: str, name: str, row: int, value: Any) -> None:
    with pytest.raises(MalformedRecord):
        decode(wrong(owner, name, row, value))


def test_random_numbers_are_refused_or_harmless() -> None:
    """Whatever decode lets pass can be written and read again: every place in it is one."""
    rng = random.Random(3)
    refused = 0
    for _ in range(1500):
        partial = decode(SAMPLE)
        _, held, name = rng.choice(parts(partial))
        column: NDArray[Any] = getattr(held, name).copy()
        at = rng.randrange(len(column))
        if column.dtype.kind == "f":
            column[at] = rng.choice([np.nan, np.inf, -1.0, 0.0, 1e300])
        else:
            limits = np.iinfo(column.dtype)
            near = int(column[at]) + rng.choice([-1, 1, 2])
            value = rng.choice([limits.min, limits.max, near, 0, 1])
            column[at] = min(max(value, limits.min), limits.max)
        setattr(held, name, column)
        try:
            again = decode(encode(partial))
        except MalformedRecord:
            refused += 1
            continue
        counts = len(again.buckets.count)
        stops = [*again.cells.buckets_stop.tolist(), *again.points.buckets_stop.tolist()]
        assert stops == sorted(stops)
        assert stops[-1] == counts
        start = 0
        for part in (again.cells, again.points):
            assert all(0 <= group < len(again.groups.hash) for group in part.group.tolist())
            for row, stop in enumerate(part.buckets_stop.tolist()):
                index = again.buckets.index[start:stop]
                start = stop
                if part.bounds[row] >= 0:
                    limits = np.diff(again.bounds_stop, prepend=0)[part.bounds[row]]
                    assert all(0 <= each <= limits for each in index.tolist())
    assert 300 < refused < 1400, refused


def test_damaged_and_foreign_records_are_refused() -> None:
    rng = random.Random(4)
    for _ in range(200):
        changed = bytearray(SAMPLE)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        with pytest.raises(MalformedRecord):
            decode(bytes(changed))
        with pytest.raises(MalformedRecord):
            decode(SAMPLE[: rng.randrange(len(SAMPLE))])


def test_columns_that_are_missing_or_of_another_type_are_refused() -> None:
    header = decode(SAMPLE).header
    for columns in (
        {"group_rule": np.zeros(1, np.int32)},
        {"group_rule": np.zeros(1, np.float64), "group_hash": np.zeros(1, np.uint64)},
    ):
        with pytest.raises(MalformedRecord):
            decode(pack(header, columns))


def test_other_kinds_and_versions_are_refused() -> None:
    header = decode(SAMPLE).header

    class Other(PartialsHeader):
        kind: Any = "verdicts"

    class Newer(PartialsHeader):
        schema_version: Any = 2

    given = header.model_dump(exclude={"kind", "schema_version"})
    with pytest.raises(MalformedRecord, match="'verdicts' among partials"):
        decode(pack(Other(**given), {}))
    with pytest.raises(NewerVersion):
        decode(pack(Newer(**given), {}))

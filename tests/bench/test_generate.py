"""The generator makes what it says: sizes, fresh ids, valid requests."""

from __future__ import annotations

import pytest

from streams import wire

from .generate import Shape, span_requests


@pytest.mark.parametrize(("shape", "span_bytes"), [("small", 93), ("rich", 528)])
def test_shapes(shape: Shape, span_bytes: int) -> None:
    requests = list(span_requests(shape, 20_000))  # more than two laps over the recording
    scans = [wire.scan_traces(data) for data in requests]
    spans = sum(scan.items for scan in scans)
    assert spans >= 20_000
    assert abs(sum(map(len, requests)) / spans - span_bytes) < 15
    assert all(500 < scan.items < 700 for scan in scans[: len(scans) // 3])
    pairs = {
        (scan.trace_id(item), int(span_id))
        for scan in scans
        for item, span_id in enumerate(scan.span_id.tolist())
    }
    assert len(pairs) == spans
    assert list(span_requests(shape, 600)) == requests[:2]

"""The bundled recording, all of it: counts, ids, partitions, and nothing lost by cutting."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from schemas.signals import Signal
from streams import wire
from streams.recording import frames
from tests.strategies import REQUESTS
from tests.streams.wire.oracle import assert_scan, content, items
from topologies.demo_data import EXCERPT

SIGNALS = list(Signal)
COUNTS = {Signal.TRACES: 8316, Signal.LOGS: 4468, Signal.METRICS: 2622}


@cache
def recorded(signal: Signal) -> list[bytes]:
    path: Path = EXCERPT / f"{signal}.otlp.zst"
    with path.open("rb") as stream:
        return [request.data for request in frames.read(stream, signal, lambda _, data: data)]


@pytest.mark.parametrize("signal", SIGNALS)
def test_every_column_of_every_request(signal: Signal) -> None:
    total = 0
    for data in recorded(signal):
        scan = wire.scan(signal, data)
        assert_scan(signal, data, REQUESTS[signal].FromString(data), scan)
        total += scan.items
    assert total == COUNTS[signal]


@pytest.mark.parametrize("signal", SIGNALS)
def test_split_over_partitions_and_merged_again(signal: Signal) -> None:
    lanes: dict[int, list[bytes]] = {}
    before: Counter[tuple[bytes, ...]] = Counter()
    for data in recorded(signal):
        scan = wire.scan(signal, data)
        by = wire.partition_by_resource if signal == Signal.METRICS else wire.partition_by_trace
        for partition, piece in wire.split(data, scan, by(scan, 12), 12):
            lanes.setdefault(partition, []).append(piece)
        before.update(content(signal, data))
    after: Counter[tuple[bytes, ...]] = Counter()
    homes: dict[bytes, set[int]] = {}
    for partition, pieces in lanes.items():
        merged = wire.merge(pieces)
        scan = wire.scan(signal, merged)
        for piece in wire.split_by_size(merged, scan, 100_000)[0]:
            assert len(piece) <= 100_000
            after.update(content(signal, piece))
        if signal != Signal.METRICS:
            for item in items(signal, REQUESTS[signal].FromString(merged)):
                homes.setdefault(item.message.trace_id, set()).add(partition)
    assert after == before
    assert all(len(partitions) == 1 for partitions in homes.values())


def test_select_by_columns() -> None:
    """What sampling does: all spans of some traces, whole."""
    data = wire.merge(recorded(Signal.TRACES))
    scan = wire.scan_traces(data)
    mask = scan.trace_id_low % np.uint64(10) == 0
    kept = wire.scan_traces(wire.select(data, scan, mask))
    assert kept.items == int(mask.sum())
    assert set(kept.trace_id_low.tolist()) == set(scan.trace_id_low[mask].tolist())
    services = Counter(scan.service_name(data, r) for r in scan.resource.tolist())
    assert len(services) > 20
    assert "" not in services

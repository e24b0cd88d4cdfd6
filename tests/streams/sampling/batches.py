"""Batches of spans from plain values: what a scan would give, without its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.columns import SPANS
from streams.sampling.columns import SpanFacts, Traces
from streams.wire import SpanScan

LOW56 = (1 << 56) - 1


@dataclass(frozen=True)
class Span:
    """A span as the tables see it."""

    trace: int
    """128 bits."""
    root: bool = False
    start: int = 0
    end: int = 0
    size: int = 100
    error: bool = False
    operation: int = 1
    service: int = 1
    extra: tuple[int, ...] = ()
    matched: int = 0
    randomness: int | None = None
    threshold: int = 0
    valid: bool = True


def scan_of(columns: dict[str, Any], items: int) -> SpanScan:
    """A scan with these columns, the others 0 and every span valid."""
    scan = SpanScan()
    stride = ((items + 7) // 8 | 1) * 8
    scan.items = items
    scan._stride = stride
    scan._longs = np.zeros(SPANS.count[8] * stride, np.uint64)
    scan._ints = np.zeros(SPANS.count[4] * stride, np.int32)
    scan._bytes = np.zeros(SPANS.count[1] * stride, np.bool_)
    scan.column("valid")[:] = True
    for name, values in columns.items():
        scan.column(name)[:] = values
    return scan


def facts_of(scan: SpanScan, fields: int = 0, **columns: Any) -> SpanFacts:
    """Facts with these columns; randomness is that of the ids, all else 0."""

    def column(name: str, dtype: Any) -> NDArray[Any]:
        return np.asarray(columns.get(name, np.zeros(scan.items)), dtype)

    randomness = columns.get("randomness", scan.trace_id_low & np.uint64(LOW56))
    return SpanFacts(
        service=column("service", np.uint64),
        extra=np.asarray(columns.get("extra", np.zeros((fields, scan.items))), np.uint64),
        matched=column("matched", np.uint32),
        randomness=np.asarray(randomness, np.uint64),
        threshold=column("threshold", np.uint64),
    )


def batch(spans: list[Span], fields: int = 0) -> tuple[SpanScan, SpanFacts]:
    """Scan and facts of spans."""
    mask = (1 << 64) - 1
    scan = scan_of(
        {
            "trace_id_high": [s.trace >> 64 for s in spans],
            "trace_id_low": [s.trace & mask for s in spans],
            "parent_span_id": [0 if s.root else 7 for s in spans],
            "start_time": [s.start for s in spans],
            "end_time": [s.end for s in spans],
            "name_hash": [s.operation for s in spans],
            "status": [2 if s.error else 1 for s in spans],
            "frame": [3 for _ in spans],
            "stop": [3 + s.size for s in spans],
            "valid": [s.valid for s in spans],
        },
        len(spans),
    )
    extra = [[s.extra[f] if f < len(s.extra) else 0 for s in spans] for f in range(fields)]
    facts = facts_of(
        scan,
        service=[s.service for s in spans],
        extra=np.array(extra, np.uint64).reshape(fields, len(spans)),
        matched=[s.matched for s in spans],
        randomness=[s.trace & LOW56 if s.randomness is None else s.randomness for s in spans],
        threshold=[s.threshold for s in spans],
    )
    return scan, facts


def rows_of(traces: Traces) -> list[dict[str, Any]]:
    """Traces one by one."""
    columns = {name: column.T.tolist() for name, column in traces._asdict().items()}
    return [
        {name: column[k] for name, column in columns.items()}
        for k in range(len(traces.trace_id_high))
    ]

"""Records of partials from plain values: what `Partials` would say, without telemetry."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas.batches import Batch
from schemas.config.windows import Windows as Settings
from schemas.records.windows import PartialsHeader
from streams.windows.records import (
    Buckets,
    Cells,
    CumulativePoints,
    Groups,
    Partial,
    decode,
    encode,
)
from streams.wire import hash64

__all__ = ["Cell", "Group", "Point", "batch", "partial", "record"]

Bucket = tuple[bool, int]
NAN = math.nan


@dataclass(frozen=True)
class Group:
    """What is aggregated."""

    rule: str
    kind: str = "spans"
    service: str = "cart"
    tenant: str = ""
    metric: str = ""
    unit: str = ""
    attributes: tuple[tuple[str, Any], ...] = ()

    @property
    def text(self) -> bytes:
        """The descriptor."""
        said = {
            "tenant": self.tenant,
            "service": self.service,
            "metric": self.metric,
            "unit": self.unit,
            "kind": self.kind,
            "attributes": dict(self.attributes),
        }
        return json.dumps(said, separators=(",", ":")).encode()

    @property
    def hash(self) -> int:
        return hash64(self.rule.encode() + self.text)


@dataclass(frozen=True)
class _Distribution:
    count: int = 1
    sum: float = 0.0
    min: float = NAN
    max: float = NAN
    zero: int = 0
    scale: int = 3
    bounds: tuple[float, ...] | None = None
    buckets: dict[Bucket, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell(_Distribution):
    """Of a group in a pane."""

    group: Group = field(default_factory=lambda: Group("spans"))
    pane_ms: int = 0
    """Where the pane begins."""
    errors: int = 0
    last: tuple[int, float] | None = None
    exemplar: tuple[float, int, int, int, int] | None = None
    """Value, time, trace id in two halves, span id."""


@dataclass(frozen=True)
class Point(_Distribution):
    """Of a cumulative stream; times in milliseconds."""

    group: Group = field(default_factory=lambda: Group("metrics", "sum"))
    stream: int = 1
    time_ms: int = 0
    start_ms: int = 0


def partial(
    settings: Settings,
    rows: Sequence[Cell | Point] = (),
    *,
    topic: str = "otlp_spans",
    partition: int = 0,
    partitions: int = 1,
    progress_ms: int = 0,
    at_ms: int | None = None,
    now_ms: int | None = None,
    idle: bool = False,
    digests: dict[str, str] | None = None,
    pane_ms: int | None = None,
) -> Partial:
    """A record with these rows; ``digests`` in place of the rules' own."""
    cells = [row for row in rows if isinstance(row, Cell)]
    points = [row for row in rows if isinstance(row, Point)]
    groups = list(dict.fromkeys(row.group for row in [*cells, *points]))
    rules = {rule.name: rule.digest for rule in settings.rules} | (digests or {})
    rules = {group.rule: "gone" for group in groups} | rules
    names = list(rules)
    pane = settings.pane_ms if pane_ms is None else pane_ms
    at = progress_ms if at_ms is None else at_ms
    header = PartialsHeader(
        topic=topic,
        partition=partition,
        partitions=partitions,
        pane_ms=pane,
        progress_ms=progress_ms,
        at_ms=at,
        now_ms=at if now_ms is None else now_ms,
        idle=idle,
        rules=tuple(rules.items()),
        columns=(),
    )
    sets = list(dict.fromkeys(row.bounds for row in [*cells, *points] if row.bounds is not None))
    buckets = [
        (index, negative, count)
        for row in [*cells, *points]
        for (negative, index), count in sorted(row.buckets.items())
        if count
    ]
    stops = np.cumsum([sum(map(bool, r.buckets.values())) for r in [*cells, *points]] or [0])
    texts = [group.text for group in groups]
    return Partial(
        header,
        Groups(
            _i4(names.index(group.rule) for group in groups),
            _u8(group.hash for group in groups),
            _i4(np.cumsum([len(text) for text in texts])),
        ),
        Cells(
            group=_i4(groups.index(cell.group) for cell in cells),
            pane=np.array([cell.pane_ms // pane for cell in cells], np.int64),
            errors=_u8(cell.errors for cell in cells),
            last_time=_u8(cell.last[0] if cell.last else 0 for cell in cells),
            last=_f8(cell.last[1] if cell.last else NAN for cell in cells),
            exemplar_value=_f8(cell.exemplar[0] if cell.exemplar else NAN for cell in cells),
            exemplar_time=_exemplar(cells, 1),
            exemplar_trace_high=_exemplar(cells, 2),
            exemplar_trace_low=_exemplar(cells, 3),
            exemplar_span=_exemplar(cells, 4),
            **_distribution(cells, sets, stops[: len(cells)]),
        ),
        CumulativePoints(
            group=_i4(groups.index(point.group) for point in points),
            stream=_u8(point.stream for point in points),
            time=_u8(point.time_ms * 1_000_000 for point in points),
            start=_u8(point.start_ms * 1_000_000 for point in points),
            **_distribution(points, sets, stops[len(cells) :][: len(points)]),
        ),
        Buckets(
            _i4(index for index, _, _ in buckets),
            np.array([negative for _, negative, _ in buckets], np.uint8),
            _u8(count for _, _, count in buckets),
        ),
        _i4(np.cumsum([len(bounds) for bounds in sets])),
        _f8(bound for bounds in sets for bound in bounds),
        b"".join(texts),
    )


def _distribution(rows: Sequence[_Distribution], sets: list[Any], stops: Any) -> dict[str, Any]:
    return {
        "count": _u8(row.count for row in rows),
        "sum": _f8(row.sum for row in rows),
        "min": _f8(row.min for row in rows),
        "max": _f8(row.max for row in rows),
        "zero": _u8(row.zero for row in rows),
        "scale": _i4(row.scale for row in rows),
        "bounds": _i4(-1 if row.bounds is None else sets.index(row.bounds) for row in rows),
        "buckets_stop": _i4(stops),
    }


def _exemplar(cells: Sequence[Cell], place: int) -> Any:
    return _u8(cell.exemplar[place] if cell.exemplar else 0 for cell in cells)


def _i4(values: Any) -> Any:
    return np.array(list(values), np.int32)


def _u8(values: Any) -> Any:
    return np.array(list(values), np.uint64)


def _f8(values: Any) -> Any:
    return np.array(list(values), np.float64)


def record(settings: Settings, rows: Sequence[Cell | Point] = (), **header: Any) -> bytes:
    """As it lies on the topic; what cannot be read back is no record."""
    value = encode(partial(settings, rows, **header))
    decode(value)
    return value


def batch(value: bytes, offset: int, timestamp_ms: int, partition: int = 0) -> Batch:
    """A message of `windows.partials`."""
    return Batch("windows.partials", partition, offset, timestamp_ms, None, value, ())

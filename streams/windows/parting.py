"""What was gathered as records: one or more for each partition that has some of its groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.records.windows import PartialsHeader
from streams.windows import cells as t
from streams.windows.collecting import collect_buckets
from streams.windows.descriptors import Described
from streams.windows.records import Buckets, Cells, CumulativePoints, Groups, Partial
from streams.windows.tables import Tables

__all__ = ["Part", "empty_part", "parts_of"]

_ROW_BYTES = 200
_BUCKET_BYTES = 13
_BOUND_BYTES = 12
_HEADER_BYTES = 8_000
"""Header and padding of a record with all columns, generously."""

_I4, _U8 = np.int32, np.uint64


class Part(NamedTuple):
    """A record, and where it goes."""

    partition: int
    partial: Partial


@dataclass(slots=True, eq=False)
class _Buckets:
    """Buckets of rows: those of row i end at ``stops[i]``, where those of the next begin."""

    stops: NDArray[np.int64]
    index: NDArray[np.int64]
    negative: NDArray[np.int64]
    count: NDArray[np.uint64]

    def sizes(self) -> NDArray[np.int64]:
        """How many each row has."""
        return np.diff(self.stops, prepend=0)

    def of(self, rows: NDArray[np.int64]) -> _Buckets:
        """Those of some rows, in their order."""
        if not len(rows):
            none = self.stops[:0]
            return _Buckets(none, none, none, self.count[:0])
        sizes = self.sizes()[rows]
        stops = np.cumsum(sizes)
        at = _ranges(self.stops[rows] - sizes, sizes)
        return _Buckets(stops, self.index[at], self.negative[at], self.count[at])


def _ranges(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """All numbers of the ranges that begin at ``starts``, one after the other."""
    before = np.cumsum(sizes) - sizes
    places: NDArray[np.int64] = np.arange(int(sizes.sum())) + np.repeat(starts - before, sizes)
    return places


def empty_part(header: PartialsHeader) -> Partial:
    """A record that only says how far its source is."""
    none: NDArray[Any] = np.zeros(0, _I4)
    return Partial(
        header, Groups(*[none] * 3), Cells(*[none] * 18), CumulativePoints(*[none] * 12),
        Buckets(*[none] * 3), none, none, b"",
    )  # fmt: skip


def parts_of(
    tables: Tables,
    described: Sequence[Described],
    partitions: int,
    header: PartialsHeader,
    record_max: int,
) -> Iterator[Part]:
    """Everything in the tables, partition by partition.

    ``described``: the groups. Their owner modulo ``partitions`` is the partition, so that all of a
    service is in one place. A record is about ``record_max`` bytes at most; a single row that is
    larger is a record of its own.
    """
    cells, points = tables.cells, tables.points
    scales, buckets = _collected(tables)
    raw = tables.point_buckets
    point_buckets = _Buckets(
        points[:, t.P_STOP].copy(), raw[:, 0], raw[:, 1], raw[:, 2].view(np.uint64)
    )
    texts = [each.text for each in described]
    owners = np.array([each.owner for each in described], np.uint64)
    partition = (owners % np.uint64(partitions)).astype(np.int64)
    lengths = np.array([len(text) for text in texts], np.int64)
    limits = np.diff(tables.limits, prepend=0)
    group = np.concatenate((cells[:, t.C_GROUP], points[:, t.P_GROUP]))
    bounds = np.concatenate((cells[:, t.C_BOUNDS], points[:, t.P_BOUNDS]))
    size = _ROW_BYTES + _BUCKET_BYTES * np.concatenate((buckets.sizes(), point_buckets.sizes()))
    size += lengths[group]
    explicit = bounds >= 0
    size[explicit] += _BOUND_BYTES * limits[bounds[explicit]]
    order = np.lexsort((group, partition[group]))  # stable: cells before points, as they came
    place = partition[group][order]
    reached = np.cumsum(size[order])
    start = 0
    most = max(record_max - _HEADER_BYTES, 1)
    while start < len(order):
        before = int(reached[start - 1]) if start else 0
        stop = max(int(np.searchsorted(reached, before + most, side="right")), start + 1)
        stop = min(stop, int(np.searchsorted(place, place[start], side="right")))
        rows = order[start:stop]
        among_cells = rows[rows < len(cells)]
        among_points = rows[rows >= len(cells)] - len(cells)
        yield Part(
            int(place[start]),
            _partial(
                tables, texts, header, among_cells, among_points, scales, buckets.of(among_cells),
                point_buckets.of(among_points),
            ),
        )  # fmt: skip
        start = stop


def _collected(tables: Tables) -> tuple[NDArray[np.int32], _Buckets]:
    """Scale of each cell, and the cells' buckets."""
    cells, total = len(tables.cells), int(tables.control[t.BUCKET_COUNT])
    stops, scales = np.empty(cells, np.int64), np.empty(cells, _I4)
    index, negative = np.empty(total, np.int64), np.empty(total, np.int64)
    count = np.empty(total, _U8)
    made = collect_buckets(
        tables.bucket_pairs, tables.cells[:, t.C_BOUNDS].copy(), np.empty(cells + 1, np.int64),
        np.empty(total, np.int64), np.empty(total, _U8), stops, scales, index, negative, count,
    )  # fmt: skip
    return scales, _Buckets(stops, index[:made], negative[:made], count[:made])


def _partial(
    tables: Tables,
    texts: Sequence[bytes],
    header: PartialsHeader,
    cell_rows: NDArray[np.int64],
    point_rows: NDArray[np.int64],
    scales: NDArray[np.int32],
    cell_buckets: _Buckets,
    point_buckets: _Buckets,
) -> Partial:
    cells, points = tables.cells[cell_rows], tables.points[point_rows]
    groups, cell_group, point_group = _renumbered(cells[:, t.C_GROUP], points[:, t.P_GROUP])
    limits, cell_bounds, point_bounds = _renumbered(cells[:, t.C_BOUNDS], points[:, t.P_BOUNDS])
    if len(limits) and limits[0] < 0:  # no bounds at all stay -1
        limits, cell_bounds, point_bounds = limits[1:], cell_bounds - 1, point_bounds - 1
    held = [texts[row] for row in groups.tolist()]
    rows = tables.groups[groups]
    return Partial(
        header,
        Groups(
            rows[:, t.G_RULE].astype(_I4),
            rows[:, t.G_HASH].view(_U8),
            np.cumsum([len(text) for text in held], dtype=_I4),
        ),
        _cells(cells, cell_group, scales[cell_rows], cell_bounds, cell_buckets),
        _points(points, point_group, point_bounds, point_buckets, len(cell_buckets.count)),
        Buckets(
            np.concatenate((cell_buckets.index, point_buckets.index)).astype(_I4),
            np.concatenate((cell_buckets.negative, point_buckets.negative)).astype(np.uint8),
            np.concatenate((cell_buckets.count, point_buckets.count)),
        ),
        *_limits(tables, limits),
        b"".join(held),
    )


def _limits(
    tables: Tables, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Stops and bounds of some rows of bounds."""
    if not len(rows):
        return np.zeros(0, _I4), tables.bounds[:0]
    sizes = np.diff(tables.limits, prepend=0)[rows]
    bounds = tables.bounds[_ranges(tables.limits[rows] - sizes, sizes)]
    return np.cumsum(sizes).astype(np.int32), bounds


def _renumbered(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """The different numbers in both, and the place of each among them."""
    found, places = np.unique(np.concatenate((first, second)), return_inverse=True)
    narrow: NDArray[np.int32] = places.astype(np.int32)
    return found, narrow[: len(first)], narrow[len(first) :]


def _cells(
    rows: NDArray[np.int64],
    group: NDArray[np.int32],
    scales: NDArray[np.int32],
    bounds: NDArray[np.int32],
    buckets: _Buckets,
) -> Cells:
    longs, doubles = rows.view(_U8), rows.view(np.float64)
    least, most = doubles[:, t.C_MIN], doubles[:, t.C_MAX]
    # As they began: nothing has come that has extremes.
    least = np.where(least == np.inf, np.nan, least)
    most = np.where(most == -np.inf, np.nan, most)
    return Cells(
        group, rows[:, t.C_PANE], longs[:, t.C_ERRORS], longs[:, t.C_LAST_TIME],
        doubles[:, t.C_LAST], doubles[:, t.C_EXEMPLAR], longs[:, t.C_EXEMPLAR_TIME],
        longs[:, t.C_EXEMPLAR_HIGH], longs[:, t.C_EXEMPLAR_LOW], longs[:, t.C_EXEMPLAR_SPAN],
        longs[:, t.C_COUNT], doubles[:, t.C_SUM], least, most, longs[:, t.C_ZERO], scales, bounds,
        buckets.stops.astype(_I4),
    )  # fmt: skip


def _points(
    rows: NDArray[np.int64],
    group: NDArray[np.int32],
    bounds: NDArray[np.int32],
    buckets: _Buckets,
    begin: int,
) -> CumulativePoints:
    longs, doubles = rows.view(_U8), rows.view(np.float64)
    return CumulativePoints(
        group, longs[:, t.P_STREAM], longs[:, t.P_TIME], longs[:, t.P_START],
        longs[:, t.P_COUNT], doubles[:, t.P_SUM], doubles[:, t.P_MIN], doubles[:, t.P_MAX],
        longs[:, t.P_ZERO], rows[:, t.P_SCALE].astype(_I4), bounds,
        (buckets.stops + begin).astype(_I4),
    )  # fmt: skip

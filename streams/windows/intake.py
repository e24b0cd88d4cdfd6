"""From a record of partials to cells and points as the kernels take them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .accumulators import CELL
from .bounds import BoundSets
from .cumulative import Points
from .groups import Groups
from .records import Cells, CumulativePoints, Partial

__all__ = ["Taken", "take"]

_MS = np.uint64(1_000_000)
_ODD, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)
_SHARED = ("count", "sum", "min", "max", "zero", "scale")
_CELLS = (
    *_SHARED, "errors", "last_time", "last", "exemplar_value", "exemplar_time",
    "exemplar_trace_high", "exemplar_trace_low", "exemplar_span",
)  # fmt: skip


class Taken(NamedTuple):
    """What of a record is for us."""

    cells: Points
    points: Points
    ignored: Counter[str]
    """Rows that are not, by reason."""


def take(
    partial: Partial,
    rules: Mapping[tuple[str, str], int],
    fits: Callable[[int, int], bool],
    groups: Groups,
    bounds: BoundSets,
) -> Taken:
    """Find or make the groups of a record, and put its rows in their terms.

    ``rules``: place by name and digest. ``fits(rule, pane_ms)``: whether windows of the rule
    consist of such panes. Raises MalformedRecord, and has changed nothing then.
    """
    header = partial.header
    places = np.array([rules.get(rule, -1) for rule in header.rules], np.int64)
    foreign = places < 0
    astray = np.array(
        [place >= 0 and not fits(place, header.pane_ms) for place in places.tolist()], np.bool_
    )
    stops = partial.groups.text_stop

    def text(i: int) -> bytes:
        return partial.key_text[int(stops[i - 1]) if i else 0 : int(stops[i])]

    own = np.where(astray, -1, places) if len(places) else places
    of_group = partial.groups.rule
    found = groups.place(own[of_group], partial.groups.hash, text)
    numbers, refused = _numbers(partial, bounds)
    ignored: Counter[str] = Counter()
    first = 0
    made: list[Points] = []
    for rows in (partial.cells, partial.points):
        stop = int(rows.buckets_stop[-1]) if len(rows.group) else first
        points = _points(partial, rows, found, numbers, refused, first, stop)
        first = stop
        chosen = points.cells["group"] >= 0
        if not chosen.all():
            rule = of_group[rows.group[~chosen]]
            ignored["rule"] += int(foreign[rule].sum())
            ignored["pane"] += int(astray[rule].sum())
            ignored["overflow"] += int((~foreign[rule] & ~astray[rule]).sum())
            points = points.take(chosen)
        made.append(points)
    return Taken(made[0], _identities(made[1], groups), +ignored)


def _numbers(partial: Partial, bounds: BoundSets) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Our number of each set of bounds in the record, and whether it was refused; last: of none."""
    stops = partial.bounds_stop.tolist()
    numbers = np.full(len(stops) + 1, -1, np.int32)
    refused = np.zeros(len(stops) + 1, np.bool_)
    for i, stop in enumerate(stops):
        start = stops[i - 1] if i else 0
        numbers[i] = bounds.number(np.ascontiguousarray(partial.bound[start:stop]))
        refused[i] = numbers[i] == 0 and stop > start
    return numbers, refused


def _points(
    partial: Partial,
    rows: Cells | CumulativePoints,
    found: NDArray[np.int32],
    numbers: NDArray[np.int32],
    refused: NDArray[np.bool_],
    first: int,
    stop: int,
) -> Points:
    cells = np.zeros(len(rows.group), CELL)
    cells["group"] = found[rows.group] if len(rows.group) else 0
    cells["buckets_stop"] = rows.buckets_stop - first
    cells["bounds"] = numbers[rows.bounds]
    index = partial.buckets.index[first:stop].copy()
    if refused.any():
        sizes = np.diff(np.concatenate(([first], rows.buckets_stop)))
        index[np.repeat(refused[rows.bounds], sizes)] = 0
    columns = (index, partial.buckets.negative[first:stop].copy())
    count = partial.buckets.count[first:stop].copy()
    if isinstance(rows, Cells):
        for name in _CELLS:
            cells[name] = getattr(rows, name)
        cells["time"] = rows.pane * partial.header.pane_ms
        return Points(cells, np.zeros(len(cells), np.uint64), *columns, count)
    for name in _SHARED:
        cells[name] = getattr(rows, name)
    cells["time"] = (rows.time // _MS).astype(np.int64)
    cells["last_time"], cells["exemplar_time"] = rows.time, rows.start
    cells["last"] = cells["exemplar_value"] = np.nan
    return Points(cells, rows.stream.astype(np.uint64), *columns, count)


def _identities(points: Points, groups: Groups) -> Points:
    """A stream is another one in each group: of another rule, tenant or kind."""
    hashes = points.streams
    hashes = (hashes ^ (hashes >> _SHIFT)) * _MIX
    hashes ^= groups.table["key"][points.cells["group"]]
    hashes *= _ODD
    points.streams = hashes ^ (hashes >> _SHIFT)
    return points

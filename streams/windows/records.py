"""The record on ``windows.partials``: as columns, and as bytes (``docs/records.md``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.records import MalformedRecord
from schemas.records.windows import (
    BOUNDS,
    BUCKETS,
    CELLS,
    CUMULATIVE,
    GROUPS,
    KEY_TEXT,
    PartialsHeader,
)
from streams.packing import kind_of, pack, read_table, unpack
from streams.windows.collecting import check_buckets

__all__ = [
    "Buckets", "Cells", "CumulativePoints", "Groups", "Partial", "decode", "encode",
]  # fmt: skip

_MS_MAX = 2**63 - 1


@dataclass(slots=True, eq=False)
class Groups:
    """What is aggregated; one row a group (``schemas.records.windows.GROUPS``)."""

    rule: NDArray[np.int32]
    """Place in the header's ``rules``."""
    hash: NDArray[np.uint64]
    text_stop: NDArray[np.int32]
    """Where its descriptor ends in ``Partial.key_text``."""


@dataclass(slots=True, eq=False)
class Cells:
    """One row for each group, pane and set of bounds (``CELLS``)."""

    group: NDArray[np.int32]
    pane: NDArray[np.int64]
    errors: NDArray[np.uint64]
    last_time: NDArray[np.uint64]
    last: NDArray[np.float64]
    exemplar_value: NDArray[np.float64]
    exemplar_time: NDArray[np.uint64]
    exemplar_trace_high: NDArray[np.uint64]
    exemplar_trace_low: NDArray[np.uint64]
    exemplar_span: NDArray[np.uint64]
    count: NDArray[np.uint64]
    sum: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    zero: NDArray[np.uint64]
    scale: NDArray[np.int32]
    bounds: NDArray[np.int32]
    """Row of ``Partial.bounds_stop``; -1: exponential buckets."""
    buckets_stop: NDArray[np.int32]
    """Row of ``Partial.buckets`` after its last; they begin where those of the row before end."""


@dataclass(slots=True, eq=False)
class CumulativePoints:
    """One row a point (``CUMULATIVE``); the first one's buckets follow those of the last cell."""

    group: NDArray[np.int32]
    stream: NDArray[np.uint64]
    time: NDArray[np.uint64]
    start: NDArray[np.uint64]
    count: NDArray[np.uint64]
    sum: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    zero: NDArray[np.uint64]
    scale: NDArray[np.int32]
    bounds: NDArray[np.int32]
    buckets_stop: NDArray[np.int32]


@dataclass(slots=True, eq=False)
class Buckets:
    """One row a bucket that is not empty: positive ones of a row first, in order of indices."""

    index: NDArray[np.int32]
    negative: NDArray[np.uint8]
    count: NDArray[np.uint64]


@dataclass(slots=True, eq=False)
class Partial:
    """A record. ``decode`` has checked that every place in it is one."""

    header: PartialsHeader
    groups: Groups
    cells: Cells
    points: CumulativePoints
    buckets: Buckets
    bounds_stop: NDArray[np.int32]
    bound: NDArray[np.float64]
    key_text: bytes
    """Descriptors of the groups, JSON, one after the other."""


_TABLES = ((Groups, GROUPS), (Cells, CELLS), (CumulativePoints, CUMULATIVE), (Buckets, BUCKETS))
_COLUMNS = tuple(
    tuple(zip((field.name for field in fields(kind)), (c.name for c in table), strict=True))
    for kind, table in _TABLES
)
"""Of each table the fields, and the columns that they become."""


def encode(partial: Partial) -> bytes:
    """The record's value. Tables without rows are left out."""
    columns: dict[str, NDArray[Any]] = {}
    parts = (partial.groups, partial.cells, partial.points, partial.buckets)
    for part, names in zip(parts, _COLUMNS, strict=True):
        if len(getattr(part, names[0][0])):
            columns |= {column: getattr(part, name) for name, column in names}
    if len(partial.bounds_stop):
        columns[BOUNDS[0][0].name] = partial.bounds_stop
        columns[BOUNDS[1][0].name] = partial.bound
    if partial.key_text:
        columns[KEY_TEXT[0].name] = np.frombuffer(partial.key_text, np.uint8)
    return pack(partial.header, columns)


def decode(value: bytes) -> Partial:
    """What a record says.

    Raises MalformedRecord (NewerVersion) for one that is damaged, of another kind or version, or
    whose columns do not fit together. Descriptors are not looked into.
    """
    kind, text = kind_of(value)
    if kind != "partials":
        raise MalformedRecord(f"a record of kind {kind[:40]!r} among partials")
    header = PartialsHeader.decode(text)
    columns = _NOTHING | unpack(value, text, header.columns)
    tables = [kind(*read_table(columns, table)) for kind, table in _TABLES]
    stops, bound = (read_table(columns, table)[0] for table in BOUNDS)
    texts = read_table(columns, KEY_TEXT)[0].tobytes()
    partial = Partial(header, *tables, stops, bound, texts)  # type: ignore[call-arg, arg-type]
    if wrong := _fault(partial):
        raise MalformedRecord(f"a record of partials with {wrong}")
    return partial


_NOTHING = {
    column.name: np.zeros(0, "<" + column.dtype)
    for table in (GROUPS, CELLS, CUMULATIVE, BUCKETS, *BOUNDS, KEY_TEXT)
    for column in table
}
"""What a record has of tables that were left out."""


def _fault(partial: Partial) -> str | None:
    groups, cells, points, buckets = partial.groups, partial.cells, partial.points, partial.buckets
    limits, bound = partial.bounds_stop, partial.bound
    if not _within(groups.rule, 0, len(partial.header.rules)):
        return "a group of no rule"
    if not _stops(groups.text_stop, len(partial.key_text)):
        return "descriptors that do not end where they should"
    if not _stops(limits, len(bound)) or not _increasing(bound, limits):
        return "bounds that do not increase"
    for part in (cells, points):
        if not _within(part.group, 0, len(groups.hash)):
            return "a row of no group"
        if not _within(part.bounds, -1, len(limits)):
            return "a row of no bounds"
    if not _within(cells.pane, 0, _MS_MAX // partial.header.pane_ms):
        return "a pane that is none"
    stops = np.concatenate((cells.buckets_stop, points.buckets_stop))
    if not _stops(stops, len(buckets.count)):
        return "buckets that do not end where they should"
    at = 0
    for part in (cells, points):
        columns: tuple[NDArray[Any], ...] = (part.buckets_stop, part.scale, part.bounds, limits)
        columns += (buckets.index, buckets.negative, buckets.count)
        if not check_buckets(*map(_read_only, columns), at):
            return "buckets that are none"
        at = int(part.buckets_stop[-1]) if len(part.count) else at
    return None


def _read_only(column: NDArray[Any]) -> NDArray[Any]:
    """A view: for numba one that can be written is of another type, and compiled once more."""
    view = column.view()
    view.flags.writeable = False
    return view


def _within(values: NDArray[Any], least: int, stop: int) -> bool:
    return not len(values) or (int(values.min()) >= least and int(values.max()) < stop)


def _stops(values: NDArray[np.int32], size: int) -> bool:
    """Whether they never go back, and end with ``size``."""
    if not len(values):
        return size == 0
    return (
        int(values[0]) >= 0 and int(values[-1]) == size and bool((values[1:] >= values[:-1]).all())
    )


def _increasing(bound: NDArray[np.float64], stops: Sequence[int] | NDArray[np.int32]) -> bool:
    if not len(bound):
        return True
    first = np.zeros(len(bound) + 1, np.bool_)
    first[0] = True
    first[stops] = True
    rising = np.ones(len(bound), np.bool_)
    rising[1:] = bound[1:] > bound[:-1]
    return bool(np.isfinite(bound).all() and (rising | first[:-1]).all())

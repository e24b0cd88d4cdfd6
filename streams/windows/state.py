"""Everything that ``Windows`` knows, as chunks of bytes; equal states give equal ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.records import MalformedRecord, VersionedRecord
from schemas.records.binary import ColumnPlace
from streams.packing import kind_of, pack, unpack

__all__ = ["Dumped", "dump", "load"]

_ROWS = 50_000
"""Of a table in one chunk."""


class _Head(VersionedRecord):
    schema_version: Literal[1] = 1
    kind: Literal["windows_state"] = "windows_state"
    said: str
    """JSON."""
    sizes: dict[str, int]
    """Rows of each table."""
    columns: tuple[ColumnPlace, ...] = ()


class _Rows(VersionedRecord):
    schema_version: Literal[1] = 1
    kind: Literal["windows_rows"] = "windows_rows"
    table: str
    columns: tuple[ColumnPlace, ...] = ()


class Dumped(NamedTuple):
    """A state."""

    said: dict[str, Any]
    """What JSON can say."""
    tables: Mapping[str, NDArray[Any]]
    """By name; of one dimension, with or without fields."""


def dump(state: Dumped) -> list[bytes]:
    """To chunks."""
    sizes = {name: len(rows) for name, rows in state.tables.items()}
    said = json.dumps(state.said, sort_keys=True, separators=(",", ":"))
    return [pack(_Head(said=said, sizes=sizes), {}), *_chunks(state.tables)]


def _chunks(tables: Mapping[str, NDArray[Any]]) -> Iterator[bytes]:
    for name, rows in tables.items():
        step = _ROWS if rows.dtype.names else 16 * _ROWS
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            columns = {field: part[field] for field in part.dtype.names or ()} or {name: part}
            yield pack(_Rows(table=name), columns)


def load(chunks: Iterable[bytes], dtypes: Mapping[str, Any]) -> Dumped:
    """What ``dump`` gave. Raises MalformedRecord if it is none, or not all of it."""
    parts = iter(chunks)
    kind, text = kind_of(next(parts, b""))
    if kind != "windows_state":
        raise MalformedRecord(f"record of kind {kind[:40]!r} is no state of windows")
    head = _Head.decode(text)
    if head.sizes.keys() != dtypes.keys():
        raise MalformedRecord("a state of windows with other tables")
    tables = {name: np.zeros(size, dtypes[name]) for name, size in head.sizes.items()}
    filled = dict.fromkeys(tables, 0)
    for part in parts:
        kind, text = kind_of(part)
        if kind != "windows_rows":
            raise MalformedRecord(f"record of kind {kind[:40]!r} in a state of windows")
        rows = _Rows.decode(text)
        table = tables.get(rows.table)
        if table is None:
            raise MalformedRecord("a state of windows with a table too many")
        start = filled[rows.table]
        filled[rows.table] += _fill(table, start, rows.table, unpack(part, text, rows.columns))
    if filled != head.sizes:
        raise MalformedRecord("a state of windows of which chunks are missing")
    try:
        said = json.loads(head.said)
    except ValueError as error:
        raise MalformedRecord(f"a state of windows whose head is no JSON: {error}") from None
    return Dumped(said, tables)


def _fill(table: NDArray[Any], start: int, name: str, columns: Mapping[str, NDArray[Any]]) -> int:
    names = table.dtype.names or (name,)
    lengths = {len(columns[each]) if each in columns else -1 for each in names}
    if len(lengths) != 1 or -1 in lengths:
        raise MalformedRecord(f"a state of windows whose table {name} is ragged")
    count = lengths.pop()
    if start + count > len(table):
        raise MalformedRecord(f"a state of windows whose table {name} has rows too many")
    for each in names:
        into = table[each] if table.dtype.names else table
        into[start : start + count] = columns[each]
    return count

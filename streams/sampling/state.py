"""What a decider has learned, as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.records import MalformedRecord, VersionedRecord
from schemas.records.binary import ColumnPlace
from streams.packing import kind_of, pack, unpack

__all__ = ["State", "dump_state", "load_state"]

Tables = Mapping[str, Mapping[str, NDArray[Any]]]
"""Columns by table and name."""


class _Header(VersionedRecord):
    schema_version: Literal[1] = 1
    kind: Literal["sampling_state"] = "sampling_state"
    last_ms: int | None
    memory: dict[str, tuple[float, ...]]
    columns: tuple[ColumnPlace, ...]


class State(NamedTuple):
    """Everything that is learned."""

    last_ms: int | None
    """Time of the last step."""
    memory: Mapping[str, tuple[float, ...]]
    """By policy."""
    tables: Tables
    """As ``KeyTable.dump`` gives them."""


def dump_state(state: State) -> bytes:
    """Equal states give equal bytes."""
    header = _Header(last_ms=state.last_ms, memory=dict(state.memory), columns=())
    columns = {
        f"{table}/{name}": values
        for table, rows in state.tables.items()
        for name, values in rows.items()
    }
    return pack(header, columns)


def load_state(data: bytes) -> State:
    """What ``dump_state`` gave, of whatever settings. Raises MalformedRecord."""
    kind, text = kind_of(data)
    if kind != "sampling_state":
        raise MalformedRecord(f"record of kind {kind[:40]!r} is no sampling state")
    header = _Header.decode(text)
    tables: dict[str, dict[str, NDArray[Any]]] = {}
    for path, values in unpack(data, text, header.columns).items():
        table, _, name = path.rpartition("/")
        tables.setdefault(table, {})[name] = values
    for table, rows in tables.items():
        if "key" not in rows or "seen_ms" not in rows:
            raise MalformedRecord(f"sampling state whose table {table[:100]!r} has no keys")
        if len({len(values) for values in rows.values()}) != 1:
            raise MalformedRecord(f"sampling state whose table {table[:100]!r} is ragged")
        if len(np.unique(rows["key"])) < len(rows["key"]):
            raise MalformedRecord(f"sampling state whose table {table[:100]!r} has a key twice")
    return State(header.last_ms, header.memory, tables)

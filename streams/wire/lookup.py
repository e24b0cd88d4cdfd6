"""Values of chosen attributes, one column a field: of the resource, the scope or the item.

``scan`` has validated every attribute: keys and strings are UTF-8, lengths fit, known fields have
their wire type, nesting is at most 100 levels. So nothing can be wrong here; what is only unusual
is read as protobuf reads it: fields of a KeyValue or AnyValue in any order, a key or value twice
(the last counts), a resource in two pieces (its attributes come one after the other).

OTLP wants keys to be unique. Where one is there twice, the first attribute counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.signals import Signal
from streams.wire import attributes
from streams.wire.attributes import LENGTHS, STARTS, read_fields
from streams.wire.rewrite import check
from streams.wire.scan import Scan
from streams.wire.scratch import scratch
from streams.wire.tree import LOGS, METRICS, TRACES

__all__ = [
    "FIELDS_MAX",
    "SERVICE_NAME",
    "Attribute",
    "ValueKind",
    "Values",
    "lookup",
    "service_hash",
]


class ValueKind(IntEnum):
    """What ``Values.kind`` says."""

    ABSENT = attributes.ABSENT
    STRING = attributes.STRING
    BOOL = attributes.BOOL
    INT = attributes.INT
    DOUBLE = attributes.DOUBLE
    OTHER = attributes.OTHER
    """Bytes, an array, a list of keys and values, or a key without a value."""


class Attribute(NamedTuple):
    """An attribute by where it is and its key."""

    where: Literal["resource", "scope", "span", "record", "point"]
    """``span``, ``record``, ``point``: the item, whose scan it has to be."""
    key: str


SERVICE_NAME = Attribute("resource", "service.name")

FIELDS_MAX = 64
"""Different attributes that one ``lookup`` can read."""


class Values(NamedTuple):
    """Values of attributes; every array has the shape (fields, items)."""

    kind: NDArray[np.int8]
    """``ValueKind``."""
    hash: NDArray[np.uint64]
    """0: absent. Of a string ``hash64`` of its bytes, else of the type and the value."""
    start: NDArray[np.int32]
    """Offset of a string's bytes in the message; 0 for what is no string."""
    stop: NDArray[np.int32]
    """Offset after them."""
    number: NDArray[np.float64]
    """An int, a double, or a bool as 0 or 1; NaN for what is none of these."""

    def text(self, data: bytes, field: int, item: int) -> str:
        """A value for a person to read; '' for what is absent or OTHER."""
        kind, number = int(self.kind[field, item]), float(self.number[field, item])
        if kind == ValueKind.STRING:
            return data[int(self.start[field, item]) : int(self.stop[field, item])].decode()
        if kind == ValueKind.BOOL:
            return "true" if number else "false"
        if kind == ValueKind.INT:
            return str(int(number))
        return repr(number) if kind == ValueKind.DOUBLE else ""


_WHERE = {
    "resource": attributes.RESOURCE,
    "scope": attributes.SCOPE,
    "span": attributes.ITEM,
    "record": attributes.ITEM,
    "point": attributes.ITEM,
}
_ITEMS = {Signal.TRACES: "span", Signal.LOGS: "record", Signal.METRICS: "point"}
_SIGNALS = {Signal.TRACES: TRACES, Signal.LOGS: LOGS, Signal.METRICS: METRICS}
_COLUMNS = (np.int8, np.uint64, np.int32, np.int32, np.float64)


def lookup(data: bytes, scan: Scan, fields: Sequence[Attribute]) -> Values:
    """Values of ``fields`` for every item of ``data``, of which ``scan`` is the scan.

    A resource's and a scope's attributes are read once and stand at each of its items. Never
    raises for what ``scan`` accepted. Raises ValueError for more than FIELDS_MAX different fields
    and for a place other than resource, scope and what the items of the scan are.
    """
    check(data, scan)
    return _values(data, scan, tuple(fields), scan.leaves, scan.resource, scan.scope)


def service_hash(data: bytes, scan: Scan) -> NDArray[np.uint64]:
    """Per resource: ``hash64`` of its ``service.name``; 0 if it has none.

    The same as ``lookup`` of SERVICE_NAME, but per resource and not per span.
    """
    check(data, scan)
    index = np.arange(scan.resources, dtype=np.int32)
    hashes: NDArray[np.uint64] = _values(
        data, scan, (SERVICE_NAME,), scan.leaves[:0], index, index
    ).hash[0]
    return hashes


@lru_cache(maxsize=64)
def _compiled(
    fields: tuple[Attribute, ...], item: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """The keys one after the other, the table that ``field_of_key`` reads, and the places."""
    if len(fields) > FIELDS_MAX:
        raise ValueError(f"{len(fields)} fields in one lookup; at most {FIELDS_MAX}")
    for field in fields:
        if field.where not in ("resource", "scope", item):
            raise ValueError(f"an attribute is of a resource, scope or {item}, not {field.where!r}")
    keys = [field.key.encode() for field in fields]
    table = np.zeros(STARTS + len(fields) + 1, np.int64)
    masks = table.view(np.uint64)
    places = np.array([_WHERE[field.where] for field in fields], np.int64)
    at = 0
    for f, (place, key) in enumerate(zip(places.tolist(), keys, strict=True)):
        masks[place * LENGTHS + min(len(key), LENGTHS - 1)] |= np.uint64(1 << f)
        table[STARTS + f] = at
        at += len(key)
    table[STARTS + len(fields)] = at
    return np.frombuffer(b"".join(keys) + b"\0", np.uint8), table, places


def _values(
    data: bytes,
    scan: Scan,
    fields: tuple[Attribute, ...],
    leaves: NDArray[np.int32],
    resource: NDArray[np.int32],
    scope: NDArray[np.int32],
) -> Values:
    unique = tuple(dict.fromkeys(fields))
    keys, table, places = _compiled(unique, _ITEMS[scan.signal])
    shape = (len(unique), len(resource))
    columns: list[NDArray[Any]] = [np.empty(shape, each) for each in _COLUMNS]
    array = np.frombuffer(data, np.uint8)
    array.flags.writeable = False
    first = scan.level_first
    read_fields(
        *(array, _SIGNALS[scan.signal], scan.nodes, scan.gaps, leaves, first[1], first[2]),
        *(resource, scope),
        *(keys, table, places, scratch.area),
        *columns,
    )
    if len(unique) < len(fields):
        rows = [unique.index(field) for field in fields]
        columns = [column[rows] for column in columns]
    return Values(*columns)

"""Columns behind a JSON header, as bytes; ``schemas.records.binary`` describes the layout."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.records import MalformedRecord, VersionedRecord
from schemas.records.binary import MAGIC, ColumnPlace, Table

__all__ = ["kind_of", "pack", "pad", "read_table", "unpack"]

_HEAD = struct.Struct("<4sIII")
_BODY = 8
"""Where what the checksum covers begins."""
_UNSIGNED = (np.dtype("<u1"), np.dtype("<u2"), np.dtype("<u4"), np.dtype("<u8"))
_SIGNED = (np.dtype("<i1"), np.dtype("<i2"), np.dtype("<i4"), np.dtype("<i8"))
_FLOATS = (np.dtype("<f4"), np.dtype("<f8"))
_LIMITS = {
    dtype: (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) for dtype in _UNSIGNED + _SIGNED
}
_BY_NAME = {dtype.str[1:]: dtype for dtype in (*_UNSIGNED, *_SIGNED, *_FLOATS)}


def pad(size: int) -> int:
    """``size`` up to the next multiple of 8."""
    return -(-size // 8) * 8


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Integers in the narrowest width that holds them; floats as they are."""
    if values.dtype.kind == "f":
        return values
    if not values.size:
        return values.astype(np.uint8)
    least, most = int(values.min()), int(values.max())
    for dtype in _UNSIGNED if least >= 0 else _SIGNED:
        lowest, highest = _LIMITS[dtype]
        if lowest <= least and most <= highest:
            return values.astype(dtype)
    raise AssertionError(f"no width holds {least} to {most}")


def pack(header: VersionedRecord, columns: Mapping[str, NDArray[Any]]) -> bytes:
    """A record. The header's own ``columns`` is replaced by what is packed; equal in, equal out."""
    places, parts = [], []
    for name, values in columns.items():
        stored = _narrow(values)
        data = stored.tobytes()
        places.append(ColumnPlace(name=name, dtype=stored.dtype.str[1:], size=len(data)))
        parts.append(data.ljust(pad(len(data)), b"\0"))
    text = header.model_copy(update={"columns": tuple(places)}).encode()
    # The columns begin at a multiple of 8 of the record, so that they are aligned in memory.
    text = text.ljust(pad(len(text)), b" ")
    rest = struct.pack("<II", len(text), 0) + text + b"".join(parts)
    return struct.pack("<4sI", MAGIC, zlib.crc32(rest)) + rest


def kind_of(data: bytes) -> tuple[str, bytes]:
    """The kind of a record, and its header's JSON. Raises MalformedRecord."""
    if len(data) < _HEAD.size:
        raise MalformedRecord(f"no such record: {len(data)} bytes")
    magic, checksum, size, zero = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise MalformedRecord("no such record: it begins with other bytes")
    if zlib.crc32(memoryview(data)[_BODY:]) != checksum:
        raise MalformedRecord("damaged record: its checksum is another")
    text = data[_HEAD.size : _HEAD.size + size]
    if zero or size % 8 or len(text) < size:
        raise MalformedRecord("no such record: its header's size is wrong")
    try:
        head = json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedRecord("no such record: its header is no JSON") from None
    kind = head.get("kind") if isinstance(head, dict) else None
    if not isinstance(kind, str):
        raise MalformedRecord("no such record: its header says no kind")
    return kind, text


def unpack(data: bytes, text: bytes, places: Sequence[ColumnPlace]) -> dict[str, NDArray[Any]]:
    """The columns that we can read, as views of ``data``. Raises MalformedRecord."""
    found: dict[str, NDArray[Any]] = {}
    at = _HEAD.size + len(text)
    for place in places:
        if at + pad(place.size) > len(data):
            raise MalformedRecord(f"record ends within column {place.name}")
        dtype = _BY_NAME.get(place.dtype)
        if dtype is not None:
            if place.size % dtype.itemsize:
                raise MalformedRecord(f"column {place.name} has {place.size} bytes")
            count = place.size // dtype.itemsize
            found[place.name] = np.frombuffer(data, dtype, count, at)
        at += pad(place.size)
    if at != len(data):
        raise MalformedRecord(f"record has {len(data) - at} bytes too many")
    return found


def read_table(columns: Mapping[str, NDArray[Any]], table: Table) -> list[NDArray[Any]]:
    """The columns of a table in its types, all of one length. Raises MalformedRecord."""
    result: list[NDArray[Any]] = []
    for column in table:
        values = columns.get(column.name)
        if values is None:
            raise MalformedRecord(f"record without column {column.name}")
        wanted = np.dtype("<" + column.dtype)
        if not _fits(values, wanted):
            raise MalformedRecord(f"column {column.name} holds what is no {column.dtype}")
        if result and len(values) != len(result[0]):
            raise MalformedRecord(f"column {column.name} has {len(values)} rows")
        result.append(values.astype(wanted, copy=False))
    return result


def _fits(values: NDArray[Any], wanted: np.dtype[Any]) -> bool:
    """Whether nothing is lost when ``values`` become ``wanted``."""
    if "f" in (values.dtype.kind, wanted.kind):
        return np.can_cast(values.dtype, wanted, "safe")
    limits = np.iinfo(wanted)
    return not values.size or (limits.min <= int(values.min()) and int(values.max()) <= limits.max)

"""Arrays and numbers as chunks of bytes: the same state gives the same bytes.

Each chunk is magic (4 bytes), format version (u16), kind (u16), length (u32) and CRC-32 (u32) of
what follows, all little-endian. The first one holds the numbers and the arrays' lengths as JSON,
then each array has one of its own.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MalformedMessage

__all__ = ["from_chunks", "to_chunks"]

_MAGIC = b"OSTT"
_HEAD = struct.Struct("<4sHHII")


def _chunk(version: int, kind: int, body: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, version, kind, len(body), zlib.crc32(body)) + body


def to_chunks(
    name: str, version: int, numbers: Mapping[str, int], arrays: Mapping[str, NDArray[Any]]
) -> list[bytes]:
    """Chunks of a structure called ``name``; arrays of one dimension."""
    lengths = {key: len(array) for key, array in arrays.items()}
    head = {"name": name, "numbers": dict(numbers), "lengths": lengths}
    text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
    bodies = [np.ascontiguousarray(a, a.dtype.newbyteorder("<")).tobytes() for a in arrays.values()]
    return [_chunk(version, 0, text), *(_chunk(version, 1, body) for body in bodies)]


def _body(chunk: bytes, version: int, kind: int) -> bytes:
    if len(chunk) < _HEAD.size:
        raise MalformedMessage("snapshot chunk without head", len(chunk))
    magic, found, kind_found, size, checksum = _HEAD.unpack_from(chunk)
    body = chunk[_HEAD.size :]
    if magic != _MAGIC or kind_found != kind:
        raise MalformedMessage("no snapshot chunk of this kind")
    if found != version:
        raise MalformedMessage(f"snapshot of format {found}, not {version}", 4)
    if len(body) != size or zlib.crc32(body) != checksum:
        raise MalformedMessage("damaged snapshot chunk", _HEAD.size)
    return body


def from_chunks(
    chunks: Iterable[bytes], name: str, version: int, dtypes: Mapping[str, Any]
) -> tuple[dict[str, int], dict[str, NDArray[Any]]]:
    """Numbers and arrays of ``to_chunks``. Raises MalformedMessage if they are not of ``name``.

    ``dtypes`` are the arrays' names and types in the order in which they were given.
    """
    parts = list(chunks)
    if not parts:
        raise MalformedMessage("snapshot without chunks")
    try:
        head = json.loads(_body(parts[0], version, 0))
        numbers = {str(key): int(value) for key, value in head["numbers"].items()}
        lengths = {str(key): int(value) for key, value in head["lengths"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedMessage(f"snapshot with a strange head: {error}", _HEAD.size) from None
    if head.get("name") != name or lengths.keys() != dtypes.keys():
        raise MalformedMessage(f"no snapshot of {name}", _HEAD.size)
    if len(parts) != 1 + len(dtypes):
        raise MalformedMessage(f"snapshot of {name} has {len(parts)} chunks")
    arrays = {}
    for (key, dtype), chunk in zip(dtypes.items(), parts[1:], strict=True):
        little = np.dtype(dtype).newbyteorder("<")
        body = _body(chunk, version, 1)
        if len(body) != lengths[key] * little.itemsize:
            raise MalformedMessage(f"snapshot of {name}: {key} has {len(body)} bytes")
        arrays[key] = np.frombuffer(body, little).astype(dtype)
    return numbers, arrays

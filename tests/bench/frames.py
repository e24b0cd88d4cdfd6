"""Files of requests: frames of a 4-byte big-endian length and the message."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

_LENGTH = struct.Struct(">I")


def write_frames(path: Path, messages: Iterable[bytes]) -> None:
    """Write messages, uncompressed."""
    with path.open("wb") as file:
        for message in messages:
            file.write(_LENGTH.pack(len(message)) + message)


def read_frames(path: Path) -> list[bytes]:
    """Read every message of a file."""
    data, messages, position = path.read_bytes(), [], 0
    while position < len(data):
        (length,) = _LENGTH.unpack_from(data, position)
        position += 4
        messages.append(data[position : position + length])
        position += length
    return messages

"""Protobuf written backwards: what a length says is known when it is written; compiled.

Everything takes the place before which it writes and gives the place where that begins. A message
is written from its last field to its first, then its length and its tag.
"""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner

__all__ = ["put_bytes", "put_close", "put_double", "put_fixed64", "put_varint", "put_zigzag"]

_BYTE = np.uint64(0xFF)
_LOW = np.uint64(0x7F)
_MORE = np.uint64(0x80)


@inner
def put_varint(buffer, at, value):
    """A uint64."""
    size = 1
    rest = value >> np.uint64(7)
    while rest != np.uint64(0):
        size += 1
        rest >>= np.uint64(7)
    at -= size
    for i in range(size - 1):
        buffer[at + i] = np.uint8((value & _LOW) | _MORE)
        value >>= np.uint64(7)
    buffer[at + size - 1] = np.uint8(value)
    return at


@inner
def put_zigzag(buffer, at, value):
    """A sint32, as int64."""
    folded = 2 * value if value >= 0 else -2 * value - 1
    return put_varint(buffer, at, np.uint64(folded))


@inner
def put_word(buffer, at, value):
    """Eight bytes without a tag."""
    at -= 8
    for i in range(8):
        buffer[at + i] = np.uint8((value >> np.uint64(8 * i)) & _BYTE)
    return at


@inner
def put_fixed64(buffer, at, tag, value):
    """A field of type fixed64; ``value`` is a uint64."""
    at = put_word(buffer, at, value) - 1
    buffer[at] = tag
    return at


@inner
def put_double(buffer, at, tag, value, scratch):
    """A field of type double. ``scratch`` are one double and, as its view, its bits."""
    scratch[0][0] = value
    return put_fixed64(buffer, at, tag, scratch[1][0])


@inner
def put_bytes(buffer, at, source, start, size):
    """Bytes as they are."""
    at -= size
    buffer[at : at + size] = source[start : start + size]
    return at


@inner
def put_close(buffer, at, end, tag):
    """Length and tag of a message that was written from ``end`` down to ``at``."""
    at = put_varint(buffer, at, np.uint64(end - at)) - 1
    buffer[at] = tag
    return at

"""UTF-8 validation and hashing, eight bytes and more at a time."""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner, kernel
from streams.wire.memory import address_of, high_bits64, load_u8, load_u64, mix

__all__ = ["hash64", "hash_bytes", "is_ascii", "utf8_error"]

_HIGH = np.uint64(0x8080808080808080)
_NONE = np.uint64(0)
_SEED = np.uint64(0x9E3779B97F4A7C15)
_LANE = np.uint64(0xD1342543DE82EF95)
_LENGTH = np.uint64(0xA0761D6478BD642F)


@inner
def is_ascii(a, p, end):
    """Whether every byte of ``[p, end)`` is below 0x80."""
    size = end - p
    if size <= 0:
        return True
    if end >= 64:  # the bytes before ``p`` are data too: one step for nearly all strings
        bits = high_bits64(a, end - 64)
        if size <= 64:
            return (bits >> np.uint64(64 - size)) == _NONE
        while p + 64 < end:
            bits |= high_bits64(a, p)
            p += 64
        return bits == _NONE
    while p + 8 <= end:
        if (load_u64(a, p) & _HIGH) != _NONE:
            return False
        p += 8
    while p < end:
        if load_u8(a, p) >= 0x80:
            return False
        p += 1
    return True


@inner
def utf8_error(a, p, end):
    """Offset of the first sequence that is not UTF-8 (RFC 3629), or -1."""
    if is_ascii(a, p, end):
        return -1
    while p < end:
        while p + 8 <= end and (load_u64(a, p) & _HIGH) == _NONE:
            p += 8
        if p >= end:
            break
        lead = load_u8(a, p)
        if lead < 0x80:
            p += 1
            continue
        if lead < 0xC2 or lead > 0xF4:
            return p
        size = 2 + (lead >= 0xE0) + (lead >= 0xF0)
        if p + size > end:
            return p
        second = load_u8(a, p + 1)
        low = 0x80
        high = 0xBF
        if lead == 0xE0:
            low = 0xA0  # shorter forms exist below
        elif lead == 0xED:
            high = 0x9F  # surrogates above
        elif lead == 0xF0:
            low = 0x90
        elif lead == 0xF4:
            high = 0x8F  # U+10FFFF is the last
        if second < low or second > high:
            return p
        for k in range(2, size):
            if (load_u8(a, p + k) & 0xC0) != 0x80:
                return p
        p += size
    return -1


@inner
def hash_bytes(a, p, end):
    """64-bit hash of ``[p, end)``; stable across processes and versions, not keyed."""
    size = end - p
    h = mix(_SEED ^ np.uint64(size), _LENGTH)
    while p + 8 <= end:
        h = mix(h ^ load_u64(a, p), _LANE)
        p += 8
    left = end - p
    if left > 0:
        word = _NONE
        if end >= 8:
            word = load_u64(a, end - 8) >> np.uint64(64 - 8 * left)
        else:
            for k in range(left):
                word |= np.uint64(load_u8(a, p + k)) << np.uint64(8 * k)
        h = mix(h ^ word, _LANE)
    return mix(h ^ _LENGTH, _SEED)


@kernel
def hash_array(data):
    """``hash_bytes`` of a whole array."""
    return hash_bytes(address_of(data), np.int64(0), np.int64(data.size))


def hash64(data: bytes) -> int:
    """64-bit hash of bytes: what ``name_hash``, ``service_hash`` and ``lookup`` give for a text.

    Stable across processes and versions, not keyed: who chooses texts can make two collide.
    """
    array = np.frombuffer(data, np.uint8)
    array.flags.writeable = False  # for numba another type, and another compilation
    return int(hash_array(array))

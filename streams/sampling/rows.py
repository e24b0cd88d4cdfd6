"""Rows of fixed size found by trace id: linear hashing with chains, all in reserved memory.

A row begins with the trace id and the row number of the next in its chain. There is a chain for
each row in use; when a row more is needed, one chain is split into two, so that the index grows
with the rows, 4 bytes each, and never at once. Rows that are freed are used again first; when
none is left, the memory goes back to the system.

Numbers of rows are kept plus one, so that 0 means none. What kernels need to know is in
``state``, an array of int64 at a fixed address, in the slots named here; its owner has those
from ``OWN``.
"""

from __future__ import annotations

import numpy as np

from streams.sampling.memory import Region, store_u32, store_u64
from streams.wire.compiling import inner
from streams.wire.memory import load_i64, load_u32, load_u64, mix, store_i64

__all__ = [
    "COUNT",
    "LINK",
    "OWN",
    "SEED",
    "Rows",
    "find",
    "hash_id",
    "head_of",
    "insert",
    "remove",
    "row_at",
]

COUNT, SEED, _USED, _FREE, _BUCKETS, _LEVEL, _ROWS, _HEADS, _STRIDE, _ROOM = range(10)
OWN = 16
"""First slot of ``state`` that is the owner's."""
_SLOTS = 64

_HIGH, _LOW, LINK = 0, 8, 16
"""Offsets in a row, bytes."""

ROWS_MAX = 1 << 30
_BUCKETS_MIN = 1 << 10
_SPARE = 1 << 16
"""Rows beyond the capacity: a batch is taken whole before the table is made smaller."""

_K0, _K1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_K2, _K3 = np.uint64(0xA0761D6478BD642F), np.uint64(0xE7037ED1A0B428DB)


@inner
def hash_id(seed, high, low):
    """64 bits of a trace id that depend on all of its bits."""
    return mix(mix(low ^ np.uint64(seed) ^ _K0, high ^ _K1) ^ _K2, _K3)


@inner
def row_at(state, row):
    """Address of a row."""
    return load_i64(state, _ROWS) + row * load_i64(state, _STRIDE)


@inner
def head_of(state, hashed):
    """Address of the chain that a hash belongs to."""
    level = load_i64(state, _LEVEL)
    bucket = np.int64(hashed & np.uint64(2 * level - 1))
    if bucket >= load_i64(state, _BUCKETS):
        bucket &= level - 1
    return load_i64(state, _HEADS) + 4 * bucket


@inner
def find(state, hashed, high, low):
    """Row number of a trace, -1: there is none."""
    link = load_u32(head_of(state, hashed), 0)
    while link != 0:
        at = row_at(state, link - 1)
        if load_u64(at, _LOW) == low and load_u64(at, _HIGH) == high:
            return link - 1
        link = load_u32(at, LINK)
    return np.int64(-1)


@inner
def _split(state):
    """Give the next chain's rows to it and to a new one."""
    buckets, level = load_i64(state, _BUCKETS), load_i64(state, _LEVEL)
    heads, seed = load_i64(state, _HEADS), load_i64(state, SEED)
    old = buckets - level
    link = load_u32(heads, 4 * old)
    stay, move = np.int64(0), np.int64(0)
    while link != 0:
        at = row_at(state, link - 1)
        following = load_u32(at, LINK)
        hashed = hash_id(seed, load_u64(at, _HIGH), load_u64(at, _LOW))
        if hashed & np.uint64(level):
            store_u32(at, LINK, move)
            move = link
        else:
            store_u32(at, LINK, stay)
            stay = link
        link = following
    store_u32(heads, 4 * old, stay)
    store_u32(heads, 4 * buckets, move)
    store_i64(state, _BUCKETS, buckets + 1)
    if buckets + 1 == 2 * level:
        store_i64(state, _LEVEL, 2 * level)


@inner
def insert(state, hashed, high, low):
    """A row for a trace that has none; beyond the id its bytes are undefined.

    The caller has made room with ``Rows.reserve``.
    """
    free = load_i64(state, _FREE)
    if free != 0:
        row = free - 1
        store_i64(state, _FREE, load_u32(row_at(state, row), LINK))
    else:
        row = load_i64(state, _USED)
        store_i64(state, _USED, row + 1)
    at = row_at(state, row)
    store_u64(at, _HIGH, high)
    store_u64(at, _LOW, low)
    head = head_of(state, hashed)
    store_u32(at, LINK, load_u32(head, 0))
    store_u32(head, 0, row + 1)
    count = load_i64(state, COUNT) + 1
    store_i64(state, COUNT, count)
    if count > load_i64(state, _BUCKETS):
        _split(state)
    return row


@inner
def remove(state, row):
    """Take a row out of its chain and free it; all but its link stays until it is used again."""
    at = row_at(state, row)
    hashed = hash_id(load_i64(state, SEED), load_u64(at, _HIGH), load_u64(at, _LOW))
    place = head_of(state, hashed)
    while load_u32(place, 0) != row + 1:
        place = row_at(state, load_u32(place, 0) - 1) + LINK
    store_u32(place, 0, load_u32(at, LINK))
    store_u32(at, LINK, load_i64(state, _FREE))
    store_i64(state, _FREE, row + 1)
    store_i64(state, COUNT, load_i64(state, COUNT) - 1)


class Rows:
    """Memory of rows, their index and the ``state`` of both; kernels do the rest.

    Args:
        capacity: rows that are expected at most; more are held at the price of a copy.
        width_bytes: of a row, a multiple of 8.
        seed: of the hash that places rows in the index; nothing else depends on it.
    """

    def __init__(self, capacity: int, width_bytes: int, seed: int) -> None:
        if not 0 < capacity <= ROWS_MAX:
            raise ValueError(f"capacity must be in 1 to {ROWS_MAX:,}, not {capacity:,}")
        self.width_bytes = width_bytes
        self.state = np.zeros(_SLOTS, np.int64)
        self.address = self.state.ctypes.data
        self.state[_STRIDE] = width_bytes
        self.state[SEED] = np.uint64(seed & (1 << 64) - 1).astype(np.int64)
        self._map(capacity + _SPARE)
        self._clear()

    def __len__(self) -> int:
        return int(self.state[COUNT])

    @property
    def room(self) -> int:
        """Rows that there is address space for."""
        return int(self.state[_ROOM])

    def _map(self, room: int) -> None:
        self._rows = Region(room * self.width_bytes)
        self._heads = Region(max(room, _BUCKETS_MIN) * 4)
        self.state[[_ROWS, _HEADS, _ROOM]] = self._rows.address, self._heads.address, room

    def _clear(self) -> None:
        self._heads.bytes[: 4 * _BUCKETS_MIN] = 0
        self.state[[COUNT, _USED, _FREE]] = 0
        self.state[[_BUCKETS, _LEVEL]] = _BUCKETS_MIN

    def reserve(self, more: int) -> None:
        """Room for ``more`` rows: address space as a rule, a copy beyond the capacity."""
        room = self.room
        if len(self) + more <= room:
            return
        rows, heads = self._rows.bytes, self._heads.bytes
        used, buckets = int(self.state[_USED]), int(self.state[_BUCKETS])
        self._map(max(2 * room, len(self) + more))
        self._rows.bytes[: used * self.width_bytes] = rows[: used * self.width_bytes]
        self._heads.bytes[: 4 * buckets] = heads[: 4 * buckets]

    def release(self) -> None:
        """Give memory back to the system if no row is in use."""
        if not len(self) and self.touched_bytes > 1 << 20:
            self._rows.release()
            self._heads.release()
            self._clear()

    @property
    def touched_bytes(self) -> int:
        """Of rows and index, written to since memory was last given back."""
        return int(self.state[_USED]) * self.width_bytes + 4 * int(self.state[_BUCKETS])

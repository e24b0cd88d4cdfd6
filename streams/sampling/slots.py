"""Slots of 64-bit hashes in a table with open addressing; 0 is no hash and marks a free slot."""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner, kernel
from streams.wire.memory import load_u64

__all__ = ["find_slot", "slot_of", "table_size"]

_SPREAD = np.uint64(0x9E3779B97F4A7C15)


def table_size(most: int) -> int:
    """Slots for ``most`` hashes: a power of two, at least half of them free."""
    return 1 << (2 * most - 1).bit_length()


@inner
def slot_of(keys, mask, hashed):
    """Slot of a hash, or the free one where it would go. ``keys``: address of the table."""
    slot = np.int64((hashed * _SPREAD) >> np.uint64(32)) & mask
    while True:
        key = load_u64(keys, 8 * slot)
        if key == hashed or key == np.uint64(0):
            return slot
        slot = (slot + 1) & mask


@kernel
def find_slot(keys, mask, hashed):
    """``slot_of`` for one hash, a numpy uint64."""
    return slot_of(keys, mask, hashed)

"""A cuckoo filter in its tightest form: fingerprints of 15 bits, each in one of four places.

The four places of a fingerprint f that is in place i are i, i^a, i^b and i^a^b, where a and b
depend on f alone: from any of them the others follow, so that a fingerprint can be moved when
its trace is long forgotten (Fan et al., "Cuckoo Filter: Practically Better Than Bloom", 2014,
with the four candidates of Wang et al., "Vacuum Filters", 2019). Two are in one cache line.

A filter that is ``FULL`` takes 15 / 0.9375 = 16 bits a trace. A trace that is not in it is found
by mistake with a probability of 4 * 0.9375 / 32767 = 0.0114 %.
"""

from __future__ import annotations

import numpy as np

from streams.sampling.memory import prefetch, store_u32
from streams.sampling.rows import hash_id
from streams.wire.compiling import inner, kernel
from streams.wire.memory import load_i64, load_u32, store_i64

__all__ = [
    "FULL",
    "GENERATIONS",
    "GENERATIONS_MAX",
    "GENERATION_SLOTS",
    "SEED",
    "add_to_newest",
    "contains",
    "fetch_any",
    "in_any",
    "size_bytes",
]

FULL = 15 / 16
"""Share of places that are taken when a filter is full; above 0.97 it begins to fail."""

SEED = 0x6F746C70
"""Of the hash; part of what snapshots mean."""

GENERATIONS = 0
"""Slot of the state with the number of filters."""
GENERATIONS_MAX = 8
_FIRST = 1
_ADDRESS, _MASK, _TAKEN, _FULL_AT = range(4)
GENERATION_SLOTS = 4
"""Slots of the state for a filter, the newest first: address, places - 1, taken, full at."""

_MOVES_MAX = 500
_BITS = 15
_FINGERPRINT = (1 << _BITS) - 1
_LINE = 32
_FAR = 0x5BD1E995


def size_bytes(places: int) -> int:
    """Bytes of a filter; a load of four bytes at its last place stays inside."""
    return places * _BITS // 8 + 4


@inner
def _get(base, place):
    bit = place * _BITS
    return (load_u32(base, bit >> 3) >> (bit & 7)) & _FINGERPRINT


@inner
def _put(base, place, fingerprint):
    bit = place * _BITS
    shift = bit & 7
    word = load_u32(base, bit >> 3) & ~(_FINGERPRINT << shift)
    store_u32(base, bit >> 3, word | (fingerprint << shift))


@inner
def _near(fingerprint):
    """Distance of the other place in the line."""
    return 1 + fingerprint % (_LINE - 1)


@inner
def _distant(fingerprint, mask):
    """Distance of the other line."""
    spread = (fingerprint * _FAR) >> 3
    return ((spread ^ (spread >> 15)) & (mask & ~(_LINE - 1))) | _LINE


@inner
def _fingerprint(hashed):
    return 1 + np.int64(hashed >> np.uint64(40)) % _FINGERPRINT


@inner
def _is_in(base, mask, hashed):
    fingerprint = _fingerprint(hashed)
    place = np.int64(hashed & np.uint64(0xFFFFFFFF)) & mask
    a, b = _near(fingerprint), _distant(fingerprint, mask)
    return (
        _get(base, place) == fingerprint
        or _get(base, place ^ a) == fingerprint
        or _get(base, place ^ b) == fingerprint
        or _get(base, place ^ a ^ b) == fingerprint
    )


@inner
def _generation(state, number):
    return state + 8 * (_FIRST + number * GENERATION_SLOTS)


@inner
def in_any(state, high, low):
    """Whether a trace is in one of the filters."""
    count = load_i64(state, GENERATIONS)
    if count == 0:
        return False
    hashed = hash_id(SEED, high, low)
    for number in range(count):
        filter_at = _generation(state, number)
        if _is_in(load_i64(filter_at, _ADDRESS), load_i64(filter_at, _MASK), hashed):
            return True
    return False


@inner
def fetch_any(state, high, low):
    """What ``in_any`` will look at is on its way to the cache."""
    hashed = hash_id(SEED, high, low)
    fingerprint = _fingerprint(hashed)
    for number in range(load_i64(state, GENERATIONS)):
        filter_at = _generation(state, number)
        base, mask = load_i64(filter_at, _ADDRESS), load_i64(filter_at, _MASK)
        place = np.int64(hashed & np.uint64(0xFFFFFFFF)) & mask
        prefetch(base + (place * _BITS >> 3))
        prefetch(base + ((place ^ _distant(fingerprint, mask)) * _BITS >> 3))


@inner
def _free_place(base, place, a, b):
    """One of the four places that is free, -1: none is."""
    for candidate in (place, place ^ a, place ^ b, place ^ a ^ b):
        if _get(base, candidate) == 0:
            return candidate
    return np.int64(-1)


@inner
def _insert(base, mask, hashed, moved, were):
    """Place a fingerprint, moving others; False, and all as it was, if there is no place."""
    fingerprint = _fingerprint(hashed)
    place = np.int64(hashed & np.uint64(0xFFFFFFFF)) & mask
    walk = hashed
    for move in range(_MOVES_MAX):
        a, b = _near(fingerprint), _distant(fingerprint, mask)
        free = _free_place(base, place, a, b)
        if free >= 0:
            _put(base, free, fingerprint)
            return True
        # Who goes is chosen by numbers that follow from the hash: equal state, equal outcome.
        walk = walk * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        choice = np.int64(walk >> np.uint64(33))
        # Not back to where it was taken from, which is ``place`` itself after the first move.
        which = choice % 4 if move == 0 else 1 + choice % 3
        if which & 1:
            place ^= a
        if which & 2:
            place ^= b
        moved[move] = place
        were[move] = _get(base, place)
        _put(base, place, fingerprint)
        fingerprint = were[move]
    for move in range(_MOVES_MAX - 1, -1, -1):
        _put(base, moved[move], were[move])
    return False


@kernel
def add_to_newest(state, high, low, start):
    """Add traces from ``start`` on to the newest filter; the first that found no place.

    Traces that are in it already, or whose fingerprint is, take no second place.
    """
    at = _generation(state, 0)
    base, mask = load_i64(at, _ADDRESS), load_i64(at, _MASK)
    taken, full_at = load_i64(at, _TAKEN), load_i64(at, _FULL_AT)
    moved = np.empty(_MOVES_MAX, np.int64)
    were = np.empty(_MOVES_MAX, np.int64)
    i = start
    while i < len(high):
        hashed = hash_id(SEED, high[i], low[i])
        if not _is_in(base, mask, hashed):
            if taken >= full_at or not _insert(base, mask, hashed, moved, were):
                break
            taken += 1
        i += 1
    store_i64(at, _TAKEN, taken)
    return i


@kernel
def contains(state, high, low, found):
    """Which traces are in one of the filters."""
    for i in range(len(high)):
        found[i] = in_any(state, high[i], low[i])

"""Tables of what is gathered, by address: cells by group and pane, their buckets, points, bounds.

One array of int64, ``control``, holds counts, limits and the addresses of the tables, so that a
kernel needs no more than that; ``streams.windows.tables`` owns the memory. All tables with keys
are open addressing: pairs of key and number, key 0 is free, at least half of the pairs are free.
"""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner, kernel
from streams.wire.memory import address_of, load_f64, load_i64, load_u64, mix, store_f64, store_i64

__all__ = ["CELL_WORDS", "CONTROL_WORDS", "GROUP_WORDS", "POINT_WORDS", "move_pairs"]

# Control: of each table the address of its rows, their room and count; of its pairs, and its mask.
CELLS, CELL_ROOM, CELL_COUNT, CELL_PAIRS, CELL_MASK = range(5)
GROUPS, GROUP_ROOM, GROUP_COUNT, GROUP_PAIRS, GROUP_MASK = range(5, 10)
BUCKET_PAIRS, BUCKET_MASK, BUCKET_COUNT = range(10, 13)
POINTS, POINT_ROOM, POINT_COUNT = range(13, 16)
POINT_BUCKETS, POINT_BUCKET_ROOM, POINT_BUCKET_COUNT = range(16, 19)
LIMITS, LIMIT_ROOM, LIMIT_COUNT, LIMIT_PAIRS, LIMIT_MASK = range(19, 24)  # ends of bounds
BOUNDS, BOUND_ROOM, BOUND_COUNT = range(24, 27)
# Control: time.
PROGRESS, STAMP, AHEAD_LIMIT, PANE_MS = range(27, 31)
# Control: where a double becomes bits.
BITS = 31
# Control: items that were not aggregated, by reason; then items of each rule.
TIMELESS, AHEAD, NO_TEMPORALITY, TOO_MANY_BUCKETS = range(32, 36)
FAULTS = 36  # by bit of PointFault, of which there are less than 8
NEGATIVE = 44
NO_DURATION = 45
RULE_ITEMS = 46
RULES_MAX = 64
CONTROL_WORDS = RULE_ITEMS + RULES_MAX

# Words of a cell. From C_SUM on they are doubles.
C_GROUP, C_PANE, C_COUNT, C_ERRORS, C_ZERO, C_LAST_TIME = range(6)
C_EXEMPLAR_TIME, C_EXEMPLAR_HIGH, C_EXEMPLAR_LOW, C_EXEMPLAR_SPAN, C_BOUNDS = range(6, 11)
C_SUM, C_MIN, C_MAX, C_LAST, C_EXEMPLAR = range(11, 16)
CELL_WORDS = 16
# Words of a group.
G_HASH, G_RULE, G_ITEM, G_KIND = range(4)
GROUP_WORDS = 4
# Words of a cumulative point.
P_GROUP, P_STREAM, P_TIME, P_START, P_COUNT, P_ZERO, P_SCALE, P_BOUNDS, P_STOP = range(9)
P_SUM, P_MIN, P_MAX = range(9, 12)
POINT_WORDS = 12

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_CELL = np.uint64(0xBF58476D1CE4E5B9)
_ROW = np.uint64(0x94D049BB133111EB)
_NONE = np.uint64(0)
_ONE = np.uint64(1)
# A bucket's key: cell + 1, whether negative, how much coarser than SCALE_MAX, index.
KEY_CELL, KEY_NEGATIVE, KEY_COARSER, KEY_INDEX = 20, 19, 15, 1 << 14


@inner
def slot_of(pairs, mask, key):
    """Where a key is, or the free pair where it would go."""
    slot = np.int64((key * _SPREAD) >> np.uint64(32)) & mask
    while True:
        found = load_u64(pairs, 16 * slot)
        if found == key or found == _NONE:
            return slot
        slot = (slot + 1) & mask


@kernel
def move_pairs(old, new):
    """Enter all pairs of a table into a larger one."""
    pairs = address_of(new)
    mask = np.int64(len(new) - 1)
    for i in range(len(old)):
        if old[i, 0] != _NONE:
            slot = slot_of(pairs, mask, old[i, 0])
            new[slot, 0] = old[i, 0]
            new[slot, 1] = old[i, 1]


@inner
def put_pair(pairs, slot, key, number):
    """Fill a pair."""
    store_i64(pairs, 2 * slot, np.int64(key))
    store_i64(pairs, 2 * slot + 1, number)


@inner
def group_of(c, group, rule, kind, item):
    """Row of a group; a new one remembers the item that it was found by."""
    pairs = load_i64(c, GROUP_PAIRS)
    slot = slot_of(pairs, load_i64(c, GROUP_MASK), group)
    if load_u64(pairs, 16 * slot) == group:
        return load_i64(pairs, 2 * slot + 1)
    row = load_i64(c, GROUP_COUNT)
    store_i64(c, GROUP_COUNT, row + 1)
    put_pair(pairs, slot, group, row)
    at = load_i64(c, GROUPS) + 8 * GROUP_WORDS * row
    store_i64(at, G_HASH, np.int64(group))
    store_i64(at, G_RULE, rule)
    store_i64(at, G_ITEM, item)
    store_i64(at, G_KIND, kind)
    return row


@inner
def cell_of(c, group, rule, kind, item, pane, bounds):
    """Address of the cell of a group, pane and row of bounds (-1: none)."""
    key = mix(group ^ (np.uint64(pane) * _CELL), _ROW) ^ (np.uint64(bounds + 1) * _CELL)
    if key == _NONE:
        key = _ONE
    pairs = load_i64(c, CELL_PAIRS)
    slot = slot_of(pairs, load_i64(c, CELL_MASK), key)
    if load_u64(pairs, 16 * slot) == key:
        return load_i64(c, CELLS) + 8 * CELL_WORDS * load_i64(pairs, 2 * slot + 1)
    row = load_i64(c, CELL_COUNT)
    store_i64(c, CELL_COUNT, row + 1)
    put_pair(pairs, slot, key, row)
    at = load_i64(c, CELLS) + 8 * CELL_WORDS * row
    store_i64(at, C_GROUP, group_of(c, group, rule, kind, item))
    store_i64(at, C_PANE, pane)
    for word in range(C_COUNT, C_BOUNDS):
        store_i64(at, word, 0)
    store_i64(at, C_BOUNDS, bounds)
    store_f64(at, C_SUM, 0.0)
    store_f64(at, C_MIN, np.inf)
    store_f64(at, C_MAX, -np.inf)
    store_f64(at, C_LAST, np.nan)
    store_f64(at, C_EXEMPLAR, np.nan)
    return at


@inner
def row_of(c, cell):
    """Row of a cell by its address."""
    return (cell - load_i64(c, CELLS)) // (8 * CELL_WORDS)


@inner
def add_to(address, word, count):
    """Add to a word."""
    store_i64(address, word, load_i64(address, word) + count)


@inner
def add_bucket(c, cell, negative, coarser, index, count):
    """Count values in a bucket of the cell in row ``cell``."""
    key = np.uint64(
        ((cell + 1) << KEY_CELL)
        | (negative << KEY_NEGATIVE)
        | (coarser << KEY_COARSER)
        | (index + KEY_INDEX)
    )
    pairs = load_i64(c, BUCKET_PAIRS)
    slot = slot_of(pairs, load_i64(c, BUCKET_MASK), key)
    if load_u64(pairs, 16 * slot) == key:
        add_to(pairs, 2 * slot + 1, count)
    else:
        put_pair(pairs, slot, key, count)
        add_to(c, BUCKET_COUNT, 1)


@inner
def bits_of(c, value):
    """The bits of a double."""
    store_f64(c, BITS, value)
    return load_u64(c, 8 * BITS)


@inner
def extend(cell, least, most):
    """Take over extremes; one that is not known (NaN) makes the cell's unknown."""
    if least < load_f64(cell, 8 * C_MIN) or np.isnan(least):
        store_f64(cell, C_MIN, least)
    if most > load_f64(cell, 8 * C_MAX) or np.isnan(most):
        store_f64(cell, C_MAX, most)


@inner
def exemplify(cell, value, time, high, low, span):
    """Take over an exemplar: the greatest value, then the least time, then the least ids."""
    held = load_f64(cell, 8 * C_EXEMPLAR)
    if value < held:
        return
    if value == held:
        for mine, other in (
            (time, load_u64(cell, 8 * C_EXEMPLAR_TIME)),
            (high, load_u64(cell, 8 * C_EXEMPLAR_HIGH)),
            (low, load_u64(cell, 8 * C_EXEMPLAR_LOW)),
            (span, load_u64(cell, 8 * C_EXEMPLAR_SPAN)),
        ):
            if mine > other:
                return
            if mine < other:
                break
    store_f64(cell, C_EXEMPLAR, value)
    store_i64(cell, C_EXEMPLAR_TIME, np.int64(time))
    store_i64(cell, C_EXEMPLAR_HIGH, np.int64(high))
    store_i64(cell, C_EXEMPLAR_LOW, np.int64(low))
    store_i64(cell, C_EXEMPLAR_SPAN, np.int64(span))


@inner
def limits_of(c, bounds, start, stop):
    """Row of the explicit bounds ``bounds[start:stop]`` (an address), entered if new."""
    key = np.uint64(stop - start) * _ROW
    for k in range(start, stop):
        key = mix(key ^ load_u64(bounds, 8 * k), _CELL)
    if key == _NONE:
        key = _ONE
    pairs = load_i64(c, LIMIT_PAIRS)
    slot = slot_of(pairs, load_i64(c, LIMIT_MASK), key)
    if load_u64(pairs, 16 * slot) == key:
        return load_i64(pairs, 2 * slot + 1)
    row = load_i64(c, LIMIT_COUNT)
    store_i64(c, LIMIT_COUNT, row + 1)
    put_pair(pairs, slot, key, row)
    at = load_i64(c, BOUND_COUNT)
    to = load_i64(c, BOUNDS)
    for k in range(start, stop):
        store_f64(to, at, load_f64(bounds, 8 * k))
        at += 1
    store_i64(c, BOUND_COUNT, at)
    store_i64(load_i64(c, LIMITS), row, at)
    return row


@inner
def reach(c, time_ms):
    """Note an event time: progress goes as far, but not beyond the message's time."""
    seen = min(time_ms, load_i64(c, STAMP))
    if seen > load_i64(c, PROGRESS) and time_ms <= load_i64(c, AHEAD_LIMIT):
        store_i64(c, PROGRESS, seen)


@inner
def usable_time(c, nanos):
    """Event time in milliseconds, or -1: it has none or it is too far ahead, and was counted."""
    if nanos == _NONE:
        add_to(c, TIMELESS, 1)
        return np.int64(-1)
    time_ms = np.int64(nanos // np.uint64(1_000_000))
    if time_ms > load_i64(c, AHEAD_LIMIT):
        add_to(c, AHEAD, 1)
        return np.int64(-1)
    reach(c, time_ms)
    return time_ms

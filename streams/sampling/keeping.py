"""Rows of kept traces: what kernels do with them.

A row has the number of its decision, and the queue is by number: what is forgotten, and what
counts for a message, are all numbers from some number on.
"""

from __future__ import annotations

import numpy as np

from streams.sampling.memory import prefetch, store_u32, store_u64
from streams.sampling.rows import COUNT, OWN, SEED, find, hash_id, head_of, insert, remove, row_at
from streams.wire.compiling import inner, kernel
from streams.wire.memory import load_i64, load_u32, load_u64, store_i64

__all__ = [
    "ACTIVE",
    "ACTIVE_COUNT",
    "COUNTING",
    "GONE",
    "NEXT",
    "ORDERED",
    "REMEMBERED",
    "WIDTH_BYTES",
    "activate_all",
    "add",
    "decision",
    "fetch_kept",
    "find_kept",
    "forget",
    "list_all",
    "list_overlapping",
    "note",
    "number_all",
    "retire",
]

_OLDEST, _NEWEST, ACTIVE, ACTIVE_COUNT = range(OWN, OWN + 4)
ORDERED, NEXT, REMEMBERED, GONE, COUNTING = range(OWN + 4, OWN + 9)
# Numbers: of the next decision; the first that counts for messages to come; the first that
# counts for messages that are not ordered; the first that counts for the batch at hand.

# A row. It is in one queue by the time of its decision; the active ones are in a list, too.
_POLICY, _THRESHOLD, _FIRST, _LAST, _NUMBER, _NEXT, _BEFORE = 20, 24, 32, 40, 48, 56, 60
WIDTH_BYTES = 64


@inner
def find_kept(state, high, low):
    """Row of a trace whose being kept counts for the batch at hand, -1: it is none."""
    if load_i64(state, COUNT) == 0:
        return np.int64(-1)
    row = find(state, hash_id(load_i64(state, SEED), high, low), high, low)
    if row >= 0 and load_i64(row_at(state, row), _NUMBER >> 3) < load_i64(state, COUNTING):
        return np.int64(-1)
    return row


@inner
def fetch_kept(state, high, low):
    """What ``find_kept`` will look at first is on its way to the cache."""
    prefetch(head_of(state, hash_id(load_i64(state, SEED), high, low)))


@inner
def note(state, row, first, last):
    """Spans of a kept trace are in messages ``first`` to ``last``."""
    if last < load_i64(state, ORDERED):
        return
    at = row_at(state, row)
    if load_i64(at, _LAST >> 3) < 0:
        count = load_i64(state, ACTIVE_COUNT)
        store_u32(load_i64(state, ACTIVE), 4 * count, row)
        store_i64(state, ACTIVE_COUNT, count + 1)
        store_i64(at, _FIRST >> 3, first)
        store_i64(at, _LAST >> 3, last)
        return
    store_i64(at, _FIRST >> 3, min(first, load_i64(at, _FIRST >> 3)))
    store_i64(at, _LAST >> 3, max(last, load_i64(at, _LAST >> 3)))


@inner
def _queue(state, row):
    """Give a row the next number."""
    at = row_at(state, row)
    number = load_i64(state, NEXT)
    store_i64(state, NEXT, number + 1)
    store_i64(at, _NUMBER >> 3, number)
    newest = load_i64(state, _NEWEST)
    store_u32(at, _NEXT, 0)
    store_u32(at, _BEFORE, newest)
    if newest == 0:
        store_i64(state, _OLDEST, row + 1)
    else:
        store_u32(row_at(state, newest - 1), _NEXT, row + 1)
    store_i64(state, _NEWEST, row + 1)


@inner
def _unqueue(state, row):
    """Take a row out of the queue."""
    at = row_at(state, row)
    before, following = load_u32(at, _BEFORE), load_u32(at, _NEXT)
    if before == 0:
        store_i64(state, _OLDEST, following)
    else:
        store_u32(row_at(state, before - 1), _NEXT, following)
    if following == 0:
        store_i64(state, _NEWEST, before)
    else:
        store_u32(row_at(state, following - 1), _BEFORE, before)


@kernel
def forget(state):
    """Forget numbers below ``GONE``, up to the first that is active."""
    gone = load_i64(state, GONE)
    for _ in range(load_i64(state, COUNT)):
        row = load_i64(state, _OLDEST) - 1
        at = row_at(state, row)
        if load_i64(at, _NUMBER >> 3) >= gone or load_i64(at, _LAST >> 3) >= 0:
            break
        _unqueue(state, row)
        remove(state, row)


@kernel
def add(state, high, low, threshold, policy, first, last):
    """Remember traces; of one that is decided again the last decision. ``last`` -1: not known."""
    seed = load_i64(state, SEED)
    for i in range(len(high)):
        hashed = hash_id(seed, high[i], low[i])
        row = find(state, hashed, high[i], low[i])
        if row < 0:
            row = insert(state, hashed, high[i], low[i])
            store_i64(row_at(state, row), _LAST >> 3, np.int64(-1))
        else:
            _unqueue(state, row)
        store_u64(row_at(state, row), _THRESHOLD, threshold[i])
        store_u32(row_at(state, row), _POLICY, np.int64(policy[i]))
        _queue(state, row)
        if last[i] >= 0:
            note(state, row, first[i], last[i])


@inner
def _copy_decision(at, n, high, low, threshold, policy):
    high[n] = load_u64(at, 0)
    low[n] = load_u64(at, 8)
    threshold[n] = load_u64(at, _THRESHOLD)
    policy[n] = np.int32(np.uint32(load_u32(at, _POLICY)))


@kernel
def decision(state, high, low, threshold, policy):
    """Copy what was decided about a trace; False: it is not remembered."""
    row = find(state, hash_id(load_i64(state, SEED), high, low), high, low)
    if row >= 0 and load_i64(row_at(state, row), _NUMBER >> 3) < load_i64(state, REMEMBERED):
        row = np.int64(-1)
    if row >= 0:
        ids = np.empty(2, np.uint64)
        _copy_decision(row_at(state, row), 0, ids, ids, threshold, policy)
    return row >= 0


@kernel
def list_overlapping(state, start, stop, high, low, threshold, policy):
    """Copy active traces that have messages in ``[start, stop)``; how many they are."""
    n = 0
    active = load_i64(state, ACTIVE)
    for k in range(load_i64(state, ACTIVE_COUNT)):
        at = row_at(state, load_u32(active, 4 * k))
        if load_i64(at, _FIRST >> 3) < stop and load_i64(at, _LAST >> 3) >= start:
            _copy_decision(at, n, high, low, threshold, policy)
            n += 1
    return n


@kernel
def retire(state, stop):
    """Orders up to ``stop`` are written: what ends before is inactive, the rest begins there."""
    if stop <= load_i64(state, ORDERED):
        return
    store_i64(state, ORDERED, stop)
    active = load_i64(state, ACTIVE)
    left = 0
    for k in range(load_i64(state, ACTIVE_COUNT)):
        row = load_u32(active, 4 * k)
        at = row_at(state, row)
        if load_i64(at, _LAST >> 3) < stop:
            store_i64(at, _LAST >> 3, np.int64(-1))
            continue
        store_i64(at, _FIRST >> 3, max(stop, load_i64(at, _FIRST >> 3)))
        store_u32(active, 4 * left, row)
        left += 1
    store_i64(state, ACTIVE_COUNT, left)


@kernel
def list_all(state, high, low, threshold, policy, first, last, number, active):
    """Copy all traces in the order of their decisions; active ones' numbers in that order."""
    numbers = np.empty(len(high), np.int64)
    link = load_i64(state, _OLDEST)
    n = 0
    while link != 0:
        at = row_at(state, link - 1)
        _copy_decision(at, n, high, low, threshold, policy)
        is_active = load_i64(at, _LAST >> 3) >= 0
        first[n] = load_i64(at, _FIRST >> 3) if is_active else -1
        last[n] = load_i64(at, _LAST >> 3) if is_active else -1
        number[n] = load_i64(at, _NUMBER >> 3)
        numbers[n] = link - 1
        link = load_u32(at, _NEXT)
        n += 1
    place = np.empty(numbers.max() + 1 if n else 0, np.uint32)
    for k in range(n):
        place[numbers[k]] = k
    for k in range(load_i64(state, ACTIVE_COUNT)):
        active[k] = place[load_u32(load_i64(state, ACTIVE), 4 * k)]


@kernel
def number_all(state, number):
    """Give all rows these numbers, in the order of the queue."""
    link = load_i64(state, _OLDEST)
    for value in number:
        store_i64(row_at(state, link - 1), _NUMBER >> 3, value)
        link = load_u32(row_at(state, link - 1), _NEXT)


@kernel
def activate_all(state, high, low, active, first, last):
    """Make those traces active, in this order, that are in the table."""
    seed = load_i64(state, SEED)
    for k in range(len(active)):
        i = active[k]
        row = find(state, hash_id(seed, high[i], low[i]), high[i], low[i])
        if row >= 0:
            note(state, row, first[i], last[i])

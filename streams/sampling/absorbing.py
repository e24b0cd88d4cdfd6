"""The kernels of open traces: take a batch's spans, hand out traces."""

from __future__ import annotations

import numpy as np

from streams.sampling.fingerprints import fetch_any, in_any
from streams.sampling.keeping import fetch_kept, find_kept, note
from streams.sampling.memory import prefetch
from streams.sampling.placement import partition_of
from streams.sampling.rows import SEED, find, hash_id, head_of, insert, remove, row_at
from streams.sampling.summaries import (
    AT,
    CLOCK,
    EVERY,
    INTERVAL,
    MURMUR,
    NEWEST_OFFSET,
    OLDEST,
    PARTITION,
    PARTITIONS,
    WAIT,
    add_span,
    advance,
    arrival_of,
    begin,
    copy_out,
    first_of,
    leave,
    ripe,
)
from streams.wire.compiling import inner, kernel
from streams.wire.memory import address_of, load_i64, load_u32, store_i64

__all__ = [
    "DROPPED",
    "INVALID",
    "KEPT",
    "MISPLACED",
    "NEW",
    "OPEN",
    "absorb",
    "hand_out",
    "oldest",
    "take",
    "take_oldest",
]

OPEN, KEPT, DROPPED, MISPLACED, INVALID, NEW = range(6)

_BLOCK = 32


@inner
def _misplaced(state, high, low):
    """Whether a trace belongs to another partition."""
    partitions = load_i64(state, PARTITIONS)
    if partitions <= 1:
        return False
    partition = partition_of(high, low, partitions, load_i64(state, MURMUR))
    return partition != load_i64(state, PARTITION)


@inner
def _fate_of_new(state, kept, dropped, offset, high, low):
    """What becomes of a span whose trace is not open."""
    row = find_kept(kept, high, low)
    if row >= 0:
        note(kept, row, offset, offset)
        return KEPT
    # Before the filter, which errs: another partition's trace would be lost.
    if load_i64(state, EVERY) == 0 and _misplaced(state, high, low):
        return MISPLACED
    return DROPPED if in_any(dropped, high, low) else OPEN


@inner
def _fetch(state, kept, dropped, seed, high, low, hashes, start, stop):
    """Hashes of a block's ids; what their traces' rows need is on its way to the cache.

    Memory answers many requests at once: one after the other, a span of one of a million open
    traces would wait for it three times.
    """
    for i in range(start, stop):
        hashes[i - start] = hash_id(seed, high[i], low[i])
        prefetch(head_of(state, hashes[i - start]))
    for i in range(start, stop):
        link = load_u32(head_of(state, hashes[i - start]), 0)
        if link != 0:
            prefetch(row_at(state, link - 1))
            prefetch(row_at(state, link - 1) + 64)
    for i in range(start, stop):
        if find(state, hashes[i - start], high[i], low[i]) < 0:
            fetch_kept(kept, high[i], low[i])
            fetch_any(dropped, high[i], low[i])


@kernel
def absorb(
    state, kept, dropped, lags, offset, timestamp, tenant,
    high, low, parent, start, end, name, status, frame, stop, valid,
    service, extra, matched, randomness, threshold, fate, counts,
):  # fmt: skip
    """Take a batch's spans. ``state`` and so on: addresses of states; ``counts``: by fate."""
    store_i64(state, CLOCK, max(timestamp, load_i64(state, CLOCK)))
    store_i64(state, NEWEST_OFFSET, max(offset, load_i64(state, NEWEST_OFFSET)))
    seed, every = load_i64(state, SEED), load_i64(state, EVERY) != 0
    extra_at, stride = address_of(extra), 8 * len(fate)
    row, what = np.int64(-1), INVALID
    last_high, last_low = np.uint64(0), np.uint64(0)
    hashes = np.empty(_BLOCK, np.uint64)
    for block in range(0, len(fate), _BLOCK):
        stop_at = min(block + _BLOCK, len(fate))
        _fetch(state, kept, dropped, seed, high, low, hashes, block, stop_at)
        for i in range(block, stop_at):
            if not valid[i]:
                fate[i] = INVALID
                counts[INVALID] += 1
                continue
            # Spans of a trace often follow each other. No valid id is zero.
            if high[i] != last_high or low[i] != last_low:
                last_high, last_low = high[i], low[i]
                hashed = hashes[i - block]
                row, what = np.int64(-1), MISPLACED
                if not every or not _misplaced(state, last_high, last_low):
                    row, what = find(state, hashed, last_high, last_low), OPEN
                if row < 0 and what == OPEN:
                    what = _fate_of_new(state, kept, dropped, offset, last_high, last_low)
                    if what == OPEN:
                        row = insert(state, hashed, last_high, last_low)
                        begin(state, row, offset, last_low, tenant)
                        counts[NEW] += 1
            fate[i] = what
            counts[what] += 1
            if what == OPEN:
                add_span(
                    state, lags, row, offset, parent[i] == np.uint64(0), start[i], end[i],
                    np.int64(stop[i] - frame[i]), status[i] == 2, name[i],
                    service[i], extra_at + 8 * i, stride, np.int64(matched[i]),
                    randomness[i], threshold[i],
                )  # fmt: skip


@kernel
def take(state, now, rows, first):
    """Take out what is due, at most as many as ``rows`` holds: the number, and if in order.

    The rows stay as they are until the next ``absorb``; ``first`` are their offsets.
    """
    interval = load_i64(state, INTERVAL)
    deadline = max(now, load_i64(state, CLOCK)) // interval
    arrived_until = deadline * interval - load_i64(state, WAIT)
    n = 0
    while n < len(rows) and load_i64(state, OLDEST) != 0:
        row = load_i64(state, OLDEST) - 1
        if arrival_of(state, row_at(state, row)) > arrived_until:
            break
        rows[n], first[n] = row, first_of(state, row_at(state, row))
        leave(state, row)
        n += 1
    queued = n
    if deadline > load_i64(state, AT):
        advance(state, deadline)
        # A tick's time is not remembered: roots that arrive before it are due as ever.
        store_i64(state, AT, min(deadline, load_i64(state, CLOCK) // interval))
    while n < len(rows) and ripe(state) >= 0:
        row = ripe(state)
        rows[n], first[n] = row, first_of(state, row_at(state, row))
        leave(state, row)
        n += 1
    return n, n == queued


@kernel
def take_oldest(state, rows):
    """Take out the oldest traces, as many as ``rows`` holds; there are so many."""
    for n in range(len(rows)):
        rows[n] = load_i64(state, OLDEST) - 1
        leave(state, rows[n])


@kernel
def hand_out(state, rows, longs, matched):
    """Copy rows that were taken out into columns, and free them."""
    to, stride = address_of(longs), 8 * len(rows)
    for n in range(len(rows)):
        matched[n] = np.uint32(copy_out(state, rows[n], to + 8 * n, stride))
        remove(state, rows[n])


@kernel
def oldest(state):
    """First offset and arrival of the oldest open trace, -1 both: there is none."""
    row = load_i64(state, OLDEST) - 1
    if row < 0:
        return np.int64(-1), np.int64(-1)
    at = row_at(state, row)
    return first_of(state, at), arrival_of(state, at)

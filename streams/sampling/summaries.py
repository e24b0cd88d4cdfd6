"""Rows of open traces, 128 bytes and 8 a field: what a span changes, and the lists they are in.

Every open trace is in the queue by arrival. A trace whose root brought its deadline forward is
also in the wheel, a list for each deadline (in units of the decision interval, modulo the
wheel's size), or in the list of those that are ripe. The wheel holds deadlines in
``(AT, AT + size]`` only.

Source offsets are kept as their low 40 bits, times of the broker as their low 32 bits of
milliseconds: what is open is not as old as a trillion messages or 49 days. Sums, and the
number of messages from the first to the last, stay at 2^32 - 1 when they get there.
"""

from __future__ import annotations

import numpy as np

from streams.sampling.memory import store_u32, store_u64
from streams.sampling.root_lags import lag_of
from streams.sampling.rows import OWN, row_at
from streams.wire.compiling import inner
from streams.wire.memory import load_i64, load_u32, load_u64, store_i64

__all__ = [
    "AT",
    "CLOCK",
    "COLUMNS",
    "EVERY",
    "FIELDS",
    "FIXED_BYTES",
    "INTERVAL",
    "MURMUR",
    "NEWEST_OFFSET",
    "OLDEST",
    "PARTITION",
    "PARTITIONS",
    "ROOT_WAIT",
    "WAIT",
    "WHEEL",
    "WHEEL_MASK",
    "add_span",
    "advance",
    "arrival_of",
    "begin",
    "copy_out",
    "first_of",
    "leave",
    "ripe",
]

OLDEST, _NEWEST, CLOCK, NEWEST_OFFSET, AT, WHEEL, WHEEL_MASK = range(OWN, OWN + 7)
WAIT, ROOT_WAIT, INTERVAL, FIELDS = range(OWN + 7, OWN + 11)
PARTITION, PARTITIONS, MURMUR, EVERY = range(OWN + 11, OWN + 15)

# Offsets in a row, bytes. The first cache line is what most spans need.
_HIGH, _LOW, _SPANS, _START, _END = 0, 8, 20, 24, 32
_RANDOMNESS = 40
"""And flags, in the high byte."""
_THRESHOLD = 48
"""And bits 32 to 39 of the first offset, in the high byte."""
_FIRST, _LAST = 56, 60
_SERVICE, _OPERATION, _TENANT, _BYTES, _ERRORS, _MATCHED = 64, 72, 80, 88, 92, 96
_ARRIVED, _LAST_ARRIVED, _ROOT_ARRIVED = 100, 104, 108
"""Of the first span, and milliseconds since then."""
_OLDER, _NEWER, _BEFORE, _AFTER = 112, 116, 120, 124
_EXTRA = 128
FIXED_BYTES = 128

_ROOT_SEEN = np.uint64(1 << 56)
_LOW56 = np.uint64((1 << 56) - 1)
_TOP = np.uint64(56)
_U32 = 0xFFFFFFFF
_U40 = 0xFFFFFFFFFF
_HEAD = 1 << 31
"""In ``_BEFORE``: the row is the first of its list, whose number is in the other bits."""


@inner
def first_of(state, at):
    """Source offset of the message with a trace's first span."""
    high = np.int64(load_u64(at, _THRESHOLD) >> _TOP) << 32
    newest = load_i64(state, NEWEST_OFFSET)
    return newest - ((newest - (high | load_u32(at, _FIRST))) & _U40)


@inner
def arrival_of(state, at):
    """Broker's time of a trace's first span."""
    clock = load_i64(state, CLOCK)
    return clock - ((clock - load_u32(at, _ARRIVED)) & _U32)


@inner
def _add_u32(at, index, value):
    """Add and stay at the greatest number that there is room for."""
    store_u32(at, index, min(load_u32(at, index) + value, _U32))


# --- lists -----------------------------------------------------------------------------------


@inner
def _push(state, row, number):
    """Put a row into list ``number`` of the wheel."""
    head = load_i64(state, WHEEL) + 4 * number
    at = row_at(state, row)
    following = load_u32(head, 0)
    store_u32(at, _BEFORE, _HEAD | number)
    store_u32(at, _AFTER, following)
    if following != 0:
        store_u32(row_at(state, following - 1), _BEFORE, row + 1)
    store_u32(head, 0, row + 1)


@inner
def _pull(state, at):
    """Take a row out of the wheel's list that it is in, if it is in one."""
    before, after = load_u32(at, _BEFORE), load_u32(at, _AFTER)
    if before == 0:
        return
    if before & _HEAD:
        store_u32(load_i64(state, WHEEL), 4 * (before & ~_HEAD), after)
    else:
        store_u32(row_at(state, before - 1), _AFTER, after)
    if after != 0:
        store_u32(row_at(state, after - 1), _BEFORE, before)
    store_u32(at, _BEFORE, 0)


@inner
def _ripe_list(state):
    return load_i64(state, WHEEL_MASK) + 1


@inner
def ripe(state):
    """A trace whose early deadline has passed, -1: there is none."""
    return load_u32(load_i64(state, WHEEL), 4 * _ripe_list(state)) - 1


@inner
def advance(state, deadline):
    """Make ripe what is due at ``deadline``, in units of the decision interval."""
    mask = load_i64(state, WHEEL_MASK)
    wheel = load_i64(state, WHEEL)
    begin_at = max(load_i64(state, AT), deadline - mask - 1)
    for passed in range(begin_at + 1, deadline + 1):
        number = passed & mask
        while load_u32(wheel, 4 * number) != 0:
            row = load_u32(wheel, 4 * number) - 1
            _pull(state, row_at(state, row))
            _push(state, row, _ripe_list(state))
    if deadline > load_i64(state, AT):
        store_i64(state, AT, deadline)


@inner
def _bring_forward(state, row, at, lags, operation):
    """The root is here: put the trace where its deadline is, if that is sooner than without."""
    root_wait, interval = load_i64(state, ROOT_WAIT), load_i64(state, INTERVAL)
    clock = load_i64(state, CLOCK)
    if root_wait == 0:
        return
    wait = root_wait if lags == 0 else max(root_wait, lag_of(lags, operation))
    deadline = -(-(clock + wait) // interval)
    if deadline >= -(-(arrival_of(state, at) + load_i64(state, WAIT)) // interval):
        return
    if deadline > load_i64(state, AT) + load_i64(state, WHEEL_MASK) + 1:
        advance(state, clock // interval)
    _push(state, row, deadline & load_i64(state, WHEEL_MASK))


@inner
def leave(state, row):
    """Take a trace out of all lists but the index."""
    at = row_at(state, row)
    older, newer = load_u32(at, _OLDER), load_u32(at, _NEWER)
    if older != 0:
        store_u32(row_at(state, older - 1), _NEWER, newer)
    else:
        store_i64(state, OLDEST, newer)
    if newer != 0:
        store_u32(row_at(state, newer - 1), _OLDER, older)
    else:
        store_i64(state, _NEWEST, older)
    _pull(state, at)


# --- a trace ---------------------------------------------------------------------------------


@inner
def begin(state, row, offset, low, tenant):
    """Fill a new row, and put it at the end of the queue."""
    at = row_at(state, row)
    newest = load_i64(state, _NEWEST)
    store_u32(at, _OLDER, newest)
    store_u32(at, _NEWER, 0)
    if newest != 0:
        store_u32(row_at(state, newest - 1), _NEWER, row + 1)
    else:
        store_i64(state, OLDEST, row + 1)
    store_i64(state, _NEWEST, row + 1)
    zero = np.uint64(0)
    store_u32(at, _SPANS, 0)
    store_u64(at, _START, zero)
    store_u64(at, _END, zero)
    store_u64(at, _RANDOMNESS, low & _LOW56)
    store_u64(at, _THRESHOLD, np.uint64((offset >> 32) & 255) << _TOP)
    store_u32(at, _FIRST, offset)
    store_u64(at, _TENANT, tenant)
    store_u32(at, _BYTES, 0)
    store_u32(at, _ERRORS, 0)
    store_u32(at, _MATCHED, 0)
    store_u32(at, _ARRIVED, load_i64(state, CLOCK))
    store_u32(at, _ROOT_ARRIVED, 0)
    store_u32(at, _BEFORE, 0)
    for field in range(load_i64(state, FIELDS)):
        store_u64(at, _EXTRA + 8 * field, zero)


@inner
def _fill(state, at, extra, stride, replace):
    """Set fields of the key that a span has and its trace has not, or all with ``replace``."""
    for field in range(load_i64(state, FIELDS)):
        value = load_u64(extra, field * stride)
        place = _EXTRA + 8 * field
        if value != np.uint64(0) and (replace or load_u64(at, place) == np.uint64(0)):
            store_u64(at, place, value)


@inner
def add_span(
    state, lags, row, offset, root, start, end, size, error, operation,
    service, extra, stride, matched, randomness, threshold,
):  # fmt: skip
    """Add a span to the summary of its trace.

    ``lags`` is the state of RootLags, 0: none. ``extra`` is the address of the span's first
    field, the others follow at ``stride`` bytes.
    """
    at = row_at(state, row)
    spans = load_u32(at, _SPANS)
    flags = load_u64(at, _RANDOMNESS)
    earliest = load_u64(at, _START)
    zero = np.uint64(0)
    sooner = start != zero and (earliest == zero or start < earliest)
    since = min(load_i64(state, CLOCK) - arrival_of(state, at), _U32)
    entry = flags & _ROOT_SEEN == zero and (root or sooner or spans == 0)
    if entry:
        store_u64(at, _SERVICE, service)
        store_u64(at, _OPERATION, operation)
        if root:
            flags |= _ROOT_SEEN
            store_u32(at, _ROOT_ARRIVED, since)
            _bring_forward(state, row, at, lags, operation)
    _fill(state, at, extra, stride, entry)
    # Without ``rv`` it is the id's; a span that says more than the id is believed.
    if flags & _LOW56 == load_u64(at, _LOW) & _LOW56:
        flags = (flags & ~_LOW56) | (randomness & _LOW56)
    store_u64(at, _RANDOMNESS, flags)
    kept = load_u64(at, _THRESHOLD)
    if threshold & _LOW56 > kept & _LOW56:
        store_u64(at, _THRESHOLD, (kept & ~_LOW56) | (threshold & _LOW56))
    if sooner:
        store_u64(at, _START, start)
    if end > load_u64(at, _END):
        store_u64(at, _END, end)
    store_u32(at, _LAST, min(max(offset - first_of(state, at), 0), _U32))
    store_u32(at, _LAST_ARRIVED, since)
    store_u32(at, _SPANS, min(spans + 1, _U32))
    _add_u32(at, _BYTES, size)
    if error:
        _add_u32(at, _ERRORS, 1)
    store_u32(at, _MATCHED, load_u32(at, _MATCHED) | matched)


COLUMNS = 17
"""How many columns ``copy_out`` writes, before the fields."""


@inner
def copy_out(state, row, to, stride):
    """Copy a row to columns in the order of ``Traces``, the first at ``to``, all of 8 bytes."""
    at = row_at(state, row)
    flags, threshold = load_u64(at, _RANDOMNESS), load_u64(at, _THRESHOLD)
    first = first_of(state, at)
    operation = load_u64(at, _OPERATION)
    seen = flags & _ROOT_SEEN != np.uint64(0)
    lag = load_u32(at, _LAST_ARRIVED) - load_u32(at, _ROOT_ARRIVED)
    store_u64(to, 0, load_u64(at, _HIGH))
    store_u64(to, stride, load_u64(at, _LOW))
    store_u64(to, 2 * stride, flags & _LOW56)
    store_u64(to, 3 * stride, threshold & _LOW56)
    store_u64(to, 4 * stride, np.uint64(first))
    store_u64(to, 5 * stride, np.uint64(first + load_u32(at, _LAST)))
    store_u64(to, 6 * stride, np.uint64(arrival_of(state, at)))
    store_u64(to, 7 * stride, load_u64(at, _START))
    store_u64(to, 8 * stride, load_u64(at, _END))
    store_u64(to, 9 * stride, np.uint64(load_u32(at, _SPANS)))
    store_u64(to, 10 * stride, np.uint64(load_u32(at, _BYTES)))
    store_u64(to, 11 * stride, np.uint64(load_u32(at, _ERRORS)))
    store_u64(to, 12 * stride, load_u64(at, _TENANT))
    store_u64(to, 13 * stride, load_u64(at, _SERVICE))
    store_u64(to, 14 * stride, operation)
    store_u64(to, 15 * stride, operation if seen else np.uint64(0))
    store_u64(to, 16 * stride, np.uint64(lag if seen else -1))
    for field in range(load_i64(state, FIELDS)):
        store_u64(to, (COLUMNS + field) * stride, load_u64(at, _EXTRA + 8 * field))
    return load_u32(at, _MATCHED)

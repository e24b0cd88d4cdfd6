"""The kernel that copies the buckets of histograms and checks that they fit; see ``points``.

It walks the same bytes as ``point_values`` did, which has counted how many there are.
"""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner, kernel
from streams.wire.memory import address_of, load_f64, load_u8, load_u64
from streams.wire.point_values import (
    BOUNDS_STOP,
    BUCKET_BOUNDS,
    BUCKET_COUNTS,
    COUNT,
    EXPONENTIAL,
    HISTOGRAM,
    NEGATIVE_OFFSET,
    NEGATIVE_STOP,
    OFFSET,
    POSITIVE_STOP,
    SCALE,
    ZERO,
    finite,
)
from streams.wire.tree import BODY, END, NODE, TAG
from streams.wire.walk import field_body, skip_field, skip_varint, varint_value

__all__ = ["expand"]

_NONE = np.uint64(0)
_INDEX_MAX = (1 << 31) - 1
# Doubles are 2^-1074 to 2^1024; at scale -10 all of them have one of two indices.
_LEAST, _MOST, _SCALE_MIN = 1074, 1024, -10


@inner
def copy_buckets(a, p, end, counts, at, stop):
    """Copy the counts of a Buckets; where the next goes."""
    while p < end:
        tag = load_u8(a, p)
        q = skip_field(a, p, end)
        r = np.int64(q)
        last = np.int64(q)
        if tag == 0x10:
            r = p + 1
        elif tag == 0x12:
            body = field_body(a, p + 1, end)
            if body >= 0:
                r = body & 0xFFFFFFFF
                last = r + (body >> 32)
        while r < last and at < stop:
            s = skip_varint(a, r, last)
            if s < 0:
                break
            counts[at] = np.uint64(varint_value(a, r, s))
            at += 1
            r = s
        p = q
    return at


@inner
def copy_histogram(a, p, end, counts, at, stop, bounds, bound, bound_stop):
    """Copy counts and bounds of a HistogramDataPoint."""
    while p < end:
        tag = load_u8(a, p)
        q = skip_field(a, p, end)
        r = np.int64(q)
        last = np.int64(q)
        if tag == 0x31 or tag == 0x39:
            r = p + 1
        elif tag == 0x32 or tag == 0x3A:
            body = field_body(a, p + 1, end)
            if body >= 0:
                r = body & 0xFFFFFFFF
                last = r + (body >> 32)
        while r + 8 <= last:
            if tag == 0x31 or tag == 0x32:
                if at < stop:
                    counts[at] = load_u64(a, r)
                    at += 1
            elif bound < bound_stop:
                bounds[bound] = load_f64(a, r)
                bound += 1
            r += 8
        p = q


@inner
def beyond(scale, offset, count):
    """Whether exponential buckets are for values that no double can have."""
    if scale < _SCALE_MIN:
        return True
    if scale >= 0:
        shift = min(scale, 21)
        least = -(np.int64(_LEAST) << shift) - 1
        most = np.int64(_MOST) << shift
    else:
        least = -(np.int64(_LEAST) >> -scale) - 1
        most = np.int64(_MOST) >> -scale
    last = offset + count - 1
    return count > 0 and (offset < least or last > min(most, _INDEX_MAX))


@kernel
def expand(data, leaves, nodes, longs, ints, faults, counts, bounds):
    """Copy the buckets, turn numbers of buckets into stops, check that they fit together."""
    a = address_of(data)
    at = bound = np.int64(0)
    for i in range(len(leaves)):
        kind = np.int64(nodes[leaves[i, NODE], TAG]) >> 3
        p = np.int64(leaves[i, BODY])
        end = np.int64(leaves[i, END])
        positive = np.int64(ints[POSITIVE_STOP, i])
        negative = np.int64(ints[NEGATIVE_STOP, i])
        limits = np.int64(ints[BOUNDS_STOP, i])
        middle = at + positive
        stop = middle + negative
        bound_stop = bound + limits
        ints[POSITIVE_STOP, i] = middle
        ints[NEGATIVE_STOP, i] = stop
        ints[BOUNDS_STOP, i] = bound_stop
        counts[at:stop] = _NONE
        bounds[bound:bound_stop] = 0.0
        if kind == HISTOGRAM:
            copy_histogram(a, p, end, counts, at, middle, bounds, bound, bound_stop)
        elif kind == EXPONENTIAL:
            first = at
            second = middle
            while p < end:
                tag = load_u8(a, p)
                q = skip_field(a, p, end)
                if tag == 0x42 or tag == 0x4A:
                    body = field_body(a, p + 1, end)
                    if body >= 0:
                        r = body & 0xFFFFFFFF
                        if tag == 0x42:
                            first = copy_buckets(a, r, r + (body >> 32), counts, first, middle)
                        else:
                            second = copy_buckets(a, r, r + (body >> 32), counts, second, stop)
                p = q
        if faults[i] == 0 and (kind == HISTOGRAM or kind == EXPONENTIAL):
            total = longs[ZERO, i]
            for k in range(at, stop):
                total += counts[k]
            wrong = 0
            if kind == HISTOGRAM:
                if positive > 0 and total != longs[COUNT, i]:
                    wrong |= BUCKET_COUNTS
                if (positive > 0 or limits > 0) and positive != limits + 1:
                    wrong |= BUCKET_COUNTS
                for k in range(bound, bound_stop):
                    if not finite(bounds[k]) or (k > bound and not bounds[k] > bounds[k - 1]):
                        wrong |= BUCKET_BOUNDS
            else:
                if total != longs[COUNT, i]:
                    wrong |= BUCKET_COUNTS
                scale = np.int64(ints[SCALE, i])
                if beyond(scale, np.int64(ints[OFFSET, i]), positive):
                    wrong |= BUCKET_BOUNDS
                if beyond(scale, np.int64(ints[NEGATIVE_OFFSET, i]), negative):
                    wrong |= BUCKET_BOUNDS
            faults[i] = wrong
        at = stop
        bound = bound_stop

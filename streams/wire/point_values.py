"""The kernels that read what data points say; see ``points``.

``scan`` has validated every field, so that only the size of what is read counts here: a scan of
other bytes of the same length must not lead out of them, whatever it makes of them.
"""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner, kernel
from streams.wire.memory import address_of, load_f64, load_u8, load_u64, load_u64_be, mix
from streams.wire.text import hash_bytes
from streams.wire.tree import BODY, END, GAP_FIRST, GAP_STOP, NODE, TAG
from streams.wire.walk import field_body, skip_field, skip_varint, varint_value

__all__ = ["expand", "identify", "read_envelopes", "read_values"]

# Rows of the blocks that hold one element a point.
VALUE, SUM, MIN, MAX, ZERO_THRESHOLD, EXEMPLAR_VALUE = range(6)
FLOATS = 6
COUNT, ZERO, ATTRIBUTES, EXEMPLAR_TIME, TRACE_HIGH, TRACE_LOW, EXEMPLAR_SPAN = range(7)
LONGS = 7
SCALE, OFFSET, NEGATIVE_OFFSET, POSITIVE_STOP, NEGATIVE_STOP, BOUNDS_STOP = range(6)
INTS = 6
# Faults.
NO_RECORDED_VALUE, NO_VALUE, NOT_FINITE, BUCKET_COUNTS, BUCKET_BOUNDS = 1, 2, 4, 8, 16
# Metric.data.
HISTOGRAM, EXPONENTIAL, SUMMARY = 9, 10, 11

_NONE = np.uint64(0)
_STREAM = np.uint64(0x8CB92BA72F3D8DD7)
_PART = np.uint64(0xD6E8FEB86659FD93)
_INDEX_MAX = (1 << 31) - 1
# Doubles are 2^-1074 to 2^1024; at scale -10 all of them have one of two indices.
_LEAST, _MOST, _SCALE_MIN = 1074, 1024, -10


@inner
def signed32(value):
    """A sint32: the low 32 bits, zigzag."""
    low = value & 0xFFFFFFFF
    return (low >> 1) ^ -(low & 1)


@inner
def finite(value):
    """Whether a double is neither NaN nor an infinity."""
    return value - value == 0.0


@inner
def varints(a, p, end):
    """How many varints lie in ``[p, end)``."""
    count = 0
    while p < end:
        q = skip_varint(a, p, end)
        if q < 0:
            break
        count += 1
        p = q
    return count


@inner
def bucket_total(a, p, end):
    """Of a Buckets in ``[p, end)``: how many counts it has."""
    count = 0
    while p < end:
        tag = load_u8(a, p)
        q = skip_field(a, p, end)
        if tag == 0x10:
            count += 1
        elif tag == 0x12:
            body = field_body(a, p + 1, end)
            if body >= 0:
                start = body & 0xFFFFFFFF
                count += varints(a, start, start + (body >> 32))
        p = q
    return count


@inner
def bucket_offset(a, p, end, offset):
    """Its offset; ``offset`` where it says none."""
    while p < end:
        q = skip_field(a, p, end)
        if load_u8(a, p) == 0x08:
            stop = skip_varint(a, p + 1, end)
            if stop >= 0:
                offset = signed32(varint_value(a, p + 1, stop))
        p = q
    return offset


@inner
def read_exemplar(a, p, end, i, floats, longs):
    """Keep the Exemplar in ``[p, end)`` for a point if its value is the greatest so far."""
    value = np.nan
    time = high = low = span = _NONE
    while p < end:
        tag = load_u8(a, p)
        q = skip_field(a, p, end)
        if (tag == 0x11 or tag == 0x19 or tag == 0x31) and p + 9 <= end:
            if tag == 0x11:
                time = load_u64(a, p + 1)
            elif tag == 0x19:
                value = load_f64(a, p + 1)
            else:
                value = np.float64(np.int64(load_u64(a, p + 1)))
        elif tag == 0x22 or tag == 0x2A:
            body = field_body(a, p + 1, end)
            if body >= 0:
                start = body & 0xFFFFFFFF
                size = body >> 32
                if tag == 0x22:
                    span = load_u64_be(a, start) if size == 8 else _NONE
                elif size == 16:
                    high = load_u64_be(a, start)
                    low = load_u64_be(a, start + 8)
                else:
                    high = low = _NONE
        p = q
    if finite(value) and not value <= floats[EXEMPLAR_VALUE, i]:
        floats[EXEMPLAR_VALUE, i] = value
        longs[EXEMPLAR_TIME, i] = time
        longs[TRACE_HIGH, i] = high
        longs[TRACE_LOW, i] = low
        longs[EXEMPLAR_SPAN, i] = span


@kernel
def read_values(data, leaves, nodes, floats, longs, ints, flags, faults):
    """Fill the columns of every point; the ``*_STOP`` ones with how many there are of each point.

    Returns the number of bucket counts in 32 bits, that of explicit bounds above them.
    """
    a = address_of(data)
    counts = bounds = 0
    for i in range(len(leaves)):
        kind = np.int64(nodes[leaves[i, NODE], TAG]) >> 3
        number = kind < HISTOGRAM
        exemplar_tag = 0x2A if number else (0x42 if kind == HISTOGRAM else 0x5A)
        attribute_tag = 0x4A if kind == HISTOGRAM else (0x0A if kind == EXPONENTIAL else 0x3A)
        flags_tag = 0x50 if kind == HISTOGRAM or kind == EXPONENTIAL else 0x40
        min_tag = 0x59 if kind == HISTOGRAM else 0x61
        p = np.int64(leaves[i, BODY])
        end = np.int64(leaves[i, END])
        value = total = least = most = np.nan
        threshold = 0.0
        count = zero = attributes = _NONE
        scale = offset = negative_offset = positive = negative = limits = flag = 0
        floats[EXEMPLAR_VALUE, i] = np.nan
        for column in (EXEMPLAR_TIME, TRACE_HIGH, TRACE_LOW, EXEMPLAR_SPAN):
            longs[column, i] = _NONE
        if kind == SUMMARY:
            total = 0.0  # it has no presence
        while p < end:
            tag = load_u8(a, p)
            q = skip_field(a, p, end)
            wire_type = tag & 7
            if wire_type == 1 and p + 9 <= end:
                if number:
                    if tag == 0x21:
                        value = load_f64(a, p + 1)
                    elif tag == 0x31:
                        value = np.float64(np.int64(load_u64(a, p + 1)))
                elif tag == 0x21:
                    count = load_u64(a, p + 1)
                elif tag == 0x29:
                    total = load_f64(a, p + 1)
                elif kind == HISTOGRAM and tag == 0x31:
                    positive += 1
                elif kind == HISTOGRAM and tag == 0x39:
                    limits += 1
                elif kind == EXPONENTIAL and tag == 0x39:
                    zero = load_u64(a, p + 1)
                elif kind == EXPONENTIAL and tag == 0x71:
                    threshold = load_f64(a, p + 1)
                elif kind != SUMMARY and tag == min_tag:
                    least = load_f64(a, p + 1)
                elif kind != SUMMARY and tag == min_tag + 8:
                    most = load_f64(a, p + 1)
            elif wire_type == 2:
                body = field_body(a, p + 1, end)
                if body >= 0:
                    start = body & 0xFFFFFFFF
                    size = body >> 32
                    if tag == attribute_tag:
                        # A sum: the order of attributes does not matter.
                        attributes += hash_bytes(a, start, start + size)
                    elif kind == SUMMARY:
                        pass
                    elif tag == exemplar_tag:
                        read_exemplar(a, start, start + size, i, floats, longs)
                    elif kind == HISTOGRAM and tag == 0x32:
                        positive += size >> 3
                    elif kind == HISTOGRAM and tag == 0x3A:
                        limits += size >> 3
                    elif kind == EXPONENTIAL and tag == 0x42:
                        positive += bucket_total(a, start, start + size)
                        offset = bucket_offset(a, start, start + size, offset)
                    elif kind == EXPONENTIAL and tag == 0x4A:
                        negative += bucket_total(a, start, start + size)
                        negative_offset = bucket_offset(a, start, start + size, negative_offset)
            elif wire_type == 0:
                stop = skip_varint(a, p + 1, end)
                if stop >= 0:
                    if tag == flags_tag:
                        flag = varint_value(a, p + 1, stop) & 0xFFFFFFFF
                    elif kind == EXPONENTIAL and tag == 0x30:
                        scale = signed32(varint_value(a, p + 1, stop))
            p = q
        wrong = 0
        if flag & 1:
            wrong = NO_RECORDED_VALUE
        elif number:
            wrong = NO_VALUE
        floats[VALUE, i] = value
        floats[SUM, i] = total
        floats[MIN, i] = least
        floats[MAX, i] = most
        floats[ZERO_THRESHOLD, i] = threshold
        longs[COUNT, i] = count
        longs[ZERO, i] = zero
        longs[ATTRIBUTES, i] = attributes
        ints[SCALE, i] = scale
        ints[OFFSET, i] = offset
        ints[NEGATIVE_OFFSET, i] = negative_offset
        ints[POSITIVE_STOP, i] = positive
        ints[NEGATIVE_STOP, i] = negative
        ints[BOUNDS_STOP, i] = limits
        flags[i] = flag
        faults[i] = wrong
        if wrong == NO_VALUE:
            faults[i] = value_fault(a, np.int64(leaves[i, BODY]), end, value)
        elif wrong == 0:
            faults[i] = not_finite(a, np.int64(leaves[i, BODY]), end, kind)
        counts += positive + negative
        bounds += limits
    return counts | (bounds << 32)


@inner
def value_fault(a, p, end, value):
    """Of a NumberDataPoint: whether it has no value, or one that is no number."""
    if finite(value):
        return 0
    while p < end:
        tag = load_u8(a, p)
        if tag == 0x21 or tag == 0x31:
            return NOT_FINITE
        p = skip_field(a, p, end)
    return NO_VALUE


@inner
def not_finite(a, p, end, kind):
    """Of other points: whether sum, min or max are there and are no numbers."""
    first = 0x59 if kind == HISTOGRAM else 0x61
    while p < end:
        tag = load_u8(a, p)
        extreme = kind != SUMMARY and (tag == first or tag == first + 8)
        if (tag == 0x29 or extreme) and p + 9 <= end and not finite(load_f64(a, p + 1)):
            return NOT_FINITE
        p = skip_field(a, p, end)
    return 0


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
def expand(data, leaves, nodes, floats, longs, ints, faults, counts, bounds):
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


@kernel
def read_envelopes(data, nodes, gaps, scopes, metrics, stop, scope_hashes, units):
    """Hash of each scope, range of each metric's unit.

    ``scopes``, ``metrics``: the first node of these; ``stop``: after the last metric.
    """
    a = address_of(data)
    for node in range(scopes, metrics):
        name = version = attributes = _NONE
        for g in range(nodes[node, GAP_FIRST], nodes[node, GAP_STOP]):
            p = np.int64(gaps[g, 0])
            end = np.int64(gaps[g, 1])
            while p < end:
                q = skip_field(a, p, end)
                body = field_body(a, p + 1, end) if load_u8(a, p) == 0x0A else np.int64(-1)
                if body >= 0:
                    r = body & 0xFFFFFFFF
                    last = r + (body >> 32)
                    while r < last:
                        tag = load_u8(a, r)
                        s = skip_field(a, r, last)
                        if tag == 0x0A or tag == 0x12 or tag == 0x1A:
                            text = field_body(a, r + 1, last)
                            if text >= 0:
                                start = text & 0xFFFFFFFF
                                size = text >> 32
                                # Empty is as good as not there.
                                hashed = hash_bytes(a, start, start + size) if size > 0 else _NONE
                                if tag == 0x0A:
                                    name = hashed
                                elif tag == 0x12:
                                    version = hashed
                                else:
                                    attributes += hashed
                        r = s
                p = q
        scope_hashes[node - scopes] = mix(mix(name ^ _STREAM, _PART) ^ version, _PART) ^ attributes
    for node in range(metrics, stop):
        units[node - metrics, 0] = 0
        units[node - metrics, 1] = 0
        for g in range(nodes[node, GAP_FIRST], nodes[node, GAP_STOP]):
            p = np.int64(gaps[g, 0])
            end = np.int64(gaps[g, 1])
            while p < end:
                if load_u8(a, p) == 0x1A:
                    body = field_body(a, p + 1, end)
                    if body >= 0:
                        units[node - metrics, 0] = body & 0xFFFFFFFF
                        units[node - metrics, 1] = (body & 0xFFFFFFFF) + (body >> 32)
                p = skip_field(a, p, end)


@kernel
def identify(
    data, resource, scope, metric, resource_hashes, scope_hashes, name_hashes, units, attributes,
    found,
):  # fmt: skip
    """Hash of each point's stream into ``found``."""
    a = address_of(data)
    for i in range(len(found)):
        start = np.int64(units[metric[i], 0])
        stop = np.int64(units[metric[i], 1])
        unit = hash_bytes(a, start, stop) if stop > start else _NONE
        h = mix(resource_hashes[resource[i]] ^ _STREAM, _PART)
        h = mix(h ^ scope_hashes[scope[i]], _PART)
        h = mix(h ^ name_hashes[i], _PART)
        h = mix(h ^ unit, _PART)
        found[i] = mix(h ^ attributes[i], _PART)

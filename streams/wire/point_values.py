"""The kernel that reads what data points say; see ``points``.

``scan`` has validated every field, so that only the size of what is read counts here: a scan of
other bytes of the same length must not lead out of them, whatever it makes of them.
"""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner, kernel
from streams.wire.memory import address_of, load_f64, load_u8, load_u64, load_u64_be
from streams.wire.text import hash_bytes
from streams.wire.tree import BODY, END, NODE, TAG
from streams.wire.walk import field_body, skip_field, skip_varint, varint_value

__all__ = ["finite", "read_values"]

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

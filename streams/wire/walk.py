"""Validate protobuf fields by table, without recursion, and the short cut for attributes.

Stricter than protobuf itself, on purpose (each is something no OTLP encoder writes):
a known field with the wrong wire type, groups, tags not in their shortest form.
Source: protobuf encoding specification; limits as in upb: 10 bytes a varint, 5 a length,
100 levels of messages.
"""

from __future__ import annotations

import numpy as np

from streams.wire import faults
from streams.wire.compiling import inlined, inner
from streams.wire.faults import fault
from streams.wire.fields import FIELDS, NUMBERS, ROW, Kind
from streams.wire.memory import load_i64, load_u8, store_i64
from streams.wire.text import is_ascii, utf8_error

__all__ = [
    "DEPTH_MAX",
    "STACK",
    "WORK_WORDS",
    "field_body",
    "key_value",
    "skip_field",
    "skip_varint",
    "varint_value",
    "walk",
]

DEPTH_MAX = 100
# The work area, int64: how many ids were wrong, whether that is a fault, results, then the stack.
WRONG_IDS, STRICT, SUM, SERVICE, SERVICE_STOP = range(5)
STACK = 5
WORK_WORDS = STACK + 2 * (DEPTH_MAX + 2)

KEY_VALUE = NUMBERS["KeyValue"]
_UNKNOWN = int(FIELDS[0])
MESSAGE, STRING, TRACE_ID, SPAN_ID = (
    int(Kind.MESSAGE),
    int(Kind.STRING),
    int(Kind.TRACE_ID),
    int(Kind.SPAN_ID),
)
VARINTS, FIXED64S = int(Kind.VARINTS), int(Kind.FIXED64S)


@inner
def skip_varint(a, p, end):
    """Offset after the varint at ``p``, or a fault."""
    limit = min(end, p + 10)
    q = p
    while q < limit:
        if load_u8(a, q) < 0x80:
            return q + 1
        q += 1
    return fault(faults.VARINT if q == p + 10 else faults.TRUNCATED, p)


@inner
def varint_value(a, p, end):
    """Value of the varint that occupies ``[p, end)``, modulo 2^64, as int64."""
    value = 0
    for k in range(end - p):
        value |= (load_u8(a, p + k) & 0x7F) << (7 * k)
    return value


@inner
def field_body(a, p, end):
    """Read the length at ``p``: start of the body in 32 bits, its size above them; or a fault."""
    if p >= end:
        return fault(faults.TRUNCATED, p)
    size = load_u8(a, p)
    q = p + 1
    if size >= 0x80:
        size &= 0x7F
        shift = 7
        while True:
            if q >= end:
                return fault(faults.TRUNCATED, p)
            byte = load_u8(a, q)
            q += 1
            size |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 28:
                return fault(faults.VARINT, p)
    if size > end - q:
        return fault(faults.LENGTH, p)
    return q | (size << 32)


@inlined
def skip_field(a, p, end):
    """Offset after the field at ``p``; for what ``scan`` has accepted, so that nothing is wrong.

    If something is (the scan is of other bytes), ``end``: progress in any case, never beyond.
    """
    tag = load_u8(a, p)
    wire_type = tag & 7
    p += 1
    while tag >= 0x80 and p < end:
        tag = load_u8(a, p)
        p += 1
    if wire_type == 2:
        body = field_body(a, p, end)
        return (body & 0xFFFFFFFF) + (body >> 32) if body >= 0 else end
    if wire_type == 0:
        q = skip_varint(a, p, end)
        return q if q >= 0 else end
    return min(p + (8 if wire_type == 1 else 4), end)


@inner
def key_value(a, p, end):
    """Whether ``[p, end)`` is a KeyValue of the usual form: ASCII key, then string or integer.

    False says nothing: the walker decides. Lengths below 128 (all bytes of such a message are
    ASCII, so one test covers key and value), or a string value of up to 16383 bytes.
    """
    size = end - p
    if size < 4 or load_u8(a, p) != 0x0A:
        return False
    q = p + 2 + load_u8(a, p + 1)  # a length >= 128 points beyond the next two tests, or at a
    if q + 2 > end or load_u8(a, p + 1) >= 0x80 or load_u8(a, q) != 0x12:
        return False
    length = load_u8(a, q + 1)
    q += 2
    if length < 0x80:
        if q + length != end or length < 2:
            return False
        tag = load_u8(a, q)
        if tag == 0x0A:
            return load_u8(a, q + 1) == length - 2 and is_ascii(a, p, end)
        if tag == 0x18:
            return skip_varint(a, q + 1, end) == end and is_ascii(a, p, q)
        if tag == 0x10:
            return length == 2 and is_ascii(a, p, end)
        if tag == 0x21:
            return length == 9 and is_ascii(a, p, q)
        return False
    if q >= end or load_u8(a, q) >= 0x80:
        return False
    length = (length & 0x7F) | (load_u8(a, q) << 7)
    q += 1
    if q + length != end or length < 131 or load_u8(a, q) != 0x0A:
        return False
    inner_length = (load_u8(a, q + 1) & 0x7F) | (load_u8(a, q + 2) << 7)
    if load_u8(a, q + 1) < 0x80 or load_u8(a, q + 2) >= 0x80 or inner_length != length - 3:
        return False
    return is_ascii(a, p + 2, q - 3) and is_ascii(a, q + 3, end)


@inner
def walk(a, p, end, message, depth, single, work):
    """Check the fields in ``[p, end)`` of a message at nesting level ``depth`` (request: 0).

    With ``single`` only the field at ``p``. Returns the offset after it, or a fault. Wrong ids
    are faults when ``work[STRICT]`` is set, otherwise counted in ``work[WRONG_IDS]``.
    """
    top = 0
    while True:
        if p >= end:  # equal: a length never reaches beyond
            if top == 0:
                return p
            top -= 1
            end = load_i64(work, STACK + 2 * top)
            message = load_i64(work, STACK + 2 * top + 1)
            if single and top == 0:
                return p
            continue
        start = p
        tag = load_u8(a, p)
        p += 1
        if tag >= 0x80:
            tag &= 0x7F
            shift = 7
            while True:
                if p >= end:
                    return fault(faults.TRUNCATED, start)
                byte = load_u8(a, p)
                p += 1
                tag |= (byte & 0x7F) << shift
                if byte < 0x80:
                    if byte == 0:
                        return fault(faults.TAG, start)
                    break
                shift += 7
                if shift > 28:
                    return fault(faults.TAG, start)
            if tag > 0xFFFFFFFF:
                return fault(faults.TAG, start)
        number = tag >> 3
        wire_type = tag & 7
        if number == 0:
            return fault(faults.FIELD_ZERO, start)
        row = np.int64(FIELDS[message * ROW + number]) if number < ROW else _UNKNOWN
        if not (row >> wire_type) & 1:
            if wire_type in (3, 4):
                return fault(faults.GROUP, start)
            if wire_type > 5:
                return fault(faults.NO_WIRE_TYPE, start)
            return fault(faults.WIRE_TYPE, start)
        if wire_type == 0:
            p = skip_varint(a, p, end)
            if p < 0:
                return p
        elif wire_type == 1:
            p += 8
            if p > end:
                return fault(faults.TRUNCATED, start)
        elif wire_type == 5:
            p += 4
            if p > end:
                return fault(faults.TRUNCATED, start)
        else:
            body = field_body(a, p, end)
            if body < 0:
                return body
            p = body & 0xFFFFFFFF
            stop = p + (body >> 32)
            kind = (row >> 8) & 0xFF
            if kind == MESSAGE:
                child = row >> 16
                level = depth + top + 1
                if child == KEY_VALUE and level < DEPTH_MAX and key_value(a, p, stop):
                    p = stop
                else:
                    if level > DEPTH_MAX:
                        return fault(faults.DEPTH, start)
                    store_i64(work, STACK + 2 * top, end)
                    store_i64(work, STACK + 2 * top + 1, message)
                    top += 1
                    end = stop
                    message = child
                    continue
            elif kind == STRING:
                wrong = utf8_error(a, p, stop)
                if wrong >= 0:
                    return fault(faults.UTF8, wrong)
            elif kind == TRACE_ID or kind == SPAN_ID:
                size = stop - p
                if size != 0 and size != (16 if kind == TRACE_ID else 8):
                    if load_i64(work, STRICT):
                        return fault(faults.TRACE_ID if kind == TRACE_ID else faults.SPAN_ID, start)
                    store_i64(work, WRONG_IDS, load_i64(work, WRONG_IDS) + 1)
            elif kind == FIXED64S:
                if (stop - p) & 7:
                    return fault(faults.PACKED, start)
            elif kind == VARINTS:
                while p < stop:
                    p = skip_varint(a, p, stop)
                    if p < 0:
                        return p
            p = stop
        if single and top == 0:
            return p

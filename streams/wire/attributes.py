"""The kernel that reads chosen attributes of resources, scopes and items; see ``lookup``."""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inlined, inner, kernel
from streams.wire.memory import (
    address_of,
    load_f64,
    load_i64,
    load_u8,
    load_u64,
    mix,
    store_f64,
    store_i32,
    store_i64,
    store_u8,
)
from streams.wire.text import hash_bytes
from streams.wire.tree import BODY, END, GAP_FIRST, GAP_STOP, LOGS, METRICS, NODE, TAG
from streams.wire.walk import field_body, skip_field, skip_varint, varint_value

__all__ = ["LENGTHS", "STARTS", "read_fields"]

# Places, and kinds of values.
RESOURCE, SCOPE, ITEM = range(3)
ABSENT, STRING, BOOL, INT, DOUBLE, OTHER = range(6)
# The table that ``field_of_key`` reads begins with a mask for each place and length of a key.
LENGTHS = 256  # longer keys share the last one
STARTS = 3 * LENGTHS
# Work area: what was read of a value, and where the arrays of Values begin.
KIND, START, STOP, WORD, OUT_KIND, OUT_HASH, OUT_START, OUT_STOP, OUT_NUMBER = range(9)
_SEED = np.uint64(0xA24BAED4963EE407)
_TYPE = np.uint64(0x9FB21C651E98DF25)
_VALUE = np.uint64(0xD1342543DE82EF95)
_ONE = np.uint64(1)
_NONE = np.uint64(0)
_UNUSUAL = -2


@inner
def same(a, p, b, q, size):
    """Whether ``size`` bytes at two places are the same."""
    if size >= 8:
        last = size - 8
        at = 0
        while at < last:
            if load_u64(a, p + at) != load_u64(b, q + at):
                return False
            at += 8
        return load_u64(a, p + last) == load_u64(b, q + last)
    at = 0
    while at < size and load_u8(a, p + at) == load_u8(b, q + at):
        at += 1
    return at == size


@inner
def field_of_key(a, p, size, where, keys, table, count):
    """Which field has the key at ``p``, or -1.

    ``table``: for each place and length of a key a mask of fields; then where each field's key
    begins in ``keys``.
    """
    mask = np.uint64(load_i64(table, where * LENGTHS + min(size, LENGTHS - 1)))
    if mask == _NONE:
        return np.int64(-1)
    for f in range(count):
        if (mask >> np.uint64(f)) & _ONE:
            q = load_i64(table, STARTS + f)
            if load_i64(table, STARTS + f + 1) - q == size and same(a, p, keys, q, size):
                return f
    return np.int64(-1)


@inner
def last_key(a, p, end):
    """Key of a KeyValue of any form: start in 32 bits, size above them."""
    key = np.int64(0)
    while p < end:
        if load_u8(a, p) == 0x0A:
            key = max(field_body(a, p + 1, end), 0)
        p = skip_field(a, p, end)
    return key


@inner
def read_any(a, p, end, work):
    """Take over what the fields of an AnyValue say: the last one counts."""
    while p < end:
        tag = load_u8(a, p)
        q = skip_field(a, p, end)
        if tag in (0x0A, 0x2A, 0x32, 0x3A):  # string, array, key-value list, bytes
            body = field_body(a, p + 1, end)
            if body >= 0:
                store_i64(work, KIND, STRING if tag == 0x0A else OTHER)
                store_i64(work, START, body & 0xFFFFFFFF)
                store_i64(work, STOP, (body & 0xFFFFFFFF) + (body >> 32))
                store_i64(work, WORD, tag)
        elif tag == 0x10 or tag == 0x18 or tag == 0x40:  # bool, int, string by index
            stop = skip_varint(a, p + 1, end)
            if stop >= 0:
                value = varint_value(a, p + 1, stop)
                if tag == 0x10:
                    value = np.int64(value != 0)
                kind = BOOL if tag == 0x10 else (INT if tag == 0x18 else OTHER)
                store_i64(work, KIND, kind)
                store_i64(work, START, p)
                store_i64(work, STOP, stop)
                store_i64(work, WORD, value)
        elif tag == 0x21 and p + 9 <= end:
            store_i64(work, KIND, DOUBLE)
            store_i64(work, START, p + 1)
            store_i64(work, WORD, load_i64(a + p + 1, 0))
        p = q


@inner
def read_value(a, p, end, work):
    """Read the value of the KeyValue in ``[p, end)``."""
    store_i64(work, KIND, OTHER)
    store_i64(work, START, 0)
    store_i64(work, STOP, 0)
    store_i64(work, WORD, 0)
    while p < end:
        if load_u8(a, p) == 0x12:
            body = field_body(a, p + 1, end)
            if body >= 0:
                q = body & 0xFFFFFFFF
                read_any(a, q, q + (body >> 32), work)
        p = skip_field(a, p, end)


@inner
def usual_value(a, p, end, work):
    """Read an AnyValue that is one short field, the last byte included; False: it is another."""
    if end - p < 2:
        return False
    tag = load_u8(a, p)
    byte = load_u8(a, p + 1)
    if tag == 0x0A:
        if byte >= 0x80 or p + 2 + byte != end:
            return False
        store_i64(work, KIND, STRING)
        store_i64(work, START, p + 2)
        store_i64(work, STOP, end)
        return True
    if tag != 0x18 and tag != 0x10:
        return False
    value = byte & 0x7F
    q = p + 2
    shift = 7
    while byte >= 0x80 and q < end and shift < 35:
        byte = load_u8(a, q)
        value |= (byte & 0x7F) << shift
        shift += 7
        q += 1
    if q != end or byte >= 0x80:
        return False
    store_i64(work, KIND, INT if tag == 0x18 else BOOL)
    store_i64(work, WORD, value if tag == 0x18 else np.int64(value != 0))
    return True


@inlined
def usual_match(a, p, end, where, keys, table, count, work):
    """``match`` of a KeyValue that is a key, then a value, with lengths of one byte.

    _UNUSUAL: it is not.
    """
    size = end - p
    if size < 4 or size >= 0x84 or load_u8(a, p) != 0x0A:
        return _UNUSUAL
    length = load_u8(a, p + 1)
    q = p + 2 + length
    if q + 2 > end or load_u8(a, q) != 0x12 or q + 2 + load_u8(a, q + 1) != end:
        return _UNUSUAL
    if load_i64(table, where * LENGTHS + length) == 0:  # most attributes
        return np.int64(-1)
    f = field_of_key(a, p + 2, length, where, keys, table, count)
    if f >= 0 and not usual_value(a, q + 2, end, work):
        read_value(a, q, end, work)
    return f


@inner
def match(a, p, end, where, keys, table, count, work):
    """Which field the KeyValue in ``[p, end)`` is of, or -1; its value is read then."""
    key = last_key(a, p, end)
    f = field_of_key(a, key & 0xFFFFFFFF, key >> 32, where, keys, table, count)
    if f >= 0:
        read_value(a, p, end, work)
    return f


@inner
def value_hash(a, work):
    """Hash of what was read."""
    kind = load_i64(work, KIND)
    word = np.uint64(load_i64(work, WORD))
    if kind == STRING:
        return hash_bytes(a, load_i64(work, START), load_i64(work, STOP))
    if kind == OTHER:
        word ^= hash_bytes(a, load_i64(work, START), load_i64(work, STOP))
    return mix(mix(_SEED ^ np.uint64(kind), _TYPE) ^ word, _VALUE)


@inner
def value_number(a, work):
    """What was read as a number."""
    kind = load_i64(work, KIND)
    if kind == BOOL or kind == INT:
        return np.float64(load_i64(work, WORD))
    if kind == DOUBLE:
        return load_f64(a, load_i64(work, START))
    return np.nan


@inner
def put(a, cell, work):
    """Store what was read in a cell of every array."""
    kind = load_i64(work, KIND)
    store_u8(load_i64(work, OUT_KIND), cell, kind)
    store_i64(load_i64(work, OUT_HASH), cell, np.int64(value_hash(a, work)))
    if kind == STRING:
        store_i32(load_i64(work, OUT_START), cell, load_i64(work, START))
        store_i32(load_i64(work, OUT_STOP), cell, load_i64(work, STOP))
    store_f64(load_i64(work, OUT_NUMBER), cell, value_number(a, work))


@inner
def read_attributes(a, p, end, tag, where, keys, table, count, column, rows, left, work):
    """Read what is wanted of the attributes among the fields in ``[p, end)``, those with ``tag``.

    ``left`` fields have no value yet; returns how many have none afterwards.
    """
    while p < end:
        if load_u8(a, p) != tag:
            p = skip_field(a, p, end)
            continue
        body = field_body(a, p + 1, end)
        if body < 0:
            break
        q = body & 0xFFFFFFFF
        p = q + (body >> 32)
        f = usual_match(a, q, p, where, keys, table, count, work)
        if f == _UNUSUAL:
            f = match(a, q, p, where, keys, table, count, work)
        if f >= 0 and load_u8(load_i64(work, OUT_KIND), f * rows + column) == ABSENT:
            put(a, f * rows + column, work)
            left -= 1
            if left == 0:
                break
    return left


@inner
def read_envelope(a, nodes, gaps, node, where, keys, table, count, column, rows, left, work):
    """Read the attributes of the Resource or InstrumentationScope of a node."""
    for g in range(nodes[node, GAP_FIRST], nodes[node, GAP_STOP]):
        p = np.int64(gaps[g, 0])
        end = np.int64(gaps[g, 1])
        while p < end:
            q = skip_field(a, p, end)
            if load_u8(a, p) == 0x0A:
                body = field_body(a, p + 1, end)
                tag = 0x0A if where == RESOURCE else 0x1A
                left = read_attributes(
                    a, body & 0xFFFFFFFF, q, tag, where, keys, table, count, column, rows, left,
                    work,
                )  # fmt: skip
            p = q


@inner
def point_attributes(data):
    """Tag of the attributes of a data point by the field of Metric.data that it is in."""
    return 0x4A if data == 9 else (0x0A if data == 10 else 0x3A)


@kernel
def read_fields(
    data, signal, nodes, gaps, leaves, resources, scopes, resource, scope, keys, table, places,
    area, kind, hashes, start, stop, number,
):  # fmt: skip
    """Fill the five arrays of Values. ``resources``, ``scopes``: the first node of these."""
    a = address_of(data)
    key_bytes = address_of(keys)
    masks = address_of(table)
    work = address_of(area)
    area[OUT_KIND] = address_of(kind)
    area[OUT_HASH] = address_of(hashes)
    area[OUT_START] = address_of(start)
    area[OUT_STOP] = address_of(stop)
    area[OUT_NUMBER] = address_of(number)
    count = len(places)
    rows = len(resource)
    wanted = np.zeros(ITEM + 1, np.int64)
    for f in range(count):
        wanted[places[f]] += 1
        for i in range(rows):
            kind[f, i] = ABSENT
            hashes[f, i] = _NONE
            start[f, i] = 0
            stop[f, i] = 0
            number[f, i] = np.nan
    for where in (RESOURCE, SCOPE):
        if wanted[where] == 0:
            continue
        first = scopes if where == SCOPE else resources
        i = 0
        while i < rows:
            group = scope[i] if where == SCOPE else resource[i]
            read_envelope(
                a, nodes, gaps, first + group, where, key_bytes, masks, count, i, rows,
                wanted[where], work,
            )  # fmt: skip
            j = i + 1
            while j < rows and (scope[j] if where == SCOPE else resource[j]) == group:
                j += 1
            for f in range(count):
                if places[f] == where and kind[f, i] != ABSENT:
                    for k in range(i + 1, j):
                        kind[f, k] = kind[f, i]
                        hashes[f, k] = hashes[f, i]
                        start[f, k] = start[f, i]
                        stop[f, k] = stop[f, i]
                        number[f, k] = number[f, i]
            i = j
    if wanted[ITEM] > 0:
        for i in range(len(leaves)):
            tag = 0x32 if signal == LOGS else 0x4A
            if signal == METRICS:
                tag = point_attributes(np.int64(nodes[leaves[i, NODE], TAG]) >> 3)
            read_attributes(
                a, np.int64(leaves[i, BODY]), np.int64(leaves[i, END]), tag, ITEM, key_bytes,
                masks, count, i, rows, wanted[ITEM], work,
            )  # fmt: skip

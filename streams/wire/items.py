"""One kernel a signal: check every item, fill its columns.

An item's fields are read by their first byte (tags are in their shortest form, the walker sees
to that); what no column needs goes to the walker, field by field.
"""

from __future__ import annotations

import numpy as np

from schemas.columns import LOGS, POINTS, SPANS, Layout
from streams.wire import faults
from streams.wire.compiling import inner, kernel
from streams.wire.faults import fault
from streams.wire.fields import NUMBERS
from streams.wire.memory import address_of, load_i64, load_u8, load_u64, load_u64_be, store_i64
from streams.wire.text import hash_bytes, utf8_error
from streams.wire.tree import BODY, END, FIRST, FRAME, NODE, PARENT, SECOND, TAG
from streams.wire.walk import (
    STRICT,
    WRONG_IDS,
    field_body,
    key_value,
    skip_varint,
    varint_value,
    walk,
)

__all__ = ["read_logs", "read_points", "read_spans"]


def _columns(layout: Layout, *names: str) -> tuple[int, ...]:
    return tuple(layout.index[name] for name in names)


_SPAN, _STATUS, _LOG = NUMBERS["Span"], NUMBERS["Status"], NUMBERS["LogRecord"]
_POINT = np.zeros(16, np.int64)
for _number, _name in (
    (5, "NumberDataPoint"),
    (7, "NumberDataPoint"),
    (9, "HistogramDataPoint"),
    (10, "ExponentialHistogramDataPoint"),
    (11, "SummaryDataPoint"),
):
    _POINT[_number] = NUMBERS[_name]
_NONE = np.uint64(0)

S_HIGH, S_LOW, S_ID, S_PARENT, S_START, S_END, S_HASH = _columns(
    SPANS,
    *("trace_id_high", "trace_id_low", "span_id", "parent_span_id"),
    *("start_time", "end_time", "name_hash"),
)
S_KIND, S_STATUS, S_NAME, S_NAME_STOP, S_STATE, S_STATE_STOP = _columns(
    SPANS,
    *("kind", "status", "name_start", "name_stop", "trace_state_start", "trace_state_stop"),
)
S_RANGE, S_VALID = _columns(SPANS, "frame", "valid")
L_HIGH, L_LOW, L_ID, L_TIME, L_OBSERVED = _columns(
    LOGS, "trace_id_high", "trace_id_low", "span_id", "time", "observed_time"
)
L_SEVERITY, L_RANGE, L_VALID = _columns(LOGS, "severity", "frame", "valid")
P_TIME, P_START, P_HASH = _columns(POINTS, "time", "start_time", "name_hash")
P_METRIC, P_DATA, P_TEMPORALITY = _columns(POINTS, "metric", "data", "temporality")
P_RANGE, P_MONOTONIC, P_VALID = _columns(POINTS, "frame", "monotonic", "valid")


@inner
def place(leaves, count, nodes, levels, i32, stride, first):
    """Columns frame, start, stop, resource and scope of all items."""
    frame = first * stride
    scopes = levels[3]
    for i in range(count):
        i32[frame + i] = leaves[i, FRAME]
        i32[frame + stride + i] = leaves[i, BODY]
        i32[frame + 2 * stride + i] = leaves[i, END]
        scope = np.int64(leaves[i, NODE])
        while scope >= scopes:
            scope = np.int64(nodes[scope, PARENT])
        i32[frame + 3 * stride + i] = nodes[scope, PARENT] - levels[1]
        i32[frame + 4 * stride + i] = scope - levels[2]


@inner
def attribute(a, p, end, message, depth, work):
    """Check the KeyValue field at ``p``; the offset after it, or a fault."""
    body = field_body(a, p + 1, end)
    if body >= 0:
        start = body & 0xFFFFFFFF
        stop = start + (body >> 32)
        if key_value(a, start, stop):
            return stop
    return walk(a, p, end, message, depth, True, work)


@inner
def wrong_id(code, p, work):
    """A fault, or with strict_ids=False a mark on the item."""
    if load_i64(work, STRICT):
        return fault(code, p)
    store_i64(work, WRONG_IDS, load_i64(work, WRONG_IDS) + 1)
    return 0


@inner
def status_code(a, p, end, code, work):
    """Check a Status; its code in the low 32 bits (``code`` if it has none), or a fault."""
    while p < end:
        tag = load_u8(a, p)
        q = walk(a, p, end, _STATUS, 4, True, work)
        if q < 0:
            return q
        if tag == 0x18:
            code = varint_value(a, p + 1, q) & 0xFFFFFFFF
        p = q
    return code


@kernel
def read_spans(data, leaves, count, nodes, levels, area, u64, i32, b1, stride):
    """Columns of SPANS for ``count`` leaves. Returns 0 or a fault."""
    a = address_of(data)
    work = address_of(area)
    place(leaves, count, nodes, levels, i32, stride, S_RANGE)
    for i in range(count):
        p = np.int64(leaves[i, BODY])
        end = np.int64(leaves[i, END])
        high = low = span = parent = begin = finish = name_hash = _NONE
        kind = status = name = name_stop = state = state_stop = 0
        store_i64(work, WRONG_IDS, 0)
        while p < end:
            tag = load_u8(a, p)
            if tag == 0x4A:
                p = attribute(a, p, end, _SPAN, 3, work)
                if p < 0:
                    return p
            elif tag == 0x39 or tag == 0x41:
                if p + 9 > end:
                    return fault(faults.TRUNCATED, p)
                if tag == 0x39:
                    begin = load_u64(a, p + 1)
                else:
                    finish = load_u64(a, p + 1)
                p += 9
            elif tag == 0x30:
                q = skip_varint(a, p + 1, end)
                if q < 0:
                    return q
                kind = varint_value(a, p + 1, q)
                p = q
            elif tag in (0x0A, 0x12, 0x1A, 0x22, 0x2A, 0x7A):
                body = field_body(a, p + 1, end)
                if body < 0:
                    return body
                q = body & 0xFFFFFFFF
                size = body >> 32
                stop = q + size
                if tag == 0x0A:
                    high = low = _NONE
                    if size == 16:
                        high = load_u64_be(a, q)
                        low = load_u64_be(a, q + 8)
                    elif wrong_id(faults.TRACE_ID, p, work):
                        return fault(faults.TRACE_ID, p)
                elif tag == 0x12:
                    span = _NONE
                    if size == 8:
                        span = load_u64_be(a, q)
                    elif wrong_id(faults.SPAN_ID, p, work):
                        return fault(faults.SPAN_ID, p)
                elif tag == 0x22:
                    parent = _NONE
                    if size == 8:
                        parent = load_u64_be(a, q)
                    elif size != 0 and wrong_id(faults.SPAN_ID, p, work):
                        return fault(faults.SPAN_ID, p)
                elif tag == 0x7A:
                    status = status_code(a, q, stop, status, work)
                    if status < 0:
                        return status
                else:
                    wrong = utf8_error(a, q, stop)
                    if wrong >= 0:
                        return fault(faults.UTF8, wrong)
                    if tag == 0x2A:
                        name = q
                        name_stop = stop
                    else:
                        state = q
                        state_stop = stop
                p = stop
            else:
                p = walk(a, p, end, _SPAN, 3, True, work)
                if p < 0:
                    return p
        if (high | low) == _NONE and wrong_id(faults.NO_TRACE_ID, leaves[i, FRAME], work):
            return fault(faults.NO_TRACE_ID, np.int64(leaves[i, FRAME]))
        if span == _NONE and wrong_id(faults.NO_SPAN_ID, leaves[i, FRAME], work):
            return fault(faults.NO_SPAN_ID, np.int64(leaves[i, FRAME]))
        name_hash = hash_bytes(a, np.int64(name), np.int64(name_stop))
        u64[S_HIGH * stride + i] = high
        u64[S_LOW * stride + i] = low
        u64[S_ID * stride + i] = span
        u64[S_PARENT * stride + i] = parent
        u64[S_START * stride + i] = begin
        u64[S_END * stride + i] = finish
        u64[S_HASH * stride + i] = name_hash
        i32[S_KIND * stride + i] = np.int32(kind)
        i32[S_STATUS * stride + i] = np.int32(status)
        i32[S_NAME * stride + i] = name
        i32[S_NAME_STOP * stride + i] = name_stop
        i32[S_STATE * stride + i] = state
        i32[S_STATE_STOP * stride + i] = state_stop
        b1[S_VALID * stride + i] = load_i64(work, WRONG_IDS) == 0
    return 0


@kernel
def read_logs(data, leaves, count, nodes, levels, area, u64, i32, b1, stride):
    """Columns of LOGS for ``count`` leaves. Returns 0 or a fault."""
    a = address_of(data)
    work = address_of(area)
    place(leaves, count, nodes, levels, i32, stride, L_RANGE)
    for i in range(count):
        p = np.int64(leaves[i, BODY])
        end = np.int64(leaves[i, END])
        high = low = span = time = observed = _NONE
        severity = 0
        store_i64(work, WRONG_IDS, 0)
        while p < end:
            tag = load_u8(a, p)
            if tag == 0x32:
                p = attribute(a, p, end, _LOG, 3, work)
                if p < 0:
                    return p
                continue
            q = walk(a, p, end, _LOG, 3, True, work)
            if q < 0:
                return q
            if tag == 0x09:
                time = load_u64(a, p + 1)
            elif tag == 0x59:
                observed = load_u64(a, p + 1)
            elif tag == 0x10:
                severity = varint_value(a, p + 1, q)
            elif tag == 0x4A:
                high = low = _NONE
                if field_body(a, p + 1, end) >> 32 == 16:
                    high = load_u64_be(a, q - 16)
                    low = load_u64_be(a, q - 8)
            elif tag == 0x52:
                span = _NONE
                if field_body(a, p + 1, end) >> 32 == 8:
                    span = load_u64_be(a, q - 8)
            p = q
        u64[L_HIGH * stride + i] = high
        u64[L_LOW * stride + i] = low
        u64[L_ID * stride + i] = span
        u64[L_TIME * stride + i] = time
        u64[L_OBSERVED * stride + i] = observed
        i32[L_SEVERITY * stride + i] = np.int32(severity)
        b1[L_VALID * stride + i] = load_i64(work, WRONG_IDS) == 0
    return 0


@kernel
def read_points(data, leaves, count, nodes, hashes, levels, area, u64, i32, b1, stride):
    """Columns of POINTS for ``count`` leaves of any data kind. Returns 0 or a fault."""
    a = address_of(data)
    work = address_of(area)
    place(leaves, count, nodes, levels, i32, stride, P_RANGE)
    for i in range(count):
        node = np.int64(leaves[i, NODE])
        metric = np.int64(nodes[node, PARENT])
        number = np.int64(nodes[node, TAG]) >> 3
        message = _POINT[number]
        attributes = 0x4A if number == 9 else (0x0A if number == 10 else 0x3A)
        p = np.int64(leaves[i, BODY])
        end = np.int64(leaves[i, END])
        time = start = _NONE
        store_i64(work, WRONG_IDS, 0)
        while p < end:
            tag = load_u8(a, p)
            if tag == attributes:
                p = attribute(a, p, end, message, 5, work)
                if p < 0:
                    return p
                continue
            q = walk(a, p, end, message, 5, True, work)
            if q < 0:
                return q
            if tag == 0x11:
                start = load_u64(a, p + 1)
            elif tag == 0x19:
                time = load_u64(a, p + 1)
            p = q
        u64[P_TIME * stride + i] = time
        u64[P_START * stride + i] = start
        u64[P_HASH * stride + i] = hashes[metric]
        i32[P_METRIC * stride + i] = metric - levels[3]
        i32[P_DATA * stride + i] = number
        i32[P_TEMPORALITY * stride + i] = nodes[node, FIRST]
        b1[P_MONOTONIC * stride + i] = nodes[node, SECOND] != 0
        b1[P_VALID * stride + i] = load_i64(work, WRONG_IDS) == 0
    return 0

"""The tree of a request: inner nodes (resource, scope, metric, its data) and items as leaves.

Level by level, so that what belongs to one node lies together. A node's *envelope* is every
byte of its body that is not a child: its gaps. A copy of some items is, for each node above
them, tag and new length, the gaps, and the chosen children byte for byte.

Metric.data is a singular field: if one metric carries it twice, protobuf merges both, so here
they become one node with the gaps and the points of both.
"""

from __future__ import annotations

import numpy as np

from streams.wire import faults
from streams.wire.compiling import inner, kernel
from streams.wire.faults import fault
from streams.wire.fields import FIELDS, NUMBERS, ROW, Kind
from streams.wire.memory import (
    address_of,
    load_i64,
    load_u8,
    load_u32,
    load_u64,
    store_i64,
)
from streams.wire.text import hash_bytes
from streams.wire.walk import (
    KEY_VALUE,
    SERVICE,
    SERVICE_STOP,
    SUM,
    field_body,
    key_value,
    varint_value,
    walk,
)

__all__ = ["LEVEL_SLOTS", "NODE_COLUMNS", "build_tree"]

# Columns of a node (int32). FIRST and SECOND: for a resource the range of service.name's
# value, for a metric the range of its name, for its data temporality and monotonicity.
PARENT, TAG, GAP_FIRST, GAP_STOP, START, STOP, FIRST, SECOND = range(8)
NODE_COLUMNS = 8
# Columns of a leaf (int32) and of a gap.
FRAME, BODY, END, NODE = range(4)

TRACES, LOGS, METRICS = 0, 1, 2
LEVEL_SLOTS = 7

_TYPES = np.array(
    [
        [NUMBERS[f"Export{s}ServiceRequest"], NUMBERS[f"Resource{p}"], NUMBERS[f"Scope{p}"]]
        for s, p in (("Trace", "Spans"), ("Logs", "Logs"), ("Metrics", "Metrics"))
    ],
    np.int64,
)
_FETCH_BYTES = 1 << 20
_METRIC = NUMBERS["Metric"]
_RESOURCE = NUMBERS["Resource"]
_DATA = np.zeros(16, np.int64)
for _number, _name in (
    (5, "Gauge"),
    (7, "Sum"),
    (9, "Histogram"),
    (10, "ExponentialHistogram"),
    (11, "Summary"),
):
    _DATA[_number] = NUMBERS[_name]
_GAUGE = NUMBERS["Gauge"]
_SUM = NUMBERS["Sum"]
_SUMMARY = NUMBERS["Summary"]
_CHILD = int(Kind.CHILD)
_SERVICE = int.from_bytes(b"service.", "little")
_NAME = int.from_bytes(b"name", "little")


@inner
def service_name(a, p, end, work):
    """If the KeyValue in ``[p, end)`` is service.name with a string, note where it lies."""
    if end - p < 18 or load_u8(a, p) != 0x0A or load_u8(a, p + 1) != 12:
        return
    if load_u64(a, p + 2) != np.uint64(_SERVICE) or load_u32(a, p + 10) != _NAME:
        return
    if load_u8(a, p + 14) != 0x12:
        return
    body = field_body(a, p + 15, end)
    if body < 0:
        return
    q = body & 0xFFFFFFFF
    stop = q + (body >> 32)
    if stop != end or q >= stop or load_u8(a, q) != 0x0A:
        return
    body = field_body(a, q + 1, stop)
    q = body & 0xFFFFFFFF
    if body >= 0 and q + (body >> 32) == stop:
        store_i64(work, SERVICE, q)
        store_i64(work, SERVICE_STOP, stop)


@inner
def resource(a, p, end, work):
    """Check a Resource at level 2; add to the sum of its attributes' hashes in ``work``."""
    while p < end:
        if load_u8(a, p) != 0x0A:
            p = walk(a, p, end, _RESOURCE, 2, True, work)
            if p < 0:
                return p
            continue
        body = field_body(a, p + 1, end)
        if body < 0:
            return body
        p = body & 0xFFFFFFFF
        stop = p + (body >> 32)
        if not key_value(a, p, stop):
            q = walk(a, p, stop, KEY_VALUE, 3, False, work)
            if q < 0:
                return q
        # A sum: the order of attributes does not matter.
        store_i64(work, SUM, load_i64(work, SUM) + np.int64(hash_bytes(a, p, stop)))
        if load_i64(work, SERVICE_STOP) == 0:
            service_name(a, p, stop, work)
        p = stop
    return p


@inner
def fetch(a, size, work):
    """Bring the data into the cache, front to back, as fast as the memory gives it.

    The tree is found by hopping from length to length, where each hop waits for memory.
    """
    seen = np.uint64(0)
    for at in range(0, min(size, _FETCH_BYTES) - 8, 64):
        seen ^= load_u64(a, at)
    store_i64(work, SUM, np.int64(seen))  # a use, or the compiler would drop the loads


@kernel
def build_tree(data, signal, nodes, hashes, leaves, gaps, levels, area):
    """Fill the arrays from ``data``; ``levels`` gets each level's first node.

    Returns the number of leaves, a fault, or the fault GROW when an array is too short.
    """
    a = address_of(data)
    work = address_of(area)
    fetch(a, data.size, work)
    depth = 5 if signal == METRICS else 3
    nodes[0, :] = 0
    nodes[0, PARENT] = -1
    nodes[0, STOP] = data.size
    levels[0] = 0
    levels[1] = 1
    count = 1
    gap = 0
    items = 0
    for level in range(depth):
        owner = levels[level]
        for k in range(levels[level], levels[level + 1]):
            p = np.int64(nodes[k, START])
            end = np.int64(nodes[k, STOP])
            if level < 3:
                message = _TYPES[signal, level]
            elif level == 3:
                message = np.int64(_METRIC)
            else:
                message = _DATA[nodes[k, TAG] >> 3]
            merged = level == 4 and nodes[k, PARENT] == nodes[owner, PARENT] and owner != k
            if not merged:
                owner = k
                nodes[k, GAP_FIRST] = gap
            first_data = 0
            covered = p
            while p < end:
                start = p
                tag = load_u8(a, p)
                if tag >= 0x80 or (FIELDS[message * ROW + (tag >> 3)] >> 8) & 0xFF != _CHILD:
                    if level == 1 and tag == 0x0A:
                        body = field_body(a, p + 1, end)
                        if body < 0:
                            return body
                        p = body & 0xFFFFFFFF
                        store_i64(
                            work, SUM, np.int64(hashes[k])
                        )  # a second Resource merges into the first
                        store_i64(work, SERVICE, np.int64(nodes[k, FIRST]))
                        store_i64(work, SERVICE_STOP, np.int64(nodes[k, SECOND]))
                        p = resource(a, p, p + (body >> 32), work)
                        if p < 0:
                            return p
                        hashes[k] = np.uint64(load_i64(work, SUM))
                        nodes[k, FIRST] = load_i64(work, SERVICE)
                        nodes[k, SECOND] = load_i64(work, SERVICE_STOP)
                        continue
                    p = walk(a, p, end, message, level, True, work)
                    if p < 0:
                        return p
                    if level == 3 and tag == 0x0A:  # Metric.name
                        body = field_body(a, start + 1, end)
                        nodes[k, FIRST] = body & 0xFFFFFFFF
                        nodes[k, SECOND] = p
                        hashes[k] = hash_bytes(a, body & 0xFFFFFFFF, p)
                    elif (
                        level == 4 and tag == 0x10 and message != _GAUGE and message != _SUMMARY
                    ):  # aggregation_temporality, which gauges and summaries do not have
                        value = varint_value(a, start + 1, p) & 0xFFFFFFFF
                        nodes[owner, FIRST] = np.int32(value)
                    elif level == 4 and tag == 0x18 and message == _SUM:
                        nodes[owner, SECOND] = varint_value(a, start + 1, p) != 0
                    continue
                if tag & 7 != 2:
                    return fault(faults.WIRE_TYPE if tag & 7 < 3 else faults.GROUP, p)
                if level == 3:
                    if first_data != 0 and tag != first_data:
                        return fault(faults.ONEOF, p)
                    first_data = tag
                body = field_body(a, p + 1, end)
                if body < 0:
                    return body
                p = body & 0xFFFFFFFF
                stop = p + (body >> 32)
                if gap + 2 > len(gaps):
                    return fault(faults.GROW, 0)
                if start > covered:
                    gaps[gap, 0] = covered
                    gaps[gap, 1] = start
                    gap += 1
                if level == depth - 1:
                    if items == len(leaves):
                        return fault(faults.GROW, 0)
                    leaves[items, FRAME] = start
                    leaves[items, BODY] = p
                    leaves[items, END] = stop
                    leaves[items, NODE] = owner
                    items += 1
                else:
                    if count == len(nodes):
                        return fault(faults.GROW, 0)
                    nodes[count, PARENT] = k
                    nodes[count, TAG] = tag
                    nodes[count, GAP_FIRST] = 0
                    nodes[count, GAP_STOP] = 0
                    nodes[count, START] = p
                    nodes[count, STOP] = stop
                    nodes[count, FIRST] = 0
                    nodes[count, SECOND] = 0
                    hashes[count] = np.uint64(0)
                    count += 1
                p = stop
                covered = stop
            if end > covered:
                if gap == len(gaps):
                    return fault(faults.GROW, 0)
                gaps[gap, 0] = covered
                gaps[gap, 1] = end
                gap += 1
            nodes[owner, GAP_STOP] = gap
        levels[level + 2] = count
    levels[depth] = count
    levels[LEVEL_SLOTS - 1] = gap
    return items

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
from streams.wire.memory import load_u8, load_u32, load_u64
from streams.wire.text import hash_bytes
from streams.wire.walk import (
    KEY_VALUE,
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
_SUM = NUMBERS["Sum"]
_CHILD = int(Kind.CHILD)
_SERVICE = int.from_bytes(b"service.", "little")
_NAME = int.from_bytes(b"name", "little")


@inner
def service_name(a, p, end, node):
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
        node[FIRST] = q
        node[SECOND] = stop


@inner
def resource(a, p, end, node, hashes, k, stack):
    """Check a Resource at level 2; add up the hashes of its attributes."""
    while p < end:
        if load_u8(a, p) != 0x0A:
            p = walk(a, p, end, _RESOURCE, 2, True, stack)
            if p < 0:
                return p
            continue
        body = field_body(a, p + 1, end)
        if body < 0:
            return body
        p = body & 0xFFFFFFFF
        stop = p + (body >> 32)
        if not key_value(a, p, stop):
            q = walk(a, p, stop, KEY_VALUE, 3, False, stack)
            if q < 0:
                return q
        hashes[k] += hash_bytes(a, p, stop)  # a sum: the order of attributes does not matter
        if node[SECOND] == 0:
            service_name(a, p, stop, node)
        p = stop
    return p


@inner
def envelope_field(a, p, end, message, level, k, nodes, hashes, stack):
    """Check one field of an inner node that is no child; note what columns need of it."""
    tag = load_u8(a, p)
    if level == 1 and tag == 0x0A:
        body = field_body(a, p + 1, end)
        if body < 0:
            return body
        start = body & 0xFFFFFFFF
        return resource(a, start, start + (body >> 32), nodes[k], hashes, k, stack)
    q = walk(a, p, end, message, level, True, stack)
    if q < 0:
        return q
    if level == 3 and tag == 0x0A:  # Metric.name
        body = field_body(a, p + 1, end)
        nodes[k, FIRST] = body & 0xFFFFFFFF
        nodes[k, SECOND] = q
        hashes[k] = hash_bytes(a, body & 0xFFFFFFFF, q)
    elif level == 4 and tag == 0x10:  # aggregation_temporality
        nodes[k, FIRST] = np.int32(varint_value(a, p + 1, q) & 0xFFFFFFFF)
    elif level == 4 and tag == 0x18 and message == _SUM:
        nodes[k, SECOND] = varint_value(a, p + 1, q) != 0
    return q


@kernel
def build_tree(a, signal, nodes, hashes, leaves, gaps, levels, stack):
    """Fill the arrays from ``a``; ``levels`` gets each level's first node.

    Returns the number of leaves, a fault, or the fault GROW when an array is too short.
    """
    depth = 5 if signal == METRICS else 3
    nodes[0, :] = 0
    nodes[0, PARENT] = -1
    nodes[0, STOP] = a.size
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
                    p = envelope_field(a, p, end, message, level, owner, nodes, hashes, stack)
                    if p < 0:
                        return p
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

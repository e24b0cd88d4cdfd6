"""Kernels that copy chosen items, with their envelopes, into new requests.

Two passes over items sorted by part: ``plan`` opens each needed node once a part and adds up
sizes from the inside out, ``write`` repeats the same walk and writes. Within a node, gaps come
first and children after them in document order: protobuf gives the order of different fields no
meaning.
"""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner, kernel
from streams.wire.memory import address_of, copy_bytes
from streams.wire.tree import END, FRAME, GAP_FIRST, GAP_STOP, NODE, PARENT, TAG

__all__ = ["fit", "plan", "write"]

_PATH = 8  # deeper than any tree
_LENGTH = 5  # bytes of the longest length


@inner
def length_size(value):
    """Bytes that a length takes as a varint."""
    size = 1
    while value >= 0x80:
        value >>= 7
        size += 1
    return size


@inner
def gap_bytes(nodes, gaps, node):
    """Size of a node's envelope."""
    total = 0
    for g in range(nodes[node, GAP_FIRST], nodes[node, GAP_STOP]):
        total += np.int64(gaps[g, 1]) - np.int64(gaps[g, 0])
    return total


@inner
def chain_of(nodes, node, chain):
    """Nodes from the request (0) down to ``node``; returns its level."""
    level = 0
    k = node
    while k != 0:
        level += 1
        k = np.int64(nodes[k, PARENT])
    k = node
    for at in range(level, -1, -1):
        chain[at] = k
        k = np.int64(nodes[k, PARENT])
    return level


@kernel
def plan(nodes, leaves, gaps, part, bounds, order, opened, sizes, part_bytes):
    """Sort items by part and size everything.

    ``bounds`` (parts + 2): item range of each part in ``order``. ``opened``, ``sizes``: the node
    and the body size of each opening, in writing order. ``part_bytes``: size of each part.
    Returns the number of openings, or -1 if a part number is too high.
    """
    parts = len(part_bytes)
    bounds[:] = 0
    for i in range(len(part)):
        if part[i] >= parts:
            return -1
        if part[i] >= 0:
            bounds[part[i] + 2] += 1
    for k in range(2, parts + 2):
        bounds[k] += bounds[k - 1]
    for i in range(len(part)):
        if part[i] >= 0:
            order[bounds[part[i] + 1]] = i
            bounds[part[i] + 1] += 1
    count = 0
    chain = np.empty(_PATH, np.int64)
    path = np.empty(_PATH, np.int64)  # openings from the request down
    for k in range(parts):
        part_bytes[k] = 0
        if bounds[k] == bounds[k + 1]:
            continue
        depth = 0
        node = np.int64(-1)
        opened[count] = 0
        sizes[count] = gap_bytes(nodes, gaps, 0)
        path[0] = count
        count += 1
        for at in range(bounds[k], bounds[k + 1]):
            leaf = order[at]
            if leaves[leaf, NODE] != node:
                node = np.int64(leaves[leaf, NODE])
                level = chain_of(nodes, node, chain)
                common = 0
                while common < depth and opened[path[common + 1]] == chain[common + 1]:
                    common += 1
                while depth > common:
                    size = sizes[path[depth]]
                    depth -= 1
                    sizes[path[depth]] += 1 + length_size(size) + size
                while depth < level:
                    depth += 1
                    opened[count] = chain[depth]
                    sizes[count] = gap_bytes(nodes, gaps, chain[depth])
                    path[depth] = count
                    count += 1
            sizes[path[depth]] += np.int64(leaves[leaf, END]) - np.int64(leaves[leaf, FRAME])
        while depth > 0:
            size = sizes[path[depth]]
            depth -= 1
            sizes[path[depth]] += 1 + length_size(size) + size
        part_bytes[k] = sizes[path[0]]
    return count


@inner
def write_gaps(a, nodes, gaps, node, target, w):
    """Copy an envelope; the offset after it."""
    for g in range(nodes[node, GAP_FIRST], nodes[node, GAP_STOP]):
        start = np.int64(gaps[g, 0])
        size = np.int64(gaps[g, 1]) - start
        copy_bytes(target, w, a, start, size)
        w += size
    return w


@kernel
def write(data, source, nodes, leaves, gaps, bounds, order, opened, sizes, out):
    """Write all parts one after the other: gaps are of ``data``, leaves of ``source``.

    Returns the number of bytes.
    """
    a = address_of(data)
    items = address_of(source)
    target = address_of(out)
    w = np.int64(0)
    count = 0
    for k in range(len(bounds) - 2):
        if bounds[k] == bounds[k + 1]:
            continue
        w = write_gaps(a, nodes, gaps, 0, target, w)
        count += 1
        node = np.int64(-1)
        at = bounds[k]
        while at < bounds[k + 1]:
            leaf = order[at]
            if leaves[leaf, NODE] != node:
                node = np.int64(leaves[leaf, NODE])
                while opened[count - 1] != node:
                    out[w] = nodes[opened[count], TAG]
                    w += 1
                    size = sizes[count]
                    while size >= 0x80:
                        out[w] = (size & 0x7F) | 0x80
                        size >>= 7
                        w += 1
                    out[w] = size
                    w += 1
                    w = write_gaps(a, nodes, gaps, np.int64(opened[count]), target, w)
                    count += 1
            start = np.int64(leaves[leaf, FRAME])
            stop = np.int64(leaves[leaf, END])
            at += 1
            while at < bounds[k + 1] and leaves[order[at], NODE] == node:
                if leaves[order[at], FRAME] != stop:
                    break
                stop = np.int64(leaves[order[at], END])  # neighbours go in one copy
                at += 1
            copy_bytes(target, w, items, start, stop - start)
            w += stop - start
    return w


@inner
def folded(trial, level):
    """Size of the request when every open node is closed now."""
    size = trial[level]
    while level > 0:
        level -= 1
        size = trial[level] + 1 + length_size(size) + size
    return size


@kernel
def fit(nodes, leaves, gaps, max_bytes, part, alone):
    """Number items so that no part exceeds ``max_bytes``: -1 for one that does so alone.

    ``alone`` gets the size of such a request. Returns the number of parts.
    """
    chain = np.empty(_PATH, np.int64)
    path = np.empty(_PATH, np.int64)
    total = np.zeros(_PATH, np.int64)
    trial = np.zeros(_PATH, np.int64)
    depth = -1  # of the open part; -1: none is open
    parts = 0
    for i in range(len(part)):
        level = chain_of(nodes, np.int64(leaves[i, NODE]), chain)
        size = np.int64(leaves[i, END]) - np.int64(leaves[i, FRAME])
        if depth >= 0:
            common = 0
            while common < depth and path[common + 1] == chain[common + 1]:
                common += 1
            for k in range(depth + 1):
                trial[k] = total[k]
            while depth > common:
                closed = trial[depth]
                depth -= 1
                trial[depth] += 1 + length_size(closed) + closed
            for k in range(common + 1, level + 1):
                trial[k] = gap_bytes(nodes, gaps, chain[k])
            trial[level] += size
            if folded(trial, level) <= max_bytes:
                for k in range(level + 1):
                    total[k] = trial[k]
                    path[k] = chain[k]
                depth = level
                part[i] = parts - 1
                continue
            depth = level  # every tree has all leaves on one level
        for k in range(level + 1):
            trial[k] = gap_bytes(nodes, gaps, chain[k])
        trial[level] += size
        alone[i] = folded(trial, level)
        if alone[i] > max_bytes:
            part[i] = -1
            continue
        for k in range(level + 1):
            total[k] = trial[k]
            path[k] = chain[k]
        depth = level
        part[i] = parts
        parts += 1
    return parts

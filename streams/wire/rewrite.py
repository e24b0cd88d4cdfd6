"""New requests from chosen items of a scanned one: split, split by size, select, merge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.wire.copying import fit, plan, write
from streams.wire.scan import Scan
from streams.wire.scratch import scratch

__all__ = ["Oversized", "check", "copy", "merge", "select", "split", "split_by_size"]


class Oversized(NamedTuple):
    """An item that does not fit a message even alone."""

    item: int
    """Index in the scan."""
    size_bytes: int
    """Size of a request with this item and its envelope only."""
    name: str
    """Name of the span or the metric, or the log record's service."""


def check(data: bytes, scan: Scan) -> None:
    """Raise ValueError if the scan is of another message, as far as the size can tell."""
    if len(data) != scan.size_bytes:
        raise ValueError(f"the scan is of {scan.size_bytes} bytes, not of these {len(data)}")


def split(
    data: bytes, scan: Scan, part: NDArray[np.int32], partitions: int
) -> list[tuple[int, bytes]]:
    """Requests of the items of each part, as (part number, bytes), lowest first.

    ``part`` gives each item's number below ``partitions``; items with a negative one are left
    out. Items are copied byte for byte, in document order; each part has their resources, scopes
    and metrics with everything these carry, unknown fields included. Nodes without an item, and
    parts without one, do not appear. If all items go to one part, it is ``data`` itself.
    """
    check(data, scan)
    items = scan.items
    if part.shape != (items,):
        raise ValueError(f"part has the shape {part.shape}, the scan {items} items")
    if items == 0:
        return []
    if part.dtype != np.int32 or not part.flags.carray:  # numba would compile for each such type
        part = np.array(part, np.int32)
    first = int(part[0])
    if 0 <= first < partitions and bool((part == first).all()):
        return [(first, data)]
    return _copy(data, scan, part, partitions)


def _copy(
    data: bytes, scan: Scan, part: NDArray[np.int32], partitions: int
) -> list[tuple[int, bytes]]:
    array = np.frombuffer(data, np.uint8)
    array.flags.writeable = False
    return copy(array, scan, part, partitions, array, scan.leaves)


def copy(
    array: NDArray[np.uint8],
    scan: Scan,
    part: NDArray[np.int32],
    partitions: int,
    source: NDArray[np.uint8],
    leaves: NDArray[np.int32],
) -> list[tuple[int, bytes]]:
    """``split`` without its short cut: bytes that hold nothing but the items and envelopes.

    Envelopes are those of the scan, of ``array``; items are the ``leaves``, ranges of ``source``.
    """
    bounds = scratch.take("bounds", partitions + 2, np.int64)[: partitions + 2]
    part_bytes = scratch.take("part_bytes", partitions, np.int64)[:partitions]
    order = scratch.take("order", len(part), np.int32)
    # Each item opens at most the levels above it; a request is opened at most once an item.
    openings = len(part) * scan.levels
    opened = scratch.take("opened", openings, np.int32)
    sizes = scratch.take("sizes", openings, np.int64)
    nodes, gaps = scan.nodes, scan.gaps
    if plan(nodes, leaves, gaps, part, bounds, order, opened, sizes, part_bytes) < 0:
        raise ValueError(f"part holds a number that is not below {partitions}")
    each: list[int] = part_bytes.tolist()
    out = scratch.take("out", sum(each), np.uint8)
    write(array, source, nodes, leaves, gaps, bounds, order, opened, sizes, out)
    written = memoryview(out)  # type: ignore[arg-type]  # an array is a buffer
    result = []
    start = 0
    for number, size in enumerate(each):
        if size:
            result.append((number, written[start : start + size].tobytes()))
            start += size
    return result


def split_by_size(data: bytes, scan: Scan, max_bytes: int) -> tuple[list[bytes], list[Oversized]]:
    """Requests of at most ``max_bytes`` each, and the items that fit none.

    Greedy in document order; nothing is done when ``data`` fits as it is.
    """
    check(data, scan)
    if len(data) <= max_bytes:
        return ([data] if scan.items else []), []
    part = np.empty(scan.items, np.int32)
    alone = np.empty(scan.items, np.int64)
    parts = fit(scan.nodes, scan.leaves, scan.gaps, max_bytes, part, alone)
    oversized = [
        Oversized(item, int(alone[item]), scan.item_name(data, item))
        for item in np.flatnonzero(part < 0).tolist()
    ]
    return [piece for _, piece in _copy(data, scan, part, parts)], oversized


def select(data: bytes, scan: Scan, mask: NDArray[np.bool_]) -> bytes:
    """A request of the items whose ``mask`` is True, as ``split`` makes them; b'' if none is."""
    kept = split(data, scan, np.where(mask, np.int32(0), np.int32(-1)), 1)
    return kept[0][1] if kept else b""


def merge(parts: Iterable[bytes]) -> bytes:
    """One request with everything of ``parts``: their concatenation.

    protobuf defines parsing concatenated messages as merging them ("Last One Wins" in the
    encoding specification), and merging appends repeated fields. A request's only field is a
    repeated one, so the result holds the resources of all parts, in order, each whole.
    """
    return b"".join(parts)

"""From one request to the parts that belong on partitions. Pure: bytes in, bytes out."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from schemas.signals import Signal
from streams import wire

__all__ = ["Division", "divide"]


class Division(NamedTuple):
    """The parts of a request, and what could not be taken."""

    items: int
    """Items that the request held."""
    parts: list[tuple[int, bytes]]
    """Partition and message bytes, each at most the limit."""
    invalid: int
    """Items without valid ids."""
    invalid_bytes: bytes
    """The invalid items as a request of their own, when asked for; else empty."""
    oversized: list[wire.Oversized]
    """Items that exceed a message alone."""


def divide(
    signal: Signal,
    data: bytes,
    *,
    partitions: int,
    partitioner: Literal["fnv1a", "murmur2"],
    logs_by: Literal["resource", "trace_id"],
    max_message_bytes: int,
    keep_invalid: bool = False,
) -> Division:
    """Validate a request and split it by partition and size.

    Spans go by trace id; metrics by resource; logs by resource or, where they have one and the
    configuration says so, by trace id.

    Raises:
        MalformedMessage: the bytes are not such a request; names the offset.
    """
    scan = wire.scan(signal, data, strict_ids=False)
    if scan.items == 0:
        return Division(0, [], 0, b"", [])
    if signal is Signal.TRACES:
        part = wire.partition_by_trace(scan, partitions, partitioner)
    elif signal is Signal.LOGS and logs_by == "trace_id":
        part = np.where(
            scan.has_trace_id,
            wire.partition_by_trace(scan, partitions, partitioner),
            wire.partition_by_resource(scan, partitions, partitioner),
        )
    else:
        part = wire.partition_by_resource(scan, partitions, partitioner)
    invalid = scan.items - int(np.count_nonzero(scan.valid))
    invalid_bytes = b""
    if invalid:
        part[~scan.valid] = -1
        if keep_invalid:
            invalid_bytes = wire.select(data, scan, ~scan.valid)
    parts: list[tuple[int, bytes]] = []
    oversized: list[wire.Oversized] = []
    for partition, message in wire.split(data, scan, part, partitions):
        if len(message) <= max_message_bytes:
            parts.append((partition, message))
            continue
        pieces, refused = wire.split_by_size(message, wire.scan(signal, message), max_message_bytes)
        parts.extend((partition, piece) for piece in pieces)
        oversized.extend(refused)
    return Division(scan.items, parts, invalid, invalid_bytes, oversized)

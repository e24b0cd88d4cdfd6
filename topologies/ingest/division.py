"""From one request to the parts that belong on partitions. Pure: bytes in, bytes out."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from schemas.config import Config
from schemas.signals import Signal
from streams import wire

__all__ = ["Division", "Rules", "divide"]

_NAMED_MAX = 5
"""Oversized items named in a message; the rest are counted."""


class Rules(NamedTuple):
    """What decides where an item goes."""

    partitioner: Literal["fnv1a", "murmur2"]
    logs_by: Literal["resource", "trace_id"]
    max_message_bytes: int

    @classmethod
    def of(cls, config: Config) -> Rules:
        """The rules that a configuration states."""
        ingest = config.ingest
        return cls(ingest.partitioner, ingest.logs_partition_by, config.kafka.producer.max_message)


class Division(NamedTuple):
    """The parts of a request, and what could not be taken."""

    signal: Signal
    items: int
    """Items that the request held."""
    parts: list[tuple[int, bytes]]
    """Partition and message bytes, each at most the limit."""
    invalid: int
    """Items without valid ids."""
    oversized: list[wire.Oversized]
    """Items that exceed a message alone."""
    remainder: bytes
    """What could not be taken, as a request of its own; only when asked for."""

    @property
    def rejected(self) -> int:
        """Items that could not be taken."""
        return self.invalid + len(self.oversized)

    def explain(self) -> str:
        """Why items were rejected, for a partial_success message; empty on full success."""
        if not self.rejected:
            return ""
        said = []
        noun = self.signal.item
        if self.invalid:
            said.append(f"{self.invalid} {noun}s without valid trace and span ids")
        if self.oversized:
            names = ", ".join(
                f"{item.name!r} ({item.size_bytes} bytes)" for item in self.oversized[:_NAMED_MAX]
            )
            said.append(f"{len(self.oversized)} {noun}s larger than a message may be: {names}")
        return "; ".join(said)


def divide(
    signal: Signal, data: bytes, partitions: int, rules: Rules, *, keep_rejected: bool = False
) -> Division:
    """Validate a request and split it by partition and size.

    Spans go by trace id; metrics by resource; logs by resource or, where they have one and the
    rules say so, by trace id.

    Raises:
        MalformedMessage: the bytes are not such a request; names the offset.
    """
    scan = wire.scan(signal, data, strict_ids=False)
    part = _partition(signal, scan, partitions, rules)
    valid = scan.column("valid")
    invalid = scan.items - int(np.count_nonzero(valid))
    remainder: list[bytes] = []
    if invalid:
        part[~valid] = -1
        if keep_rejected:
            remainder.append(wire.select(data, scan, ~valid))
    parts: list[tuple[int, bytes]] = []
    oversized: list[wire.Oversized] = []
    for partition, message in wire.split(data, scan, part, partitions):
        if len(message) <= rules.max_message_bytes:
            parts.append((partition, message))
            continue
        inner = wire.scan(signal, message)
        pieces, refused = wire.split_by_size(message, inner, rules.max_message_bytes)
        parts.extend((partition, piece) for piece in pieces)
        if refused:
            oversized.extend(refused)
            if keep_rejected:
                mask = np.zeros(inner.items, np.bool_)
                mask[[item.item for item in refused]] = True
                remainder.append(wire.select(message, inner, mask))
    return Division(signal, scan.items, parts, invalid, oversized, wire.merge(remainder))


def _partition(
    signal: Signal, scan: wire.Scan, partitions: int, rules: Rules
) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    if isinstance(scan, wire.SpanScan):
        return wire.partition_by_trace(scan, partitions, rules.partitioner)
    by_resource = wire.partition_by_resource(scan, partitions, rules.partitioner)
    if isinstance(scan, wire.LogScan) and rules.logs_by == "trace_id":
        by_trace = wire.partition_by_trace(scan, partitions, rules.partitioner)
        traced = (scan.trace_id_high != 0) | (scan.trace_id_low != 0)
        return np.where(traced, by_trace, by_resource)
    return by_resource

"""Windows as OTLP: ``ExportMetricsServiceRequest`` bytes, of a bounded size."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .bounds import BoundSets
from .encoding import field, metric_head, scope
from .groups import Groups
from .naming import Output
from .points import LAST
from .store import Store
from .writing import DELTA, cut, measure, write

__all__ = ["Encoder", "Part", "closing"]

_MS = 1_000_000


class Part(NamedTuple):
    """A request."""

    tenant: int
    """Number of the tenant."""
    value: bytes
    groups: int


class Encoder:
    """Makes requests of accumulators; has a buffer and nothing else."""

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.uint8)
        scratch = np.zeros(1)
        self._scratch = (scratch, scratch.view(np.uint64))

    def encode(
        self,
        rows: NDArray[np.int64],
        totals: NDArray[np.int64],
        rule: str,
        length_ms: int,
        end_ms: int,
        max_bytes: int,
        groups: Groups,
        store: Store,
        bounds: BoundSets,
        statistics: NDArray[np.float64],
        temporality: int = DELTA,
    ) -> tuple[list[Part], int]:
        """Requests of ``max_bytes`` at most, and how many rows fit into none.

        ``rows`` are of one window and have tenants, services and metrics together. ``totals`` are
        those since their groups were first seen, for cumulative temporality. ``statistics`` has
        shape (STATISTICS, rows), or (STATISTICS, 0) where none is wanted.
        """
        head = np.frombuffer(scope(rule, length_ms), np.uint8).copy()
        times = (temporality, end_ms - length_ms, end_ms, self._scratch)
        tables = (
            rows, totals, statistics, store.accumulators, store.runs, store.pool, bounds.stops,
            bounds.bound, groups.table, groups.names.texts,
        )  # fmt: skip
        shapes = (groups.names.shape_stops, groups.names.metrics)
        sizes = np.empty(len(rows), np.int64)
        measure(*shapes, tables, temporality, sizes)
        stops, part_sizes = np.empty((2, len(rows) + 1), np.int64)
        count = int(
            cut(
                sizes, max_bytes, len(head), groups.names.service_texts, *shapes, tables, stops,
                part_sizes,
            )
        )  # fmt: skip
        parts: list[Part] = []
        oversized, first = 0, 0
        for stop, size in zip(stops[:count].tolist(), part_sizes[:count].tolist(), strict=True):
            self._reserve(size)
            services = groups.names.service_texts
            begin = write(self._buffer, first, stop, head, services, *shapes, tables, times)
            if len(self._buffer) - begin > max_bytes:
                oversized += stop - first
            else:
                tenant = int(groups.table["tenant"][store.accumulators["group"][rows[first]]])
                parts.append(Part(tenant, self._buffer[begin:].tobytes(), stop - first))
            first = stop
        return parts, oversized

    def _reserve(self, size: int) -> None:
        if len(self._buffer) < size:
            self._buffer = np.empty(size, np.uint8)


def closing(rule: str, length_ms: int, end_ms: int, series: int, silent: int) -> bytes:
    """The last message of a window: how many groups it has, and how many sources say nothing."""
    body = scope(rule, length_ms)
    for name, unit, value in (
        ("otlp_streams.window.series", "{series}", series),
        ("otlp_streams.window.silent_sources", "{source}", silent),
    ):
        times = (0x11, (end_ms - length_ms) * _MS, 0x19, end_ms * _MS, 0x31, value)
        point = field(0x0A, struct.pack("<BQBQBq", *times))
        head = metric_head(Output(name, unit, LAST))
        body += field(0x12, head + field(0x2A, point))
    return field(0x0A, field(0x12, body))

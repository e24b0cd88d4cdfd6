"""Scan a request: validate all of it, index its tree, fill one column per property."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.columns import LOGS, POINTS, SPANS, Layout
from schemas.errors import TooManyItems
from schemas.signals import Signal
from streams.wire.faults import GROW, raise_fault
from streams.wire.items import read_logs, read_points, read_spans
from streams.wire.scratch import scratch
from streams.wire.tree import FIRST, SECOND, build_tree
from streams.wire.walk import STRICT

__all__ = [
    "ITEMS_MAX",
    "LogScan",
    "PointScan",
    "Scan",
    "SpanScan",
    "scan",
    "scan_logs",
    "scan_metrics",
    "scan_traces",
]

ITEMS_MAX = 1 << 20
"""Items, and inner nodes (resources, scopes, metrics and their data), that one message may hold.

An empty log record takes 2 bytes of a message but about 100 bytes of columns: without a bound
64 MiB would become 3 GB. No setting: requests of any real sender are a thousand times smaller."""

_SIGNALS = {Signal.TRACES: 0, Signal.LOGS: 1, Signal.METRICS: 2}


class Scan:
    """Index and columns of one message. It holds offsets into ``data``, not the bytes.

    ``column(name)`` is a numpy array of ``items`` elements (a view; see schemas.columns for
    names, types and meaning); each is an attribute as well: ``scan.start_time``.
    """

    __slots__ = (
        "_bytes",
        "_ints",
        "_longs",
        "_stride",
        "gaps",
        "hashes",
        "items",
        "leaves",
        "level_first",
        "nodes",
        "size_bytes",
    )
    signal: ClassVar[Signal]
    layout: ClassVar[Layout]
    levels: ClassVar[int] = 3
    items: int
    size_bytes: int
    nodes: NDArray[np.int32]
    hashes: NDArray[np.uint64]
    leaves: NDArray[np.int32]
    gaps: NDArray[np.int32]
    level_first: list[int]
    _stride: int
    _longs: NDArray[np.uint64]
    _ints: NDArray[np.int32]
    _bytes: NDArray[np.bool_]

    def column(self, name: str) -> NDArray[Any]:
        """The column ``name``. KeyError if this signal has none of that name."""
        at = self.layout.index[name] * self._stride
        width = self.layout.width[name]
        block = self._longs if width == 8 else self._ints if width == 4 else self._bytes
        return block[at : at + self.items]

    def __getattr__(self, name: str) -> NDArray[Any]:
        if name in type(self).layout.index:
            return self.column(name)
        raise AttributeError(f"{type(self).__name__} has no column or attribute {name!r}")

    @property
    def resources(self) -> int:
        """Number of Resource* messages."""
        return self.level_first[2] - self.level_first[1]

    @property
    def scopes(self) -> int:
        """Number of Scope* messages."""
        return self.level_first[3] - self.level_first[2]

    @property
    def resource_hash(self) -> NDArray[np.uint64]:
        """Per resource: 64-bit sum of the hashes of its attributes' bytes.

        Independent of their order, so that the same resource from another SDK has the same
        hash, as long as each KeyValue is encoded in the usual way (key, then value).
        """
        return self.hashes[self.level_first[1] : self.level_first[2]]

    @property
    def service_range(self) -> NDArray[np.int32]:
        """Per resource: start and stop of service.name's value; equal if it has none."""
        return self.nodes[self.level_first[1] : self.level_first[2], FIRST : SECOND + 1]

    def service_name(self, data: bytes, resource: int) -> str:
        """``service.name`` of a resource by index, '' if it has none."""
        start, stop = self.service_range[resource].tolist()
        return data[start:stop].decode()

    def item_name(self, data: bytes, item: int) -> str:
        """What to call an item in a message to a person: span or metric name, or service."""
        return self.service_name(data, int(self.column("resource")[item]))


class SpanScan(Scan):
    """Columns: ``schemas.columns.SPANS``."""

    __slots__ = ()
    signal = Signal.TRACES
    layout = SPANS

    def span_name(self, data: bytes, item: int) -> str:
        """Name of a span."""
        start = int(self.column("name_start")[item])
        return data[start : int(self.column("name_stop")[item])].decode()

    def trace_id(self, item: int) -> bytes:
        """The 16 bytes of a span's trace id."""
        high, low = int(self.column("trace_id_high")[item]), int(self.column("trace_id_low")[item])
        return (high << 64 | low).to_bytes(16, "big")

    def item_name(self, data: bytes, item: int) -> str:
        """Name of the span."""
        return self.span_name(data, item)


class LogScan(Scan):
    """Columns: ``schemas.columns.LOGS``."""

    __slots__ = ()
    signal = Signal.LOGS
    layout = LOGS


class PointScan(Scan):
    """Columns: ``schemas.columns.POINTS``."""

    __slots__ = ()
    signal = Signal.METRICS
    layout = POINTS
    levels = 5

    @property
    def metrics(self) -> int:
        """Number of Metric messages."""
        return self.level_first[4] - self.level_first[3]

    def metric_name(self, data: bytes, metric: int) -> str:
        """Name of a metric by index."""
        row = self.nodes[self.level_first[3] + metric]
        return data[int(row[FIRST]) : int(row[SECOND])].decode()

    def item_name(self, data: bytes, item: int) -> str:
        """Name of the data point's metric."""
        return self.metric_name(data, int(self.column("metric")[item]))


_KINDS: dict[Signal, type[Scan]] = {
    Signal.TRACES: SpanScan,
    Signal.LOGS: LogScan,
    Signal.METRICS: PointScan,
}


def scan_bytes(signal: Signal, array: NDArray[np.uint8], strict_ids: bool) -> Scan:
    """Scan bytes that are an array already; see ``scan``."""
    array.flags.writeable = False  # for numba another type, and another compilation
    work = scratch
    number = _SIGNALS[signal]
    area = work.area
    area[STRICT] = strict_ids
    levels = work.levels
    while True:
        nodes, leaves, gaps = work.nodes, work.leaves, work.gaps
        items = build_tree(array, number, nodes, work.hashes, leaves, gaps, levels, area)
        if items >= 0:
            break
        if -items & 63 != GROW:
            work.release()
            raise_fault(items)
        if len(nodes) >= ITEMS_MAX:  # the last to get there
            work.release()
            raise TooManyItems(ITEMS_MAX)
        work.reserve_tree(min(len(nodes) * 4, ITEMS_MAX), min(len(leaves) * 4, ITEMS_MAX))
    first = levels.tolist()
    kind = _KINDS[signal]
    count = first[kind.levels]
    result = kind()
    layout = kind.layout
    # An odd number of cache lines a column: rows of equal index do not share a cache set.
    stride = ((items + 7) // 8 | 1) * 8
    longs = layout.count[8] * stride
    ints = layout.count[4] * stride
    flags = layout.count[1] * stride
    block = np.empty(longs + ints // 2 + flags // 8, np.uint64)
    as_ints = block[longs : longs + ints // 2].view(np.int32)
    as_flags = block[longs + ints // 2 :].view(np.bool_)
    result.items = items
    result.size_bytes = array.size
    result.nodes = nodes[:count].copy()
    result.hashes = work.hashes[:count].copy()
    result.leaves = leaves[:items].copy()
    result.gaps = gaps[: first[-1]].copy()
    result.level_first = first
    result._stride, result._longs, result._ints, result._bytes = stride, block, as_ints, as_flags
    columns = (block, as_ints, as_flags, stride)
    if number == 2:
        fault = read_points(array, leaves, items, nodes, work.hashes, levels, area, *columns)
    else:
        read = read_spans if number == 0 else read_logs
        fault = read(array, leaves, items, nodes, levels, area, *columns)
    work.release()
    if fault < 0:
        raise_fault(fault)
    return result


def scan(signal: Signal, data: bytes, *, strict_ids: bool = True) -> Scan:
    """Validate an ``Export*ServiceRequest`` and index it.

    Raises MalformedMessage, with the byte offset, for whatever the protobuf library would
    refuse, and for known fields with the wrong wire type, groups, tags not in their shortest
    form, ids of a wrong length, spans without trace id or span id (absent or all zero) and
    metrics with data of two kinds. With ``strict_ids=False`` wrong ids only make the item's
    ``valid`` False. A wrong id counts even if a later one in the same message replaces it.

    Raises TooManyItems for more than ITEMS_MAX items or inner nodes.

    Ids elsewhere (log records, links, exemplars, parents) may be empty or zero: the protocol
    reads that as "none", and rejecting the request would lose what its sender is allowed to say.
    """
    return scan_bytes(signal, np.frombuffer(data, np.uint8), strict_ids)


def scan_traces(data: bytes, *, strict_ids: bool = True) -> SpanScan:
    """``scan`` of an ExportTraceServiceRequest."""
    result = scan(Signal.TRACES, data, strict_ids=strict_ids)
    assert isinstance(result, SpanScan)  # noqa: S101 -- for the type checker
    return result


def scan_logs(data: bytes, *, strict_ids: bool = True) -> LogScan:
    """``scan`` of an ExportLogsServiceRequest."""
    result = scan(Signal.LOGS, data, strict_ids=strict_ids)
    assert isinstance(result, LogScan)  # noqa: S101 -- for the type checker
    return result


def scan_metrics(data: bytes, *, strict_ids: bool = True) -> PointScan:
    """``scan`` of an ExportMetricsServiceRequest."""
    result = scan(Signal.METRICS, data, strict_ids=strict_ids)
    assert isinstance(result, PointScan)  # noqa: S101 -- for the type checker
    return result

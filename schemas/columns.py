"""Columns that a scan of an OTLP message gives, one row an item.

All columns of a scan lie in one block of memory: first those of 8 bytes, then of 4, then of 1.
``Layout`` says which comes where; kernels and readers both go by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["LOGS", "POINTS", "SPANS", "Column", "Layout"]


class Column(NamedTuple):
    """Name, numpy dtype and meaning of a column."""

    name: str
    dtype: str
    meaning: str


_RANGE = (
    Column("frame", "i4", "offset of the item's tag in the message"),
    Column("start", "i4", "offset of its body, after tag and length"),
    Column("stop", "i4", "offset after its last byte"),
    Column("resource", "i4", "index of its resource within the message"),
    Column("scope", "i4", "index of its instrumentation scope within the message"),
    Column("valid", "b1", "False: an id has a wrong length or a span has none (strict_ids=False)"),
)


class Layout:
    """Where each column lies: ``index[name]`` counts within the columns of its width."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = tuple(columns)
        widths = {"u8": 8, "i4": 4, "b1": 1}
        self.width = {c.name: widths[c.dtype] for c in self.columns}
        self.index: dict[str, int] = {}
        self.count = {8: 0, 4: 0, 1: 0}
        for column in self.columns:
            width = self.width[column.name]
            self.index[column.name] = self.count[width]
            self.count[width] += 1


SPANS = Layout(
    (
        Column("trace_id_high", "u8", "first 8 bytes of the trace id, as a big-endian number"),
        Column("trace_id_low", "u8", "last 8 bytes of the trace id, as a big-endian number"),
        Column("span_id", "u8", "as a big-endian number"),
        Column("parent_span_id", "u8", "0: none"),
        Column("start_time", "u8", "start_time_unix_nano"),
        Column("end_time", "u8", "end_time_unix_nano"),
        Column("name_hash", "u8", "64-bit hash of the name's bytes"),
        Column("kind", "i4", "SpanKind"),
        Column("status", "i4", "StatusCode: 0 unset, 1 ok, 2 error"),
        Column("name_start", "i4", "offset of the name's bytes"),
        Column("name_stop", "i4", "offset after them"),
        Column("trace_state_start", "i4", "offset of the W3C tracestate's bytes"),
        Column("trace_state_stop", "i4", "offset after them"),
        *_RANGE,
    )
)

LOGS = Layout(
    (
        Column("trace_id_high", "u8", "first 8 bytes of the trace id; both 0: no trace"),
        Column("trace_id_low", "u8", "last 8 bytes of the trace id"),
        Column("span_id", "u8", "0: none"),
        Column("time", "u8", "time_unix_nano; 0: not known"),
        Column("observed_time", "u8", "observed_time_unix_nano"),
        Column("severity", "i4", "SeverityNumber, 0 to 24"),
        *_RANGE,
    )
)

POINTS = Layout(
    (
        Column("time", "u8", "time_unix_nano"),
        Column("start_time", "u8", "start_time_unix_nano; 0: not known"),
        Column("name_hash", "u8", "64-bit hash of the metric's name"),
        Column("metric", "i4", "index of its metric within the message"),
        Column("data", "i4", "field of Metric.data: 5 gauge, 7 sum, 9, 10, 11 summary"),
        Column("temporality", "i4", "AggregationTemporality: 0 none, 1 delta, 2 cumulative"),
        Column("monotonic", "b1", "Sum.is_monotonic"),
        *_RANGE,
    )
)

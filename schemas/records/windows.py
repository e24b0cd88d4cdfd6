"""``windows.partials``: what a part of a source partition adds to windows that are still open.

A record for every partition of ``windows.partials``, each time a lane commits: cells for the
services (and tenants) whose hash leads there, and how far the source is. Panes are ``pane_ms`` long
and aligned to the Unix epoch; windows are merged from them. Cells of one group and pane may come
any number of times, in any order: all of their columns can be merged. Cumulative points come one by
one, because their increase is not a sum over parts.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..columns import Column
from .base import VersionedRecord
from .binary import ColumnPlace, Table

__all__ = [
    "BINARY", "BOUNDS", "BUCKETS", "CELLS", "CUMULATIVE", "GROUPS", "KEY_TEXT", "PartialsHeader",
]  # fmt: skip

_MS_MAX = 2**63 - 1


class PartialsHeader(VersionedRecord):
    """Which source it comes from and how far that is."""

    schema_version: Literal[1] = 1
    """Of this format."""
    kind: Literal["partials"] = "partials"
    """Tells it from other kinds."""
    topic: str
    """Source topic."""
    partition: int = Field(ge=0)
    """Its partition."""
    partitions: int = Field(ge=1)
    """How many the topic has."""
    pane_ms: int = Field(ge=1)
    """Length of a pane."""
    progress_ms: int = Field(ge=0, le=_MS_MAX)
    """The greatest event time that has come, none later than its message's broker time; 0: nothing
    has come to this worker. It never says less than before, but for a restart."""
    at_ms: int = Field(ge=0, le=_MS_MAX)
    """The broker's time of the newest message; 0: none has come."""
    now_ms: int = Field(ge=0, le=_MS_MAX)
    """The broker's time of this record, as far as known."""
    idle: bool = False
    """It stands at its log's end and has for ``windows.idle_after``: nobody need wait for it."""
    rules: tuple[tuple[str, str], ...] = ()
    """The rules that groups refer to: name, and a digest of what it groups and measures. Cells of a
    rule with another digest are not merged."""
    columns: tuple[ColumnPlace, ...]
    """What follows the header."""


GROUPS: Table = (
    Column("group_rule", "i4", "place of the rule in `rules`"),
    Column("group_hash", "u8", "of all that the descriptor says, and the rule"),
    Column("group_text_stop", "i4", "offset in `key_text` after its descriptor"),
)
"""Things that are aggregated. The descriptor is a JSON object: `tenant`, `service`, `metric`,
`unit`, `kind` (spans, logs, gauge, sum, up_down_sum, up_down_sum_delta, histogram,
exponential_histogram, summary), `attributes` (an object of typed values, in order of keys). Values
of more than 1000 bytes are cut and end with a hash. Columns of tables without rows are left out."""

_DISTRIBUTION: Table = (
    Column("count", "u8", "items; of a histogram the values that it counts"),
    Column("sum", "f8", "of the values; of cumulative sums the value; NaN: not known"),
    Column("min", "f8", "least value; NaN: not known"),
    Column("max", "f8", "greatest value; NaN: not known"),
    Column("zero", "u8", "values that are zero"),
    Column("scale", "i4", "of the exponential buckets (base 2^(2^-scale))"),
    Column("bounds", "i4", "row of its explicit bounds in `bounds_stop`; -1: exponential buckets"),
    Column("buckets_stop", "i4", "row in the table of buckets after its last"),
)


def _prefixed(prefix: str, table: Table) -> Table:
    return tuple(Column(f"{prefix}_{c.name}", c.dtype, c.meaning) for c in table)


CELLS: Table = (
    Column("cell_group", "i4", "row of its group"),
    Column("cell_pane", "i8", "number of its pane: it starts at `pane_ms` times that"),
    Column("cell_errors", "u8", "spans with status ERROR"),
    Column("cell_last_time", "u8", "event time of the latest value, Unix nanoseconds"),
    Column("cell_last", "f8", "that value; of several at one time the greatest"),
    Column("cell_exemplar_value", "f8", "value of the exemplar: the greatest; NaN: there is none"),
    Column("cell_exemplar_time", "u8", "its time, Unix nanoseconds"),
    Column("cell_exemplar_trace_high", "u8", "its trace id, first half"),
    Column("cell_exemplar_trace_low", "u8", "second half"),
    Column("cell_exemplar_span", "u8", "its span id"),
    *_prefixed("cell", _DISTRIBUTION),
)
"""One for each group, pane and set of bounds: sums of what can be summed. Their buckets come first
in the table of buckets, those of cumulative points after them. Of exemplars with equal values that
with the least time counts, then with the least ids."""

CUMULATIVE: Table = (
    Column("point_group", "i4", "row of its group"),
    Column("point_stream", "u8", "hash of metric, resource, scope and attributes"),
    Column("point_time", "u8", "time_unix_nano"),
    Column("point_start", "u8", "start_time_unix_nano; 0: not known"),
    *_prefixed("point", _DISTRIBUTION),
)
"""Points of cumulative sums and histograms, each as it came."""

BUCKETS: Table = (
    Column("bucket_index", "i4", "exponential index, or place among explicit buckets"),
    Column("bucket_negative", "u1", "1: counts negative values, by their absolute value"),
    Column("bucket_count", "u8", "values in it"),
)

BOUNDS: tuple[Table, Table] = (
    (Column("bounds_stop", "i4", "row in `bound` after the last of these bounds"),),
    (Column("bound", "f8", "explicit bound, as in HistogramDataPoint.explicit_bounds"),),
)

KEY_TEXT: Table = (Column("key_text", "u1", "descriptors of groups in UTF-8, one after the other"),)

BINARY: tuple[tuple[str, type[VersionedRecord], tuple[Table, ...]], ...] = (
    ("Partials", PartialsHeader, (GROUPS, CELLS, CUMULATIVE, BUCKETS, *BOUNDS, KEY_TEXT)),
)
"""Name, header and tables."""

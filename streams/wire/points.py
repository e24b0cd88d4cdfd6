"""What data points say: values, counts, buckets, exemplars, and what is wrong with them.

``scan`` has validated the encoding. Whether a point makes sense is another matter: one that does
not is marked in ``Points.faults`` and never raises, for its neighbours are good.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from streams.wire import point_values as rows
from streams.wire.point_buckets import expand
from streams.wire.point_streams import identify, read_envelopes
from streams.wire.point_values import read_values
from streams.wire.rewrite import check
from streams.wire.scan import PointScan

__all__ = ["PointFault", "Points", "metric_units", "points", "stream_identity"]


class PointFault(IntFlag):
    """Why a point cannot be aggregated; names in lower case are used for counting."""

    NO_RECORDED_VALUE = rows.NO_RECORDED_VALUE
    """Its flags say so: the stream has ended."""
    NO_VALUE = rows.NO_VALUE
    """A number without a value."""
    NOT_FINITE = rows.NOT_FINITE
    """Value, sum, min or max is NaN or an infinity."""
    BUCKET_COUNTS = rows.BUCKET_COUNTS
    """Not one bucket more than bounds, or the buckets do not add up to its count."""
    BUCKET_BOUNDS = rows.BUCKET_BOUNDS
    """Explicit bounds that do not increase or are not finite; exponential ones beyond doubles."""


@dataclass(slots=True, eq=False)
class Points:
    """Columns of one element a point, and the flat ``counts`` and ``bounds``.

    What a kind of point does not have is NaN or 0. Buckets of point i: ``counts`` from
    ``counts_start(i)`` to ``positive_stop[i]``, negative ones from there to ``negative_stop[i]``;
    those of an explicit histogram are all "positive", its bounds end at ``bounds_stop[i]``.
    """

    value: NDArray[np.float64]
    """Of gauges and sums; integers beyond 2^53 are rounded."""
    sum: NDArray[np.float64]
    """Of histograms and summaries; NaN: it has none."""
    min: NDArray[np.float64]
    """Least value; NaN: not known."""
    max: NDArray[np.float64]
    """Greatest value; NaN: not known."""
    zero_threshold: NDArray[np.float64]
    exemplar_value: NDArray[np.float64]
    """Of its exemplar with the greatest value; NaN: it has none."""
    count: NDArray[np.uint64]
    """Values in a histogram or summary."""
    zero_count: NDArray[np.uint64]
    attributes_hash: NDArray[np.uint64]
    """Sum of the hashes of its attributes' bytes; as ``Scan.resource_hash``."""
    exemplar_time: NDArray[np.uint64]
    exemplar_trace_id_high: NDArray[np.uint64]
    exemplar_trace_id_low: NDArray[np.uint64]
    exemplar_span_id: NDArray[np.uint64]
    """As big-endian numbers; 0: none."""
    scale: NDArray[np.int32]
    positive_offset: NDArray[np.int32]
    negative_offset: NDArray[np.int32]
    positive_stop: NDArray[np.int32]
    negative_stop: NDArray[np.int32]
    bounds_stop: NDArray[np.int32]
    flags: NDArray[np.uint32]
    """DataPointFlags."""
    faults: NDArray[np.uint8]
    """``PointFault``; 0: good."""
    counts: NDArray[np.uint64]
    """Values in each bucket."""
    bounds: NDArray[np.float64]
    """Explicit bounds."""
    floats: NDArray[np.float64]
    """The columns from ``value`` to ``exemplar_value`` as one block, for kernels."""
    longs: NDArray[np.uint64]
    """Those from ``count`` to ``exemplar_span_id``."""
    ints: NDArray[np.int32]
    """Those from ``scale`` to ``bounds_stop``."""

    def counts_start(self, point: int) -> int:
        """Where the buckets of a point begin in ``counts``."""
        return int(self.negative_stop[point - 1]) if point else 0

    def bounds_start(self, point: int) -> int:
        """Where the bounds of a point begin in ``bounds``."""
        return int(self.bounds_stop[point - 1]) if point else 0


def points(data: bytes, scan: PointScan) -> Points:
    """What the points of ``data`` say, of which ``scan`` is the scan. Never raises for these.

    Fields that come twice are read as protobuf does: the last counts, repeated ones go on.
    """
    check(data, scan)
    items = scan.items
    array = np.frombuffer(data, np.uint8)
    array.flags.writeable = False
    floats = np.empty((rows.FLOATS, items), np.float64)
    longs = np.empty((rows.LONGS, items), np.uint64)
    ints = np.empty((rows.INTS, items), np.int32)
    flags, faults = np.empty(items, np.uint32), np.empty(items, np.uint8)
    tree = (array, scan.leaves, scan.nodes)
    sizes = read_values(*tree, floats, longs, ints, flags, faults)
    counts = np.empty(sizes & 0xFFFFFFFF, np.uint64)
    bounds = np.empty(sizes >> 32, np.float64)
    expand(*tree, longs, ints, faults, counts, bounds)
    columns = (*floats, *longs, *ints, flags, faults, counts, bounds)
    return Points(*columns, floats, longs, ints)  # type: ignore[call-arg]


def metric_units(data: bytes, scan: PointScan) -> NDArray[np.int32]:
    """Per metric: start and stop of its unit; equal if it has none. Shape (metrics, 2)."""
    check(data, scan)
    return _envelopes(data, scan)[1]


def stream_identity(data: bytes, scan: PointScan, said: Points) -> NDArray[np.uint64]:
    """Per point: hash of the resource's, scope's and its own attributes, name and unit.

    What identifies a stream (OpenTelemetry metrics data model, "Timeseries model"), but for the
    kind of data: one that changes its kind is still the same. Independent of the order of
    attributes. ``said`` is what ``points`` gave for the same message.
    """
    check(data, scan)
    hashes, units = _envelopes(data, scan)
    array = np.frombuffer(data, np.uint8)
    array.flags.writeable = False
    found = np.empty(scan.items, np.uint64)
    identify(
        *(array, scan.resource, scan.scope, scan.metric, scan.resource_hash, hashes),
        *(scan.name_hash, units, said.attributes_hash, found),
    )
    return found


def _envelopes(data: bytes, scan: PointScan) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    array = np.frombuffer(data, np.uint8)
    array.flags.writeable = False
    hashes = np.empty(scan.scopes, np.uint64)
    units = np.empty((scan.metrics, 2), np.int32)
    first = scan.level_first
    read_envelopes(array, scan.nodes, scan.gaps, first[2], first[3], first[4], hashes, units)
    return hashes, units

"""Gauges that are made of windows on request: average, rate, quantiles, extremes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bounds import BoundSets
from .merging import bucket_count, dense
from .naming import KINDS, STATISTICS
from .quantiles import explicit_quantiles, exponential_quantiles
from .store import Store

__all__ = ["statistics", "warm_up_statistics"]

_WANTED = np.array([0.5, 0.9, 0.99])
_SUMS = [KINDS.index("sum"), KINDS.index("up_down_sum_delta")]
_BARE = [KINDS.index(kind) for kind in ("logs", "summary")]


def statistics(
    rows: NDArray[np.int64], kinds: NDArray[np.int32], length_ms: int, store: Store,
    bounds: BoundSets,
) -> NDArray[np.float64]:  # fmt: skip
    """Shape (STATISTICS, rows); NaN where nothing can be said. ``kinds``: places in KINDS."""
    found = np.full((len(STATISTICS), len(rows)), np.nan)
    said = store.accumulators[rows]
    count = said["count"].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found[0] = np.where(count > 0, said["sum"] / count, np.nan)
    found[1] = np.where(np.isin(kinds, _SUMS), said["sum"], count) * (1000 / length_ms)
    found[5], found[6] = said["min"], said["max"]
    bare = np.isin(kinds, [*_SUMS, *_BARE])
    for explicit in (False, True):
        some = np.flatnonzero(~bare & ((said["bounds"] >= 0) == explicit))
        if len(some):
            found[2:5, some] = _quantiles(rows[some], said[some], store, bounds, explicit)
    return found


def _quantiles(
    rows: NDArray[np.int64], said: Any, store: Store, bounds: BoundSets, explicit: bool
) -> NDArray[np.float64]:
    count = len(rows)
    places = np.empty((3, count), np.int64)
    indices = np.empty((2, count), np.int64)
    counts = np.empty(int(bucket_count(rows, store.runs)), np.uint64)
    dense(rows, store.runs, store.pool, places, indices, counts)
    found = np.empty((len(_WANTED), count))
    start, middle, stop = places
    columns = {
        name: said[name].copy() for name in ("count", "zero", "min", "max", "scale", "bounds")
    }
    if explicit:
        stops = bounds.stops[columns["bounds"]]
        starts = np.where(columns["bounds"] > 0, bounds.stops[columns["bounds"] - 1], 0)
        explicit_quantiles(
            _WANTED, columns["count"], columns["min"], columns["max"], start, middle, starts,
            stops, counts, bounds.bound, found,
        )  # fmt: skip
    else:
        exponential_quantiles(
            _WANTED, columns["count"], columns["zero"], columns["min"], columns["max"],
            columns["scale"], start, middle, stop, indices[0], indices[1], counts, found,
        )  # fmt: skip
    return found


def warm_up_statistics() -> None:
    """Load the kernels of this, compiled if the cache has them not."""
    rows, store = np.empty(0, np.int64), Store()
    for explicit in (False, True):
        _quantiles(rows, store.accumulators[rows], store, BoundSets(), explicit)

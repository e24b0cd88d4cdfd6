"""Kernels of the table of series: hash to number by open addressing, and cells into rows."""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner, kernel

__all__ = ["find", "insert", "scatter"]

# Roles of metrics: which columns of a row (statistics.RAW) their points are.
CALLS, ERRORS, DURATION, INCREASE, VALUES, LAST = range(1, 7)
_NONE = np.uint64(0)


@inner
def _slot(keys, hashed):
    """Where a hash is, or the free slot where it would be."""
    mask = np.uint64(len(keys) - 1)
    at = (hashed ^ (hashed >> np.uint64(32))) & mask
    while keys[at] != hashed and keys[at] != _NONE:
        at = (at + np.uint64(1)) & mask
    return at


@kernel
def find(keys, numbers, hashes, found):
    """``found[i]``: number of ``hashes[i]``, -1: it has none. Returns how many have none."""
    unknown = 0
    for i in range(len(hashes)):
        at = _slot(keys, hashes[i])
        if keys[at] == _NONE:
            found[i] = -1
            unknown += 1
        else:
            found[i] = numbers[at]
    return unknown


@kernel
def insert(keys, numbers, hashes, given):
    """Give hashes that have none their numbers; there must be room."""
    for i in range(len(hashes)):
        at = _slot(keys, hashes[i])
        keys[at] = hashes[i]
        numbers[at] = given[i]


@kernel
def scatter(
    series, roles, metric, value, count, total, least, most, quantiles, trace_high, trace_low,
    rows, filled, traces,
):  # fmt: skip
    """Write points into the rows of their series; see ``intake`` for what a role means."""
    for i in range(len(series)):
        row = series[i]
        if row < 0:
            continue
        if filled[row] == 0:
            filled[row] = 1
            rows[row, :] = np.nan
            traces[row, :] = _NONE
        role = roles[metric[i]]
        if role == CALLS:
            rows[row, 0] = value[i]
        elif role == ERRORS:
            rows[row, 1] = value[i]
        elif role == INCREASE:
            rows[row, 2] = value[i]
        elif role == LAST:
            rows[row, 8] = value[i]
        elif role == DURATION or role == VALUES:
            if role == VALUES:
                rows[row, 0] = np.float64(count[i])
            rows[row, 2] = total[i]
            rows[row, 3] = least[i]
            rows[row, 4] = most[i]
            rows[row, 5:8] = quantiles[:, i]
            if trace_high[i] != _NONE or trace_low[i] != _NONE:
                traces[row, 0] = trace_high[i]
                traces[row, 1] = trace_low[i]

"""Quantiles of distributions as kernels read them from flat columns of buckets."""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import inner

__all__ = ["explicit_quantile", "exponential_quantile"]


@inner
def _middle(index, scale):
    """The value of which no value of a bucket differs by more than (base - 1) / (base + 1)."""
    width = 2.0 ** (-scale)
    base = 2.0**width
    if base > 1e300:  # a scale below -9
        return 2.0 ** ((index + 0.5) * width)
    return 2.0 ** ((index + 1) * width) * 2.0 / (1.0 + base)


@inner
def exponential_quantile(q, zero, scale, counts, first, offset, middle, negative_offset, stop):
    """The value of nearest rank; NaN: there is none.

    Positive buckets are ``counts[first:middle]``, negative ones ``counts[middle:stop]``.
    """
    total = zero
    for k in range(first, stop):
        total += np.int64(counts[k])
    if total <= 0:
        return np.nan
    rank = max(np.int64(np.ceil(q * total)), 1)
    for k in range(stop - 1, middle - 1, -1):  # the greatest absolute value is the least
        rank -= np.int64(counts[k])
        if rank <= 0:
            return -_middle(negative_offset + (k - middle), scale)
    rank -= zero
    if rank <= 0:
        return 0.0
    for k in range(first, middle):
        rank -= np.int64(counts[k])
        if rank <= 0:
            return _middle(offset + (k - first), scale)
    return np.nan


@inner
def explicit_quantile(q, counts, first, stop, bounds, bound, bound_stop, least, most):
    """By linear interpolation between bounds, as Prometheus has it; NaN: it is empty.

    Below the first bound and beyond the last one ``least`` and ``most`` are the ends, where they
    are known.
    """
    total = 0.0
    for k in range(first, stop):
        total += counts[k]
    rank = q * total
    seen = 0.0
    for k in range(first, stop):
        here = np.float64(counts[k])
        if here > 0 and seen + here >= rank:
            at = bound + (k - first)
            lower = bounds[at - 1] if at > bound else least
            upper = bounds[at] if at < bound_stop else most
            if np.isnan(upper):
                return lower
            if np.isnan(lower):
                lower = min(0.0, upper)
            return lower + (upper - lower) * ((rank - seen) / here)
        seen += here
    return np.nan

"""Exponential buckets: from a value to its bucket, to coarser buckets, and back to a value.

Bucket i at scale s holds the values in (base^i, base^(i+1)] with base = 2^(2^-s); a power of base
belongs to the bucket below it (OpenTelemetry metrics data model, "ExponentialHistogram"; metrics
SDK, "Base2 Exponential Bucket Histogram Aggregation"). Two neighbours become one at the next lower
scale: i >> 1. So buckets can be merged and made coarser in any order with one result.

At ``SCALE_MAX`` a bucket is 9 % wide and a value in it at most 4.4 % from what is said of it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streams.wire.compiling import inner, kernel

__all__ = [
    "BUCKETS_MAX",
    "SCALE_MAX",
    "SCALE_MIN",
    "bucket_index",
    "bucket_middle",
    "fitting_shift",
    "indices",
]

SCALE_MAX = 3
SCALE_MIN = -10
"""At which all doubles have one of two indices."""
BUCKETS_MAX = 160
"""Buckets of either sign, from the lowest to the highest that is not empty."""

_MANTISSA = np.uint64((1 << 52) - 1)
_HIDDEN = np.uint64(1 << 52)
_BITS = np.uint64(52)
_STEPS = 1 << SCALE_MAX


def _bounds() -> NDArray[np.uint64]:
    """The greatest mantissas of 52 bits that are not above 2^(k/8): exact, they are irrational."""
    found = []
    for k in range(_STEPS):
        root = 1 << (52 * _STEPS + k)  # eighth root by three square roots, each rounded down
        for _ in range(SCALE_MAX):
            root = math.isqrt(root)
        found.append(root & ((1 << 52) - 1))
    return np.array(found, np.uint64)


_BOUNDS = _bounds()


@inner
def bucket_index(bits):
    """Index at ``SCALE_MAX`` of the positive finite double with these bits (uint64)."""
    exponent = np.int64(bits >> _BITS)
    mantissa = bits & _MANTISSA
    if exponent == 0:  # subnormal
        exponent = 1
        while mantissa < _HIDDEN:
            mantissa <<= np.uint64(1)
            exponent -= 1
        mantissa &= _MANTISSA
    at = (exponent - 1023) * _STEPS
    if mantissa == np.uint64(0):
        return at - 1
    k = 4 if mantissa > _BOUNDS[4] else 0
    k += 2 if mantissa > _BOUNDS[k + 2] else 0
    k += 1 if mantissa > _BOUNDS[k + 1] else 0
    return at + k


@inner
def fitting_shift(least, most):
    """How often buckets from ``least`` to ``most`` have to be halved to be BUCKETS_MAX at most."""
    shift = 0
    while (most >> shift) - (least >> shift) >= BUCKETS_MAX:
        shift += 1
    return shift


@inner
def bucket_middle(index, scale):
    """What is said of a value in a bucket: as far from both ends, in proportion."""
    width = 2.0**-scale
    low = 2.0 ** (index * width)
    high = 2.0 ** ((index + 1) * width)
    if not high < np.inf:
        high = 1.7976931348623157e308
    if low == 0.0:
        return high
    # 2 * low * high / (low + high), which could be beyond all doubles on the way.
    return 2.0 * low / (1.0 + low / high)


@kernel
def _indices(bits, found):
    for i in range(len(bits)):
        found[i] = bucket_index(bits[i])


def indices(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bucket indices of positive finite values at ``SCALE_MAX``."""
    found = np.empty(len(values), np.int64)
    _indices(np.ascontiguousarray(values, np.float64).view(np.uint64), found)
    return found

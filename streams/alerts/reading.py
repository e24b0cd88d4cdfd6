"""The kernel that reads points of windows: whose they are, and the numbers of a row."""

from __future__ import annotations

import numpy as np

from streams.alerts.quantiles import explicit_quantile, exponential_quantile
from streams.wire.compiling import inner, kernel
from streams.wire.memory import address_of, load_u8, mix
from streams.wire.text import hash_bytes
from streams.wire.tree import GAP_FIRST, GAP_STOP
from streams.wire.walk import field_body, skip_field

__all__ = ["NUMBERS", "identify", "quantiles", "scope_names"]

P50, P90, P99 = range(3)
NUMBERS = 3

_HISTOGRAM, _EXPONENTIAL = 9, 10
_RESOURCE = np.uint64(0xD1342543DE82EF95)
_METRIC = np.uint64(0xA0761D6478BD642F)
_ATTRIBUTES = np.uint64(0xE7037ED1A0B428DB)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@kernel
def scope_names(data, nodes, gaps, first, found):
    """Hash of the name of each scope, 0: it has none; ``first``: the first node that is one."""
    a = address_of(data)
    for scope in range(len(found)):
        node = first + scope
        found[scope] = _ZERO
        for g in range(nodes[node, GAP_FIRST], nodes[node, GAP_STOP]):
            p = np.int64(gaps[g, 0])
            end = np.int64(gaps[g, 1])
            while p < end:
                q = skip_field(a, p, end)
                body = field_body(a, p + 1, end) if load_u8(a, p) == 0x0A else np.int64(-1)
                if body >= 0:
                    r = body & 0xFFFFFFFF
                    last = r + (body >> 32)
                    while r < last:
                        s = skip_field(a, r, last)
                        text = field_body(a, r + 1, last) if load_u8(a, r) == 0x0A else -1
                        if text >= 0:
                            start = text & 0xFFFFFFFF
                            found[scope] = hash_bytes(a, start, start + (text >> 32))
                        r = s
                p = q


@kernel
def identify(seed, resource, metric, resource_hashes, bases, attributes, series):
    """Hash of each point's series; 0: it does not count.

    ``bases``: by metric, of what its name says of a series; 0: its points do not count.
    """
    for i in range(len(series)):
        base = bases[metric[i]]
        if base == _ZERO:
            series[i] = _ZERO
            continue
        hashed = mix(seed ^ resource_hashes[resource[i]], _RESOURCE)
        hashed = mix(hashed ^ base, _METRIC)
        hashed = mix(hashed ^ attributes[i], _ATTRIBUTES)
        series[i] = hashed if hashed != _ZERO else _ONE


@inner
def _within(value, least, most):
    if value < least:
        return least
    return most if value > most else value


@kernel
def quantiles(
    series, kind, zero, scale, offset, negative_offset, positive_stop, negative_stop, bounds_stop,
    counts, bounds, least, most, found,
):  # fmt: skip
    """p50, p90 and p99 of every point that counts and is a distribution; else NaN.

    Arguments are columns of ``wire.points``; ``found`` has a row a point.
    """
    first = np.int64(0)
    bound = np.int64(0)
    for i in range(len(series)):
        middle = np.int64(positive_stop[i])
        stop = np.int64(negative_stop[i])
        bound_stop = np.int64(bounds_stop[i])
        for k in range(NUMBERS):
            q = 0.5 if k == P50 else (0.9 if k == P90 else 0.99)
            value = np.nan
            if series[i] == _ZERO:
                pass
            elif kind[i] == _EXPONENTIAL:
                value = exponential_quantile(
                    q, np.int64(zero[i]), np.int64(scale[i]), counts, first, np.int64(offset[i]),
                    middle, np.int64(negative_offset[i]), stop,
                )  # fmt: skip
            elif kind[i] == _HISTOGRAM:
                value = explicit_quantile(
                    q, counts, first, middle, bounds, bound, bound_stop, least[i], most[i]
                )
            found[i, k] = _within(value, least[i], most[i])
        first = stop
        bound = bound_stop

"""Kernels that tell of points of windows whose they are."""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import kernel
from streams.wire.memory import address_of, load_u8, mix
from streams.wire.text import hash_bytes
from streams.wire.tree import GAP_FIRST, GAP_STOP
from streams.wire.walk import field_body, skip_field

__all__ = ["identify", "scope_names"]

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

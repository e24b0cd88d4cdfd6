"""The kernels that find which stream a data point is of; see ``points.stream_identity``."""

from __future__ import annotations

import numpy as np

from streams.wire.compiling import kernel
from streams.wire.memory import address_of, load_u8, mix
from streams.wire.text import hash_bytes
from streams.wire.tree import GAP_FIRST, GAP_STOP
from streams.wire.walk import field_body, skip_field

__all__ = ["identify", "read_envelopes"]

_NONE = np.uint64(0)
_STREAM = np.uint64(0x8CB92BA72F3D8DD7)
_PART = np.uint64(0xD6E8FEB86659FD93)


@kernel
def read_envelopes(data, nodes, gaps, scopes, metrics, stop, scope_hashes, units):
    """Hash of each scope, range of each metric's unit.

    ``scopes``, ``metrics``: the first node of these; ``stop``: after the last metric.
    """
    a = address_of(data)
    for node in range(scopes, metrics):
        name = version = attributes = _NONE
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
                        tag = load_u8(a, r)
                        s = skip_field(a, r, last)
                        if tag == 0x0A or tag == 0x12 or tag == 0x1A:
                            text = field_body(a, r + 1, last)
                            if text >= 0:
                                start = text & 0xFFFFFFFF
                                size = text >> 32
                                # Empty is as good as not there.
                                hashed = hash_bytes(a, start, start + size) if size > 0 else _NONE
                                if tag == 0x0A:
                                    name = hashed
                                elif tag == 0x12:
                                    version = hashed
                                else:
                                    attributes += hashed
                        r = s
                p = q
        scope_hashes[node - scopes] = mix(mix(name ^ _STREAM, _PART) ^ version, _PART) ^ attributes
    for node in range(metrics, stop):
        units[node - metrics, 0] = 0
        units[node - metrics, 1] = 0
        for g in range(nodes[node, GAP_FIRST], nodes[node, GAP_STOP]):
            p = np.int64(gaps[g, 0])
            end = np.int64(gaps[g, 1])
            while p < end:
                if load_u8(a, p) == 0x1A:
                    body = field_body(a, p + 1, end)
                    if body >= 0:
                        units[node - metrics, 0] = body & 0xFFFFFFFF
                        units[node - metrics, 1] = (body & 0xFFFFFFFF) + (body >> 32)
                p = skip_field(a, p, end)


@kernel
def identify(
    data, resource, scope, metric, resource_hashes, scope_hashes, name_hashes, units, attributes,
    found,
):  # fmt: skip
    """Hash of each point's stream into ``found``."""
    a = address_of(data)
    for i in range(len(found)):
        start = np.int64(units[metric[i], 0])
        stop = np.int64(units[metric[i], 1])
        unit = hash_bytes(a, start, stop) if stop > start else _NONE
        h = mix(resource_hashes[resource[i]] ^ _STREAM, _PART)
        h = mix(h ^ scope_hashes[scope[i]], _PART)
        h = mix(h ^ name_hashes[i], _PART)
        h = mix(h ^ unit, _PART)
        found[i] = mix(h ^ attributes[i], _PART)

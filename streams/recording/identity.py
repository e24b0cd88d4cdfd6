"""What makes an item the same item, wherever it turns up: for counting sent against arrived.

A span is its trace and span id. A data point or log record has no id; it is a digest of its
bytes together with its resource's, and for a point its metric's name, since two series may
well have the same value at the same time. Splitting and merging change none of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from schemas.signals import Signal

from .layout import fields

__all__ = ["identities"]

_GAUGE, _SUM, _HISTOGRAM, _EXPONENTIAL_HISTOGRAM, _SUMMARY = 5, 7, 9, 10, 11
_DATA = {_GAUGE, _SUM, _HISTOGRAM, _EXPONENTIAL_HISTOGRAM, _SUMMARY}


def identities(signal: Signal, data: bytes) -> list[bytes]:
    """One identity per item: 24 bytes (trace id, span id) for spans, else 16 bytes.

    Raises:
        MalformedMessage: the bytes are not the request they should be.
    """
    found = []
    for begin, end in _parts(data, 0, len(data), 1):
        if signal is Signal.TRACES:
            found += [
                _span(data, at, stop) for scope in _parts(data, begin, end, 2)
                for at, stop in _parts(data, *scope, 2)
            ]  # fmt: skip
            continue
        resource = blake2b(digest_size=16)
        for at, stop in _parts(data, begin, end, 1):
            resource.update(data[at:stop])
        for scope in _parts(data, begin, end, 2):
            for at, stop in _parts(data, *scope, 2):
                if signal is Signal.LOGS:
                    found.append(_digest(resource.digest(), data[at:stop]))
                    continue
                name = b"".join(data[a:b] for a, b in _parts(data, at, stop, 1))
                for number, wire, a, b in fields(data, at, stop):
                    if number in _DATA and wire == 2:
                        prefix = resource.digest() + bytes([number]) + name + b"\0"
                        found += [_digest(prefix, data[x:y]) for x, y in _parts(data, a, b, 1)]
    return found


def _parts(data: bytes, begin: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    for number, wire, at, stop in fields(data, begin, end):
        if number == wanted and wire == 2:
            yield at, stop


def _span(data: bytes, begin: int, end: int) -> bytes:
    trace_id = span_id = b""
    for number, wire, at, stop in fields(data, begin, end):
        if wire == 2:
            if number == 1:
                trace_id = data[at:stop]
            elif number == 2:
                span_id = data[at:stop]
    return trace_id + span_id


def _digest(prefix: bytes, item: bytes) -> bytes:
    digest = blake2b(prefix, digest_size=16)
    digest.update(item)
    return digest.digest()

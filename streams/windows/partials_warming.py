"""Load the kernels of partials before the first message, compiled if the cache has them not."""

from __future__ import annotations

import numpy as np

from schemas.batches import Batch
from schemas.config import WindowRule, Windows
from schemas.operators import Scanned
from schemas.signals import Signal
from streams import wire
from streams.windows.cells import move_pairs
from streams.windows.partials import Partials
from streams.windows.records import decode

__all__ = ["SETTINGS", "warm_up_partials"]

SETTINGS = Windows(
    rules=(
        WindowRule(name="spans", signal="spans", by=("span.name", "k")),
        WindowRule(name="logs", signal="logs", by=("severity", "k")),
        WindowRule(name="metrics", signal="metrics", metric="*", by=("k",)),
    )
)
"""Something of everything."""
_TIME = bytes([3] * 6 + [0] * 2)


def _field(number: int, *parts: bytes) -> bytes:
    """A field of bytes, shorter than 128."""
    body = b"".join(parts)
    return bytes([number << 3 | 2, len(body)]) + body


def _request(signal: Signal) -> bytes:
    """A request with an item that has a time, of a service, with the attribute k."""
    value = _field(1, b"k"), _field(2, _field(1, b"v"))
    service = _field(1, _field(1, b"service.name"), _field(2, _field(1, b"s")))
    if signal == Signal.TRACES:
        item = _field(1, b"t" * 16) + _field(2, b"s" * 8) + b"\x41" + _TIME + _field(9, *value)
    elif signal == Signal.LOGS:
        item = b"\x09" + _TIME + _field(6, *value)
    else:
        point = _field(1, b"\x19" + _TIME + b"\x31" + _TIME + _field(7, *value))
        counter = _field(2, _field(1, b"c"), _field(7, point, b"\x10\x02\x18\x01"))
        item = _field(1, b"m") + _field(5, point)
        return _field(1, _field(1, service), _field(2, _field(2, item), counter))
    return _field(1, _field(1, service), _field(2, _field(2, item)))


def warm_up_partials(*signals: Signal) -> list[bytes]:
    """Make the kernels for these signals ready (none: all); ``streams.wire.warm_up`` comes first.

    A second with a warm cache, else up to half a minute. What was made on the way, by ``SETTINGS``,
    is returned: for who warms up what reads it. Sources are called as the signals are.
    """
    records = []
    move_pairs(np.zeros((1, 2), np.uint64), np.zeros((2, 2), np.uint64))
    for signal in signals or tuple(Signal):
        operator = Partials(
            SETTINGS, signal=signal, source=signal.value, partition=0, partitions=1, output="",
            output_partitions=1,
        )  # fmt: skip
        value = _request(signal)
        scan = wire.scan(signal, value)
        operator.process(Scanned(Batch("", 0, 0, 1 << 42, None, value, ()), scan))
        for record in operator.flush():
            decode(record.value)
            records.append(record.value)
    return records

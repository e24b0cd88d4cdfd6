"""Laps of a recording: the same telemetry with other ids and at another time.

Ids are exclusive-ored with a salt of the lap, everywhere they occur in any signal, so that
parents, links, log records and exemplars still point where they did. That is a bijection;
the one id that would become all zero (invalid by the specification) keeps its value, which
nothing else can take. Ids that stand as text in names, bodies or attributes stay as recorded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .layout import Layout

__all__ = ["AS_RECORDED", "Lap", "at_lap", "fresh"]

_MAX_NS = (1 << 64) - 1


class Lap(NamedTuple):
    """How one lap differs from the recording."""

    trace_salt: bytes
    """16 bytes."""
    span_salt: bytes
    """8 bytes."""
    shift_ns: int
    """Added to every time that is set; negative moves into the past."""

    def trace_id(self, recorded: bytes) -> bytes:
        """What a recorded trace id (16 bytes) is called in this lap."""
        return _salted(recorded, self.trace_salt)

    def span_id(self, recorded: bytes) -> bytes:
        """What a recorded span id (8 bytes) is called in this lap."""
        return _salted(recorded, self.span_salt)

    def time_ns(self, recorded_ns: int) -> int:
        """What a recorded time is in this lap, kept within 1 .. 2^64-1; unset stays unset."""
        return min(max(recorded_ns + self.shift_ns, 1), _MAX_NS) if recorded_ns else 0


AS_RECORDED = Lap(bytes(16), bytes(8), 0)
"""The lap that changes nothing."""


def fresh(rng: np.random.Generator, shift_ns: int) -> Lap:
    """A lap with ids of its own."""
    return Lap(rng.bytes(16), rng.bytes(8), shift_ns)


def at_lap(data: bytes, layout: Layout, lap: Lap) -> bytes:
    """The request as it is in a lap; same length, only ids and times differ."""
    out = np.frombuffer(data, np.uint8).copy()
    _salt(out, layout.trace_ids, lap.trace_salt)
    _salt(out, layout.span_ids, lap.span_salt)
    if lap.shift_ns and len(layout.times):
        where = layout.times[:, None] + np.arange(8)
        times = out[where].view("<u8")
        shift = min(max(lap.shift_ns, -_MAX_NS), _MAX_NS)
        if shift > 0:
            times = np.minimum(times, np.uint64(_MAX_NS - shift)) + np.uint64(shift)
        else:  # never reach 0: that would say "no time"
            least = np.uint64(min(1 - shift, _MAX_NS))
            times = np.maximum(times, least) - (least - np.uint64(1))
        out[where] = times.astype("<u8").view(np.uint8)
    return out.tobytes()


def _salt(out: NDArray[np.uint8], offsets: NDArray[np.int64], salt: bytes) -> None:
    if not len(offsets) or not any(salt):
        return
    mask = np.frombuffer(salt, np.uint8)
    where = offsets[:, None] + np.arange(len(salt))
    ids = out[where] ^ mask
    ids[~ids.any(axis=1)] = mask
    out[where] = ids


def _salted(recorded: bytes, salt: bytes) -> bytes:
    if len(recorded) != len(salt) or not any(recorded):
        return recorded
    other = bytes(a ^ b for a, b in zip(recorded, salt, strict=True))
    return other if any(other) else recorded

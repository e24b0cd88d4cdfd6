"""Which traces that are sent have a fault, for the ledger: those that were sent whole.

A client begins in the middle of a lap and ends in the middle of another, so that it sends a part
of some traces. What is slow or has failed in them may be in the part that never was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from schemas.signals import Signal
from streams.recording.identity import identities
from streams.recording.laps import Lap
from topologies.replay import Frame, Pace, Recording

__all__ = ["Ending", "Marking", "endings"]

_TRACE_ID_BYTES = 16
Mark = Callable[[str, Iterable[bytes]], None]


class Ending(NamedTuple):
    """A trace of the recording with a fault in it, whose last request this is."""

    kind: str
    trace_id: bytes
    first_s: float
    """When its first request is due, since the lap's begin."""


def endings(
    recording: Recording, pace: Pace, kinds: Iterable[str]
) -> Mapping[int, tuple[Ending, ...]]:
    """By ``id`` of the request: the traces with these faults that end with it."""
    wanted = {
        trace_id: truth.injection.kind
        for truth in recording.truths
        if truth.injection.kind in kinds
        for trace_id in truth.trace_ids
    }
    first_s: dict[bytes, float] = {}
    last: dict[bytes, int] = {}
    for due_s, frame in pace.schedule(recording):
        if frame.signal is Signal.TRACES:
            for one in identities(frame.signal, frame.data):
                trace_id = one[:_TRACE_ID_BYTES]
                if trace_id in wanted:
                    first_s.setdefault(trace_id, due_s)
                    last[trace_id] = id(frame)
    found: dict[int, tuple[Ending, ...]] = {}
    for trace_id, place in last.items():
        ending = Ending(wanted[trace_id], trace_id, first_s[trace_id])
        found[place] = (*found.get(place, ()), ending)
    return found


class Marking:
    """Of one client, which begins ``phase_s`` within its first lap."""

    def __init__(self, of: Mapping[int, tuple[Ending, ...]], mark: Mark, phase_s: float) -> None:
        self._of = of
        self._mark = mark
        self._skipped_s = phase_s
        self._lap: Lap | None = None

    def lap(self, lap: Lap) -> None:
        """The next one begins."""
        if self._lap is not None:
            self._skipped_s = 0.0
        self._lap = lap

    def due(self, frame: Frame) -> None:
        """A request is about to be sent."""
        for kind, trace_id, first_s in self._of.get(id(frame), ()):
            if self._lap is not None and first_s >= self._skipped_s:
                self._mark(kind, (self._lap.trace_id(trace_id),))

"""Something that goes wrong at a moment of the clock, whatever the recording is at.

Faults of a lap (``--inject``) happen at a place of the recording, and every client is at another
one. An incident happens to all of them at once: as long as it lasts, each request is sent in a
version that has the fault. Versions are made once, request by request.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from schemas.signals import Signal
from streams.recording.frames import Request
from streams.recording.inject import Injection, inject, parse
from streams.recording.layout import find
from topologies.replay import Frame

__all__ = ["INCIDENT", "Incident", "Period", "period"]

INCIDENT = "errors:ts-order-service@10s+15s,rate=0.5,ancestors=true"
"""What happens where nothing else is asked for."""
EVERY_S = 90.0
"""It happens again after this time, counted from begin to begin."""


class Period(NamedTuple):
    """A fault, and when it is there: seconds since the first request."""

    kind: str
    service: str
    start_s: float
    stop_s: float
    injection: Injection

    def covers(self, passed_s: float) -> bool:
        """Whether it is there at a time since the first request."""
        return passed_s >= self.start_s and self._place(passed_s) < self.stop_s - self.start_s

    def _place(self, passed_s: float) -> float:
        return (passed_s - self.start_s) % max(EVERY_S, 2 * (self.stop_s - self.start_s))


def period(text: str) -> Period:
    """From the text of an injection. Raises ConfigurationError."""
    injection = parse(text, 0)
    start_s, stop_s = injection.start_ns / 1e9, injection.end_ns / 1e9
    always = injection._replace(start_ns=0, end_ns=2**63)
    return Period(injection.kind, injection.service, start_s, stop_s, always)


class Incident:
    """The recording's requests in both versions, and the clock that tells which is sent."""

    def __init__(self, period: Period, frames: Sequence[Frame], rng: np.random.Generator) -> None:
        self.period = period
        self._other = {id(frame): _with(period.injection, frame, rng) for frame in frames}
        self._frames = frames  # lest another object gets the id of one of them
        self._began_s: float | None = None
        self._stopped_s: float | None = None

    @property
    def began_s(self) -> float | None:
        """When it was there for the first time, monotonic seconds; None: not yet."""
        if self.passed_s < self.period.start_s or self._began_s is None:
            return None
        return self._began_s + self.period.start_s

    @property
    def passed_s(self) -> float:
        """Seconds from the first request to now, or to :meth:`stop`; 0 before it."""
        if self._began_s is None:
            return 0.0
        return (self._stopped_s or time.monotonic()) - self._began_s

    def stop(self) -> None:
        """Nothing is sent from now on."""
        self._stopped_s = time.monotonic()

    def choose(self, frame: Frame) -> Frame | None:
        """The version of a request that is sent now; None if nothing is left of it."""
        if self._began_s is None:
            self._began_s = time.monotonic()
        return self._other[id(frame)] if self.period.covers(self.passed_s) else frame


def _with(injection: Injection, frame: Frame, rng: np.random.Generator) -> Frame | None:
    if frame.signal is Signal.METRICS and injection.kind != "silence":
        return frame
    requests, _ = inject([Request(frame.signal, frame.data)], [injection], rng)
    data = b"".join(request.data for request in requests)
    if data == frame.data:
        return frame
    return Frame(frame.signal, data, find(frame.signal, data)) if data else None

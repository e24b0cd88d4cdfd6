"""When each request of a lap is due, and where a lap lies in time. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from schemas.errors import ConfigurationError
from schemas.signals import Signal

from .recording import Frame, Recording

__all__ = ["LAP_GAP_S", "Pace"]

LAP_GAP_S = 1.0
"""Recorded time between the last request of a lap and the first of the next."""


class Pace(NamedTuple):
    """``speed`` times as fast as recorded, or ``rate`` items a second, or as fast as it goes."""

    speed: float | None = 1.0
    rate: float | None = None

    @classmethod
    def parse(cls, speed: str, rate: float | None = None) -> Pace:
        """From ``--speed`` (a number or ``max``) and ``--rate``. Raises ConfigurationError."""
        if rate is not None:
            if not 0 < rate < float("inf"):
                raise ConfigurationError(f"rate {rate} is no number of items a second")
            return cls(None, rate)
        if speed == "max":
            return cls(None, None)
        try:
            factor = float(speed)
        except ValueError:
            factor = 0.0
        if not 0 < factor < float("inf"):
            raise ConfigurationError(f"speed {speed!r} is neither a number above 0 nor max")
        return cls(factor)

    def schedule(self, recording: Recording) -> Iterator[tuple[float, Frame]]:
        """Each request with the seconds from the lap's begin to when it is due."""
        sent = 0
        counted = self._counted(recording)
        for frame in recording.frames:
            if self.rate is not None:
                yield sent / self.rate, frame
                sent += frame.layout.items if frame.signal in counted else 0
            elif self.speed is not None:
                late_ns = max(frame.layout.latest_ns - recording.begin_ns, 0)
                yield late_ns / 1e9 / self.speed, frame
            else:
                yield 0.0, frame

    def lap_s(self, recording: Recording) -> float:
        """Seconds from the begin of a lap to that of the next, if sending keeps up."""
        if self.rate is not None:
            return sum(recording.items[s] for s in self._counted(recording)) / self.rate
        if self.speed is not None:
            return ((recording.end_ns - recording.begin_ns) / 1e9 + LAP_GAP_S) / self.speed
        return 0.0

    def shift_to_ns(self, recording: Recording, now_ns: int) -> int:
        """What to add to recorded times so that a lap that begins now happens now.

        The most that lets nothing come from the future: at recorded speed each request is sent
        when its latest item has just happened; a lap that is sent faster begins in the past.
        Durations and relations stay as recorded.
        """
        return now_ns + min(
            (
                round(due_s * 1e9) - frame.layout.latest_ns
                for due_s, frame in self.schedule(recording)
                if frame.layout.latest_ns
            ),
            default=0,
        )

    @staticmethod
    def _counted(recording: Recording) -> tuple[Signal, ...]:
        """A rate is one of spans where there are any; the other signals come along."""
        return (Signal.TRACES,) if recording.items[Signal.TRACES] else tuple(Signal)

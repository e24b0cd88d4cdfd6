"""Sets of explicit bounds, each with a number, and which bounds two of them have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SETS_MAX", "BoundSets"]

SETS_MAX = 256
"""Different sets; what comes with others is merged without its buckets' bounds (set 0)."""


class BoundSets:
    """Numbers of sets of bounds; 0 has no bounds: all values are in one bucket."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self.stops = np.zeros(16, np.int64)
        """Where in ``bound`` the bounds of a set end."""
        self.bound = np.zeros(256)
        self.meetings = np.full((16, 16), -1, np.int32)
        """Number of what two sets have in common; -1: nobody has asked yet."""
        self.refused = 0
        """Sets for which there was no number left."""
        self.number(np.empty(0))

    def __len__(self) -> int:
        return len(self._numbers)

    def bounds(self, number: int) -> NDArray[np.float64]:
        """The bounds of a set."""
        return self.bound[self.stops[number - 1] if number else 0 : self.stops[number]]

    def number(self, bounds: NDArray[np.float64]) -> int:
        """Of these bounds, which increase; 0 where there is none left."""
        key = bounds.tobytes()
        found = self._numbers.get(key)
        if found is not None:
            return found
        at = len(self._numbers)
        if at >= SETS_MAX:
            self.refused += 1
            return 0
        if at >= len(self.stops):
            self.stops = np.pad(self.stops, (0, at))
            self.meetings = np.pad(self.meetings, (0, at), constant_values=-1)
        start = int(self.stops[at - 1]) if at else 0
        stop = start + len(bounds)
        if stop > len(self.bound):
            self.bound = np.pad(self.bound, (0, stop))
        self.bound[start:stop] = bounds
        self.stops[at] = stop
        self.meetings[at, at] = at
        self._numbers[key] = at
        return at

    def meet(self, left: int, right: int) -> None:
        """Say what two sets have in common."""
        common = self.number(np.intersect1d(self.bounds(left), self.bounds(right)))
        self.meetings[left, right] = self.meetings[right, left] = common

    def load(self, stops: NDArray[np.int64], bound: NDArray[np.float64]) -> None:
        """Take over the sets of another, in the order of their numbers."""
        self.__init__()  # type: ignore[misc]
        start = 0
        for stop in stops.tolist():
            self.number(np.ascontiguousarray(bound[start:stop]))
            start = stop

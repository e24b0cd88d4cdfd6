"""Many clients, each at its own place in the recording and at its own speed, which is one.

A recording that is played faster than it was made has times that run away from the clock, and
whatever looks at event time sees nonsense. A crowd makes as much traffic with times that are right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from topologies.replay import Replayer, Tally

__all__ = ["Crowd"]


class Crowd:
    """Replays that run at once and share one account.

    Args:
        make: the replay of a number, for a phase (part of a lap, 0 to 1) and the common tally.
        size: how many.
    """

    def __init__(self, make: Callable[[int, float, Tally], Replayer], size: int) -> None:
        self.tally = Tally()
        self._replayers = [make(number, number / size, self.tally) for number in range(size)]

    def stop(self) -> None:
        """Send nothing more; what is under way may finish."""
        for replayer in self._replayers:
            replayer.stop()

    async def run(self, drain_s: float | None = None) -> None:
        """Until :meth:`stop`, then wait for the answers, ``drain_s`` at most."""
        async with asyncio.TaskGroup() as group:
            for replayer in self._replayers:
                group.create_task(replayer.run(drain_s))

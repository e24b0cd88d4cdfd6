"""What happens to workers and their broker, one thing after another, by seed."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

from topologies.localkafka import LocalKafka

from .chaos_processes import Worker

__all__ = ["Faults"]

Fault = Callable[[], Awaitable[None]]
_WEIGHTS = {
    "kill": 30,
    "freeze": 15,
    "term": 15,
    "twice": 10,
    "both": 5,
    "broker": 5,
    "breath": 10,
}


class Faults:
    """Faults at random; ``done`` counts them.

    Args:
        workers: to whom.
        broker: that is killed as well.
        rng: which and when.
        frozen_s: longer than a session.
        more: further ones by name, with their weight.
        first: happen before any other, so that a short run has them.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        broker: LocalKafka,
        rng: random.Random,
        *,
        frozen_s: float,
        more: Mapping[str, tuple[int, Fault]] | None = None,
        first: Sequence[str] = (),
    ) -> None:
        self.done: Counter[str] = Counter()
        self._workers = workers
        self._broker = broker
        self._rng = rng
        self._frozen_s = frozen_s
        self._more = dict(more or {})
        self._weights = {**_WEIGHTS, **{name: weight for name, (weight, _) in self._more.items()}}
        self._first = list(first)

    async def go_on(self, seconds: float) -> None:
        """For so long; a fault that has begun is finished."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            await self._strike()
            await asyncio.sleep(self._rng.uniform(0.2, 4))

    async def _strike(self) -> None:
        worker = self._rng.choice(self._workers)
        kind = self._rng.choices(list(self._weights), list(self._weights.values()))[0]
        if self._first:
            kind = self._first.pop(0)
        self.done[kind] += 1
        if kind in self._more:
            await self._more[kind][1]()
        elif kind == "kill":
            worker.send(signal.SIGKILL, self._rng.choice([0, 0, 1, 4]))
        elif kind == "term":
            worker.send(signal.SIGTERM)
        elif kind == "twice":  # rebalances in quick succession
            for _ in range(3):
                worker.send(self._rng.choice([signal.SIGKILL, signal.SIGTERM]))
                await asyncio.sleep(self._rng.uniform(0.1, 1.5))
        elif kind == "both":
            for each in self._workers:
                each.send(signal.SIGKILL, self._rng.uniform(0, 1))
        elif kind in {"freeze", "breath"}:
            worker.send(signal.SIGSTOP)
            # Longer than the session: the other takes over, and this one wakes up as a zombie.
            await asyncio.sleep(self._frozen_s if kind == "freeze" else self._rng.uniform(0.2, 3))
            worker.send(signal.SIGCONT)
        else:
            self._broker.kill()
            await asyncio.sleep(self._rng.uniform(0.5, 5))
            await asyncio.to_thread(self._broker.start)

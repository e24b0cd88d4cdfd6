"""What a schedule's events do to a world, each at its step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.batches import Batch
from tests.operators.deciding import EVERY

from . import operators
from .hosting import GROUP, JOURNAL
from .kafka import TP
from .schedule import Event

if TYPE_CHECKING:
    from .world import World

__all__ = ["Trouble"]

CALM_LATENCY_S = 0.002


class Trouble:
    """The events of a run that are to come, and what they have left behind."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kafka = world.kafka
        self._events = list(world.schedule.events)
        self._armed: list[Event] = []
        self.every: int | None = None
        """What was set at run time."""
        self.eaten: dict[TP, list[Batch]] = {}
        """What retention has taken of the sources."""
        self.refusing = False
        """Logs have refused decisions for a while."""

    @property
    def to_come(self) -> bool:
        """There are events left."""
        return bool(self._events)

    def settle(self) -> None:
        """No more of it."""
        world = self._world
        world.told("no more trouble")
        self._events.clear()
        self._armed.clear()
        world.network.away_until = 0.0
        self._calm()
        self._kafka.limits.clear()
        for worker in world.workers:
            if worker.process is not None and worker.process.paused:
                worker.process.resume()

    def on_step(self) -> int:
        """What is due happens; the step of what comes next."""
        while self._events and self._events[0].step <= self._world.loop.steps:
            event = self._events.pop(0)
            self._world.told(str(event))
            getattr(self, f"_{event.kind}")(event)
        return self._events[0].step if self._events else 1 << 60

    def fault_of(self, kind: str, process: str) -> tuple[str, float] | None:
        """What becomes of a request."""
        for event in self._armed:
            if event.request == kind and str(event.worker) == process:
                self._armed.remove(event)
                return event.mode, event.seconds
        return None

    # --- one by one

    def _crash(self, event: Event) -> None:
        self._world.kill(self._world.workers[event.worker], event.seconds)

    def _stop(self, event: Event) -> None:
        worker = self._world.workers[event.worker]
        if worker.process is not None and worker.process.alive and worker.host is not None:
            worker.process.spawn(worker.host.terminate(event.seconds))

    def _pause(self, event: Event) -> None:
        process = self._world.workers[event.worker].process
        if process is not None and process.alive and not process.paused:
            process.pause()
            self._world.loop.call_later(event.seconds, lambda: process.paused and process.resume())

    def _rebalance(self, event: Event) -> None:
        for index in range(event.count):
            self._world.loop.call_later(index * event.seconds, self._world.group.rebalance)

    def _fault(self, event: Event) -> None:
        self._armed += [event] * event.count

    def _away(self, event: Event) -> None:
        self._world.network.away_until = self._world.loop.time() + event.seconds

    def _slow(self, event: Event) -> None:
        self._world.network.latency_s = event.seconds
        self._world.loop.call_later(3.0, self._calm)

    def _calm(self) -> None:
        self._world.network.latency_s = CALM_LATENCY_S

    def _compact(self, event: Event) -> None:
        for log in self._kafka.partitions(JOURNAL):
            log.compact(int(log.stable * event.seconds))

    def _eat(self, event: Event) -> None:
        for log in self._kafka.partitions(operators.QUOTED):
            log.trim(int(log.end * event.seconds))
        for topic in self._world.sources:
            for log in self._kafka.partitions(topic):
                before = self._kafka.committed(GROUP, *log.tp) or 0
                self.eaten.setdefault(log.tp, []).extend(log.committed(0, before)[0])
                log.trim(before)

    def _reset(self, event: Event) -> None:
        self._world.resets.begin(event)

    def _adjust(self, event: Event) -> None:
        self.every = event.count
        for worker in self._world.workers:
            alive = worker.process is not None and worker.process.alive
            control = None if worker.host is None else worker.host.control
            if alive and control is not None:
                control.change(EVERY, event.count)

    def _grow(self, _event: Event) -> None:
        """Once: a partition more of everything."""
        world, partitions = self._world, self._world.schedule.partitions + 1
        if len(self._kafka.partitions(JOURNAL)) < partitions:
            world.create(partitions)
            world.group.rebalance()
            for topic in world.sources:
                world.feeding.feed(TP(topic, partitions - 1))

    def _tight(self, event: Event) -> None:
        self.refusing = True
        for topic in self._world.sources:
            for name in operators.DECIDED:
                self._kafka.limits[operators.log_of(name, topic)] = 5
        self._kafka.limits[operators.GATHERED] = 5
        self._world.loop.call_later(event.seconds, self._kafka.limits.clear)

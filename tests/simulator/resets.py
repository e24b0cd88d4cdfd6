"""A person resets the group: where a partition goes on with empty state, and what was before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from topologies.runtime.journal import Progress, progress_key
from topologies.runtime.ports import Offset

from .hosting import GROUP, JOURNAL
from .kafka import TP

if TYPE_CHECKING:
    from .schedule import Event
    from .world import World

__all__ = ["Resets", "Segment"]


class Segment(NamedTuple):
    """What follows on a reset of a partition, up to the next one."""

    start: int
    """Source offset at which it began, with empty state."""
    begins: Mapping[TP, int]
    """Ends of all logs then."""
    stop: int | None = None
    """Where it had come to when the next reset came; None: it is the last one."""
    ends: Mapping[TP, int] | None = None


class Resets:
    """All of a run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kafka = world.kafka
        self._segments: dict[TP, list[Segment]] = {}
        self._lock = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def under_way(self) -> bool:
        """Nobody may be in the group."""
        return self._lock.locked()

    def begin(self, event: Event) -> None:
        """Reset one partition of each topic."""
        self._tasks.append(self._world.loop.create_task(self._reset(event)))

    async def end(self) -> None:
        """Wait until all are done."""
        await asyncio.gather(*self._tasks)

    def segments(self, tp: TP) -> list[Segment]:
        """Of a partition, in order."""
        return self._segments.get(tp, [Segment(0, {})])

    def progress(self, tp: TP, since: int = 0) -> Progress | None:
        """The last that was said of a partition."""
        log = self._kafka.log(JOURNAL, tp.partition)
        records = log.committed(since, log.end)[0]
        latest = [record for record in records if record.key == progress_key(tp.topic)]
        return Progress.decode(latest[-1].value) if latest else None

    async def _reset(self, event: Event) -> None:
        """All workers are stopped, as a group's offsets can only be set while nobody is in it."""
        world = self._world
        async with self._lock:
            for worker in world.workers:
                world.kill(worker, None)
            while not self._kafka.abort(GROUP):
                await asyncio.sleep(0.05)
            for topic in world.sources:
                logs = self._kafka.partitions(topic)
                log = logs[event.worker % len(logs)]
                progress = self.progress(log.tp)
                if progress is not None:
                    wanted = log.begin + int((log.stable - log.begin) * event.seconds)
                    self._set(log.tp, progress.position, wanted)
        for worker in world.workers:
            world.launch(worker)

    def _set(self, tp: TP, before: int, wanted: int) -> None:
        """Commit ``wanted``; whoever begins next sees that it is not ``before``."""
        self._world.told(f"{tp} is reset from {before} to {wanted}")
        self._kafka.commit(Offset(GROUP, *tp, wanted))
        ends = {each.tp: each.end for each in self._kafka.all()}
        segments = self._segments[tp] = self.segments(tp)
        since = segments[-1].begins.get(TP(JOURNAL, tp.partition), 0)
        if len(segments) > 1 and self.progress(tp, since) is None:
            segments.pop()  # nobody has seen that one
            segments[-1] = segments[-1]._replace(stop=None, ends=None)
        if wanted != before:
            segments[-1] = segments[-1]._replace(stop=before, ends=ends)
            segments.append(Segment(wanted, ends))

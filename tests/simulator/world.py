"""One run: a schedule comes true, then everything calms down and must come to its end.

Workers are processes with a host and its lanes. One that dies, or ends itself because it is
fenced, is started again by a supervisor. After the last event faults stop, the stopped go on,
and all input must be processed before a deadline in virtual time. Then every worker is killed,
one starts alone, gets one more message a partition, and must end where an undisturbed run ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from schemas.batches import Batch
from schemas.errors import ConfigurationError
from tests.operators.deciding import Deciding
from topologies.runtime.host import Host
from topologies.runtime.ports import Fenced, Transactions

from . import operators
from .client import Network, SimLog, SimTransactions
from .feeding import Feeding
from .group import Group
from .hosting import DEADLETTER, GROUP, JOURNAL, SESSION_S, SimHost, configuration, installed
from .kafka import TP, Kafka
from .loop import Hang, Process, SimClock, SimLoop
from .resets import Resets
from .schedule import Schedule
from .trouble import Trouble

__all__ = ["Outcome", "Parts", "World", "run"]

TROUBLE_MAX_S, CALM_MAX_S, STILL_S = 40.0, 150.0, 2.5
"""Virtual time: events come within so long; then everything is done within so long; and that it
is done is believed after so long."""


@dataclass
class Parts:
    """What a mutant replaces."""

    transactions: Callable[[Network, str], Transactions] = SimTransactions
    log: Callable[[Network], Any] = SimLog
    host: Callable[..., SimHost] = SimHost


@dataclass
class Outcome:
    """What a run has come to; ``failures`` is empty if all properties hold."""

    schedule: Schedule
    failures: list[str] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    trace: int = 0
    """A digest of the order of everything, to compare two runs of a seed."""


class Worker:
    """A place at which processes run, one after the other."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: Process | None = None
        self.host: SimHost | None = None
        self.lives = 0
        self.back_s = 0.3


class World:
    """Everything there is in a run."""

    def __init__(self, schedule: Schedule, parts: Parts) -> None:
        self.schedule = schedule
        self.parts = parts
        self.rng = random.Random(f"run {schedule.seed}")
        self.loop = SimLoop(self.rng, shuffle=schedule.shuffle)
        self.clock = SimClock(self.loop, self.rng)
        self.config = configuration(schedule)
        draw, marker_s = self.rng.random, schedule.marker_delay_s
        self.kafka = Kafka(
            self.loop,
            self.rng,
            marker_delay_s=lambda: draw() * marker_s * (10 if draw() < 0.05 else 1),
            transaction_timeout_s=20.0,
            value_max=operators.VALUE_MAX,
        )
        self.network = Network(self.kafka, self.rng)
        self.sources = tuple(f"in{number}" for number in range(schedule.topics))
        self.group = Group(self.kafka, self.rng, self.sources, SESSION_S)
        self.workers = [Worker(number) for number in range(schedule.workers)]
        self.hosts: list[Host] = []
        self.failures: list[str] = []
        self.fenced = 0
        self.create(schedule.partitions)
        self.kafka.create(DEADLETTER, 1)
        self.feeding = Feeding(self)
        self.resets = Resets(self)
        self.trouble = Trouble(self)
        self.network.fault = self.trouble.fault_of
        self.loop.on_step = self.trouble.on_step

    def create(self, partitions: int) -> None:
        """Topics, or more partitions of them."""
        for topic in self.sources:
            for name in (topic, *operators.topics(topic)):
                self.kafka.create(name, partitions)
        self.kafka.create(JOURNAL, partitions)

    # --- the run

    async def main(self) -> None:
        loop = self.loop
        expire = loop.create_task(self._expire())
        await self.feeding.start()
        for worker in self.workers:
            loop.call_later(self.rng.random() * 0.5, self.launch, worker)
        while loop.time() < TROUBLE_MAX_S and (self.trouble.to_come or self.feeding.under_way):
            await asyncio.sleep(0.25)
        self.trouble.settle()
        await self.feeding.end()
        await self.resets.end()
        await self._done("after the trouble")
        self.failures += check_told(self)
        for worker in self.workers:
            self.kill(worker, None)
        self.feeding.last()
        self.launch(self.workers[0])
        await self._done("after a restart of one alone")
        expire.cancel()

    def recoveries(self) -> int:
        """Of all lanes in all lives."""
        counts = [each for host in self.hosts for each in host.topic_counts.values()]
        return sum(each.recoveries.total() for each in counts)

    async def _done(self, when: str) -> None:
        """Everything is committed up to the last message, and stays so."""
        began = self.loop.time()
        still_since = None
        while True:
            await asyncio.sleep(0.25)
            now = self.loop.time()
            if not self.behind():
                still_since = now if still_since is None else still_since
                if now - still_since >= STILL_S:
                    return
            else:
                still_since = None
            if now - began > CALM_MAX_S:
                raise Hang(f"{when}: still behind after {CALM_MAX_S} s: {self.behind()}")

    def behind(self) -> list[str]:
        """Partitions that are not processed to their end, or that nobody has at the moment."""
        found = []
        held = {tp for tp, lane in self.lanes() if lane.next_offset is not None}
        for tp, batches in self.inputs().items():
            committed = self.kafka.committed(GROUP, *tp)
            wanted = batches[-1].offset + 1 if batches else 0
            if tp not in held:
                found.append(f"{tp.topic}[{tp.partition}] is nobody's")
            elif batches and (committed or 0) < wanted:
                found.append(f"{tp.topic}[{tp.partition}] {committed} of {wanted}")
        return found

    def lanes(self) -> Iterator[tuple[TP, Any]]:
        """Of all that live."""
        for worker in self.workers:
            alive = worker.process is not None and worker.process.alive
            if alive and worker.host is not None and worker.host.host is not None:
                for tp, lane in worker.host.host._lanes.items():
                    yield TP(*tp), lane

    def inputs(self) -> dict[TP, list[Batch]]:
        """What is, or was, committed in the sources."""
        logs = [log for topic in self.sources for log in self.kafka.partitions(topic)]
        return {
            log.tp: [*self.trouble.eaten.get(log.tp, ()), *log.committed(0, log.end)[0]]
            for log in logs
        }

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self.group.expire()

    # --- workers

    def launch(self, worker: Worker) -> None:
        """Start a process at this place, if there is none."""
        if self.resets.under_way or (worker.process is not None and worker.process.alive):
            return
        worker.lives += 1
        self.told(f"worker {worker.number} begins its life {worker.lives}")
        process = worker.process = Process(f"{worker.number}", self.loop)
        worker.host = host = self.parts.host(self, worker, process)
        process.spawn(host.main())

    def kill(self, worker: Worker, back_s: float | None) -> None:
        """The process vanishes; another one is started after ``back_s``."""
        if worker.process is None or not worker.process.alive:
            return
        worker.process.kill()
        if back_s is not None:
            # The supervisor's timer must not vanish with the process that set it.
            self.loop.call_later(back_s, self.launch, worker, context=contextvars.Context())

    def ended(self, worker: Worker, process: Process, error: BaseException) -> None:
        """A process has ended itself."""
        if not process.alive:
            return
        self.told(f"ends itself: {error!r}")
        if isinstance(error, Fenced):
            self.fenced += 1
        elif isinstance(error, ConfigurationError) and self.trouble.refusing:
            pass  # it must not go on without
        else:
            self.failures.append(f"worker {worker.number} has a defect: {error!r}{_where(error)}")
        if worker.process is process:
            self.kill(worker, 0.3)

    def told(self, text: str) -> None:
        """Something worth a line."""


def check_told(world: World) -> list[str]:
    """Operators that do not know what they should, while nothing goes on."""
    found = []
    for tp, lane in world.lanes():
        partitions = len(world.kafka.partitions(tp.topic))
        for hosted in lane._processing.operators:
            operator = hosted.operator
            if isinstance(operator, operators.Echo) and operator.partitions != partitions:
                found.append(f"{tp}: told of {operator.partitions} partitions, not {partitions}")
            if isinstance(operator, Deciding) and operator._every != (world.trouble.every or 4):
                found.append(f"{tp}: {operator._every} decide, not {world.trouble.every}")
    return found


def _tell(world: World) -> None:
    class Teller(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            world.told(record.getMessage())

    logger = logging.getLogger("topologies.runtime")
    logger.setLevel(logging.INFO)
    logger.handlers = [Teller()]
    logger.propagate = False
    world.told = lambda text: print(  # type: ignore[method-assign]
        f"{world.loop.steps:>7} {world.loop.time():9.4f} "
        f"{getattr(Process.current(), 'name', '-')}: {text}"
    )


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" ({trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno})"


def run(schedule: Schedule, parts: Parts | None = None, *, tell: bool = False) -> Outcome:
    """Let a schedule come true, and check what must hold; ``tell`` what happens meanwhile."""
    from .properties import check

    level = logging.root.manager.disable
    collecting = gc.isenabled()
    gc.disable()
    world = World(schedule, parts or Parts())
    if tell:
        _tell(world)
    else:
        logging.disable(logging.CRITICAL)
    try:
        with installed(world):
            world.loop.run_until_complete(world.main())
    except Hang as hang:
        world.failures.append(f"hangs: {hang}")
    else:
        world.failures += check(world)
    finally:
        world.failures += world.loop.errors + world.loop.unseen()
        for worker in world.workers:
            world.kill(worker, None)
        world.loop.shut()
        logging.disable(level)
        if collecting:
            gc.enable()
    return Outcome(
        schedule,
        world.failures,
        world.loop.steps,
        world.loop.time(),
        {
            "fenced": world.fenced,
            "aborted": world.kafka.aborted,
            "commits": len(world.kafka.commits),
            "rebalances": world.group.rebalances,
            "recoveries": world.recoveries(),
            "requests": world.network.requests,
        },
        zlib.crc32(repr((world.loop.steps, world.loop.time(), world.kafka.commits)).encode()),
    )

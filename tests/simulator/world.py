"""One run: a schedule comes true, then everything calms down and must come to its end.

Workers are processes with a host and its lanes. One that dies, or ends itself because it is
fenced, is started again by a supervisor. After the last event faults stop, the stopped go on,
and all input must be processed before a deadline in virtual time. Then every worker is killed,
one starts alone, gets one more message a partition, and must end where an undisturbed run ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from schemas.batches import Batch, Record
from schemas.errors import OtlpStreamsError
from topologies.runtime.host import Host
from topologies.runtime.ports import Fenced, Transactions

from . import operators
from .client import Network, SimLog, SimTransactions
from .group import Group
from .hosting import DEADLETTER, GROUP, JOURNAL, SESSION_S, SimHost, configuration, installed
from .kafka import TP, Kafka
from .loop import Hang, Process, SimClock, SimLoop
from .schedule import Event, Schedule

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
        self.network.fault = self._fault
        self.sources = tuple(f"in{number}" for number in range(schedule.topics))
        self.group = Group(self.kafka, self.rng, self.sources, SESSION_S)
        self.workers = [Worker(number) for number in range(schedule.workers)]
        self.hosts: list[Host] = []
        self.failures: list[str] = []
        self.eaten: dict[TP, list[Batch]] = {}
        """What retention has taken of the sources."""
        self.fenced = 0
        self.calm = False
        self._events = list(schedule.events)
        self._armed: list[Event] = []
        self._fed = 0
        self.loop.on_step = self._on_step
        for topic in self.sources:
            self.kafka.create(topic, schedule.partitions)
            for output in operators.topics(topic):
                self.kafka.create(output, schedule.partitions)
        self.kafka.create(JOURNAL, schedule.partitions)
        self.kafka.create(DEADLETTER, 1)

    # --- the run

    async def main(self) -> None:
        loop = self.loop
        expire = loop.create_task(self._expire())
        feeders = [
            loop.create_task(self._feed(log.tp))
            for topic in self.sources
            for log in self.kafka.partitions(topic)
        ]
        for worker in self.workers:
            loop.call_later(self.rng.random() * 0.5, self.launch, worker)
        while loop.time() < TROUBLE_MAX_S and (self._events or self._fed < len(feeders)):
            await asyncio.sleep(0.25)
        self._settle()
        await asyncio.gather(*feeders)
        await self._done("after the trouble")
        for worker in self.workers:
            self.kill(worker, None)
        await self._feed_last()
        self.launch(self.workers[0])
        await self._done("after a restart of one alone")
        expire.cancel()

    def _settle(self) -> None:
        """No more trouble."""
        self.told("no more trouble")
        self.calm = True
        self._events.clear()
        self._armed.clear()
        self.network.away_until = 0.0
        self.network.latency_s = 0.002
        for worker in self.workers:
            if worker.process is not None and worker.process.paused:
                worker.process.resume()

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
        held = {
            tp
            for worker in self.workers
            if worker.process is not None and worker.process.alive
            if worker.host is not None and worker.host.host is not None
            for tp, lane in worker.host.host._lanes.items()
            if lane.next_offset is not None
        }
        for tp, batches in self.inputs().items():
            committed = self.kafka.committed(GROUP, *tp)
            wanted = batches[-1].offset + 1 if batches else 0
            if tp not in held:
                found.append(f"{tp.topic}[{tp.partition}] is nobody's")
            elif batches and (committed or 0) < wanted:
                found.append(f"{tp.topic}[{tp.partition}] {committed} of {wanted}")
        return found

    def inputs(self) -> dict[TP, list[Batch]]:
        """What is, or was, committed in the sources."""
        logs = [log for topic in self.sources for log in self.kafka.partitions(topic)]
        return {
            log.tp: [*self.eaten.get(log.tp, ()), *log.committed(0, log.end)[0]] for log in logs
        }

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self.group.expire()

    # --- input

    async def _feed(self, tp: TP) -> None:
        """Messages, some in transactions of others; some poison, some empty."""
        rng = random.Random(f"input {self.schedule.seed} {tp.topic} {tp.partition}")
        left, spread_s = self.schedule.messages, self.schedule.spread_s
        writer, number = f"foreign {tp.topic} {tp.partition}", 0
        while left > 0:
            run = min(left, 1 + int(rng.random() * 4))
            left -= run
            records = []
            for _ in range(run):
                records.append(self._message(tp, number, rng))
                number += 1
            if rng.random() < 0.75:
                for record in records:
                    self.kafka.write(record)
            else:
                await self._foreign(writer, records, commit=rng.random() < 0.6)
            if spread_s:
                await asyncio.sleep(rng.random() * 2 * spread_s * run / self.schedule.messages)
        self._fed += 1

    async def _foreign(self, writer: str, records: list[Record], *, commit: bool) -> None:
        """A transaction of somebody else; over when this returns, whatever became of it."""
        producer = await self._begun(writer)
        if commit:
            with contextlib.suppress(OtlpStreamsError, Fenced):
                await producer.commit(records, None)
        else:
            assert producer._epoch is not None
            self.kafka.produce(writer, producer._epoch, records)
            await asyncio.sleep(self.rng.random() * 0.3)
        await self._begun(writer)

    async def _begun(self, writer: str) -> SimTransactions:
        while True:
            producer = SimTransactions(self.network, writer)
            with contextlib.suppress(OtlpStreamsError):
                await producer.start()
                return producer

    def _message(self, tp: TP, number: int, rng: random.Random) -> Record:
        key = f"{tp.topic}-{tp.partition}-{number}".encode()
        draw = rng.random()
        value = " ".join(f"k{int(rng.random() * 5)}" for _ in range(1 + number % 3)).encode()
        if draw < 0.06:
            value = b"!" + value
        elif draw < 0.10:
            value += b" refused"
        elif draw < 0.2 and self.schedule.refusals:
            value += b" huge"
        elif draw < 0.14:
            value = b""
        return Record(tp.topic, value, tp.partition, key)

    async def _feed_last(self) -> None:
        for topic in self.sources:
            for log in self.kafka.partitions(topic):
                key = f"{topic}-{log.tp.partition}-last".encode()
                self.kafka.write(Record(topic, b"k0 k1", log.tp.partition, key))

    # --- workers

    def launch(self, worker: Worker) -> None:
        """Start a process at this place, if there is none."""
        if worker.process is not None and worker.process.alive:
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
        else:
            self.failures.append(f"worker {worker.number} has a defect: {error!r}{_where(error)}")
        if worker.process is process:
            self.kill(worker, 0.3)

    def told(self, text: str) -> None:
        """Something worth a line."""

    # --- trouble

    def _on_step(self) -> int:
        while self._events and self._events[0].step <= self.loop.steps:
            self._happen(self._events.pop(0))
        return self._events[0].step if self._events else 1 << 60

    def _happen(self, event: Event) -> None:
        loop, worker = self.loop, self.workers[event.worker]
        self.told(str(event))
        if event.kind == "crash":
            self.kill(worker, event.seconds)
        elif event.kind == "stop":
            if worker.process is not None and worker.process.alive and worker.host is not None:
                worker.process.spawn(worker.host.terminate(event.seconds))
        elif event.kind == "pause":
            process = worker.process
            if process is not None and process.alive and not process.paused:
                process.pause()
                loop.call_later(event.seconds, lambda: process.paused and process.resume())
        elif event.kind == "rebalance":
            for index in range(event.count):
                loop.call_later(index * event.seconds, self.group.rebalance)
        elif event.kind == "fault":
            self._armed += [event] * event.count
        elif event.kind == "away":
            self.network.away_until = loop.time() + event.seconds
        elif event.kind == "slow":
            self.network.latency_s = event.seconds
            loop.call_later(3.0, self._normal_speed)
        elif event.kind == "compact":
            for log in self.kafka.partitions(JOURNAL):
                log.compact(int(log.stable * event.seconds))
        elif event.kind == "eat":
            for topic in self.sources:
                for log in self.kafka.partitions(topic):
                    before = self.kafka.committed(GROUP, *log.tp) or 0
                    self.eaten.setdefault(log.tp, []).extend(log.committed(0, before)[0])
                    log.trim(before)

    def _normal_speed(self) -> None:
        self.network.latency_s = 0.002

    def _fault(self, kind: str, process: str) -> tuple[str, float] | None:
        for event in self._armed:
            if event.request == kind and str(event.worker) == process:
                self._armed.remove(event)
                return event.mode, event.seconds
        return None


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

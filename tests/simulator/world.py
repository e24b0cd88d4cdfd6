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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas.batches import Batch, Record
from schemas.errors import ConfigurationError, OtlpStreamsError
from tests.operators.deciding import EVERY, Deciding
from topologies.runtime.host import Host
from topologies.runtime.journal import Progress, progress_key
from topologies.runtime.ports import Fenced, Offset, Transactions

from . import operators
from .client import Network, SimLog, SimTransactions
from .group import Group
from .hosting import DEADLETTER, GROUP, JOURNAL, SESSION_S, SimHost, configuration, installed
from .kafka import TP, Kafka
from .loop import Hang, Process, SimClock, SimLoop
from .schedule import Event, Schedule

__all__ = ["Outcome", "Parts", "Segment", "World", "run"]

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


class Segment(NamedTuple):
    """What follows on a person's reset of a partition, up to the next one."""

    start: int
    """Source offset at which it began, with empty state."""
    begins: Mapping[TP, int]
    """Ends of all logs then."""
    stop: int | None = None
    """Committed when the next reset came; None: the last one."""
    ends: Mapping[TP, int] | None = None


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
        self.segments: dict[TP, list[Segment]] = {}
        """Of partitions that were reset."""
        self.quoted: dict[TP, list[int]] = {}
        """Offsets of what lay committed there before retention came."""
        self.every: int | None = None
        """What was set at run time."""
        self._asked_to: dict[TP, int] = {}
        self.fenced = 0
        self.calm = False
        self._events = list(schedule.events)
        self._armed: list[Event] = []
        self._fed = 0
        self._feeders: list[asyncio.Task[None]] = []
        self._resets: list[asyncio.Task[None]] = []
        self._resetting = asyncio.Lock()
        self._refusing = 0
        self.loop.on_step = self._on_step
        self._create(schedule.partitions)
        self.kafka.create(DEADLETTER, 1)
        self.kafka.create(operators.QUOTED, schedule.partitions)
        for log in self.kafka.partitions(operators.QUOTED):
            self._fill(log.tp)

    def _create(self, partitions: int) -> None:
        for topic in self.sources:
            for name in (topic, *operators.topics(topic)):
                self.kafka.create(name, partitions)
        self.kafka.create(JOURNAL, partitions)

    def _fill(self, tp: TP) -> None:
        """What is quoted: some of it in transactions, some of which were aborted."""
        kafka = self.kafka
        for number in range(12):
            writer, draw = f"writer {tp.partition} {number}", self.rng.random()
            records = [Record(tp.topic, b"%d" % n, tp.partition) for n in range(2)]
            if draw < 0.5:
                kafka.write(records[0])
                continue
            epoch = kafka.start(writer)
            kafka.produce(writer, epoch, records)
            if draw < 0.8:
                kafka.finish(writer, epoch)
            else:
                kafka.abort(writer)

    # --- the run

    async def main(self) -> None:
        loop, schedule = self.loop, self.schedule
        expire = loop.create_task(self._expire())
        quoted = self.kafka.partitions(operators.QUOTED)
        while any(log.open for log in quoted):
            await asyncio.sleep(0.01)
        self.quoted = {log.tp: [b.offset for b in log.committed(0, log.end)[0]] for log in quoted}
        for topic in self.sources:
            for log in self.kafka.partitions(topic)[: schedule.partitions]:
                self._feeders.append(loop.create_task(self._feed(log.tp)))
        for worker in self.workers:
            loop.call_later(self.rng.random() * 0.5, self.launch, worker)
        while loop.time() < TROUBLE_MAX_S and (self._events or self._fed < len(self._feeders)):
            await asyncio.sleep(0.25)
        self._settle()
        await asyncio.gather(*self._feeders, *self._resets)
        await self._done("after the trouble")
        self.failures += check_told(self)
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
        self.kafka.limits.clear()
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
        while not self.quoted:
            await asyncio.sleep(0.01)
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
        elif draw > 0.75:
            value += b" " + self._asked(tp, rng).encode()
        return Record(tp.topic, value, tp.partition, key)

    def _asked(self, tp: TP, rng: random.Random) -> str:
        """Mostly what follows on the range before; seldom what was never there."""
        partition = tp.partition % len(self.quoted)
        end = self.kafka.log(operators.QUOTED, partition).end
        start = self._asked_to.get(tp, 0) if rng.random() < 0.8 else int(rng.random() * end)
        stop = self._asked_to[tp] = min(end, start + int(rng.random() * 7))
        return operators.asks(partition, start, stop + 2 * (stop == end and rng.random() < 0.1))

    async def _feed_last(self) -> None:
        for topic in self.sources:
            for log in self.kafka.partitions(topic):
                key = f"{topic}-{log.tp.partition}-last".encode()
                self.kafka.write(Record(topic, b"k0 k1", log.tp.partition, key))

    # --- workers

    def launch(self, worker: Worker) -> None:
        """Start a process at this place, if there is none."""
        if self._resetting.locked() or (worker.process is not None and worker.process.alive):
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
        elif isinstance(error, ConfigurationError) and self._refusing:
            pass  # it must not go on without
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
        elif event.kind == "reset":
            self._resets.append(loop.create_task(self._reset(event)))
        elif event.kind == "adjust":
            self.every = event.count
            for each in self.workers:
                alive = each.process is not None and each.process.alive
                control = None if each.host is None else each.host.control
                if alive and control is not None:
                    control.change(EVERY, event.count)
        elif event.kind == "grow":
            self._grow()
        elif event.kind == "tight":
            self._refusing += 1
            logs = [operators.log_of(name, t) for name in operators.DECIDED for t in self.sources]
            self.kafka.limits.update(dict.fromkeys(logs, 5))
            loop.call_later(event.seconds, self.kafka.limits.clear)
        elif event.kind == "eat":
            for log in self.kafka.partitions(operators.QUOTED):
                log.trim(int(log.end * event.seconds))
            for topic in self.sources:
                for log in self.kafka.partitions(topic):
                    before = self.kafka.committed(GROUP, *log.tp) or 0
                    self.eaten.setdefault(log.tp, []).extend(log.committed(0, before)[0])
                    log.trim(before)

    def _grow(self) -> None:
        """Once: a partition more of everything."""
        partitions = self.schedule.partitions + 1
        if len(self.kafka.partitions(JOURNAL)) == partitions:
            return
        self._create(partitions)
        self.group.rebalance()
        for topic in self.sources:
            feeder = self._feed(TP(topic, partitions - 1))
            self._feeders.append(self.loop.create_task(feeder))

    async def _reset(self, event: Event) -> None:
        """All workers are stopped, as a group's offsets can only be set while nobody is in it."""
        async with self._resetting:
            for worker in self.workers:
                self.kill(worker, None)
            while not self.kafka.abort(GROUP):
                await asyncio.sleep(0.05)
            for topic in self.sources:
                logs = self.kafka.partitions(topic)
                log = logs[event.worker % len(logs)]
                progress = self.progress(log.tp)
                if progress is not None:
                    wanted = log.begin + int((log.stable - log.begin) * event.seconds)
                    self._set(log.tp, progress.position, wanted)
        for worker in self.workers:
            self.launch(worker)

    def _set(self, tp: TP, before: int, wanted: int) -> None:
        """Commit ``wanted``; whoever begins next sees that it is not ``before``."""
        self.told(f"{tp} is reset from {before} to {wanted}")
        self.kafka.commit(Offset(GROUP, *tp, wanted))
        ends = {each.tp: each.end for each in self.kafka.all()}
        segments = self.segments.setdefault(tp, [Segment(0, {})])
        if segments[-1].ends is None and segments[-1].begins and not self._begun_since(tp):
            segments.pop()  # nobody has seen that reset
            segments[-1] = segments[-1]._replace(stop=None, ends=None)
        if wanted != before:
            segments[-1] = segments[-1]._replace(stop=before, ends=ends)
            segments.append(Segment(wanted, ends))

    def _begun_since(self, tp: TP) -> bool:
        """Somebody has written progress since the last reset."""
        log, segment = self.kafka.log(JOURNAL, tp.partition), self.segments[tp][-1]
        records = log.committed(segment.begins.get(log.tp, 0), log.end)[0]
        return any(record.key == progress_key(tp.topic) for record in records)

    def progress(self, tp: TP) -> Progress | None:
        """The last that was said of a partition."""
        log = self.kafka.log(JOURNAL, tp.partition)
        records = log.committed(0, log.end)[0]
        latest = [record for record in records if record.key == progress_key(tp.topic)]
        return Progress.decode(latest[-1].value) if latest else None

    def _normal_speed(self) -> None:
        self.network.latency_s = 0.002

    def _fault(self, kind: str, process: str) -> tuple[str, float] | None:
        for event in self._armed:
            if event.request == kind and str(event.worker) == process:
                self._armed.remove(event)
                return event.mode, event.seconds
        return None


def check_told(world: World) -> list[str]:
    """Operators that do not know what they should, while nothing goes on."""
    found = []
    for tp, lane in world.lanes():
        partitions = len(world.kafka.partitions(tp.topic))
        for hosted in lane._processing.operators:
            operator = hosted.operator
            if isinstance(operator, operators.Echo) and operator.partitions != partitions:
                found.append(f"{tp}: told of {operator.partitions} partitions, not {partitions}")
            if isinstance(operator, Deciding) and operator._every != (world.every or 4):
                found.append(f"{tp}: {operator._every} decide, not {world.every}")
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

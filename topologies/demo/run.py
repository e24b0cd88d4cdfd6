"""A demonstration from its first process to its last.

1. the backend listens; Kafka starts; topics are created
2. the stages start under a supervisor and become ready
3. a crowd replays the excerpt, each in laps with faults in them and fresh ids; and an incident
4. sending stops; what was acknowledged is decided and arrives, within ``DRAIN_S``
5. stages end by SIGTERM, then the backend, then Kafka; its data are discarded

Whatever ends it early, Ctrl-C or an error, undoes what had been done, in the reverse order.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeVar

from schemas.errors import OtlpStreamsError
from schemas.signals import Signal
from schemas.topics import topic_specs
from streams.edges.platform import configure_logs
from topologies.kafka import create_topics
from topologies.localkafka import LocalKafka

from .alarms import Alarms
from .backend import backend
from .following import following
from .incident import INCIDENT, Incident
from .ledger import Ledger
from .plan import Plan, plan
from .seen import Seen
from .services import RULE, Services
from .show import Show
from .stages import Stages
from .summary import mistaken, problems, summarise
from .traffic import FAULTS, Source, Traffic, loading
from .verdicts import decided_by

__all__ = ["DRAIN_S", "Settings", "run"]

DRAIN_S = 20.0
"""Time in which acknowledged items must arrive once sending has stopped; traces that are sampled
have ``sampling.decision_wait`` more."""
SETTLED_MAX = 1_000_000
"""Settled items remembered when the run ends by itself; about 150 MB."""
SETTLED_MAX_ENDLESS = 100_000

_LOG_LINES = 25
_T = TypeVar("_T")


@dataclass(frozen=True)
class Settings:
    """What the command line asks for."""

    seconds: float | None = None
    """Send for so long; None until Ctrl-C."""
    source: Source = field(default_factory=lambda: Source(None, INCIDENT, FAULTS, 1))
    config: Path | None = None
    any_ports: bool = False
    as_json: bool = False


class _Stopped(Exception):
    """Somebody does not want to wait any longer."""


async def run(settings: Settings) -> bool:
    """Show it; whether all counts agree and all processes ended well."""
    demo = _Demo(settings)
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, demo.stop)
    try:
        return await demo.run()
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


class _Demo:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._show = Show()
        self._stopping = asyncio.Event()
        self._impatient = asyncio.Event()
        self._hurry: Callable[[], None] = lambda: None
        self._problems: list[str] = []
        self._restarts: dict[str, int] = {}
        self._retries = 0
        self._mistaken = 0
        self._services: Services | None = None
        self._alarms: Alarms | None = None
        self._late = 0
        self._incident: Incident | None = None

    def stop(self) -> None:
        """End in order; the second call ends at once what still runs."""
        if self._stopping.is_set():
            self._impatient.set()
            self._hurry()
        self._stopping.set()

    async def run(self) -> bool:
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="otlp-streams-demo-") as name:
            log = Path(name) / "stages.log"
            planned = plan(self._settings.config, Path(name), any_ports=self._settings.any_ports)
            settled_max = SETTLED_MAX_ENDLESS if self._settings.seconds is None else SETTLED_MAX
            ledger = Ledger(settled_max, sampled=planned.config.sampling.enabled)
            try:
                await self._in(planned, ledger, log)
            except _Stopped:
                self._show.phase("stopped before telemetry could flow")
                return True
            except OtlpStreamsError:
                self._tail(log)
                raise
            may_repeat = bool(self._retries or self._restarts)
            self._problems += problems(ledger, may_repeat=may_repeat, mistaken=self._mistaken)
            seen = Seen.of(
                self._services, self._late, ledger.aggregated, self._alarms, self._incident
            )
            self._problems += seen.problems(
                planned.config, ledger.counts[Signal.TRACES].acknowledged, may_repeat=may_repeat
            )
            if self._problems:
                self._tail(log)
        summarise(
            ledger,
            {
                "agree": not self._problems,
                "seconds": round(time.monotonic() - began_s, 1),
                "seed": self._settings.source.seed,
                "restarts": self._restarts,
                "retries": self._retries,
                "mistaken": self._mistaken,
                "problems": self._problems,
            },
            seen,
            as_json=self._settings.as_json,
        )
        return not self._problems

    async def _in(self, planned: Plan, ledger: Ledger, log: Path) -> None:
        source = self._settings.source
        with log.open("a") as output:
            configure_logs(planned.config.telemetry, stream=output)
            async with contextlib.AsyncExitStack() as stack:
                loaded, truth = await stack.enter_async_context(loading(source))
                stack.push_async_callback(self._said, "ended")
                await self._kafka(planned, stack)
                await stack.enter_async_context(backend(planned.backend, ledger))
                self._show.phase(f"backend takes OTLP/HTTP on {planned.backend}")
                if ledger.sampled:
                    await stack.enter_async_context(decided_by(planned.config, ledger.decided))
                await self._follow_windows(planned, stack)
                stages = await stack.enter_async_context(self._stages(planned, output))
                await self._ready(planned, stages)
                played, self._incident = await loaded
                traffic = Traffic(
                    planned.grpc, played, source, ledger, truth=truth, incident=self._incident
                )
                await self._flow(planned, stages, traffic, ledger)
                self._show.phase("ending the stages, the backend and Kafka")

    async def _follow_windows(self, planned: Plan, stack: contextlib.AsyncExitStack) -> None:
        config, names = planned.config, planned.config.topics.names
        self._services = Services.of(config)
        taken: dict[str, Callable[[Any], None]] = {}
        topics = {}
        if self._services:
            taken[names.windows] = self._services.taken
            topics[names.windows] = config.topics.partitions
        if config.alerts.enabled:
            self._alarms = Alarms(self._show.phase)
            taken[names.alerts] = self._alarms.taken
            topics[names.alerts] = 1
        if topics:
            await stack.enter_async_context(
                following(config, topics, lambda record: taken[record.topic](record))
            )

    async def _said(self, text: str) -> None:
        self._show.phase(text)

    async def _kafka(self, planned: Plan, stack: contextlib.AsyncExitStack) -> None:
        kafka = LocalKafka(port=planned.ports["kafka"], keep=False)
        self._show.phase(
            f"Apache Kafka {kafka.version} starts (its jars are fetched with Maven the first time)"
        )
        stack.push_async_callback(kafka.aclose)
        await asyncio.to_thread(kafka.start, 60.0, self._stopping.is_set)
        if self._stopping.is_set():
            raise _Stopped
        self._show.phase(f"Kafka is ready on {kafka.bootstrap}")
        specs = topic_specs(planned.config)
        report = await _unless(self._stopping, create_topics(planned.config.kafka, specs))
        count, partitions = len(report.created), planned.config.topics.partitions
        self._show.phase(
            f"{count} topics are created, of {partitions} partitions where work is divided"
        )

    @contextlib.asynccontextmanager
    async def _stages(self, planned: Plan, output: TextIO) -> AsyncIterator[Stages]:
        stages = Stages(planned, output)
        self._show.phase(
            f"stages start: {', '.join(stages.names)} (kernels are compiled the first time)"
        )
        self._hurry = stages.stop
        try:
            yield stages
        finally:
            code = await stages.end()
            self._hurry = lambda: None
            if code:
                self._problems.append(f"the stages did not end well (exit {code})")

    async def _ready(self, planned: Plan, stages: Stages) -> None:
        await _unless(self._stopping, stages.ready())
        ports = planned.ports
        self._show.phase(
            f"stages are ready: OTLP/gRPC on {ports['grpc']}, OTLP/HTTP on {ports['http']}, "
            f"metrics on {ports['admin']}"
        )

    async def _flow(self, planned: Plan, stages: Stages, traffic: Traffic, ledger: Ledger) -> None:
        """Replay until the time is up, Ctrl-C, or the end of the stages; then drain."""
        topic = planned.config.topics.names.spans_out
        self._show.phase(f"look at it:  otlp-streams tap {topic} --brokers {planned.brokers}")
        self._show.phase(f"             otlp-streams top --url {planned.admin}")
        self._show.phase("telemetry flows" + ("" if self._settings.seconds else "; Ctrl-C ends it"))
        crowd = traffic.crowd
        watching = self._show.watching(planned, ledger, crowd.tally, self._services, self._alarms)
        async with traffic.connected(), watching:
            replaying = asyncio.create_task(crowd.run(drain_s=DRAIN_S))
            stopping = asyncio.create_task(self._stopping.wait())
            await asyncio.wait(
                {replaying, stopping, stages.ended},
                timeout=self._settings.seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            stopping.cancel()
            crowd.stop()
            if traffic.incident is not None:
                traffic.incident.stop()
            with contextlib.suppress(_Stopped):
                await _unless(self._impatient, replaying)
            self._retries = traffic.retries
            if stages.ended.done():
                code = stages.ended.result()
                self._problems.append(f"the stages ended by themselves (exit {code})")
                return
            self._problems += [
                f"{items:,} items were not acknowledged: {reason}"
                for reason, items in crowd.tally.errors.most_common()
            ]
            await self._drained(planned, ledger)
            await self._counted(planned, stages, ledger)
        self._restarts = await stages.restarts()
        if ledger.undecided:
            self._mistaken = mistaken(ledger, await stages.late_dropped())

    async def _drained(self, planned: Plan, ledger: Ledger) -> None:
        def say(what: str) -> None:
            undecided = f", {ledger.undecided:,} traces undecided" if ledger.sampled else ""
            self._show.phase(f"{what}{ledger.missing:,} items are on the way{undecided}")

        say("sending has stopped, ")
        if ledger.missing or ledger.undecided:
            sampling = planned.config.sampling
            wait_s = DRAIN_S + (sampling.decision_wait if sampling.enabled else 0.0)
            with contextlib.suppress(TimeoutError, _Stopped):
                async with asyncio.timeout(wait_s):
                    await _unless(self._impatient, ledger.nothing_missing())
            say("")

    async def _counted(self, planned: Plan, stages: Stages, ledger: Ledger) -> None:
        """Wait until every span is in a window of its service, and say if one is not."""
        if (services := self._services) is None or self._impatient.is_set():
            return
        windows = planned.config.windows
        spans = ledger.counts[Signal.TRACES].acknowledged
        last_s = services.length_ms / 1000 + windows.allowed_lateness + windows.idle_after
        self._late = await stages.late_spans(RULE, services.length_ms)
        if services.calls + self._late < spans:
            self._show.phase(f"the last windows close, {last_s:g} s after the last span")
            with contextlib.suppress(TimeoutError, _Stopped):
                async with asyncio.timeout(last_s + DRAIN_S):
                    await _unless(self._impatient, services.reaches(lambda: spans - self._late))
            self._late = await stages.late_spans(RULE, services.length_ms)

    def _tail(self, log: Path) -> None:
        with contextlib.suppress(OSError):
            self._show.lines(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])


async def _unless(event: asyncio.Event, awaitable: Awaitable[_T]) -> _T:
    """The result, or _Stopped as soon as the event is set."""
    working = asyncio.ensure_future(awaitable)
    stopping = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _Stopped
        return await working
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)

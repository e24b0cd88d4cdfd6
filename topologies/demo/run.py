"""A demonstration from its first process to its last.

1. the backend listens; Kafka starts; topics are created
2. the stages start under a supervisor and become ready
3. the excerpt is replayed in laps, each with fresh ids, now
4. sending stops; what was acknowledged arrives, within ``DRAIN_S``
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
from typing import TextIO, TypeVar

import numpy as np

from schemas.config import Backend, Retry
from schemas.errors import OtlpStreamsError
from schemas.signals import Signal
from schemas.topics import topic_specs
from streams.edges.exporters import Exported
from streams.edges.platform import configure_logs
from topologies.demo_data import FILES
from topologies.kafka import create_topics
from topologies.localkafka import LocalKafka
from topologies.replay import Pace, Recording, Replayer, load
from topologies.replay.session import Client

from .backend import backend
from .ledger import Ledger
from .plan import Plan, plan
from .show import Show
from .stages import Stages

__all__ = ["DRAIN_S", "Settings", "run"]

DRAIN_S = 20.0
"""Time in which acknowledged items must arrive once sending has stopped."""
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
    pace: Pace = field(default_factory=lambda: Pace(10.0))
    injections: tuple[str, ...] = ()
    """Faults in every lap, see :mod:`streams.recording.inject`."""
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
        self._show = Show(as_json=settings.as_json)
        endless = settings.seconds is None
        self._ledger = Ledger(SETTLED_MAX_ENDLESS if endless else SETTLED_MAX)
        self._rng = np.random.default_rng()
        self._stopping = asyncio.Event()
        self._impatient = asyncio.Event()
        self._hurry: Callable[[], None] = lambda: None
        self._problems: list[str] = []
        self._restarts: dict[str, int] = {}

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
            try:
                await self._in(Path(name), log)
            except _Stopped:
                self._show.phase("stopped before telemetry could flow")
                return True
            except OtlpStreamsError:
                self._tail(log)
                raise
            self._conclude()
            if self._problems:
                self._tail(log)
        agree = self._ledger.agree and not self._problems
        self._show.summary(
            self._ledger,
            {
                "agree": agree,
                "seconds": round(time.monotonic() - began_s, 1),
                "restarts": self._restarts,
                "problems": self._problems,
            },
        )
        return agree

    async def _in(self, directory: Path, log: Path) -> None:
        recording = load(FILES, injections=self._settings.injections, rng=self._rng)
        planned = plan(self._settings.config, directory, any_ports=self._settings.any_ports)
        with log.open("a") as output:
            configure_logs(planned.config.telemetry, stream=output)
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(self._said, "ended")
                await self._kafka(planned, stack)
                await stack.enter_async_context(backend(planned.backend, self._ledger))
                self._show.phase(f"backend takes OTLP/HTTP on {planned.backend}")
                stages = await stack.enter_async_context(self._stages(planned, output))
                await self._ready(planned, stages)
                await self._flow(planned, stages, recording)
                self._show.phase("ending the stages, the backend and Kafka")

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
        self._show.phase(f"stages start: {', '.join(stages.names)}")
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

    async def _flow(self, planned: Plan, stages: Stages, recording: Recording) -> None:
        """Replay until the time is up, Ctrl-C, or the end of the stages; then drain."""
        client = Client(
            Backend(
                protocol="grpc",
                endpoint=f"127.0.0.1:{planned.ports['grpc']}",
                compression="none",
                max_connections=2,
                retry=Retry(initial=0.1, maximum=2.0, max_elapsed=30.0),
            )
        )
        replayer = Replayer(
            recording,
            client.delivery,
            self._settings.pace,
            laps=None,
            now=True,
            fresh_ids=True,
            rng=self._rng,
            on_sent=self._ledger.sent,
            on_acknowledged=self._acknowledged,
        )
        admin = planned.admin
        topic = planned.config.topics.names.spans_out
        self._show.phase(f"look at it:  otlp-streams tap {topic} --brokers {planned.brokers}")
        self._show.phase(f"             otlp-streams top --url {admin}")
        self._show.phase("telemetry flows" + ("" if self._settings.seconds else "; Ctrl-C ends it"))
        async with client.running(), self._show.watching(self._ledger, replayer.tally, admin):
            replaying = asyncio.create_task(replayer.run(drain_s=DRAIN_S))
            stopping = asyncio.create_task(self._stopping.wait())
            await asyncio.wait(
                {replaying, stopping, stages.ended},
                timeout=self._settings.seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            stopping.cancel()
            replayer.stop()
            with contextlib.suppress(_Stopped):
                await _unless(self._impatient, replaying)
        if stages.ended.done():
            self._problems.append(f"the stages ended by themselves (exit {stages.ended.result()})")
            return
        self._problems += [
            f"{items:,} items were not acknowledged: {reason}"
            for reason, items in replayer.tally.errors.most_common()
        ]
        self._show.phase(f"sending has stopped, {self._ledger.missing:,} items are on the way")
        if self._ledger.missing:
            with contextlib.suppress(TimeoutError, _Stopped):
                async with asyncio.timeout(DRAIN_S):
                    await _unless(self._impatient, self._ledger.nothing_missing())
            self._show.phase(f"{self._ledger.missing:,} items are on the way")
        self._restarts = await stages.restarts()

    def _acknowledged(self, kind: Signal, data: bytes, exported: Exported) -> None:
        if not exported.rejected:  # which ones were rejected is not said
            self._ledger.acknowledged(kind, data)

    def _conclude(self) -> None:
        for kind, counts in self._ledger.counts.items():
            unacknowledged = counts.sent - counts.acknowledged
            for number, what in (
                (counts.missing, "acknowledged and not exported"),
                (counts.foreign, "exported and never sent"),
                (unacknowledged, "sent and not acknowledged"),
            ):
                if number:
                    self._problems.append(f"{kind}: {number:,} items {what}")
        if self._ledger.forgotten and any(c.foreign for c in self._ledger.counts.values()):
            self._problems.append(
                "the run was long: of what was never sent, some may be late repeats"
            )

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

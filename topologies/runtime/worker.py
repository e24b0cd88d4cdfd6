"""Stages in this process: topics looked after, hosts started together and stopped in order.

Start: wait for a broker; see that the topics are there; learn what is set at run time; enter the
lifespans; join the groups. Stop, in the reverse order: hosts finish and commit and leave; the
producer empties; lifespans end; what is left for the audit is written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from schemas.config import Config
from schemas.errors import BrokerUnavailable, ConfigurationError
from schemas.topics import journal_spec, topic_specs
from topologies.control.follower import ControlFollower
from topologies.kafka import create_producer, ensure_topics, list_topics

from .calls import Backoff
from .clock import Clock, SystemClock
from .metrics import RuntimeMetrics
from .outbox import Outbox
from .stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .host import Host

__all__ = ["Worker"]

_log = logging.getLogger(__name__)


class Worker:
    """Runs stages until told to stop; each is a consumer group of its own.

    Args:
        stages: what to run.
        config: the whole configuration.
        registry: where metrics appear.
        fatal: called with a defect; must end the process at once.
        outputs: topics that something else in this process writes, to be seen to as well.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        config: Config,
        registry: CollectorRegistry,
        fatal: Callable[[BaseException], None],
        *,
        clock: Clock | None = None,
        outputs: Sequence[str] = (),
    ) -> None:
        self._stages = stages
        self._config = config
        self._registry = registry
        self._fatal = fatal
        self._clock = clock or SystemClock()
        self._outputs = outputs
        self._exits = AsyncExitStack()
        self._state = "waiting for Kafka"
        self.hosts: list[Host] = []

    @property
    def unready(self) -> Mapping[str, str]:
        """Why no telemetry flows, by part; empty if all is well."""
        if self._state:
            return {"runtime": self._state}
        return {host.stage_name: why for host in self.hosts if (why := host.unready)}

    @property
    def warnings(self) -> Mapping[str, str]:
        """What somebody should look at, by stage and part, while telemetry flows."""
        return {
            f"{stage.name}.{part}": text
            for stage in self._stages
            if stage.warnings is not None
            for part, text in stage.warnings().items()
        }

    async def start(self) -> None:
        """Return when the groups are being joined; waits for Kafka as long as it takes.

        Raises:
            ConfigurationError: a topic is missing, or Kafka refuses us.
        """
        _quiet_faust()
        await self._await_kafka()
        self._state = "starting"
        kafka = self._config.kafka
        outbox = Outbox(lambda: create_producer(kafka))
        metrics = RuntimeMetrics(self._registry)
        try:
            self._exits.callback(metrics.close)
            control = ControlFollower(
                self._config, [stage.name for stage in self._stages], self._registry
            )
            self._exits.push_async_callback(control.stop)
            await control.start()
            for stage in self._stages:
                if stage.lifespan is not None:
                    await self._exits.enter_async_context(stage.lifespan())
            self._exits.push_async_callback(outbox.stop)
            for stage in self._stages:
                # Receivers alone need no Faust: 8 MB and a quarter of a second.
                from .host import Host  # noqa: PLC0415

                host = Host(
                    stage, self._config, publisher=outbox, fatal=self._fatal, clock=self._clock,
                    control=control.view,
                )  # fmt: skip
                self.hosts.append(host)
                metrics.add(host)
                await host.start()
        except BaseException:
            await self._exits.aclose()
            raise
        self._state = ""

    async def crashed(self) -> BaseException | None:
        """Wait until the Faust of one of the stages has crashed; its reason."""
        if not self.hosts:
            await asyncio.Event().wait()
        tasks = [asyncio.ensure_future(host.crashed()) for host in self.hosts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in tasks:
                task.cancel()

    async def stop(self) -> None:
        """Finish, commit, leave, close. Takes as long as it takes: see ``serve``."""
        self._state = "stopping"
        results = await asyncio.gather(
            *(host.stop() for host in self.hosts), return_exceptions=True
        )
        await self._exits.aclose()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _await_kafka(self) -> None:
        backoff, failures = Backoff(0.5, 10.0), 0
        while True:
            try:
                await self._check_topics()
            except BrokerUnavailable as error:
                failures += 1
                pause_s = backoff.pause_s(failures, None, self._clock.jitter())
                self._state = f"waiting for Kafka: {error}"
                _log.warning("%s; next try in %.1f s", error, pause_s)
                await self._clock.sleep(pause_s)
            else:
                return

    async def _check_topics(self) -> None:
        config = self._config
        names = config.topics.names
        needed = {names.deadletter, names.control, names.audit, *self._outputs}
        for stage in self._stages:
            needed.update(stage.topics, stage.reads_topics, stage.outputs)
        known = {spec.name: spec for spec in topic_specs(config)}
        for stage in self._stages:
            if stage.operators is not None:
                journal = journal_spec(config, stage.name, stage.topics)
                known.setdefault(journal.name, journal)
                needed.add(journal.name)
        specs = [spec for spec in known.values() if spec.name in needed]
        await ensure_topics(config.kafka, specs, create=config.topics.create)
        foreign = needed - {spec.name for spec in specs}
        await self._demand(foreign)

    async def _demand(self, names: Iterable[str]) -> None:
        names = sorted(names)
        if not names:
            return
        found = await list_topics(self._config.kafka, names)
        if missing := [name for name in names if name not in found]:
            raise ConfigurationError(
                f"topics are missing: {', '.join(missing)}. They are not ours to create"
            )


def _quiet_faust() -> None:
    """Faust tells the story of every rebalance; the host's own line says what counts."""
    for name in ("faust", "mode", "topologies.runtime.faust_app"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
    # "Timer commit is overlapping", for as long as a broker is away.
    logging.getLogger("mode.timers").setLevel(logging.ERROR)

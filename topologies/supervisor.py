"""One process per stage instance, restarted when it dies, seen through one admin port.

    starting ──announces its admin port──> running ──exits──> waiting ──pause over──> starting
                                                       └─ 78, or the supervisor stops ─> ended

A pause grows from ``runtime.restart_initial`` to ``runtime.restart_maximum`` and is forgotten
after a minute of health. Exit code 78 (configuration) ends everything: no restart can help.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import aiohttp
import structlog
from prometheus_client import CollectorRegistry

from schemas.config import Config
from streams.edges.platform import AdminServer, create_registry
from streams.edges.platform.federation import Federation
from topologies.child import Child, Instance, exit_name
from topologies.exits import EXIT_CONFIGURATION, EXIT_DEFECT
from topologies.relay import Relay

__all__ = ["SUPERVISOR_METRICS", "Instance", "Supervisor", "instances"]

SUPERVISOR_METRICS = (
    ("otlp_streams_supervisor_up", "gauge", "1 if the process answered this scrape."),
    ("otlp_streams_supervisor_restarts", "counter", "Times the process was started again."),
)
"""Name, type, help; labels stage and worker."""

HEALTHY_S = 60.0
PROBE_TIMEOUT_S = 2.0

log = structlog.get_logger(__name__)


def instances(stages: Sequence[str], workers: int) -> tuple[Instance, ...]:
    """``workers`` processes of each stage."""
    return tuple(Instance(stage, worker) for stage in stages for worker in range(workers))


class Supervisor:
    """Runs ``command(instance)`` for each instance until told to stop.

    ``output`` gets the processes' lines; ``environment`` is added to theirs.
    """

    def __init__(
        self,
        config: Config,
        wanted: Sequence[Instance],
        command: Callable[[Instance], Sequence[str]],
        environment: Mapping[str, str] | None = None,
        output: IO[str] | None = None,
        *,
        prefixed: bool = True,
        coloured: bool = False,
        healthy_s: float = HEALTHY_S,
    ) -> None:
        self._runtime = config.runtime
        self._environment = {**os.environ, **(environment or {})}
        width = max(len(instance.name) for instance in wanted)
        output = sys.stderr if output is None else output
        self._children = [
            Child(
                instance,
                command(instance),
                Relay(output, instance.name, width, i if coloured else None, prefixed=prefixed),
            )
            for i, instance in enumerate(wanted)
        ]
        self._healthy_s = healthy_s
        self._stopping = asyncio.Event()
        self._exit_code = 0
        self._own = create_registry()
        self._session: aiohttp.ClientSession | None = None
        self.admin = AdminServer(
            config.telemetry.endpoint,
            self._metrics,
            readiness=self._not_ready,
            warnings=self._warnings,
            pages={"/status": self._status},
        )

    async def run(self) -> int:
        """Until :meth:`stop`, or a configuration error of a child; returns the exit code."""
        timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as self._session:
            await self.admin.start()
            log.info("supervising", admin=self.admin.endpoint, processes=len(self._children))
            try:
                async with asyncio.TaskGroup() as tasks:
                    for child in self._children:
                        tasks.create_task(self._keep(child))
            finally:
                await self.admin.stop()
        return self._exit_code

    def stop(self) -> None:
        """Ask every process to end; the second call kills."""
        if self._stopping.is_set():
            for child in self._children:
                child.signal(signal.SIGKILL)
        self._stopping.set()

    async def _keep(self, child: Child) -> None:
        pause_s = self._runtime.restart_initial
        while not self._stopping.is_set():
            started = time.monotonic()
            code = await self._once(child)
            if self._stopping.is_set():
                break
            if code == EXIT_CONFIGURATION:
                log.error("configuration error, stopping", process=child.instance.name)
                self._exit_code = code
                self._stopping.set()
                break
            if time.monotonic() - started >= self._healthy_s:
                pause_s = self._runtime.restart_initial
            child.state, child.restarts = "waiting", child.restarts + 1
            log.warning(
                "process ended, starting it again",
                process=child.instance.name,
                exit=exit_name(code),
                pause_s=round(pause_s, 3),
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            pause_s = min(pause_s * 2, self._runtime.restart_maximum)
        child.state = "ended"

    async def _once(self, child: Child) -> int:
        """Start the process and stay with it to its end; its exit code."""
        try:
            await child.start(self._environment)
        except OSError as error:
            log.error(  # noqa: TRY400 - the traceback would only show asyncio
                "cannot start", process=child.instance.name, error=str(error)
            )
            return EXIT_DEFECT
        ended = asyncio.create_task(child.ended())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await self._end(child, ended)
        stopping.cancel()
        return await ended

    async def _end(self, child: Child, ended: asyncio.Task[int]) -> None:
        child.signal(signal.SIGTERM)
        done, _ = await asyncio.wait({ended}, timeout=self._runtime.stop_timeout)
        if not done:
            log.error("did not stop in time, killing it", process=child.instance.name)
            child.signal(signal.SIGKILL)
        code = await ended
        if code == -signal.SIGTERM and child.state == "starting":
            return  # it had begun nothing, and had nobody to catch the signal yet
        if code and not self._exit_code:
            log.error("did not stop well", process=child.instance.name, exit=exit_name(code))
            self._exit_code = EXIT_DEFECT

    async def _get(self, child: Child, path: str) -> tuple[int, str]:
        """Status and body, or 0 and why there is none."""
        if child.endpoint is None:
            return 0, child.state
        assert self._session is not None  # noqa: S101 - set before the admin port opens
        try:
            async with self._session.get(f"http://{child.endpoint}{path}") as response:
                return response.status, await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            return 0, f"does not answer ({type(error).__name__})"

    async def _metrics(self) -> CollectorRegistry:
        answers = await asyncio.gather(*(self._get(c, "/metrics") for c in self._children))
        federation = Federation()
        for child, (status, body) in zip(self._children, answers, strict=True):
            labels = {"stage": child.instance.stage, "worker": str(child.instance.worker)}
            (up, _, up_help), (restarts, _, restarts_help) = SUPERVISOR_METRICS
            federation.gauge(up, up_help, labels, status == 200)
            federation.counter(restarts, restarts_help, labels, child.restarts)
            if status == 200:
                try:
                    federation.add(body, labels)
                except ValueError as error:
                    log.warning("unreadable metrics", process=child.instance.name, error=str(error))
        federation.add_registry(self._own, {"stage": "supervisor"})
        registry = CollectorRegistry()
        registry.register(federation)
        return registry

    async def _not_ready(self) -> dict[str, str]:
        answers = await asyncio.gather(*(self._get(c, "/readyz") for c in self._children))
        return {
            child.instance.name: _why(body, "reasons")
            for child, (status, body) in zip(self._children, answers, strict=True)
            if status != 200
        }

    async def _warnings(self) -> dict[str, str]:
        answers = await asyncio.gather(*(self._get(c, "/readyz") for c in self._children))
        return {
            child.instance.name: _why(body, "warnings")
            for child, (status, body) in zip(self._children, answers, strict=True)
            if status == 200 and '"warnings"' in body
        }

    async def _status(self) -> dict[str, Any]:
        waiting = await self._not_ready()
        return {"processes": [c.status(waiting.get(c.instance.name)) for c in self._children]}


def _why(body: str, field: str) -> str:
    """A field of the answer of ``/readyz`` as one line; any other answer as it is."""
    try:
        reasons = json.loads(body)[field]
        return "; ".join(f"{part}: {reason}" for part, reason in reasons.items())
    except (ValueError, KeyError, TypeError, AttributeError):
        return body

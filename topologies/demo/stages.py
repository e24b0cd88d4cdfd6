"""The stages of the demonstration: one process each, under a supervisor in this one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TextIO, TypeVar

import aiohttp

from schemas.errors import BackendUnavailable, OtlpStreamsError
from topologies.supervisor import Instance, Supervisor, instances
from topologies.top import rows, scrape

from .figures import ask, late_items
from .plan import Plan

__all__ = ["READY_S", "Stages"]

READY_S = 120.0
"""Time in which stages must become ready; kernels are compiled the first time."""

_POLL_S = 0.1
_T = TypeVar("_T")


class Stages:
    """Runs from construction on, within an event loop; ``output`` gets the processes' lines."""

    def __init__(self, planned: Plan, output: TextIO) -> None:
        wanted = instances(planned.stages, 1)
        self.names = tuple(instance.name for instance in wanted)
        self._url = f"http://{planned.admin}"
        self._supervisor = Supervisor(
            planned.config, wanted, lambda each: _command(each, planned.file), output=output
        )
        self.ended = asyncio.create_task(self._supervisor.run())
        """Done when all have ended; its result is the exit code."""

    def stop(self) -> None:
        """Ask all to end; the second call kills them."""
        self._supervisor.stop()

    async def end(self) -> int:
        """Ask all to end and wait for it; the exit code."""
        self.stop()
        return await self.ended

    async def ready(self) -> None:
        """Return when all of them are. Raises OtlpStreamsError if that cannot be."""
        try:
            async with asyncio.timeout(READY_S), aiohttp.ClientSession() as session:
                while not self.ended.done():
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get(f"{self._url}/readyz") as answer:
                            if answer.status == 200:
                                return
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise OtlpStreamsError(f"the stages are not ready after {READY_S:g} s") from None
        raise OtlpStreamsError(f"the stages ended at once (exit {self.ended.result()})")

    async def restarts(self) -> dict[str, int]:
        """Processes that ended and were started again: how often."""
        scraped = await self._asked(lambda session: scrape(session, self._url))
        found = [] if scraped is None else rows(None, scraped)
        return {f"{row.stage}#{row.worker}": row.restarts for row in found if row.restarts}

    async def late_dropped(self) -> float:
        """Spans that went the way of a dropped trace after its decision; 0 if nobody answers."""
        figures = await self._asked(lambda session: ask(session, self._url))
        return 0.0 if figures is None else figures.late_dropped

    async def late_spans(self, rule: str, length_ms: int) -> int:
        """Spans that came when their window of a rule was over; 0 if nobody answers."""
        late = await self._asked(lambda session: late_items(session, self._url, rule, length_ms))
        return late or 0

    async def _asked(self, question: Callable[[aiohttp.ClientSession], Awaitable[_T]]) -> _T | None:
        """The supervisor's answer; None if it gives none."""
        try:
            async with aiohttp.ClientSession() as session:
                return await question(session)
        except BackendUnavailable:
            return None


def _command(instance: Instance, file: Path) -> list[str]:
    return [
        sys.executable, "-m", "topologies.cli.main", "run", instance.stage,
        "--config", str(file), "--admin-endpoint", "127.0.0.1:0", "--log-format", "console",
        "--worker", str(instance.worker), "--parent", str(os.getpid()),
    ]  # fmt: skip

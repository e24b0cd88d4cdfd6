"""One supervised process: how it is started, what it says, how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from streams.edges.platform.health import ADMIN_FD
from topologies.relay import Relay

__all__ = ["Child", "Instance", "exit_name"]


class Instance(NamedTuple):
    """One process to be: the ``worker``-th of a stage."""

    stage: str
    worker: int

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return f"{self.stage}#{self.worker}"


class Child:
    """One process and what is known about it."""

    def __init__(self, instance: Instance, command: Sequence[str], relay: Relay) -> None:
        self.instance = instance
        self.state = "ended"
        self.restarts = 0
        self.endpoint: str | None = None
        self._command = command
        self._relay = relay
        self._process: asyncio.subprocess.Process | None = None
        self._last_exit: str | None = None
        self._started_unix_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, environment: Mapping[str, str]) -> None:
        """Start; the admin address is learnt through a pipe as soon as the process knows it."""
        read_end, write_end = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env={**environment, ADMIN_FD: str(write_end)},
                pass_fds=(write_end,),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone; we hand it on, in order
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self.state, self.endpoint, self._started_unix_s = "starting", None, time.time()
        assert self._process.stdout is not None  # noqa: S101 - PIPE above
        self._tasks = {
            asyncio.create_task(self._learn_endpoint(read_end)),
            asyncio.create_task(self._relay.copy(self._process.stdout)),
        }

    async def _learn_endpoint(self, read_end: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
        )
        try:
            line = await reader.readline()
        finally:
            transport.close()
        if line:
            self.endpoint, self.state = line.decode().strip(), "running"

    async def ended(self) -> int:
        """Wait for the end; the exit code, negative for a signal."""
        assert self._process is not None  # noqa: S101 - started before
        code = await self._process.wait()
        self.endpoint = None
        self._last_exit = exit_name(code)
        # A grandchild may hold the pipe open: what has not come by now is not waited for.
        await asyncio.wait(self._tasks, timeout=1.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return code

    def signal(self, number: int) -> None:
        """Send a signal if the process still runs."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def status(self, not_ready: str | None) -> dict[str, Any]:
        """One entry of ``/status``."""
        running = self._process is not None and self._process.returncode is None
        return {
            "stage": self.instance.stage,
            "worker": self.instance.worker,
            "state": self.state,
            "ready": not_ready is None,
            "reason": not_ready,
            "pid": self._process.pid if self._process is not None and running else None,
            "admin": self.endpoint,
            "restarts": self.restarts,
            "last_exit": self._last_exit,
            "uptime_s": round(time.time() - self._started_unix_s, 1) if running else 0,
        }


def exit_name(code: int) -> str:
    """An exit code as text; a signal by its name."""
    if code >= 0:
        return str(code)
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"

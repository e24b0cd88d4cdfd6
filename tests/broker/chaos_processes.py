"""Worker processes that are started again whenever they have ended, and what they have said."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from topologies.exits import EXIT_CRASHED, EXIT_FENCED, EXIT_OK, EXIT_TRY_AGAIN
from topologies.localkafka.probe import free_ports

__all__ = ["Worker", "ends", "figures", "telling"]

_RECOVERED = re.compile(r"recovered in [\d.]+ s \(([^)]*)\): (first start|\w+)")
_TOLD = 12
"""Lines before an unusual end that say why."""
_WIDTH = 400
"""Of each; an exception in JSON is long."""


class Worker:
    """One worker; ``arguments`` of Python, the configuration's file comes after them."""

    def __init__(
        self, name: str, directory: Path, config: dict[str, Any], arguments: Sequence[str]
    ) -> None:
        self.name = name
        self.exits: Counter[int] = Counter()
        self.file = directory / f"{name}.yaml"
        self.process: asyncio.subprocess.Process | None = None
        endpoint = f"127.0.0.1:{free_ports(1)[0]}"
        telemetry = {"endpoint": endpoint, "log_format": "json"}
        self.file.write_text(json.dumps({**config, "telemetry": telemetry}))
        self._arguments = [str(self.file) if each == "CONFIG" else each for each in arguments]
        self._log = directory / f"{name}.log"
        self._keeper: asyncio.Task[None] | None = None
        self._pause_s = 0.0
        self._ending = False

    def begin(self) -> None:
        """Start, and keep it running."""
        self._ending = False
        self._keeper = asyncio.create_task(self._keep())

    def send(self, number: signal.Signals, pause_s: float = 0.0) -> None:
        """Signal it; if it ends, it starts again after ``pause_s``."""
        self._pause_s = pause_s
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal it, and no more starts."""
        self._ending = True
        self.send(number)
        self.send(signal.SIGCONT)  # a frozen one would never hear of it
        if self._keeper is not None:
            await self._keeper

    def log(self) -> str:
        """What it has said lately."""
        return self._said()[-6000:]

    def recoveries(self) -> Counter[str]:
        """Cause and what was found, and how often."""
        return Counter(": ".join(found) for found in _RECOVERED.findall(self._said()))

    def last_words(self, code: int) -> list[str]:
        """What it said before each end with this exit code."""
        lives = self._said().split(f"=== ended with {code}\n")[:-1]
        return [
            "\n".join(life.rpartition("=== started")[2].splitlines()[-_TOLD:]) for life in lives
        ]

    def _said(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def _keep(self) -> None:
        while not self._ending:
            with self._log.open("ab") as log:
                log.write(b"=== started\n")
                log.flush()
                self.process = await asyncio.create_subprocess_exec(
                    sys.executable, *self._arguments,
                    stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )  # fmt: skip
                if self._ending:  # it was said while there was no process to hear it
                    self.send(signal.SIGTERM)
                code = await self.process.wait()
                log.write(f"=== ended with {code}\n".encode())
            self.exits[code] += 1
            await asyncio.sleep(self._pause_s)


@contextlib.contextmanager
def telling(workers: Sequence[Worker], sending: asyncio.Task[Any]) -> Iterator[None]:
    """When something in the block fails: send no more, and show what the workers have said."""
    try:
        yield
    except BaseException:
        sending.cancel()
        for worker in workers:
            print(f"--- {worker.name}\n{worker.log()}", file=sys.stderr)
        raise


def ends(workers: Sequence[Worker], *, broker_killed: bool) -> Counter[int]:
    """How often each exit code was seen. Raises AssertionError where one should not be."""
    exits = sum((worker.exits for worker in workers), Counter[int]())
    legal = {EXIT_OK, EXIT_FENCED, -signal.SIGKILL, -signal.SIGTERM}
    if broker_killed:
        # Faust cannot start, or end, without a broker; the process is started again.
        legal |= {EXIT_CRASHED, EXIT_TRY_AGAIN}
    for code in set(exits) - legal:
        words = [f"{w.name}: {said}" for w in workers for said in w.last_words(code)]
        raise AssertionError(f"exits {dict(exits)}; of {code}:\n" + "\n\n".join(words))
    return exits


def figures(workers: Sequence[Worker], exits: Counter[int]) -> dict[str, Any]:
    """What a report says about processes."""
    recoveries = sum((worker.recoveries() for worker in workers), Counter[str]())
    crashed = [
        f"{worker.name}: {said}" for worker in workers for said in worker.last_words(EXIT_CRASHED)
    ]
    return {
        "exits": {str(code): times for code, times in sorted(exits.items())},
        "recoveries": dict(recoveries.most_common()),
        **({f"last words before {EXIT_CRASHED}": crashed} if crashed else {}),
    }

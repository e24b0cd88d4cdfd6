"""Worker processes of the bench: started, stopped for a while, killed, and what they have used."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from topologies.localkafka.probe import free_ports

LANES = ("tests.bench.lane_worker",)
CLI = ("topologies.cli.main", "run")
_READY_S = 120.0


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all threads."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


class Worker:
    """``python -m PROGRAM WHAT --config FILE``, with a port for its health and metrics."""

    def __init__(
        self,
        directory: Path,
        what: str,
        config: Mapping[str, Any],
        *,
        program: Sequence[str] = LANES,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._admin = f"127.0.0.1:{free_ports(1)[0]}"
        telemetry = {"endpoint": self._admin, "log_level": "info", "log_format": "json"}
        path = directory / f"{what}-{self._admin.rpartition(':')[2]}.yaml"
        path.write_text(json.dumps({**config, "telemetry": telemetry}))
        self._arguments = [sys.executable, "-m", *program, what, "--config", str(path)]
        self._environment = {**os.environ, **(environment or {})}
        self._log = path.with_suffix(".log")
        self.group = f"{config['kafka']['group_prefix']}.shape"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def cpu_s(self) -> float:
        """CPU seconds so far."""
        return cpu_s(self.pid)

    @property
    def rss_bytes(self) -> int:
        """Resident memory now."""
        return int(psutil.Process(self.pid).memory_info().rss)

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace")

    async def start(self) -> None:
        """Start, and return at once."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._arguments, stdout=log, stderr=log, env=self._environment
            )

    async def ready(self) -> None:
        """Return when it is."""
        give_up_s = time.monotonic() + _READY_S
        while time.monotonic() < give_up_s:
            assert self._process is not None
            if self._process.returncode is not None:
                break
            try:
                async with aiohttp.request("GET", f"http://{self._admin}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
        raise RuntimeError(f"{self._arguments} did not become ready:\n{self.log[-4000:]}")

    async def metrics(self, name: str) -> list[float]:
        """A metric's samples."""
        async with aiohttp.request("GET", f"http://{self._admin}/metrics") as answer:
            text = await answer.text()
        return [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        ]

    async def total(self, name: str) -> float:
        """Sum of a metric's samples."""
        return sum(await self.metrics(name))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the end; the exit code."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if that is not enough."""
        if self._process is None or self._process.returncode is not None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), 30)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._process.wait()

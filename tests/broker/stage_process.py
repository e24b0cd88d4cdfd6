"""A stage as a process of its own, as a user starts it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from topologies.localkafka.probe import free_ports

__all__ = ["StageProcess"]


class StageProcess:
    """``otlp-streams run STAGE`` with a configuration; its output goes to a file.

    With ``program``: that Python file with the configuration as its argument.
    """

    def __init__(
        self, directory: Path, stage: str, config: dict[str, Any], program: Path | None = None
    ) -> None:
        self.admin = f"127.0.0.1:{free_ports(1)[0]}"
        name = f"{stage.replace(':', '-')}-{self.admin.rpartition(':')[2]}"
        self._config = directory / f"{name}.yaml"
        self._config.write_text(json.dumps({**config, "telemetry": {"endpoint": self.admin}}))
        self._arguments = ["-m", "topologies.cli.main", "run", stage, "--config"]
        if program is not None:
            self._arguments = [str(program)]
        self._log = directory / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def rss_bytes(self) -> int:
        """Resident memory now."""
        return int(psutil.Process(self.pid).memory_info().rss)

    @property
    def peak_bytes(self) -> int:
        """The most resident memory that it ever had (VmHWM)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) << 10 for line in status.splitlines() if "VmHWM" in line)

    async def start(self) -> None:
        """Start, and return at once."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *self._arguments, str(self._config),
                stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    async def unready(self) -> dict[str, str] | None:
        """Why it is not ready; empty if it is; None while its admin port does not answer."""
        try:
            async with aiohttp.request("GET", f"http://{self.admin}/readyz") as answer:
                reasons: dict[str, str] = (await answer.json())["reasons"]
                return reasons
        except aiohttp.ClientError:
            return None

    async def ready(self, timeout_s: float = 45) -> None:
        """Return when it is ready."""
        ends_s = time.monotonic() + timeout_s
        while time.monotonic() < ends_s:
            assert self._process is not None
            if self._process.returncode is not None:
                break
            if await self.unready() == {}:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"not ready:\n{self.log()}")

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples that carry ``labels``."""
        async with aiohttp.request("GET", f"http://{self.admin}/metrics") as answer:
            text = await answer.text()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def wait(self) -> int:
        """Until it ends by itself; the exit code."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), 45)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self._process.wait()

    def log(self) -> str:
        """What it has said lately."""
        return self._log.read_text(errors="replace")[-8000:]

    async def __aenter__(self) -> StageProcess:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.kill()

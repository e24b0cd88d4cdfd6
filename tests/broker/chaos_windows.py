"""Two workers of each stage from sources to alerts, on a real Kafka, and what can happen to them.

What must hold afterwards is in windows_oracle.py: windows equal a plain computation over all that
lies on the sources, each is told once, and so is every transition of an alert.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord

from schemas.config import Config
from schemas.topics import topic_specs
from topologies.kafka import ensure_topics
from topologies.kernels import compile_all
from topologies.localkafka import LocalKafka

from .chaos_faults import Faults
from .chaos_kafka import committed, read_committed
from .chaos_processes import Worker, ends, figures, telling
from .windows_oracle import Topics, check, unfinished
from .windows_traffic import WindowTraffic

__all__ = ["EACH", "FROZEN_S", "WindowsChaos"]

PARTITIONS = 2
PREFIX = "windowed"
SESSION_S = 4.0
FROZEN_S = 6.5
EACH = ("kill", "freeze", "kill", "broker")
"""Faults that a run begins with, lest it does without."""
SETTLE_S = 90.0
PROGRAM = ("-m", "topologies.cli.main", "run")
LATENESS_S = 2.5
"""More than ``DELAY_S``: whatever happens, a partition's items come in the order they are sent in,
and none of the partitions is ever idle."""
BUSY = 2


def configuration(bootstrap: str, *, sampling: bool) -> dict[str, Any]:
    """Of the workers."""
    return {
        "kafka": {
            "brokers": [bootstrap],
            "group_prefix": PREFIX,
            "consumer": {"session_timeout": f"{SESSION_S}s", "heartbeat_interval": "1s"},
        },
        "topics": {"partitions": PARTITIONS, "replication_factor": 1},
        "runtime": {"commit_interval": "200ms", "snapshot_interval": "3s", "idle_tick": "100ms"},
        "sampling": {"enabled": sampling, "decision_wait": "1s", "root_wait": "0s"},
        "windows": {
            "enabled": True,
            "rules": [
                {"name": "spans", "signal": "spans", "by": ["span.name"], "lengths": [1, 3]},
                {"name": "logs", "signal": "logs", "by": ["severity"], "lengths": [1]},
                {"name": "requests", "signal": "metrics", "metric": "requests", "lengths": [1]},
            ],
            "allowed_lateness": LATENESS_S,
            "idle_after": "60s",
            "source_timeout": "10m",
        },
        "alerts": {
            "enabled": True,
            "builtin": False,
            "rules": [
                {
                    "name": "Busy",
                    "on": {"window": "spans", "length": "1s", "statistic": "count"},
                    "threshold": {"op": ">", "value": BUSY},
                }
            ],
            "stalled_after": "1h",
        },
    }


class WindowsChaos:
    """One run; ``topics`` are there after it.

    Args:
        broker: started with chaos_sampling's ``BROKER_SETTINGS``.
        directory: for logs.
        seed: of everything.
        sampling: spans go by sample, else by shape.
        broker_killed: that may happen, too.
        together: a process has all stages (but sample), else each has its own.
    """

    def __init__(
        self,
        broker: LocalKafka,
        directory: Path,
        seed: int,
        *,
        sampling: bool = True,
        broker_killed: bool = True,
        together: bool = False,
    ) -> None:
        self.topics: Topics | None = None
        self._broker_killed = broker_killed
        config = configuration(broker.bootstrap, sampling=sampling)
        self.config = Config.model_validate(config)
        self._seed = seed
        self._bootstrap = broker.bootstrap
        rng = random.Random(seed)
        stages = ("shape", "windows", "detect", *(("sample",) if sampling else ()))
        programs = {stage: (*PROGRAM, stage, "--config", "CONFIG") for stage in stages}
        if together:
            programs = {"all": ("-m", "tests.broker.windows_worker", "CONFIG")}
        self.workers = {
            name: [Worker(f"{name}-{x}", directory, config, program) for x in "ab"]
            for name, program in programs.items()
        }
        first = [kind for kind in EACH if broker_killed or kind != "broker"]
        self.faults = Faults(self.everyone, broker, rng, frozen_s=FROZEN_S, first=first)
        names = self.config.topics.names
        self.traffic = WindowTraffic(broker.bootstrap, names, PARTITIONS, random.Random(seed))

    @property
    def everyone(self) -> list[Worker]:
        """All worker processes."""
        return [worker for workers in self.workers.values() for worker in workers]

    async def run(self, seconds: float) -> dict[str, Any]:
        """Random faults for so long; figures. Raises AssertionError with the seed."""

        async def go_on() -> None:
            await self.faults.go_on(seconds)

        return await self.during(go_on)

    async def during(self, happens: Any) -> dict[str, Any]:
        """The same with what happens in it given."""
        await ensure_topics(self.config.kafka, topic_specs(self.config), create=True)
        await asyncio.to_thread(compile_all)  # once, and not in every worker
        for worker in self.everyone:
            worker.begin()
        longest = max(rule.lengths_ms[-1] for rule in self.config.windows.rules)
        after_ms = longest + round(LATENESS_S * 1000) + 200
        sending = asyncio.create_task(self.traffic.run(after_ms))
        try:
            with telling(self.everyone, sending):
                await self._begun()
                await happens()
                self.traffic.stop()
                await sending
                ended = time.monotonic()
                await self._settle()
                settled_s = time.monotonic() - ended
        finally:
            await asyncio.gather(*(worker.end() for worker in self.everyone))
        return {**self._reckon(), "seconds to settle": round(settled_s, 1)}

    def hit(self, number: signal.Signals, which: int) -> None:
        """One worker of each stage, all at once."""
        for workers in self.workers.values():
            workers[which].send(number)

    def _reckon(self) -> dict[str, Any]:
        assert self.topics is not None
        try:
            found = check(self.topics, self.config)
            exits = ends(self.everyone, broker_killed=self._broker_killed)
        except AssertionError as error:
            done = dict(self.faults.done)
            raise AssertionError(f"seed {self._seed}, faults {done}: {error}") from None
        return {**found, "faults": dict(self.faults.done), **figures(self.everyone, exits)}

    # --- waiting

    async def _begun(self) -> None:
        """Until windows are made."""
        names = self.config.topics.names
        async with asyncio.timeout(90):
            while not await committed(self._bootstrap, f"{PREFIX}.detect", names.windows):  # noqa: ASYNC110
                await asyncio.sleep(0.3)

    async def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE_S
        while True:
            self.topics = await self._read()
            waits_for = unfinished(self.topics, self.config, PARTITIONS, self.traffic.latest_ms)
            if not waits_for:
                return
            ends(self.everyone, broker_killed=self._broker_killed)
            assert time.monotonic() < deadline, f"seed {self._seed}: after {SETTLE_S} s {waits_for}"
            await asyncio.sleep(1)

    async def _read(self) -> Topics:
        names, bootstrap = self.config.topics.names, self._bootstrap
        found: list[Mapping[int, Sequence[ConsumerRecord]]] = [
            await read_committed(bootstrap, topic)
            for topic in (
                names.spans, names.logs, names.metrics, names.windows, names.metrics_out,
                names.alerts, names.alerts_state, names.deadletter,
            )
        ]  # fmt: skip
        waits = {}
        for stage, messages in (("detect", found[3]),):
            offsets = await committed(bootstrap, f"{PREFIX}.{stage}", names.windows)
            wanted = {partition: records[-1].offset + 1 for partition, records in messages.items()}
            if offsets != wanted:
                waits[stage] = f"committed {offsets} of {wanted}"
        return Topics(*found, waits)

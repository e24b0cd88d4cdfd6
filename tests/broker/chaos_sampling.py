"""Two workers that sample and two that emit, on a real Kafka, and everything that can happen.

What must hold afterwards is in chaos_sampled.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.config import Config
from schemas.errors import BrokerUnavailable
from schemas.topics import topic_specs
from streams.sampling.records import WorkOrder, decode
from topologies.control.setting import set_value
from topologies.kafka import ensure_topics
from topologies.localkafka import LocalKafka
from topologies.runtime.journal import Progress, progress_key

from .chaos_faults import Faults
from .chaos_kafka import committed, read_committed
from .chaos_observed import Topics
from .chaos_processes import Worker, ends, figures, telling
from .chaos_sampled import Reckoning
from .chaos_traces import NOISE, Traffic

__all__ = ["BROKER_SETTINGS", "EACH", "PROGRAM", "SamplingChaos"]

PARTITIONS = 3
PREFIX = "sampled"
SESSION_S = 4.0
BROKER_SETTINGS = {"group.min.session.timeout.ms": "3000"}
FROZEN_S = 6.5
EACH = ("kill", "set", "freeze", "guest", "broker")
"""Faults that a short run begins with, lest it does without."""
STAGES = ("sample", "emit")
SETTLE_S = 90.0
MEMORY = "60s"
"""More than anything comes late by, and little enough to end within a long run."""
PROGRAM = ("-m", "topologies.cli.main", "run")
SETTINGS = {
    "sampling.rest.traces_per_second": (2.0, 8.0, 20.0, 60.0),
    "sampling.some.probability": (0.05, 0.3, 0.5, 0.9),
}


def configuration(bootstrap: str) -> dict[str, Any]:
    """Of the workers: waits that a short run can afford, and membership that is not static."""
    return {
        "kafka": {
            "brokers": [bootstrap],
            "group_prefix": PREFIX,
            "consumer": {"session_timeout": f"{SESSION_S}s", "heartbeat_interval": "1s"},
        },
        "topics": {"partitions": PARTITIONS, "replication_factor": 1},
        "runtime": {"commit_interval": "200ms", "snapshot_interval": "3s", "idle_tick": "100ms"},
        "sampling": {
            "enabled": True,
            "decision_wait": "1s",
            "root_wait": "500ms",
            "decision_interval": "100ms",
            "decision_memory": MEMORY,
            "order_interval": "200ms",
            "policies": [
                {"name": "errors", "match": {"status": "error"}, "always": True, "exempt": True},
                {"name": "noise", "match": {"operation": NOISE}, "never": True},
                {"name": "some", "match": {"service": "some"}, "probability": 0.4},
                {"name": "rest", "budget": {"traces_per_second": 15.0}},
            ],
        },
    }


class SamplingChaos:
    """One run; ``reckoning`` and ``topics`` are there after it.

    Args:
        broker: started with ``BROKER_SETTINGS``.
        directory: for logs.
        seed: of everything.
        first: faults that come before those at random.
        program: of a worker; the stage's name comes next.
    """

    def __init__(
        self,
        broker: LocalKafka,
        directory: Path,
        seed: int,
        *,
        first: Sequence[str] = (),
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.topics: Topics | None = None
        config = configuration(broker.bootstrap)
        self.config = Config.model_validate(config)
        self._seed = seed
        self._bootstrap = broker.bootstrap
        self._rng = random.Random(seed)

        def workers(letters: str) -> list[Worker]:
            return [
                Worker(f"{stage}-{x}", directory, config, (*program, stage, "--config", "CONFIG"))
                for stage in STAGES
                for x in letters
            ]

        self._workers, self._guests = workers("ab"), workers("c")
        more = {"guest": (12, self._guest), "set": (15, self._set)}
        self._faults = Faults(
            self._workers, broker, self._rng, frozen_s=FROZEN_S, more=more, first=first
        )
        names = self.config.topics.names
        # Traffic of its own randomness: what is sent does not depend on when faults happened.
        self._traffic = Traffic(broker.bootstrap, names.spans, PARTITIONS, random.Random(seed))

    @property
    def everyone(self) -> list[Worker]:
        """All worker processes."""
        return [*self._workers, *self._guests]

    async def run(self, seconds: float) -> dict[str, Any]:
        """Do it, and return figures. Raises AssertionError with the seed when something is off."""
        await ensure_topics(self.config.kafka, topic_specs(self.config), create=True)
        for worker in self._workers:
            worker.begin()
        sending = asyncio.create_task(self._traffic.run())
        try:
            with telling(self.everyone, sending):
                began = time.monotonic()
                await self._begun()
                await self._faults.go_on(began + seconds - time.monotonic())
                self._traffic.stop()
                await sending
                ended = time.monotonic()
                await self._settle()
                settled_s = time.monotonic() - ended
        finally:
            for worker in self._workers:
                await worker.end()
        return {**self._reckon(), "seconds to settle": round(settled_s, 1)}

    def reckoning(self, topics: Topics) -> Reckoning:
        """Of these topics."""
        config = self.config
        return Reckoning(topics, config.sampling, PARTITIONS, config.topics.names.spans)

    def _reckon(self) -> dict[str, Any]:
        assert self.topics is not None
        found = self.reckoning(self.topics)
        try:
            found.check()
            exits = self._ends()
        except AssertionError as error:
            where = f"seed {self._seed}, faults {dict(self._faults.done)}"
            raise AssertionError(f"{where}: {error}") from None
        faults = {"faults": dict(self._faults.done)}
        return {**found.figures, **faults, **figures(self.everyone, exits)}

    def _ends(self) -> Counter[int]:
        return ends(self.everyone, broker_killed=bool(self._faults.done["broker"]))

    # --- what happens

    async def _guest(self) -> None:
        """A third worker of a stage comes and goes."""
        guest = self._rng.choice(self._guests)
        guest.begin()
        await asyncio.sleep(self._rng.uniform(1, 6))
        await guest.end(self._rng.choice([signal.SIGTERM, signal.SIGKILL]))

    async def _set(self) -> None:
        """A policy's number changes."""
        name = self._rng.choice(list(SETTINGS))
        value = self._rng.choice(SETTINGS[name])
        with contextlib.suppress(BrokerUnavailable):
            await set_value(self.config, name, value, "chaos")

    # --- waiting

    async def _begun(self) -> None:
        spans = self.config.topics.names.spans
        async with asyncio.timeout(60):
            while len(await committed(self._bootstrap, f"{PREFIX}.sample", spans)) < PARTITIONS:  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    async def _settle(self) -> None:
        """Until all is decided, ordered and carried out."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            self.topics = await self._read()
            waits_for = _unfinished(self.topics)
            if not waits_for:
                return
            self._ends()  # what ends by a defect would do so again and again
            assert time.monotonic() < deadline, f"seed {self._seed}: after {SETTLE_S} s {waits_for}"
            await asyncio.sleep(2)  # to read it all takes a processor from the workers

    async def _read(self) -> Topics:
        names = self.config.topics.names
        sources = {"sample": names.spans, "emit": names.decisions}
        offsets = {
            stage: await committed(self._bootstrap, f"{PREFIX}.{stage}", topic)
            for stage, topic in sources.items()
        }
        progress: dict[str, dict[int, int]] = defaultdict(dict)
        for stage, topic in sources.items():
            journal = await read_committed(self._bootstrap, names.journal_of(stage))
            for partition, records in journal.items():
                for record in records:
                    if record.key == progress_key(topic):
                        progress[stage][partition] = Progress.decode(record.value).position
        return Topics(
            self._traffic.messages,
            *[
                await read_committed(self._bootstrap, topic)
                for topic in (names.spans, names.decisions, names.spans_out, names.deadletter)
            ],
            progress,
            offsets,
        )


def _unfinished(topics: Topics) -> str:
    """What there is still to do; empty if nothing is."""
    for partition, messages in topics.source.items():
        ordered = [
            found.stop
            for message in reversed(topics.decisions.get(partition, ())[-50:])
            if isinstance(found := decode(message.value), WorkOrder)
        ]
        if ordered[:1] != [messages[-1].offset + 1]:
            return f"{partition}: ordered up to {ordered[:1]} of {messages[-1].offset + 1}"
    for stage, messages in (("sample", topics.source), ("emit", topics.decisions)):
        wanted = {partition: records[-1].offset + 1 for partition, records in messages.items()}
        if topics.committed[stage] != wanted:
            return f"{stage}: committed {topics.committed[stage]} of {wanted}"
    return ""

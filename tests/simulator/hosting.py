"""The runtime's own host in a simulated process: Faust, log and producers are ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from unittest import mock

from schemas.config import Config
from schemas.errors import OtlpStreamsError
from tests.operators import counting
from tests.operators.deciding import EVERY
from topologies.control.view import ControlView
from topologies.runtime import host as host_module
from topologies.runtime import lanemaker, ranges
from topologies.runtime.host import Host
from topologies.runtime.stage import Stage

from . import operators
from .group import SimApp
from .loop import Process

if TYPE_CHECKING:
    from .schedule import Schedule
    from .world import Worker, World

__all__ = ["DEADLETTER", "GROUP", "JOURNAL", "SESSION_S", "SimHost", "installed"]

GROUP, JOURNAL, DEADLETTER = "otlp.sim", "journal.sim", "deadletter"
SESSION_S, HEARTBEAT_S = 3.0, 0.5
PIECE_BYTES = 24
"""Snapshots in so small pieces have several, over several transactions."""


def configuration(schedule: Schedule) -> Config:
    """Limits far below what may be configured, so that short runs reach them."""
    config = Config()
    runtime = config.runtime.model_copy(
        update={
            "commit_interval": schedule.commit_interval_s,
            "commit_max": schedule.commit_max_bytes,
            "ahead_max": 5,
            "lane_max": 60,
            "snapshot_interval": 0.7,
            "idle_tick": 0.5,
            "drain_timeout": 1.0,
            "retry_initial": 0.05,
            "retry_maximum": 1.0,
        }
    )
    consumer = config.kafka.consumer.model_copy(
        update={"session_timeout": SESSION_S, "heartbeat_interval": HEARTBEAT_S}
    )
    producer = config.kafka.producer.model_copy(update={"max_message": 60})
    kafka = config.kafka.model_copy(
        update={"group_prefix": "otlp", "consumer": consumer, "producer": producer}
    )
    return config.model_copy(update={"runtime": runtime, "kafka": kafka})


def stage(world: World) -> Stage:
    """The stage that is simulated."""
    return Stage(
        name="sim",
        topics=world.sources,
        operators=operators.make,
        scan=counting.scan,
        reads=operators.reads,
        merge_outputs=True,
        kept=(operators.GATHERED,),
    )


@contextlib.contextmanager
def installed(world: World) -> Iterator[None]:
    """While a world runs, what the host makes for itself is simulated."""

    def transactions(_: Any, transactional_id: str) -> Any:
        return world.parts.transactions(world.network, transactional_id)

    def log(_: Any) -> Any:
        return world.parts.log(world.network)

    with (
        mock.patch.multiple(
            lanemaker, KafkaTransactions=transactions, LANE_MIN_BYTES=1, PIECE_MAX_BYTES=PIECE_BYTES
        ),
        mock.patch.object(host_module, "KafkaLog", log),
        mock.patch.object(ranges, "SILENCE_S", 1.0),
    ):
        yield


class SimHost:
    """A process with a host in it."""

    def __init__(self, world: World, worker: Worker, process: Process) -> None:
        self._world = world
        self._worker = worker
        self._process = process
        self._name = f"{worker.number}.{worker.lives}"
        self._stopping = False
        self.host: Host | None = None
        self.control: ControlView | None = None

    async def main(self) -> None:
        """Run until the process is killed."""
        world = self._world
        self.control = ControlView(operators.SETTINGS)
        if world.trouble.every is not None:
            self.control.change(EVERY, world.trouble.every)
        with mock.patch.object(host_module, "create_app", self._create_app):
            self.host = Host(
                stage(world),
                world.config,
                publisher=None,  # type: ignore[arg-type] - of sinks only
                fatal=lambda error: world.ended(self._worker, self._process, error),
                clock=world.clock,
                control=self.control,
            )
        world.hosts.append(self.host)
        await self.host.start()

    async def terminate(self, back_s: float) -> None:
        """SIGTERM."""
        if self._stopping or self.host is None:
            return
        self._stopping = True
        with contextlib.suppress(OtlpStreamsError):
            await self.host.stop()
        self._world.kill(self._worker, back_s)

    def _create_app(
        self, group: str, _topics: Any, _kafka: Any, _runtime: Any, host: Any
    ) -> SimApp:
        world = self._world
        return SimApp(
            host,
            self._name,
            group,
            world.group,
            world.network,
            world.rng,
            heartbeat_interval_s=HEARTBEAT_S,
            revocation_s=SESSION_S / 2,
        )

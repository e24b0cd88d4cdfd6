"""Fixtures that any test may ask for; what nobody asks for is never started."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import structlog

from topologies.localkafka.probe import PORTS_VARIABLE, port_range

if TYPE_CHECKING:
    from topologies.localkafka import LocalKafka

# One cache of jars for every run, wherever pytest was started.
os.environ.setdefault(
    "OTLP_STREAMS_KAFKA_CACHE", str(Path(__file__).resolve().parent.parent / ".kafka")
)

# Kernels compile on their first call and brokers take their time: no deadline an example.
hypothesis.settings.register_profile("otlp-streams", deadline=None, print_blob=True)
hypothesis.settings.load_profile("otlp-streams")


def _share_ports() -> None:
    """Processes of one run choose their ports from parts of the range that do not overlap."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        first, last = port_range()
        share = (last + 1 - first) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        first += share * int(worker.removeprefix("gw"))
        os.environ[PORTS_VARIABLE] = f"{first}-{first + share - 1}"


_share_ports()

MakeTopic = Callable[..., str]
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs a broker is marked, so that ``-m 'not broker'`` leaves it out."""
    needs = {"kafka", "broker", "secured_kafka"}
    for item in items:
        if needs & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.broker)


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """A command run in the tests' own process may make logs quiet: not those of the next test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def kafka() -> Iterator[LocalKafka]:
    """The broker that all tests share. Do not stop it; use fresh topics and groups."""
    from topologies.localkafka import LocalKafka

    with LocalKafka(keep=False) as local:
        yield local


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalKafka]:
    """A broker of the test's own, which it may stop, kill and start again."""
    from topologies.localkafka import LocalKafka

    with LocalKafka(tmp_path / "kafka", keep=False) as local:
        yield local


@pytest.fixture
def bootstrap(kafka: LocalKafka) -> str:
    """``host:port`` of the shared broker."""
    return kafka.bootstrap


@pytest.fixture
def make_topic(request: pytest.FixtureRequest) -> MakeTopic:
    """``make_topic(partitions=1, on=None, **config)``: a new topic's name.

    ``on`` is the broker, the shared one by default; ``config`` are topic settings with ``_``
    for ``.``. Blocks; may be called from coroutines too.
    """

    def make(partitions: int = 1, on: LocalKafka | None = None, **config: str | int) -> str:
        where = on or request.getfixturevalue("kafka")
        name = f"test-{os.getpid()}-{next(_numbers)}"
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        _in_thread(lambda: _create(where.bootstrap, name, partitions, settings))
        return name

    return make


@pytest.fixture
def topic(make_topic: MakeTopic, kafka: LocalKafka) -> str:
    """A fresh topic with one partition on the shared broker."""
    return make_topic(1)


@pytest.fixture
def group() -> str:
    """A fresh consumer group's name."""
    return f"group-{os.getpid()}-{next(_numbers)}"


def _in_thread(factory: Callable[[], object]) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(factory())  # type: ignore[arg-type]
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


async def _create(bootstrap: str, name: str, partitions: int, config: dict[str, str]) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic
    from aiokafka.client import AIOKafkaClient

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        new = NewTopic(name, partitions, 1, topic_configs=config)
        answer = await admin.create_topics([new])
        for topic, code, *text in answer.topic_errors:
            if code:
                raise RuntimeError(f"topic {topic} was not created: {code} {text}")
    finally:
        await admin.close()
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        # Creation is acknowledged by the controller; leaders are known a moment later.
        async with asyncio.timeout(20):
            while True:
                await client.force_metadata_update()
                known = client.cluster.partitions_for_topic(name) or ()
                if len(known) == partitions:
                    return
                client.add_topic(name)
                await asyncio.sleep(0.02)
    finally:
        await client.close()

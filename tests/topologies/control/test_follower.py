"""Following ``control`` on a real Kafka, and what ``audit`` says afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry

from schemas.config import Config
from schemas.errors import ConfigurationError
from schemas.records import Audit, Control
from schemas.topics import topic_specs
from topologies.control.follower import ControlFollower
from topologies.control.setting import current, history, set_value
from topologies.kafka import create_topics
from topologies.localkafka import LocalKafka

LOGS = "shape.enabled.logs"


async def until(condition: Callable[[], object], timeout_s: float = 20) -> None:
    ends_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_s, "waited in vain"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def following(
    config: Config, *stages: str
) -> AsyncIterator[tuple[ControlFollower, CollectorRegistry]]:
    registry = CollectorRegistry()
    follower = ControlFollower(config, stages, registry)
    await follower.start()
    try:
        yield follower, registry
    finally:
        await follower.stop()


def records(registry: CollectorRegistry, result: str) -> float:
    sample = registry.get_sample_value("otlp_streams_control_records_total", {"result": result})
    return sample or 0.0


async def audits(config: Config, action: str) -> list[Audit]:
    return [each for each in (await history(config))[0] if each.action == action]


@pytest.fixture
async def topics(config: Config) -> None:
    names = (config.topics.names.control, config.topics.names.audit)
    await create_topics(config.kafka, [s for s in topic_specs(config) if s.name in names])


@pytest.mark.usefixtures("topics")
async def test_a_change_reaches_lanes_at_their_boundary_and_the_audit(config: Config) -> None:
    async with following(config, "shape") as (follower, _):
        lanes = [follower.view.lane("shape", config.topics.names.logs, p) for p in (0, 1)]
        offset = 10

        def boundary() -> bool:  # what a lane does between two batches
            nonlocal offset
            offset += 1
            ready = [lane.ready(offset) for lane in lanes]  # each of them must have been asked
            return not any(ready)

        done = await set_value(config, LOGS, False, "maintenance of é")
        assert (done.before, done.after, done.offset) == (None, False, 0)
        await until(boundary)
        applied_at = offset
        await until(lambda: not follower._tasks)
        await follower._audit.stop()
        [audit] = await audits(config, "applied")
        assert [(r.partition, r.first) for r in audit.ranges] == [(0, applied_at), (1, applied_at)]
        assert {r.topic for r in audit.ranges} == {config.topics.names.logs}
        assert (audit.name, audit.before, audit.after) == (LOGS, None, False)
        assert (audit.reason, audit.control_offset) == ("maintenance of é", 0)
        assert audit.stages == ("shape",)
        assert not audit.at_start
        [was_set] = await audits(config, "set")
        assert was_set.who == audit.who
        assert was_set.control_offset == 0


@pytest.mark.usefixtures("topics")
async def test_a_stop_at_once_leaves_nothing_open(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(config):
        pass
    gc.collect()
    assert "Unclosed" not in caplog.text


@pytest.mark.usefixtures("topics")
async def test_a_worker_starts_with_what_is_in_force(config: Config) -> None:
    for value in (False, True, False):
        done = await set_value(config, LOGS, value)
    assert (done.before, done.after) == (True, False)
    await set_value(config, "shape.enabled.traces", False)
    await set_value(config, "shape.enabled.traces", None)
    async with following(config, "shape") as (follower, registry):
        assert follower.view.current(LOGS) is False
        assert follower.view.current("shape.enabled.traces") is True
        assert not follower.view.lane("shape", config.topics.names.logs, 0).ready(None)
        assert records(registry, "applied") == 1, "not what was in force in between"
        assert registry.get_sample_value("otlp_streams_control_offset")
    async with following(config, "export.default") as (follower, _):
        assert follower.view.current(LOGS) is False
    [audit] = await audits(config, "applied")
    assert audit.at_start
    assert (audit.stages, audit.ranges) == (("shape",), ()), "the exporter is not concerned"


@pytest.mark.usefixtures("topics")
async def test_what_cannot_be_read_is_counted_and_ignored(
    config: Config, kafka: LocalKafka, caplog: pytest.LogCaptureFixture
) -> None:
    await set_value(config, LOGS, False)
    good = Control.model_validate(
        {"name": LOGS, "value": True, "who": "x", "at": "2030-01-31T08:00:00Z"}
    )
    bad: list[tuple[bytes, bytes | None, str]] = [
        (b"log.level", b"\xff not json", "malformed"),
        (b"other", good.encode(), "malformed"),
        (LOGS.encode(), good.encode().replace(b'_version":1', b'_version":2'), "newer_version"),
        (LOGS.encode(), good.encode().replace(b"true", b'"perhaps"'), "invalid"),
        (b"from.later", good.encode().replace(LOGS.encode(), b"from.later"), "unknown"),
        (b"from.later", None, "unknown"),
    ]
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    try:
        async with following(config, "shape") as (follower, registry):
            for when in ("while it follows", "before it starts"):
                for key, value, _ in bad:
                    await producer.send_and_wait(config.topics.names.control, value, key=key)
                if when == "while it follows":
                    for result in {each[2] for each in bad}:
                        wanted = sum(each[2] == result for each in bad)
                        await until(lambda r=result, n=wanted: records(registry, r) == n)
                    assert follower.view.current(LOGS) is False
    finally:
        await producer.stop()
    assert "schema_version 2, this release reads up to 1" in caplog.text
    async with following(config, "shape") as (follower, registry):
        assert records(registry, "malformed") == 4
        assert follower.view.current(LOGS) is False
        await set_value(config, LOGS, True)
        await until(lambda: follower.view.current(LOGS) is True)
    shown, ignored = await current(config)
    assert {each.name: each.value for each in shown}[LOGS] is True
    assert len(ignored) == 12


@pytest.mark.usefixtures("topics")
async def test_the_level_of_the_log_changes_at_once(config: Config) -> None:
    root = logging.getLogger()
    before = root.level
    kafka_before = logging.getLogger("aiokafka").level
    try:
        async with following(config) as (_, _registry):
            await set_value(config, "log.level", "error")
            await until(lambda: root.level == logging.ERROR)
            await set_value(config, "log.level", None)
            await until(lambda: root.level == logging.INFO)
    finally:
        root.setLevel(before)
        for name in ("aiokafka", "asyncio", "faust", "grpc", "mode"):
            logging.getLogger(name).setLevel(kafka_before)


@pytest.mark.usefixtures("topics")
async def test_two_people_at_once(config: Config) -> None:
    """Whoever is second fences the first; what is set and audited agrees in any case."""
    results = await asyncio.gather(
        *(set_value(config, LOGS, value) for value in (True, False)), return_exceptions=True
    )
    done = [each for each in results if not isinstance(each, BaseException)]
    assert done
    for each in results:
        assert not isinstance(each, BaseException) or "try again" in str(each)
    sets = await audits(config, "set")
    assert len(sets) == len(done)
    shown = {each.name: each for each in (await current(config))[0]}
    assert shown[LOGS].value == sets[-1].after
    for earlier, later in itertools.pairwise(sets):
        assert later.before == earlier.after


async def test_a_broker_that_dies_and_returns(
    broker: LocalKafka, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    kafka = config.kafka.model_copy(update={"brokers": (broker.bootstrap,)})
    config = config.model_copy(update={"kafka": kafka})
    with pytest.raises(ConfigurationError, match=r"missing"):
        await set_value(
            config.model_copy(
                update={"topics": config.topics.model_copy(update={"create": False})}
            ),
            LOGS, True,
        )  # fmt: skip
    await set_value(config, LOGS, False)
    async with following(config, "shape") as (follower, _):
        await asyncio.to_thread(broker.kill)
        await asyncio.sleep(0.5)
        assert follower.view.current(LOGS) is False
        await asyncio.to_thread(broker.start)
        await set_value(config, LOGS, True)
        await until(lambda: follower.view.current(LOGS) is True, 60)

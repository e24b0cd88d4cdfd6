"""The notify worker on real Kafka: a target that is away, restarts, kills, silences.

Nothing is lost, what has changed meanwhile is told as it is then, and no target waits for another.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.config import Config
from schemas.records import AlertEvent
from tests.alert_events import event, publish
from tests.conftest import MakeTopic
from tests.streams.edges.exporters.servers import HttpBackend, until
from topologies.alerts import add_silence, expire_silences
from topologies.control.setting import set_value
from topologies.localkafka import LocalKafka
from topologies.localkafka.probe import free_ports

from .stage_process import StageProcess
from .traffic import committed_everywhere, eventually

FLAPS = 100


class Hook(HttpBackend):
    """A webhook; what it was told, by service."""

    def __init__(self, port: int = 0) -> None:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response()

        super().__init__(answer, port=port)

    @property
    def heard(self) -> list[tuple[str, str]]:
        return [
            (each["labels"]["service"], each["status"])
            for body in self.bodies
            for each in json.loads(body)["alerts"]
        ]


class Road:
    """Fresh topics and the configuration that names them."""

    def __init__(self, kafka: LocalKafka, make_topic: MakeTopic, group: str) -> None:
        self.bootstrap, self.prefix = kafka.bootstrap, group
        compact = {"cleanup_policy": "compact"}
        self.alerts, self.state = make_topic(1), make_topic(3, **compact)
        self.deadletter = make_topic(1)
        self.control, self.audit = make_topic(1, **compact), make_topic(1)

    def config(self, **urls: str) -> dict[str, Any]:
        names = ("deadletter", "control", "audit", "alerts")
        return {
            "kafka": {
                "brokers": [self.bootstrap],
                "group_prefix": self.prefix,
                "consumer": {"instance_id": "one", "session_timeout": "6s"},
            },
            "topics": {
                "names": {**{n: getattr(self, n) for n in names}, "alerts_state": self.state}
            },
            "runtime": {"commit_interval": "200ms"},
            "notify": {
                "targets": {
                    name: {
                        "type": "webhook", "url": url, "group_by": ["service"],
                        "group_wait": 0, "group_interval": "100ms", "repeat_interval": "1h",
                        "retry": {"initial": "50ms", "maximum": "200ms"},
                    }
                    for name, url in urls.items()
                }
            },
        }  # fmt: skip

    async def publish(self, *events: AlertEvent) -> None:
        await publish(self.bootstrap, (self.state, self.alerts), events)

    async def all_committed(self, target: str) -> bool:
        group = f"{self.prefix}.notify.{target}"
        return await committed_everywhere(self.bootstrap, group, self.alerts)

    async def dead_letters(self) -> list[dict[str, bytes]]:
        async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
            partition = TopicPartition(self.deadletter, 0)
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            end, found = (await consumer.end_offsets([partition]))[partition], []
            while len(found) < end:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found += [dict(record.headers) for record in records]
            return found


@pytest.fixture
def road(kafka: LocalKafka, make_topic: MakeTopic, group: str) -> Road:
    return Road(kafka, make_topic, group)


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/hook"


async def transitions(worker: StageProcess, outcome: str) -> float:
    return await worker.metric("otlp_streams_notify_transitions_total", outcome=outcome)


async def test_a_target_that_is_away_holds_up_nobody_and_hears_how_things_are_when_it_is_back(
    road: Road, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    port = free_ports(1)[0]
    away, there = Hook(port), Hook()
    async with there.running():
        config = road.config(away=url(port), there=url(there.port))
        async with (
            StageProcess(tmp_path, "notify:away", config) as first,
            StageProcess(tmp_path, "notify:there", config) as second,
        ):
            await first.ready()
            await second.ready()
            await road.publish(*(event(service, at=now) for service in ("cart", "pay", "mail")))
            await until(lambda: len(there.heard) == 3)
            up = "otlp_streams_notify_target_up"

            async def given_up() -> bool:
                return await first.metric(up, target="away") == 0

            await eventually(given_up)
            flaps = [
                event("cart", "resolved" if n % 2 else "firing", now + timedelta(seconds=n))
                for n in range(1, FLAPS)
            ]
            await road.publish(*flaps, event("ship", "pending", now), event("pay", "no_data", now))

            async def taken() -> bool:
                return await transitions(first, "collapsed") == FLAPS

            await eventually(taken)
            await eventually(lambda: road.all_committed("there"))
            assert not await road.all_committed("away")
            async with away.running():
                await eventually(lambda: road.all_committed("away"))
                assert sorted(away.heard) == [
                    ("cart", "resolved"), ("mail", "firing"), ("pay", "firing"),
                ]  # fmt: skip
                assert await first.metric(up, target="away") == 1
                # A restart repeats nothing, and forgets nothing.
                assert await first.stop() == 0, first.log()
                again = StageProcess(tmp_path, "notify:away", config)
                async with again:
                    await again.ready()
                    over = event("mail", "resolved", now + timedelta(seconds=200))
                    await road.publish(over)
                    await until(lambda: len(away.heard) > 3)
                    assert away.heard[3:] == [("mail", "resolved")]
                    await eventually(lambda: road.all_committed("away"))
                    assert await again.metric("otlp_streams_notify_alerts") == 1, "pay"
                    assert await again.stop() == 0, again.log()
            assert await second.stop() == 0, second.log()
    assert there.heard[-1] == ("mail", "resolved")
    assert await road.dead_letters() == []


async def test_kill_9_loses_no_transition_and_silences_and_pauses_are_taken_over(
    road: Road, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    hook = Hook(free_ports(1)[0])
    settings = road.config(it=url(hook.port))
    config = Config.model_validate(settings)
    async with StageProcess(tmp_path, "notify:it", settings) as worker:
        await worker.ready()
        await road.publish(event("cart", at=now), event("pay", at=now))
        async with AIOKafkaProducer(bootstrap_servers=road.bootstrap) as producer:
            await producer.send_and_wait(road.alerts, b"{}", key=b"odd")

        async def tried() -> bool:
            return await worker.metric("otlp_streams_notify_notifications_total") >= 2

        await eventually(tried)
        await worker.kill()
    # While nobody is there cart is over: it may have been told that it fires.
    await road.publish(event("cart", "resolved", now + timedelta(seconds=10)))
    silence = await add_silence(config, ["service=ship"], now, now + timedelta(hours=1), "why")
    async with hook.running(), StageProcess(tmp_path, "notify:it", settings) as worker:
        await worker.ready()
        await eventually(lambda: road.all_committed("it"))
        assert sorted(hook.heard) == [("cart", "resolved"), ("pay", "firing")]

        await road.publish(event("ship", at=now), event("mail", at=now))
        await until(lambda: hook.heard[2:] == [("mail", "firing")])
        await eventually(lambda: road.all_committed("it"))
        assert await transitions(worker, "silenced") == 1
        assert await worker.metric("otlp_streams_notify_active_silences") == 1
        await expire_silences(config, [silence.id[:8]])
        await until(lambda: hook.heard[3:] == [("ship", "firing")])

        taken = await worker.metric("otlp_streams_messages_in_total", topic=road.alerts)
        await set_value(config, "notify.enabled.it", False)

        async def paused() -> bool:
            return "notify.enabled.it is now false" in worker.log()

        async def more() -> bool:
            name = "otlp_streams_messages_in_total"
            return await worker.metric(name, topic=road.alerts) > taken

        await eventually(paused)
        await road.publish(event("ship", "resolved", now + timedelta(seconds=9)))
        await eventually(more)
        assert len(hook.heard) == 4
        await set_value(config, "notify.enabled.it", None)
        await until(lambda: hook.heard[4:] == [("ship", "resolved")])
        assert await worker.stop() == 0, worker.log()
    letters = await road.dead_letters()
    assert {(each["deadletter.reason"], each["deadletter.stage"]) for each in letters} == {
        (b"malformed", b"notify.it")
    }
    # Killed before it could commit, it sees the same message again.
    assert len({each["deadletter.offset"] for each in letters}) == 1

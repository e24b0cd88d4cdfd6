"""The export worker on real Kafka, with backends that behave as badly as they can.

Afterwards every item is at the backend or in the dead-letter topic, none is foreign, and what
came twice had been in flight when an answer went missing or a worker died.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.conftest import MakeTopic
from tests.strategies import varint
from tests.streams.edges.exporters.servers import (
    GrpcBackend,
    HttpBackend,
    retry_status,
    until,
)
from topologies.localkafka import LocalKafka
from topologies.localkafka.probe import free_ports

from .stage_process import StageProcess
from .traffic import (
    Received,
    committed_everywhere,
    eventually,
    fill,
    ids,
    names,
    request,
)

PARTITIONS = 3
RETRY = {"initial": 0.02, "maximum": 0.2}
KILLS = 3
COMMIT_INTERVAL_S = 0.2


class Road:
    """Fresh topics and the configuration that names them."""

    def __init__(self, kafka: LocalKafka, make_topic: MakeTopic, group: str) -> None:
        self.bootstrap = kafka.bootstrap
        self.spans, self.deadletter = make_topic(PARTITIONS), make_topic(1)
        self.prefix = group

    def config(self, runtime: dict[str, Any] | None = None, **backends: Any) -> dict[str, Any]:
        return {
            "kafka": {
                "brokers": [self.bootstrap],
                "group_prefix": self.prefix,
                # Static membership: a worker that was killed is replaced at once.
                "consumer": {"instance_id": "one", "session_timeout": "6s"},
            },
            "topics": {"names": {"spans_out": self.spans, "deadletter": self.deadletter}},
            "runtime": runtime or {},
            "export": {
                "backends": {
                    name: {"signals": ["traces"], "retry": RETRY, "timeout": "1s", **settings}
                    for name, settings in backends.items()
                }
            },
        }

    async def fill(self, values: list[bytes]) -> None:
        await fill(self.bootstrap, self.spans, PARTITIONS, values)

    async def all_committed(self, backend: str) -> bool:
        return await committed_everywhere(
            self.bootstrap, f"{self.prefix}.export.{backend}", self.spans
        )

    async def dead_letters(self) -> list[tuple[bytes, dict[str, bytes]]]:
        async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
            partition = TopicPartition(self.deadletter, 0)
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            end, found = (await consumer.end_offsets([partition]))[partition], []
            while len(found) < end:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found += [(record.value, dict(record.headers)) for record in records]
            return found


@pytest.fixture
def road(kafka: LocalKafka, make_topic: MakeTopic, group: str) -> Road:
    return Road(kafka, make_topic, group)


class Bad:
    """How a bad backend treats each request: by its content, else by the dice."""

    def __init__(self) -> None:
        self.received = Received()
        self.repeatable: set[int] = set()
        """Spans it kept without saying so."""
        self._dice = random.Random(20250301)

    def judge(self, data: bytes) -> str:
        said = names(data)
        if "poison" in said:
            return "refuse"
        if "partial" in said:
            self.received.add(data)
            return "partial"
        fate = self._dice.choices(
            ["ok", "away", "later", "hang", "reset", "half"], [60, 15, 10, 3, 6, 6]
        )[0]
        if fate in {"ok", "hang", "half"}:
            self.received.add(data)
        if fate in {"hang", "half"}:
            self.repeatable.update(ids(data))
        return fate

    async def over_http(self, http: web.Request, data: bytes) -> web.StreamResponse:
        fate = self.judge(data)
        if fate == "refuse":
            return web.Response(status=400, text="poisoned")
        if fate == "partial":
            return web.Response(body=b"\n\x09\x08\x01\x12\x05stale", content_type=PROTOBUF)
        if fate == "away":
            return web.Response(status=503)
        if fate == "later":
            return web.Response(status=429, headers={"Retry-After": "0"})
        assert http.transport is not None
        if fate == "reset":
            http.transport.abort()
        if fate == "half":
            http.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            http.transport.close()
        if fate == "hang":
            await asyncio.sleep(3600)
        return web.Response()

    async def over_grpc(self, data: bytes, context: Any) -> bytes:
        fate = self.judge(data)
        if fate == "refuse":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "poisoned")
        if fate == "partial":
            return b"\n\x09\x08\x01\x12\x05stale"
        if fate in {"away", "reset"}:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        if fate == "later":
            details = retry_status(8, "busy", 0.01)
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", (("grpc-status-details-bin", details),)
            )
        if fate == "half":
            await context.abort(grpc.StatusCode.DATA_LOSS, "half of it")
        if fate == "hang":
            await asyncio.sleep(3600)
        return b""


PROTOBUF = "application/x-protobuf"


@pytest.mark.parametrize("way", ["http zstd", "grpc gzip"])
async def test_a_backend_that_fails_in_every_way_has_all_of_it_in_the_end(
    road: Road, tmp_path: Path, way: str
) -> None:
    kinds = {17: "poison", 40: "poison", 41: "poison", 99: "partial", 150: "partial"}
    values = [request(5 * n, name=kinds.get(n, "GET /")) for n in range(240)]
    await road.fill(values)
    bad = Bad()
    protocol, compression = way.split()
    if protocol == "http":
        backend = HttpBackend(lambda r: bad.over_http(r, backend.bodies[-1]))
    else:
        backend = GrpcBackend(bad.over_grpc)
    async with backend.running() as server:
        config = road.config(
            bad={
                "protocol": protocol,
                "endpoint": f"http://127.0.0.1:{server.port}",
                "compression": compression,
                "max_request": 2000,
            }
        )
        async with StageProcess(tmp_path, "export:bad", config) as worker:
            await worker.ready()
            missing = {5 * n + i for n in range(240) if kinds.get(n) != "poison" for i in range(5)}
            await until(lambda: missing <= bad.received.counts.keys(), 40)
            await eventually(lambda: road.all_committed("bad"))
            outcomes = {
                outcome: await worker.metric(
                    "otlp_streams_export_requests_total", backend="bad", outcome=outcome
                )
                for outcome in ("ok", "partial", "unavailable", "refused")
            }
            rejected = await worker.metric("otlp_streams_export_rejected_items_total")
            assert await worker.stop() == 0, worker.log()
    assert bad.received.counts.keys() == missing, "nothing foreign"
    twice = {number for number, count in bad.received.counts.items() if count > 1}
    assert twice <= bad.repeatable, "only what was kept without an answer may come twice"
    assert twice, "the dice were to make some"
    assert all(outcomes.values()), outcomes
    partial = [5 * n + i for n, kind in kinds.items() if kind == "partial" for i in range(5)]
    assert {bad.received.counts[number] for number in partial} == {1}
    assert 1 <= rejected <= 2
    letters = await road.dead_letters()
    assert sorted(value for value, _ in letters) == sorted(values[n] for n in (17, 40, 41))
    for value, headers in letters:
        number = values.index(value)
        assert headers["deadletter.reason"] == b"refused"
        assert b"poisoned" in headers["deadletter.message"]
        assert headers["deadletter.stage"] == b"export.bad"
        assert headers["deadletter.topic"].decode() == road.spans
        assert int(headers["deadletter.partition"]) == number % PARTITIONS
        assert int(headers["deadletter.offset"]) == number // PARTITIONS


async def test_kill_9_under_load_loses_nothing(road: Road, tmp_path: Path) -> None:
    received, dice = Received(), random.Random(7)
    messages, spans = 600, 20

    async def slow(_request: web.Request) -> web.Response:
        received.add(backend.bodies[-1])
        backend.bodies.clear()
        await asyncio.sleep(0.02)
        return web.Response()

    backend = HttpBackend(slow)
    async with backend.running() as server:
        settings = {
            "endpoint": f"http://127.0.0.1:{server.port}",
            "max_request": 1024,  # one message a request: slow enough to be killed in the middle
            "max_inflight": 4,
            "max_connections": 4,
        }
        runtime = {"commit_interval": COMMIT_INTERVAL_S}
        worker = StageProcess(tmp_path, "export:slow", road.config(runtime, slow=settings))
        filling = asyncio.create_task(
            road.fill([request(spans * n, spans) for n in range(messages)])
        )
        for kill in range(KILLS):
            before = len(received.counts)
            await worker.start()
            await until(lambda seen=before: len(received.counts) > seen + 400, 30)
            await asyncio.sleep(dice.random() * 0.3)
            await worker.kill()
            assert len(received.counts) < messages * spans, f"kill {kill} came too late"
        await filling
        async with worker:
            await until(lambda: len(received.counts) == messages * spans, 40)
            assert await worker.stop() == 0, worker.log()
    assert received.counts.keys() == set(range(messages * spans))
    # A kill repeats what was in flight or finished since the last commit, and nothing else.
    assert max(received.counts.values()) <= 1 + KILLS
    repeated = sum(received.counts.values()) - messages * spans
    assert repeated <= KILLS * spans * (PARTITIONS * 4 + 1000 * COMMIT_INTERVAL_S)
    assert await road.all_committed("slow")


async def test_a_dead_backend_holds_up_nobody_costs_no_memory_and_is_picked_up_again(
    road: Road, tmp_path: Path
) -> None:
    alive, dead = Received(), Received()
    port = free_ports(1)[0]

    def keeper(received: Received, port: int = 0) -> HttpBackend:
        async def keep(_request: web.Request) -> web.Response:
            received.add(backend.bodies.pop())
            return web.Response()

        backend = HttpBackend(keep, port=port)
        return backend

    dice = random.Random(3)
    messages = 360
    values = [request(2 * n, 2, pad=dice.randbytes(200_000)) for n in range(messages)]
    everything = set(range(2 * messages))
    async with keeper(alive).running() as server:
        config = road.config(
            runtime={"lane_max": "1MiB"},
            alive={"endpoint": f"http://127.0.0.1:{server.port}", "compression": "none"},
            dead={"endpoint": f"http://127.0.0.1:{port}", "compression": "none"},
        )
        workers = [StageProcess(tmp_path, f"export:{name}", config) for name in ("alive", "dead")]
        async with workers[0], workers[1] as waiting:
            await asyncio.gather(*(worker.ready() for worker in workers))
            empty_bytes = waiting.rss_bytes
            await road.fill(values)
            await until(lambda: alive.counts.keys() == everything, 30)
            up = "otlp_streams_export_backend_up"
            assert await waiting.metric(up, backend="dead") == 0
            assert await workers[0].metric(up, backend="alive") == 1
            # 72 MB lie there for it; it may hold its lanes, a fetch each, and buffers.
            assert waiting.rss_bytes - empty_bytes < 40 << 20
            tried = await waiting.metric("otlp_streams_export_requests_total")
            async with keeper(dead, port).running():
                await until(lambda: dead.counts.keys() == everything, 30)
                assert await waiting.metric(up, backend="dead") == 1
                codes = await asyncio.gather(*(worker.stop() for worker in workers))
            assert codes == [0, 0], waiting.log()
            assert tried > 3
    assert set(alive.counts.values()) == {1}
    assert set(dead.counts.values()) == {1}
    assert await road.all_committed("alive")
    assert await road.all_committed("dead")


async def test_a_message_cut_off_behind_a_length_takes_no_neighbour_with_it(
    road: Road, tmp_path: Path
) -> None:
    """Joined with what follows, an unknown field without its content would hold all of that."""
    received = Received()
    good = [request(5 * n) for n in range(50)]
    # What follows on the same partition: the next one, and all.
    cut = [b"\x7a" + varint(len(good[2])), b"\x7a" + varint(sum(map(len, good[26::3])))]
    await road.fill([cut[0], *good[:25], cut[1], *good[25:]])

    async def keep(_request: web.Request) -> web.Response:
        received.add(backend.bodies.pop())
        return web.Response()

    backend = HttpBackend(keep)
    async with backend.running() as server:
        config = road.config(
            kept={"endpoint": f"http://127.0.0.1:{server.port}", "compression": "none"}
        )
        async with StageProcess(tmp_path, "export:kept", config) as worker:
            await worker.ready()
            await eventually(lambda: road.all_committed("kept"))
            items = {
                outcome: await worker.metric(
                    "otlp_streams_export_items_total",
                    backend="kept",
                    signal="traces",
                    outcome=outcome,
                )
                for outcome in ("delivered", "rejected", "dead_lettered")
            }
            assert await worker.stop() == 0, worker.log()
    assert sorted(received.counts.elements()) == list(range(250))
    letters = await road.dead_letters()
    assert sorted(value for value, _ in letters) == sorted(cut)
    assert {headers["deadletter.reason"] for _, headers in letters} == {b"malformed"}
    assert items == {"delivered": 250, "rejected": 0, "dead_lettered": 0}


async def test_what_a_backend_does_not_take_in_time_is_a_dead_letter(
    road: Road, tmp_path: Path
) -> None:
    values = [request(5 * n) for n in range(12)]
    await road.fill(values)
    config = road.config(
        gone={
            "endpoint": f"http://127.0.0.1:{free_ports(1)[0]}",
            "retry": {**RETRY, "max_elapsed": "1s"},
        }
    )
    async with StageProcess(tmp_path, "export:gone", config) as worker:
        await worker.ready()
        await eventually(lambda: road.all_committed("gone"))
        assert await worker.stop() == 0, worker.log()
    letters = await road.dead_letters()
    assert sorted(value for value, _ in letters) == sorted(values)
    assert {headers["deadletter.reason"] for _, headers in letters} == {b"retries_exhausted"}

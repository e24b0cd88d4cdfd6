"""``replay`` as a client of real servers: everything arrives, and every item is accounted for."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter

import numpy as np
import pytest

from schemas.config import Backend
from schemas.errors import ConfigurationError
from schemas.signals import Signal
from streams.recording.identity import identities
from streams.wire import json as wire_json
from topologies.demo_data import FILES
from topologies.replay import Pace, Replayer, Tally, load
from topologies.replay.session import Client

ITEMS = {Signal.TRACES: 8316, Signal.METRICS: 2622, Signal.LOGS: 4468}


@pytest.fixture(scope="module")
def recording():
    return load(FILES, rng=np.random.default_rng(1), batch_max_bytes=100_000)


def backend(server, **settings) -> Backend:
    endpoint = server.endpoint if server.protocol == "grpc" else f"http://{server.endpoint}"
    retry = {"initial": 0.01, "maximum": 0.2, "max_elapsed": 20}
    return Backend.model_validate(
        {"protocol": server.protocol, "endpoint": endpoint, "retry": retry, "timeout": 2,
         "compression": "none", **settings}
    )  # fmt: skip


def ids_of(requests) -> Counter:
    return Counter((s, one) for s, data in requests for one in identities(s, data))


async def send(recording, server, **options):
    client = Client(backend(server, **options.pop("backend", {})))
    sent = []
    replayer = Replayer(
        recording, client.delivery, options.pop("pace", Pace(None)),
        rng=np.random.default_rng(5), on_sent=lambda *request: sent.append(request), **options,
    )  # fmt: skip
    async with client.running():
        await replayer.run()
    return replayer.tally, sent, client


@pytest.mark.parametrize(
    ("protocol", "compression"),
    [("grpc", "none"), ("grpc", "gzip"), ("http", "none"), ("http", "gzip"), ("http", "zstd")],
)
async def test_all_of_it_arrives(serve, recording, protocol, compression):
    async with serve(protocol) as server:
        tally, sent, _ = await send(recording, server, backend={"compression": compression})
    assert tally.complete
    assert tally.sent == ITEMS
    assert server.got.items == ITEMS
    assert ids_of((r.signal, r.data) for r in server.got.received) == ids_of(sent)


async def test_laps_have_ids_of_their_own_and_follow_each_other(serve, recording):
    async with serve() as server:
        tally, _, _ = await send(recording, server, laps=3, fresh_ids=True)
    assert tally.laps == 3
    ids = ids_of((r.signal, r.data) for r in server.got.received)
    assert ids.total() == 3 * sum(ITEMS.values())
    spans = {key: n for key, n in ids.items() if key[0] is Signal.TRACES}
    assert len(spans) == 3 * ITEMS[Signal.TRACES]
    assert len({one[:16] for _, one in spans}) == 3 * 98


def test_requests_wait_for_each_other_for_a_bounded_time():
    def spread_s(frame):
        return (frame.layout.latest_ns - frame.layout.earliest_ns) / 1e9

    rng = np.random.default_rng(1)
    alone = load(FILES, rng=rng)
    waiting = load(FILES, rng=rng, batch_max_bytes=100_000, batch_max_s=1.0)
    assert len(waiting.frames) < len(alone.frames) / 2
    assert waiting.items == alone.items
    assert max(map(spread_s, waiting.frames)) <= max(map(spread_s, alone.frames)) + 1.0


async def test_a_phase_leaves_out_the_begin_of_the_first_lap(serve, recording):
    pace, tally = Pace(1000.0), Tally()
    half = pace.lap_s(recording) / 2
    async with serve() as server:
        for number in range(2):
            await send(
                recording,
                server,
                pace=pace,
                laps=2,
                phase_s=half * number,
                tally=tally,
                fresh_ids=True,
            )
    assert tally.laps == 4
    items = server.got.items[Signal.TRACES]
    assert 3.2 * ITEMS[Signal.TRACES] < items < 3.8 * ITEMS[Signal.TRACES]
    assert tally.acknowledged == server.got.items


async def test_another_request_may_go_instead(serve, recording):
    logs = [frame for frame in recording.frames if frame.signal is Signal.LOGS]
    async with serve() as server:
        await send(
            recording,
            server,
            choose=lambda frame: logs[0] if frame is recording.frames[0] else None,
        )
    assert +Counter(server.got.items) == {Signal.LOGS: logs[0].layout.items}


async def test_now_is_now(serve, recording):
    before = time.time_ns()
    async with serve() as server:
        await send(recording, server, now=True)
    after = time.time_ns()
    length = recording.end_ns - recording.begin_ns
    from streams.recording.layout import find

    latest = [find(r.signal, r.data).latest_ns for r in server.got.received]
    assert before <= max(latest) <= after
    assert max(latest) - min(latest) == length


async def test_failures_are_retried_until_all_is_acknowledged(serve, recording):
    async with serve("grpc", fail=0.3, seed=4, retry_after_s=0.01) as server:
        tally, sent, client = await send(recording, server)
    assert tally.complete
    assert client.retries > 0
    assert ids_of((r.signal, r.data) for r in server.got.received) == ids_of(sent)


async def test_a_partial_success_is_counted_and_never_sent_again(serve, recording):
    async with serve("http", partial=1.0) as server:
        tally, _, client = await send(recording, server)
    assert not tally.complete
    assert client.retries == 0
    assert tally.acknowledged == server.got.items
    assert tally.acknowledged + tally.rejected == tally.sent == ITEMS


async def test_refusals_are_final_and_named(serve, recording):
    async with serve("grpc", refuse=1.0, refuse_code="403") as server:
        tally, _, _ = await send(recording, server)
    assert tally.failed == tally.sent == ITEMS
    assert any("PERMISSION_DENIED" in reason for reason in tally.errors)


async def test_nobody_listens(recording, serve):
    async with serve() as server:
        pass
    retry = {"initial": 0.01, "maximum": 0.02, "max_elapsed": 0.3}
    tally, _, _ = await send(recording, server, backend={"retry": retry}, concurrency=500)
    assert tally.failed == tally.sent
    assert not tally.complete


async def test_a_stop_keeps_what_is_under_way(serve, recording):
    async with serve("grpc", latency_s=0.2) as server:
        client = Client(backend(server))
        replayer = Replayer(
            recording, client.delivery, Pace(None), laps=None, rng=np.random.default_rng(1)
        )
        async with client.running():
            running = asyncio.create_task(replayer.run())
            await server.got.wait_for(lambda: bool(server.got.received))
            replayer.stop()
            await asyncio.wait_for(running, 10)
    assert replayer.tally.complete
    assert replayer.tally.sent == server.got.items


async def test_a_drain_is_bounded(serve, recording):
    async with serve("grpc", hang=1.0) as server:
        client = Client(backend(server, timeout=60))
        all_sent = asyncio.Event()

        def on_sent(signal, data):
            if replayer.tally.requests == 5:
                all_sent.set()

        replayer = Replayer(
            recording, client.delivery, Pace(None), concurrency=5,
            rng=np.random.default_rng(1), on_sent=on_sent,
        )  # fmt: skip
        async with client.running():
            running = asyncio.create_task(replayer.run(drain_s=0.05))
            await asyncio.wait_for(all_sent.wait(), 10)
            replayer.stop()
            await asyncio.wait_for(running, 5)
    assert replayer.tally.failed.total() == replayer.tally.sent.total() > 0


async def test_pace_is_kept(serve):
    few = load([FILES[1]], rng=np.random.default_rng(1))
    async with serve() as server:
        began = time.monotonic()
        tally, _, _ = await send(few, server, pace=Pace(None, 5 * ITEMS[Signal.METRICS]))
    assert tally.complete
    assert time.monotonic() - began >= 0.15  # the last request is due before 0.2 s


async def command(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "topologies.cli.main", "replay", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_command(serve, tmp_path):
    truth, ids = tmp_path / "truth.jsonl", tmp_path / "ids"
    async with serve() as server:
        code, out, err = await command(
            *map(str, FILES), "--endpoint", server.endpoint, "--speed", "max", "--now",
            "--laps", "2", "--seed", "7", "--json", "--truth", str(truth), "--ids", str(ids),
            "--batch", "200kB", "--inject", "errors:ts-order-service@10s+30s",
            "--inject", "silence:ts-price-service@0s+1h",
        )  # fmt: skip
    assert code == 0, err
    summary = json.loads(out)
    assert summary["complete"]
    assert summary["acknowledged"] == {str(s): n for s, n in server.got.items.items()}
    records = [json.loads(line) for line in truth.read_text().splitlines()]
    assert [(r["kind"], r["lap"]) for r in records] == [
        ("errors", 0), ("silence", 0), ("errors", 1), ("silence", 1)
    ]  # fmt: skip
    failed, services = Counter(), set()
    for data in server.got.of(Signal.TRACES):
        message = wire_json.REQUESTS[Signal.TRACES].FromString(data)
        for resource in message.resource_spans:
            services.add(resource.resource.attributes[0].value.string_value)
            for scope in resource.scope_spans:
                for span in scope.spans:
                    if span.status.code == 2:
                        failed[span.trace_id.hex()] += 1
                        assert any(
                            r["start_unix_nano"] <= span.start_time_unix_nano < r["end_unix_nano"]
                            for r in records if r["kind"] == "errors"
                        )  # fmt: skip
    assert "ts-price-service" not in services
    said = [r for r in records if r["kind"] == "errors"]
    assert set(failed) == {one for r in said for one in r["trace_ids"]}
    assert failed.total() == sum(r["altered"]["traces"] for r in said)
    got = {
        f"{r.signal} {one.hex()}" for r in server.got.received
        for one in identities(r.signal, r.data)
    }  # fmt: skip
    assert set(ids.read_text().splitlines()) == got


async def test_command_says_what_failed(serve):
    async with serve("http", refuse=1.0) as server:
        code, out, _ = await command(
            str(FILES[1]), "--protocol", "http", "--endpoint", server.endpoint, "--speed", "max"
        )
    assert code == 1
    assert "2,622 failed" in out
    assert "400" in out


async def test_command_ends_cleanly_on_interrupt(serve):
    async with serve() as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "topologies.cli.main", "replay", *map(str, FILES),
            "--endpoint", server.endpoint, "--loop", "--json",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await server.got.wait_for(lambda: bool(server.got.received), 20)
        os.kill(process.pid, signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, err
    assert json.loads(out)["complete"]


async def test_lines_of_a_collector(serve, tmp_path):
    message = wire_json.REQUESTS[Signal.LOGS]()
    record = message.resource_logs.add().scope_logs.add().log_records.add(trace_id=b"\5" * 16)
    record.body.string_value = "hello"
    file = tmp_path / "anything.jsonl"
    line = wire_json.encode(Signal.LOGS, message.SerializeToString())
    file.write_bytes(line + b"\n" + line + b"\n")
    async with serve() as server:
        tally, _, _ = await send(load([file], rng=np.random.default_rng(0)), server)
    assert tally.complete
    assert server.got.of(Signal.LOGS) == [message.SerializeToString()] * 2


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("traces.zst", None, "No such file"),
        ("unknown.bin", b"\0\0\0\1a", "--signal"),
        ("traces.bin", b"", "empty"),
        ("traces.bin", b"\xff\xff\xff\xff", "FRAME_SIZE_MAX_BYTES"),
    ],
)
def test_files_that_cannot_be_replayed(tmp_path, name, data, says):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigurationError, match=says):
        load([path], rng=np.random.default_rng(0))

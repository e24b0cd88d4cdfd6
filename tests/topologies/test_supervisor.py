"""The supervisor over real processes."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import aiohttp
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from schemas.config import Config
from schemas.config.load import load
from topologies.supervisor import Instance, Supervisor, instances

SCRIPT = Path(__file__).with_name("child_process.py")
ROOT = Path(__file__).parents[2]


def configuration(stop_timeout: str = "10s", restart_maximum: str = "200ms") -> Config:
    return load(
        f"""
        telemetry: {{endpoint: "127.0.0.1:0"}}
        runtime: {{restart_initial: 50ms, restart_maximum: {restart_maximum},
                   drain_timeout: 0, stop_timeout: {stop_timeout}}}
        """
    )


def build(
    folder: Path, how: Mapping[str, str], config: Config | None = None, **more: object
) -> Supervisor:
    return Supervisor(
        config or configuration(),
        instances(tuple(how), 1),
        lambda i: [sys.executable, str(SCRIPT), how[i.stage], str(folder), i.stage],
        environment={"PYTHONPATH": str(ROOT)},
        **more,  # type: ignore[arg-type]
    )


def pids(folder: Path) -> list[int]:
    return [int(file.read_text()) for file in folder.glob("*.pid")]


async def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - files of another process have no event
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[int]]:
    task = asyncio.create_task(supervisor.run())
    try:
        yield task
    finally:
        supervisor.stop()
        await task


async def get(supervisor: Supervisor, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{supervisor.admin.endpoint}{path}") as response,
    ):
        return response.status, await response.text()


def test_an_instance_for_each_worker() -> None:
    assert [i.name for i in instances(("ingest", "export:a"), 2)] == [
        "ingest#0", "ingest#1", "export:a#0", "export:a#1",
    ]  # fmt: skip
    assert Instance("a", 0) in instances(("a",), 1)


async def test_one_door_to_all(tmp_path: Path) -> None:
    output = io.StringIO()
    supervisor = build(tmp_path, {"ingest": "good", "export:a": "good"}, output=output)
    async with running(supervisor) as task:
        await until(lambda: len(list(tmp_path.glob("*.up"))) == 2)
        assert (await get(supervisor, "/livez"))[0] == 200
        assert await get(supervisor, "/readyz") == (200, '{"ready": true, "reasons": {}}')

        status = json.loads((await get(supervisor, "/status"))[1])["processes"]
        assert [p["stage"] for p in status] == ["ingest", "export:a"]
        for process in status:
            assert process["state"] == "running"
            assert process["ready"] is True
            assert process["restarts"] == 0
            assert process["pid"] == int((tmp_path / f"{process['stage']}.pid").read_text())

        text = (await get(supervisor, "/metrics"))[1]
        samples = {
            (s.name, s.labels.get("stage"), s.labels.get("worker")): s.value
            for family in text_string_to_metric_families(text)
            for s in family.samples
        }
        assert samples["x_total", "ingest", "0"] == 7
        assert samples["x_total", "export:a", "0"] == 7
        assert samples["otlp_streams_supervisor_up", "ingest", "0"] == 1
        assert samples["process_resident_memory_bytes", "supervisor", None] > 0
        supervisor.stop()
        assert await task == 0
    written = output.getvalue().splitlines()
    assert "ingest#0   │ hello from ingest" in written
    assert "export:a#0 │ an open line" in written
    assert "an open line" in written[-1]


async def test_one_that_is_not_ready_is_named_with_its_reason(tmp_path: Path) -> None:
    supervisor = build(tmp_path, {"ingest": "good", "export:a": "unready"}, output=io.StringIO())
    async with running(supervisor):
        await until(lambda: len(list(tmp_path.glob("*.up"))) == 2)
        status, body = await get(supervisor, "/readyz")
        assert status == 503
        assert json.loads(body)["reasons"] == {"export:a#0": "kafka: away"}
        (tmp_path / "ready").touch()
        assert (await get(supervisor, "/readyz"))[0] == 200


async def test_what_one_warns_of_is_told_though_all_are_ready(tmp_path: Path) -> None:
    supervisor = build(tmp_path, {"ingest": "good", "sample": "warned"}, output=io.StringIO())
    async with running(supervisor):
        await until(lambda: len(list(tmp_path.glob("*.up"))) == 2)
        status, body = await get(supervisor, "/readyz")
        assert status == 200
        assert json.loads(body) == {
            "ready": True, "reasons": {}, "warnings": {"sample#0": "sample: a look"},
        }  # fmt: skip


async def test_what_dies_is_started_again_after_a_growing_pause(tmp_path: Path) -> None:
    supervisor = build(tmp_path, {"ingest": "exit70", "export:a": "good"}, output=io.StringIO())
    with capture_logs() as logs:
        async with running(supervisor):
            await until(lambda: sum(e["log_level"] == "warning" for e in logs) >= 4)
            process = json.loads((await get(supervisor, "/status"))[1])["processes"][0]
            assert process["restarts"] >= 3
            assert process["last_exit"] == "70"
            assert process["ready"] is False
    pauses = [e["pause_s"] for e in logs if e["log_level"] == "warning"]
    assert pauses[:4] == [0.05, 0.1, 0.2, 0.2]


async def test_after_a_healthy_time_the_pause_is_short_again(tmp_path: Path) -> None:
    supervisor = build(tmp_path, {"ingest": "exit1"}, output=io.StringIO(), healthy_s=0.0)
    with capture_logs() as logs:
        async with running(supervisor):
            await until(lambda: sum(e["log_level"] == "warning" for e in logs) >= 3)
    assert {e["pause_s"] for e in logs if e["log_level"] == "warning"} == {0.05}


async def test_one_killed_from_outside_comes_back(tmp_path: Path) -> None:
    supervisor = build(tmp_path, {"ingest": "good"}, output=io.StringIO())
    async with running(supervisor):
        await until((tmp_path / "ingest.up").exists)
        first = int((tmp_path / "ingest.pid").read_text())
        (tmp_path / "ingest.up").unlink()
        os.kill(first, signal.SIGKILL)
        await until((tmp_path / "ingest.up").exists)
        process = json.loads((await get(supervisor, "/status"))[1])["processes"][0]
        assert process["last_exit"] == "SIGKILL"
        assert process["restarts"] == 1
        assert process["pid"] != first


async def test_a_configuration_error_of_one_ends_all(tmp_path: Path) -> None:
    supervisor = build(tmp_path, {"ingest": "good", "export:a": "exit78"}, output=io.StringIO())
    assert await asyncio.wait_for(supervisor.run(), 20) == 78
    assert not any(_alive(pid) for pid in pids(tmp_path))


async def test_one_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    config = configuration(stop_timeout="300ms")
    supervisor = build(tmp_path, {"ingest": "stubborn"}, config, output=io.StringIO())
    async with running(supervisor) as task:
        await until((tmp_path / "ingest.up").exists)
        supervisor.stop()
        assert await asyncio.wait_for(task, 10) == 70
    assert not psutil.pid_exists(int((tmp_path / "ingest.pid").read_text()))


async def test_a_second_stop_does_not_wait(tmp_path: Path) -> None:
    config = configuration(stop_timeout="60s")
    supervisor = build(tmp_path, {"ingest": "stubborn"}, config, output=io.StringIO())
    async with running(supervisor) as task:
        await until((tmp_path / "ingest.up").exists)
        supervisor.stop()
        await asyncio.sleep(0)
        supervisor.stop()
        assert await asyncio.wait_for(task, 10) == 70


async def test_a_bad_end_is_told(tmp_path: Path) -> None:
    supervisor = build(tmp_path, {"ingest": "sour"}, output=io.StringIO())
    async with running(supervisor) as task:
        await until((tmp_path / "ingest.up").exists)
        supervisor.stop()
        assert await task == 70


async def test_one_that_is_stopped_before_it_has_begun_is_no_error(tmp_path: Path) -> None:
    supervisor = build(tmp_path, {"ingest": "slow"}, output=io.StringIO())
    async with running(supervisor) as task:
        await until((tmp_path / "ingest.pid").exists)
        assert (await get(supervisor, "/readyz")) == (
            503,
            '{"ready": false, "reasons": {"ingest#0": "starting"}}',
        )
        supervisor.stop()
        assert await task == 0


async def test_metrics_that_cannot_be_read_hide_nobody_elses(tmp_path: Path) -> None:
    supervisor = build(tmp_path, {"ingest": "good", "export:a": "garbled"}, output=io.StringIO())
    async with running(supervisor):
        await until(lambda: len(list(tmp_path.glob("*.up"))) == 2)
        with capture_logs() as logs:
            status, text = await get(supervisor, "/metrics")
        assert status == 200
        assert 'x_total{stage="ingest",worker="0"} 7.0' in text
        assert [e["event"] for e in logs] == ["unreadable metrics"]


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    supervisor = Supervisor(
        configuration(), instances(("a",), 1), lambda _: ["/nonexistent"], output=io.StringIO()
    )
    with capture_logs() as logs:
        async with running(supervisor):
            await until(lambda: any(e["event"] == "cannot start" for e in logs))


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2)")
async def test_processes_die_with_their_supervisor(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
from topologies.supervisor import Supervisor, instances
from schemas.config.load import load
async def main():
    await Supervisor(load("telemetry: {{endpoint: '127.0.0.1:0'}}"), instances(("a", "b"), 1),
        lambda i: [sys.executable, {str(SCRIPT)!r}, "orphan", {str(tmp_path)!r}, i.stage],
        environment={{"PYTHONPATH": {str(ROOT)!r}}}).run()
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, stderr=asyncio.subprocess.DEVNULL
    )
    await until(lambda: len(list(tmp_path.glob("*.up"))) == 2)
    children = pids(tmp_path)
    parent.kill()
    await parent.wait()
    await until(lambda: not any(_alive(pid) for pid in children))


def _alive(pid: int) -> bool:
    # Where nothing reaps orphans they stay as zombies; those are dead enough.
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def test_a_line_without_end_is_broken_up(tmp_path: Path) -> None:
    output = io.StringIO()
    program = "import sys; sys.stdout.write('x' * 3_000_000); sys.exit(78)"
    supervisor = Supervisor(
        configuration(),
        instances(("a",), 1),
        lambda _: [sys.executable, "-c", program],
        output=output,
    )
    started = time.monotonic()
    assert await supervisor.run() == 78
    lines = output.getvalue().splitlines()
    assert sum(line.count("x") for line in lines) == 3_000_000
    assert max(map(len, lines)) < 1_200_000
    assert time.monotonic() - started < 60

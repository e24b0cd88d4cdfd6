"""``run`` on a real Kafka: workers that share ports, and a supervisor that is worth its name."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from schemas.config import TopicNames
from topologies.localkafka.probe import free_ports

ROOT = Path(__file__).parents[2]


def until(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
    return found


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def logs_request() -> bytes:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "hello"
    return request.SerializeToString()


def post(port: int) -> int:
    """One request on a connection of its own."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/logs",
        data=logs_request(),
        headers={"Content-Type": "application/x-protobuf"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return int(answer.status)


class Running:
    """``otlp-streams run`` with free ports."""

    def __init__(self, folder: Path, bootstrap: str, make_topic: Callable[..., str]) -> None:
        self.grpc, self.http, self.admin = free_ports(3)
        names = {name: make_topic(3) for name in TopicNames.model_fields}
        self.file = folder / "otlp-streams.yaml"
        self.file.write_text(
            json.dumps(
                {
                    "kafka": {"brokers": [bootstrap], "group_prefix": names["spans"]},
                    "topics": {"names": names, "partitions": 3},
                    "ingest": {
                        "grpc": {"endpoint": f"127.0.0.1:{self.grpc}"},
                        "http": {"endpoint": f"127.0.0.1:{self.http}"},
                    },
                    "runtime": {"restart_initial": "100ms"},
                    "telemetry": {"endpoint": f"127.0.0.1:{self.admin}"},
                }
            )
        )
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "topologies.cli.main", "run", *arguments]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--config", str(self.file)], cwd=ROOT, stdout=output, stderr=output
            )
        until(self.ready)

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        return get(self.admin, "/readyz")[0] == 200

    def processes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(get(self.admin, "/status")[1])["processes"]
        return found

    def sample(self, name: str, **labels: str) -> dict[str, float]:
        """Values by worker."""
        values: dict[str, float] = {}
        for family in text_string_to_metric_families(get(self.admin, "/metrics")[1]):
            for s in family.samples:
                if s.name == name and labels.items() <= s.labels.items():
                    worker = s.labels.get("worker", "")
                    values[worker] = values.get(worker, 0) + s.value
        return values

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(40)


@pytest.fixture
def running(tmp_path: Path, bootstrap: str, make_topic: Callable[..., str]) -> Iterator[Running]:
    running = Running(tmp_path, bootstrap, make_topic)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.process.kill()
        running.process.wait()


def test_workers_share_the_ports_and_one_killed_comes_back(running: Running) -> None:
    running.start("ingest", "--workers", "2")
    first = running.processes()
    assert [(p["stage"], p["worker"], p["ready"]) for p in first] == [
        ("ingest", 0, True),
        ("ingest", 1, True),
    ]
    counter = "otlp_streams_receiver_requests_total"
    sent = 0

    def both_served() -> bool:
        nonlocal sent
        assert post(running.http) == 200
        sent += 1
        return len([v for v in running.sample(counter, signal="logs").values() if v]) == 2

    until(both_served)
    assert sum(running.sample(counter, signal="logs", code="200").values()) == sent

    os.kill(first[0]["pid"], signal.SIGKILL)
    until(lambda: running.processes()[0]["restarts"] == 1)
    until(running.ready)
    assert running.sample("otlp_streams_supervisor_restarts_total") == {"0": 1, "1": 0}
    assert post(running.http) == 200
    assert running.processes()[1]["pid"] == first[1]["pid"]
    assert running.stop(signal.SIGINT) == 0, running.log.read_text()
    for port in (running.grpc, running.http, running.admin):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), 5).close()


def test_one_stage_runs_in_the_process_itself(running: Running) -> None:
    running.start("ingest")
    assert post(running.http) == 200
    assert get(running.admin, "/status")[0] == 404, "no supervisor"
    assert "process_resident_memory_bytes" in get(running.admin, "/metrics")[1]
    assert running.stop() == 0, running.log.read_text()


def fails(running: Running, stage: str) -> str:
    command = [sys.executable, "-m", "topologies.cli.main", "run", stage]
    done = subprocess.run(
        [*command, "--config", str(running.file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 78
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr


@pytest.mark.parametrize("stage", ["ingest", "all"])
def test_a_port_that_is_taken_is_a_configuration_error(running: Running, stage: str) -> None:
    with socket.create_server(("127.0.0.1", running.http)):
        assert f"127.0.0.1:{running.http}" in fails(running, stage)


def test_a_topic_that_is_missing_is_a_configuration_error(running: Running) -> None:
    settings = json.loads(running.file.read_text())
    settings["topics"] |= {"create": False}
    settings["topics"]["names"]["logs"] = "not-there"
    running.file.write_text(json.dumps(settings))
    assert "not-there" in fails(running, "ingest")

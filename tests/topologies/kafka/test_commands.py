"""``otlp-streams kafka`` and ``otlp-streams topics``, as a person runs them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.config import TopicNames
from schemas.config.load import load
from schemas.topics import topic_specs
from tests.conftest import MakeTopic
from topologies.localkafka import LocalKafka
from topologies.localkafka.probe import answers_metadata, free_ports

COMMAND = [sys.executable, "-m", "topologies.cli.main"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def config(kafka: LocalKafka, group: str, tmp_path: Path) -> Path:
    file = tmp_path / "otlp-streams.yaml"
    names = {each: f"{group}.{each}" for each in TopicNames.model_fields}
    file.write_text(
        json.dumps(
            {
                "kafka": {"brokers": [kafka.bootstrap]},
                "topics": {"partitions": 2, "retention": "30m", "names": names},
            }
        )
    )
    return file


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_kafka_serves_until_told_to_end(tmp_path: Path, ending: signal.Signals) -> None:
    port = free_ports(1)[0]
    keep = ending is signal.SIGTERM
    arguments = ["kafka", "--port", str(port), "--data", str(tmp_path / "data")]
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--keep" if keep else "--discard"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert f"serves 127.0.0.1:{port}" in line
        assert ("are kept" if keep else "discarded") in line
        assert answers_metadata("127.0.0.1", port)
        process.send_signal(ending)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "Apache Kafka has stopped." in errors
    assert "Traceback" not in errors
    assert not answers_metadata("127.0.0.1", port)
    assert (tmp_path / "data").exists() == keep


def test_kafka_on_a_port_that_is_taken(kafka: LocalKafka, tmp_path: Path) -> None:
    done = run("kafka", "--port", str(kafka.port), "--data", str(tmp_path / "data"))
    assert done.returncode == 70
    assert f"port {kafka.port} of 127.0.0.1 is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_topics_from_missing_to_fine(config: Path, group: str) -> None:
    missing = run("topics", "check", "--config", str(config))
    assert missing.returncode == 1
    assert f"{group}.spans: missing" in missing.stdout

    created = run("topics", "create", "--config", str(config))
    assert created.returncode == 0, created.stderr
    assert f"{group}.spans: created, 2 partitions" in created.stdout
    assert "lost: Kafka is the only buffer" in created.stderr  # 30 minutes of retention

    fine = run("topics", "check", "--config", str(config))
    assert fine.returncode == 0
    specs = topic_specs(load(config.read_text()))
    assert f"{len(specs)} topics are as configured." in fine.stdout

    again = run("topics", "create", "--config", str(config))
    assert "Every topic is there already." in again.stdout

    listed = run("topics", "list", "--json", "--config", str(config))
    rows = {row["topic"]: row for row in json.loads(listed.stdout)}
    assert rows[f"{group}.logs"]["state"] == "fine"
    assert rows[f"{group}.logs"]["retention"] == "30m"
    assert rows[f"{group}.deadletter"]["retention"] == "14d"


def test_topics_that_differ(config: Path, group: str, make_topic: MakeTopic) -> None:
    settings = json.loads(config.read_text())
    settings["topics"]["names"]["spans"] = make_topic(1)
    config.write_text(json.dumps(settings))
    assert run("topics", "create", "--config", str(config)).returncode == 0
    done = run("topics", "check", "--json", "--config", str(config))
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["missing"] == []
    assert {each["setting"] for each in found["differences"]} == {
        "partitions",
        "message.timestamp.type",
        "retention.ms",
    }
    table = run("topics", "check", "--config", str(config)).stdout
    assert "LogAppendTime" in table
    assert "CreateTime" in table
    assert "differs" in run("topics", "list", "--config", str(config)).stdout


def test_topics_without_kafka(config: Path) -> None:
    settings = json.loads(config.read_text())
    settings["kafka"]["brokers"] = [f"127.0.0.1:{free_ports(1)[0]}"]
    config.write_text(json.dumps(settings))
    done = run("topics", "list", "--config", str(config))
    assert done.returncode == 75
    assert done.stderr.count("\n") == 1
    assert "nobody listens there (kafka.brokers)" in done.stderr


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands must not depend on the directory in which they are run."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return


def test_kafka_without_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    done = run("kafka", "--port", "0", "--data", str(tmp_path / "data"))
    assert done.returncode == 78
    assert "install a JRE" in done.stderr
    assert "kafka.brokers" in done.stderr
    assert "Traceback" not in done.stderr

"""The broker process: data kept or discarded, ports, failures, and never an orphan."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import MakeTopic
from topologies.localkafka import LocalKafka, LocalKafkaFailed
from topologies.localkafka.probe import answers_metadata, free_ports

PARENT = """\
import sys, time
from pathlib import Path
from topologies.localkafka import LocalKafka
broker = LocalKafka(Path(sys.argv[1]))
broker.start()
print(broker.pid, flush=True)
time.sleep(600)
"""


def gone(pid: int, within_s: float = 20.0) -> bool:
    """Whether the process has ended; waits for it."""
    deadline = time.monotonic() + within_s
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not psutil.pid_exists(pid)


def test_data_outlive_a_clean_stop_when_kept(tmp_path: Path, make_topic: MakeTopic) -> None:
    with LocalKafka(tmp_path / "k") as first:
        name = make_topic(2, on=first)
        pid = first.pid
        assert pid is not None
    assert gone(pid)
    assert (tmp_path / "k/data" / f"{name}-1").is_dir()
    (tmp_path / "k/notes.txt").write_text("not Kafka's")
    # Other ports, same data: a second run of the same directory.
    with LocalKafka(tmp_path / "k", keep=False) as second:
        assert (tmp_path / "k/data" / f"{name}-1").is_dir()
        assert answers_metadata(second.host, second.port)
        warnings = second.log_file.read_text()
    assert "unclean" not in warnings.lower()
    assert [file.name for file in (tmp_path / "k").iterdir()] == ["notes.txt"]


def test_a_temporary_directory_is_removed() -> None:
    with LocalKafka() as broker:
        assert broker.directory is not None
        assert broker.directory.is_dir()
        watcher = broker._watcher
        assert watcher is not None
    assert not broker.directory.exists()
    assert not broker.running
    assert gone(watcher.pid)


def test_a_port_that_is_taken_is_told(kafka: LocalKafka, tmp_path: Path) -> None:
    # By a Kafka, of all things, which would answer the question whether ours is ready.
    broker = LocalKafka(tmp_path / "k", port=kafka.port)
    with pytest.raises(LocalKafkaFailed, match=f"port {kafka.port} of 127.0.0.1 is taken"):
        broker.start()
    assert not broker.running
    assert not (tmp_path / "k").exists()


def test_a_broker_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    broker = LocalKafka(tmp_path / "k", keep=False, settings={"num.io.threads": "none"})
    with pytest.raises(LocalKafkaFailed, match=r"num\.io\.threads"):
        broker.start()
    assert not broker.running
    broker.close()
    assert not (tmp_path / "k").exists()


def test_a_killed_parent_takes_the_broker_along(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "k")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    try:
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    assert gone(pid)


def test_who_answers_metadata(kafka: LocalKafka) -> None:
    assert answers_metadata(kafka.host, kafka.port)
    assert not answers_metadata("127.0.0.1", free_ports(1)[0])
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        assert not answers_metadata("127.0.0.1", mute.getsockname()[1], timeout_s=0.05)


def test_free_ports_differ_and_are_not_for_clients() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(15_000 <= port < 32_768 for port in ports)


def test_no_automatic_topics(kafka: LocalKafka) -> None:
    assert kafka.directory is not None
    text = (kafka.directory / "server.properties").read_text()
    assert "auto.create.topics.enable=false\n" in text
    assert (kafka.directory / "server.properties").stat().st_mode & 0o077 == 0


def test_a_broker_that_ended_by_itself_starts_again(broker: LocalKafka) -> None:
    pid, watcher = broker.pid, broker._watcher
    assert pid is not None
    assert watcher is not None
    os.kill(pid, signal.SIGKILL)  # by somebody else
    deadline = time.monotonic() + 10
    while broker.running and time.monotonic() < deadline:
        time.sleep(0.01)
    assert broker.pid is None
    broker.start()
    assert broker.running
    assert watcher.poll() is not None
    assert answers_metadata(broker.host, broker.port)


def test_users_that_would_break_the_settings() -> None:
    for users in ({"a": 'b"c'}, {"a,b": "c"}, {"": "c"}, {"a": "b]"}):
        with pytest.raises(ValueError, match="without quotes"):
            LocalKafka(users=users)

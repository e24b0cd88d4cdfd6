"""``otlp-streams backend`` as a process."""

from __future__ import annotations

import contextlib
import json
import re
import signal as signals
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from schemas.errors import ConfigurationError
from schemas.signals import Signal
from streams.recording.frames import read
from streams.wire.json import decode
from tests.streams.edges.receivers.requests import request_of
from topologies.cli.main import app

PROTOBUF = "application/x-protobuf"


@dataclass
class Running:
    process: subprocess.Popen[str]
    grpc_port: int
    http_port: int

    def post(self, signal: Signal, data: bytes) -> int:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{signal.http_path}",
            data,
            {"Content-Type": PROTOBUF},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def export(self, signal: Signal, data: bytes) -> bytes:
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            return bytes(channel.unary_unary(signal.grpc_method)(data, timeout=10))

    def stop(self, number: int = signals.SIGTERM) -> tuple[str, str]:
        """What it has printed; it must have ended well."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=15)
        assert self.process.returncode == 0, err
        return out, err


@contextlib.contextmanager
def backend(*options: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "topologies.cli.main", "backend"]
    process = subprocess.Popen(
        [*command, "--grpc-port", "0", "--http-port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        line = process.stderr.readline()
        ports = re.fullmatch(r"backend: grpc 127\.0\.0\.1:(\d+), http 127\.0\.0\.1:(\d+)\n", line)
        assert ports, line + process.stderr.read()
        yield Running(process, int(ports[1]), int(ports[2]))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_counts_and_sums_up(tmp_path: Path) -> None:
    with backend("--json", "--store", str(tmp_path / "got")) as running:
        sent: dict[Signal, list[bytes]] = {signal: [] for signal in Signal}
        for number, signal in enumerate(Signal, 2):
            for data in (request_of(signal, number), request_of(signal, 1)):
                sent[signal].append(data)
            running.export(signal, sent[signal][0])
            assert running.post(signal, sent[signal][1]) == 200
        assert running.post(Signal.TRACES, b"\x0a\xff") == 400
        out, _ = running.stop()
    summary = json.loads(out)
    assert summary["requests"] == {"traces": 2, "metrics": 2, "logs": 2}
    assert summary["items"] == {"traces": 3, "metrics": 4, "logs": 5}
    assert summary["bytes"] == sum(len(data) for each in sent.values() for data in each)
    for signal in Signal:
        with (tmp_path / f"got.{signal.value}.otlp.zst").open("rb") as file:
            stored = list(read(file, signal, decode))
        assert [(one.signal, one.data) for one in stored] == [(signal, d) for d in sent[signal]]


def test_stores_lines(tmp_path: Path) -> None:
    name = tmp_path / "got.jsonl"
    with backend("--quiet", "--store", str(name)) as running:
        for signal in Signal:
            running.export(signal, request_of(signal))
        out, err = running.stop(signals.SIGINT)
    assert "traces" in out
    assert "/s" not in err
    with name.open("rb") as file:
        stored = list(read(file, None, decode))
    assert [(one.signal, one.data) for one in stored] == [(s, request_of(s)) for s in Signal]


def test_prints_a_line_a_second() -> None:
    with backend() as running:
        running.export(Signal.TRACES, request_of(Signal.TRACES, 1234))
        assert running.process.stderr
        line = next(line for line in running.process.stderr if "1,234/s" in line)
        assert "traces" in line
        out, _ = running.stop()
    assert "1,234" in out


def test_misbehaves_as_told() -> None:
    options = ("--json", "--refuse", "0.5:403", "--fail", "0.5", "--seed", "3")
    with backend(*options) as running:
        answers = [running.post(Signal.TRACES, request_of(Signal.TRACES)) for _ in range(20)]
        out, _ = running.stop()
    assert 403 in answers
    assert set(answers) <= {403, 429, 502, 503, 504}
    summary = json.loads(out)
    assert summary["items"]["traces"] == 0
    assert summary["fates"] == {"refuse": answers.count(403), "fail": 20 - answers.count(403)}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--latency", "soon"], "a duration is"),
        (["--refuse", "0.1:200"], "'200' is not a final refusal; known: 400 INVALID_ARGUMENT"),
        (["--fail", "0.9", "--hang", "0.2"], "together at most 1"),
        (["--host", "nowhere.invalid"], "cannot listen on nowhere.invalid"),
        (["--store", "/dev/null/file.jsonl"], "--store: /dev/null/file.jsonl"),
    ],
)
def test_what_it_is_told_must_make_sense(options: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["backend", "--grpc-port", "0", "--http-port", "0", *options])
    assert isinstance(result.exception, ConfigurationError)
    assert says in str(result.exception)

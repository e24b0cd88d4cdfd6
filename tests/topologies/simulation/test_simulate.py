"""``sampling simulate``: recordings in, tables and pictures out."""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path

import pytest

from streams.recording import frames
from tests.streams.sampling.traffic import START_MS, Told, request
from topologies.cli.main import main

POLICIES = """
sampling:
  policies:
    - {name: errors, match: {status: error}, always: true, exempt: true}
    - {name: "rest", budget: {traces_per_second: 5}}
topics: {partitions: 2}
"""


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Twenty seconds with ten traces each, a twentieth of them with an error."""
    file = tmp_path / "traces.otlp.zst"
    requests = []
    for second in range(20):
        now_ms = START_MS + 1000 * second
        numbers = range(1 + 10 * second, 11 + 10 * second)
        spans = [Told(n, name=f"op{n % 3}$", error=n % 20 == 0) for n in numbers]
        requests.append(request(spans, now_ms))
    with file.open("wb") as stream:
        frames.write(stream, requests)
    return file


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "policies.yaml"
    file.write_text(POLICIES)
    return file


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["otlp-streams", "sampling", "simulate", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_it_tells_people(
    recording: Path,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, recording, "--config", config, "--keys", "2") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "traces 200 " in said
    assert "with errors 10 10 100.0%" in said
    assert "errors 10 10 100.0% 10 of 10 10 +0.0%" in said
    assert "service=cart operation=op1$ status=ok" in said
    assert "and 3 keys more" in said or "and 4 keys more" in said
    assert "latency p99" in said


def test_it_tells_programs_and_depends_on_the_seed_alone(
    recording: Path,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = {}
    for seed in ("1", "1", "2"):
        arguments = ("--json", "--seed", seed, "--laps", "3", "--speed", "2")
        assert run(monkeypatch, recording, "--config", config, *arguments) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["total"]["traces"] == 600
        assert told["came"]["spans"] == 600
        assert told["went"]["spans"] == told["total"]["kept"]
        assert found.setdefault(seed, told) == told
    assert found["1"] != found["2"]


@pytest.mark.parametrize(("name", "begins"), [("it.png", b"\x89PNG"), ("it.SVG", b"<?xml")])
def test_it_draws(
    name: str, begins: bytes, recording: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = []
    for directory in ("a", "b"):
        image = recording.parent / directory / name
        image.parent.mkdir()
        assert run(monkeypatch, recording, "--config", config, "--image", image) == 0
        pictures.append(zlib.crc32(image.read_bytes()))
        assert image.read_bytes().startswith(begins)
    assert pictures[0] == pictures[1]
    if name.endswith("SVG"):
        text = image.read_text()
        assert "target of rest" in text
        assert "kept traces a second, by policy" in text


def test_faults_can_be_put_in(
    recording: Path,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("--json", "--seed", "1", "--inject", "errors:cart@0s+10s,rate=1")
    assert run(monkeypatch, recording, "--config", config, *arguments) == 0
    assert json.loads(capsys.readouterr().out)["total"]["errors"] > 90


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("missing.otlp.zst",), "missing.otlp.zst: No such file"),
        (("{recording}", "--image", "picture.gif"), "a picture is svg or png"),
        (("{recording}", "--image", "{recording}/x/y.png"), "Not a directory"),
        (("{recording}", "--config", "{broken}"), "traces_per_secnd"),
        (("{recording}", "--config", "nowhere.yaml"), "nowhere.yaml"),
        (("{damaged}",), "damaged.otlp: damaged: recording ends inside a frame"),
        (("{logs}",), "no spans in there"),
        (("{recording}", "--inject", "errors:cart"), "errors:cart"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: tuple[str, ...],
    said: str,
    recording: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = recording.parent
    (folder / "damaged.otlp").write_bytes(b"\0\0\0\x09four")
    broken = "sampling: {policies: [{name: a, budget: {traces_per_secnd: 1}}]}"
    (folder / "broken.yaml").write_text(broken)
    with (folder / "logs.jsonl").open("w") as lines:
        lines.write(
            '{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"severityNumber": 9}]}]}]}\n'
        )
    files = {"recording": recording, "damaged": "damaged.otlp", "broken": "broken.yaml", "logs": "logs.jsonl"}  # fmt: skip  # noqa: E501
    monkeypatch.chdir(folder)
    assert run(monkeypatch, *(each.format(**files) for each in arguments)) == 78
    assert said in capsys.readouterr().err

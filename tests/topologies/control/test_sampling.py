"""Numbers of policies, set and shown by the command line, on a real Kafka."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# One process for all of them: most of a command's time is its start.
_COMMANDS = """
import json, sys
from typer.testing import CliRunner
from topologies.cli.main import app
for arguments in json.load(sys.stdin):
    result = CliRunner().invoke(app, arguments)
    failed = result.exception is not None and not isinstance(result.exception, SystemExit)
    print(json.dumps([str(result.exception) if failed else "", result.output]))
"""
_POLICIES = [
    {"name": "slow", "match": {"latency": {"min": "1s"}}, "probability": 0.5},
    {"name": "rest", "budget": {"bytes_per_second": "5MiB"}},
]


def commands(config_file: Path, *lines: str) -> list[tuple[str, str]]:
    """Each line's error and output."""
    arguments = [["sampling", *line.split(), "--config", str(config_file)] for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", _COMMANDS],
        input=json.dumps(arguments), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_the_commands(config_file: Path) -> None:
    [(error, _)] = commands(config_file, "get")
    assert error == "there is nothing to set: sampling.enabled is false"
    settings = json.loads(config_file.read_text())
    settings["sampling"] = {"enabled": True, "policies": _POLICIES}
    config_file.write_text(json.dumps(settings))

    done, *refused, shown, _, again, history = commands(
        config_file,
        "set rest.bytes_per_second=1MiB sampling.slow.probability=0.25 --reason incident",
        "set rest.errors=2 rest.bytes_per_second",
        "set rest.errors=2 rest.bytes_per_sec=1",
        "set rest.errors=2 slow.probability=2",
        "get --json",
        "unset slow.probability",
        "get slow.probability",
        "history",
    )
    assert done[1].splitlines() == [
        "sampling.rest.bytes_per_second: (configuration) -> 1MiB (control record 0)",
        "sampling.slow.probability: (configuration) -> 0.25 (control record 2)",
    ]
    assert [error for error, _ in refused] == [
        "'rest.bytes_per_second' is not POLICY.SETTING=VALUE",
        "'sampling.rest.bytes_per_sec' cannot be set at run time; "
        "did you mean sampling.rest.bytes_per_second?",
        "sampling.slow.probability: '2': input should be less than or equal to 1",
    ]
    values = {each["name"]: each["value"] for each in json.loads(shown[1])}
    assert values["sampling.slow.probability"] == 0.25
    assert values["sampling.rest.bytes_per_second"] == 1 << 20
    assert values["sampling.rest.errors"] == 5.0, "nothing is set when one of several is wrong"
    assert "log.level" not in values
    assert "0.5" in again[1]
    for said in ("incident", "0.25 → (configuration)", "(configuration) → 1MiB"):
        assert said in history[1]

"""Numbers of policies, set and shown by the command line, on a real Kafka."""

from __future__ import annotations

import json
from pathlib import Path

from tests.command_line import commands

_POLICIES = [
    {"name": "slow", "match": {"latency": {"min": "1s"}}, "probability": 0.5},
    {"name": "rest", "budget": {"bytes_per_second": "5MiB"}},
]


def test_the_commands(config_file: Path) -> None:
    [said] = commands(config_file, "sampling get")
    assert said.error == "ConfigurationError: there is nothing to set: sampling.enabled is false"
    settings = json.loads(config_file.read_text())
    settings["sampling"] = {"enabled": True, "policies": _POLICIES}
    config_file.write_text(json.dumps(settings))

    done, *refused, shown, _, again, history = commands(
        config_file,
        "sampling set rest.bytes_per_second=1MiB sampling.slow.probability=0.25 --reason incident",
        "sampling set rest.errors=2 rest.bytes_per_second",
        "sampling set rest.errors=2 rest.bytes_per_sec=1",
        "sampling set rest.errors=2 slow.probability=2",
        "sampling get --json",
        "sampling unset slow.probability",
        "sampling get slow.probability",
        "sampling history",
    )
    assert done.output.splitlines() == [
        "sampling.rest.bytes_per_second: (configuration) -> 1MiB (control record 0)",
        "sampling.slow.probability: (configuration) -> 0.25 (control record 2)",
    ]
    assert [each.error.removeprefix("ConfigurationError: ") for each in refused] == [
        "'rest.bytes_per_second' is not POLICY.SETTING=VALUE",
        "'sampling.rest.bytes_per_sec' cannot be set at run time; "
        "did you mean sampling.rest.bytes_per_second?",
        "sampling.slow.probability: '2': input should be less than or equal to 1",
    ]
    values = {each["name"]: each["value"] for each in json.loads(shown.output)}
    assert values["sampling.slow.probability"] == 0.25
    assert values["sampling.rest.bytes_per_second"] == 1 << 20
    assert values["sampling.rest.errors"] == 5.0, "nothing is set when one of several is wrong"
    assert "log.level" not in values
    assert "0.5" in again.output
    for said in ("incident", "0.25 → (configuration)", "(configuration) → 1MiB"):
        assert said in history.output

"""Commands of ``otlp-streams``, several in one process: most of a command's time is its start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["Said", "commands"]

_PROGRAM = """
import json, sys
from typer.testing import CliRunner
from topologies.cli import main
sys.argv = ["otlp-streams"]
for arguments in json.load(sys.stdin):
    result = CliRunner().invoke(main.app, arguments)
    error = result.exception
    ended = error is None or isinstance(error, SystemExit)
    failed = "" if ended else f"{type(error).__name__}: {error}"
    print(json.dumps([result.exit_code, result.output, failed]))
"""


class Said(NamedTuple):
    """What a command has said."""

    code: int
    output: str
    error: str
    """Class and text of the error that ended it; empty if none did."""


def commands(config_file: Path, *lines: str) -> list[Said]:
    """Run each line, its words separated by blanks, with this configuration."""
    arguments = [[*line.split(), "--config", str(config_file)] for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps(arguments), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [Said(*json.loads(line)) for line in done.stdout.splitlines()]

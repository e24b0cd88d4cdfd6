"""The kernels read by address, unchecked: no byte outside of the data may be touched."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.streams.wire.guarded", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_no_read_outside_of_the_data() -> None:
    done = run("1", "6000")
    assert done.returncode == 0, done.stderr
    accepted, refused, foreign = map(int, done.stdout.split())
    assert accepted > 1000
    assert refused > 1000
    assert foreign > 1000


def test_the_guard_notices_a_read_outside() -> None:
    assert run("1", "beyond", "-1").returncode == -signal.SIGSEGV
    assert run("1", "beyond", str(1 << 13)).returncode == -signal.SIGSEGV

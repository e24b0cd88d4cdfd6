"""Where machine code is kept: found again, on read-only directories too, never stale."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streams.wire import compiling

ROOT = Path(__file__).resolve().parents[3]
# Compiles one small kernel only: all of them take ten seconds.
PROGRAM = """
import numpy as np
from streams.wire import compiling, partition
out = np.empty(2, np.int32)
args = (np.array([1, 2], np.uint64), np.array([1, 1], np.int32), np.ones(2, np.bool_), 12, False)
partition.by_resource(*args, out)
stats = partition.by_resource.stats
print(compiling.cache_directory(), sum(stats.cache_hits.values()), *out)
"""


def run(root: Path, cache: Path, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROGRAM],
        cwd=root,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the packages that may be edited."""
    for name in ("schemas", "streams"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / "source" / name, ignore=ignore)
    return tmp_path / "source"


def test_cache_is_used_read_only_and_renewed_when_any_source_changes(
    source: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    directory, hits, *first = run(source, cache)
    assert Path(directory).parent == cache
    assert hits == "0"
    for path in (Path(directory), cache):
        path.chmod(0o500)
    try:
        assert run(source, cache) == [directory, "1", *first]
        # Another processor's code is not there; it is compiled, and cannot be kept.
        assert run(source, cache, NUMBA_CPU_NAME="generic") == [directory, "0", *first]
    finally:
        for path in (Path(directory), cache):
            path.chmod(0o700)
    with (source / "streams" / "wire" / "memory.py").open("a") as file:
        file.write("\n# changed\n")
    changed, hits, *again = run(source, cache)
    assert changed != directory
    assert (hits, again) == ("0", first)


def test_kernels_of_sampling_are_kept_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who changes them compiles only them again."""
    package = tmp_path / "sampling"
    package.mkdir()
    (package / "a_table.py").write_text("from streams.wire.compiling import kernel\n")
    (package / "a_policy.py").write_text("rate = 4\n")
    monkeypatch.setattr(compiling, "_STREAMS", tmp_path)
    monkeypatch.setattr(compiling, "_bases", lambda: [tmp_path / "cache"])

    def directories() -> tuple[Path | None, Path | None]:
        compiling.cache_directory.cache_clear()
        compiling._fingerprint.cache_clear()
        return compiling.cache_directory(), compiling.cache_directory("sampling")

    def four(x):
        return x + 4

    try:
        wire, sampling = directories()
        assert wire != sampling
        for module, directory in (("streams.sampling.a_table", sampling), ("streams.wire", wire)):
            four.__module__ = module
            assert compiling.kernel(four).stats.cache_path == str(directory)
        (package / "a_policy.py").write_text("rate = 5\n")
        assert directories() == (wire, sampling)
        (package / "a_table.py").write_text("from streams.wire.compiling import inner, kernel\n")
        again, changed = directories()
        assert again == wire
        assert changed not in (wire, sampling)
    finally:
        compiling.cache_directory.cache_clear()
        compiling._fingerprint.cache_clear()


def test_code_for_another_processor_is_kept_beside(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for hits in ("0", "1"):
        assert run(source, cache, NUMBA_CPU_NAME="generic")[1] == hits


def test_without_a_place_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file, not a directory")
    monkeypatch.setattr(compiling, "_bases", lambda: [blocked])
    compiling.cache_directory.cache_clear()
    try:
        assert compiling.cache_directory() is None

        @compiling.kernel
        def twice(x):
            return 2 * x

        assert twice(4) == 8
    finally:
        compiling.cache_directory.cache_clear()


def test_a_failing_write_does_not_stop_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everywhere; this is what a read-only file system answers."""

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(compiling.FunctionCache, "save_overload", refuse)

    @compiling.kernel
    def thrice(x):
        return 3 * x

    assert thrice(4) == 12


def test_every_source_of_kernels_counts() -> None:
    """A module whose change did not renew the cache would leave old machine code in use."""
    package = ROOT / "streams" / "wire"
    marks = ("@kernel", "@inner", "@intrinsic", "import inner", "import kernel", "import fault")
    compiled = {
        path.stem
        for path in package.glob("*.py")
        if any(mark in path.read_text() for mark in marks)
    }
    imported = {"fields"}  # tables that kernels have inside
    assert (compiled | imported) - {"scan"} <= set(compiling.SOURCES)
    for room in ("alerts", "anomaly", "sampling", "windows"):
        known = {path.resolve() for path in compiling.kernel_sources(room)}
        for path in (ROOT / "streams" / room).rglob("*.py"):
            if any(mark in path.read_text() for mark in marks):
                assert path in known


def test_each_stage_loads_what_it_needs() -> None:
    program = """
import sys
from streams import wire
from streams.wire.attributes import read_fields
from streams.wire.items import read_logs
from streams.wire.sampled import rewrite
from streams.wire.tracestate import read_states
wire.warm_up(*sys.argv[1].split())
print(*(len(kernel.signatures) for kernel in (read_logs, read_fields, read_states, rewrite)))
"""
    for kernels, loaded in (("", "1 0 0 0"), ("facts", "0 1 1 0"), ("sampled", "0 0 0 1")):
        arguments = [sys.executable, "-c", program, kernels]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == loaded

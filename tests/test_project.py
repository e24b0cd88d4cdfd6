"""The project as a whole: locks, image, compose, public surfaces, what must not be written."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from schemas.config.checks import cross_check
from schemas.config.load import load
from topologies.stages import expand

ROOT = Path(__file__).parents[1]
LOCKS = [ROOT / "requirements.lock", ROOT / "deploy/requirements.lock", ROOT / "deploy/build.lock"]
ROOMS = ("schemas", "streams", "topologies")


def _modules() -> list[str]:
    found = []
    for room in ROOMS:
        package = importlib.import_module(room)
        found.append(room)
        found += [m.name for m in pkgutil.walk_packages(package.__path__, f"{room}.")]
    return found


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False
    ).stdout.decode()
    if not listed:
        pytest.skip("no git checkout")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


# --- locks ---------------------------------------------------------------------------------


def _locked(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", file.read_text(), re.MULTILINE))


@pytest.mark.parametrize("file", LOCKS, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_lock_has_hashes_and_no_address(file: Path) -> None:
    text = file.read_text()
    for entry in re.split(r"\n(?=[a-z0-9])", text):
        if "==" in entry.splitlines()[0]:
            assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in text
    assert "--index" not in text.replace("--no-emit-index-url", "")
    assert "@ " not in text


def test_the_locks_agree() -> None:
    everything = _locked(LOCKS[0])
    for file in LOCKS[1:]:
        part = _locked(file)
        assert part
        assert part.items() <= everything.items(), f"make lock: {file}"


def test_the_locks_have_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    name = re.compile(r"[A-Za-z0-9._-]+")

    def names(requirements: list[str]) -> set[str]:
        found = (name.match(r) for r in requirements)
        return {m[0].lower().replace(".", "-").replace("_", "-") for m in found if m}

    needed = names(project["project"]["dependencies"])
    assert needed <= set(_locked(LOCKS[0]))
    assert needed <= set(_locked(LOCKS[1])), "make lock"
    assert names(project["dependency-groups"]["dev"]) <= set(_locked(LOCKS[0]))
    tests_only = {"pytest", "mypy", "ruff", "hypothesis"}
    assert not tests_only & set(_locked(LOCKS[1])), "the image has no tools of tests"


# --- code ----------------------------------------------------------------------------------


def _order(name: str) -> tuple[bool, bool, list[tuple[int, str]]]:
    parts = re.findall(r"\d+|\D+", name)
    natural = [(int(p), "") if p.isdigit() else (-1, p) for p in parts]
    return not name.isupper(), not name[0].isupper(), natural


@pytest.mark.parametrize("name", _modules())
def test_a_public_surface_is_sorted_and_there(name: str) -> None:
    if name.endswith("__main__"):
        return
    module = importlib.import_module(name)
    surface = getattr(module, "__all__", None)
    if surface is None:
        source = ast.parse(Path(str(module.__file__)).read_text())
        definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        defined = [n.name for n in source.body if isinstance(n, definitions)]
        assert all(d.startswith("_") for d in defined), "public names, and no __all__"
        return
    assert [n for n in surface if not hasattr(module, n)] == []
    order = sorted(surface, key=_order)
    assert list(surface) == order, "constants, classes, functions; each by name"


def test_importing_starts_nothing() -> None:
    program = (
        "import sys, threading, importlib, logging\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "import asyncio, multiprocessing\n"
        "assert not multiprocessing.active_children()\n"
        "ours = [t for t in threading.enumerate() if t is not threading.main_thread()]\n"
        "assert not ours, ours\n"
        "assert not logging.getLogger().handlers\n"
    )
    names = [n for n in _modules() if not n.endswith("__main__")]
    done = subprocess.run(
        [sys.executable, "-c", program, *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_no_module_grows_without_end() -> None:
    lengths = {
        str(f.relative_to(ROOT)): len(f.read_text().splitlines())
        for room in ROOMS
        for f in (ROOT / room).rglob("*.py")
    }
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def test_nothing_of_a_machine_is_written_down() -> None:
    machine = re.compile(
        rb"/(?:work|root|home|tmp/clone)/|https?://[^\s/]*(?:pypi|repo1?\.|mirror)[^\s/]*/"
    )
    this = Path(__file__)
    for file in _tracked():
        if file == this or file.suffix in {".zst", ".bin"}:
            continue
        found = machine.search(file.read_bytes())
        assert found is None, f"{file}: {found and found[0]!r}"


# --- image and compose ---------------------------------------------------------------------


def _compose() -> dict[str, Any]:
    loaded = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_compose_refers_to_what_is_there() -> None:
    compose = _compose()
    services, volumes = compose["services"], compose["volumes"]
    assert {"kafka", "topics", "ingest", "shape", "export", "collector"} <= set(services)
    assert {"sample", "emit"} <= set(services)
    for name, service in services.items():
        assert "image" in service, name
        for other in service.get("depends_on", {}):
            assert other in services, f"{name}: {other}"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).is_file(), f"{name}: {source}"
            else:
                assert source in volumes, f"{name}: {source}"
        if service["image"] == "otlp-streams":
            assert (ROOT / service["build"] / "Dockerfile").is_file()
            assert service["read_only"] is True


def _filled(environment: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """As compose fills in ``${NAME:-default}``."""
    variable = re.compile(r"\$\{(\w+):-([^}]*)\}")
    return {
        name: variable.sub(lambda found: given.get(found[1], found[2]), value)
        for name, value in environment.items()
    }


def test_compose_gives_the_image_a_configuration_that_runs() -> None:
    config_file = ROOT / "deploy" / "otlp-streams.yaml"
    for name, service in _compose()["services"].items():
        if service["image"] != "otlp-streams":
            continue
        environment = service["environment"]
        used = set(re.findall(r"\$\{env:(\w+)", config_file.read_text()))
        assert set(environment) <= used, f"{name}: a variable that nobody reads"
        profiles = {each.upper(): "true" for each in service.get("profiles", ())}
        config = load(config_file.read_text(), _filled(environment, profiles))
        assert cross_check(config) == []
        command, *stages = service["command"]
        if command == "run":
            assert expand(stages, config) == tuple(stages)
        host, _, port = config.kafka.brokers[0].partition(":")
        assert host in _compose()["services"]
        assert f"PLAINTEXT://{host}:{port}" in str(_compose()["services"][host]["environment"])
        backend = config.export.backends["default"].endpoint
        assert backend.split("/")[2].split(":")[0] in _compose()["services"]


def test_the_collectors_pipelines_name_what_it_has() -> None:
    collector = YAML(typ="safe").load((ROOT / "deploy" / "collector.yaml").read_text())
    for pipeline in collector["service"]["pipelines"].values():
        for kind in ("receivers", "exporters"):
            assert set(pipeline[kind]) <= set(collector[kind])


def _instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def test_the_image_copies_what_is_there_and_is_not_root() -> None:
    ignored = {line.strip("/") for line in (ROOT / ".dockerignore").read_text().split()}
    for word, rest in _instructions():
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source not in ignored, source
    assert [rest for word, rest in _instructions() if word == "USER"] == ["65532:65532"]


def test_the_image_compiles_what_the_tests_below_load() -> None:
    assert any("python -m topologies.kernels" in rest for word, rest in _instructions())


def _kernel_environment() -> dict[str, str]:
    """What the last stage of the image sets, with its arguments filled in."""
    last = max(i for i, (word, _) in enumerate(_instructions()) if word == "FROM")
    values: dict[str, str] = {}
    environment: dict[str, str] = {}
    for word, rest in _instructions()[last:]:
        if word in {"ARG", "ENV"}:
            for name, value in re.findall(r"(\w+)=(\S*)", rest):
                filled = re.sub(r"\$\{?(\w+)\}?", lambda m: values.get(m[1], ""), value)
                values[name] = filled
                if word == "ENV":
                    environment[name] = filled
    return {name: value for name, value in environment.items() if name.startswith("NUMBA_")}


def _pythons(folder: Path, program: str, cache: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")},
            **_kernel_environment(),
            "NUMBA_CACHE_DIR": str(cache),
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(folder / "nowhere"),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    stats = ((f, f.stat()) for f in folder.rglob("*") if f.is_file())
    return {str(f): (stat.st_mtime_ns, stat.st_size) for f, stat in stats}


@pytest.mark.timeout(480)
def test_the_steps_of_the_image_without_an_engine(tmp_path: Path) -> None:
    """The wheel is built and unpacked, kernels compiled for the image's processor, all made
    read-only, and then everything loads without compiling and without writing."""
    assert [r for w, r in _instructions() if w == "ARG" and "NUMBA" in r] == [
        "NUMBA_CPU_NAME=x86-64-v3"
    ] * 2, "both stages, the same value"
    subprocess.run(
        [Path(sys.executable).parent / "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    installed, cache = tmp_path / "site-packages", tmp_path / "kernels"
    program = (
        "from numba.core import event\n"
        "with event.install_recorder('numba:compile') as recorder:\n"
        "    from topologies import kernels\n"
        f"    assert kernels.__file__.startswith({str(installed)!r})\n"
        "    kernels.compile_all()\n"
        "    print(len(recorder.buffer))\n"
    )
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(installed)
    assert {p.name for p in installed.iterdir() if p.is_dir()} > set(ROOMS)
    assert list(installed.glob("topologies/demo_data/*.zst"))
    assert int(_pythons(installed, program, cache)) > 0

    for file in [*installed.rglob("*"), *cache.rglob("*"), cache, installed]:
        file.chmod(0o555 if file.is_dir() else 0o444)
    before = _files(tmp_path)
    try:
        assert int(_pythons(installed, program, cache)) == 0, "compiled at start"
        assert _files(tmp_path) == before, "written to at start"
    finally:
        for folder in [*installed.rglob("*"), *cache.rglob("*"), cache, installed]:
            folder.chmod(0o755)


def test_make_knows_its_targets_and_needs_nothing_for_help() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("run", "test", "bench", "lint", "clean", "help"):
        assert re.search(rf"^make {target}\b", done.stdout, re.MULTILINE)


def test_seconds_count_only_when_given_to_make() -> None:
    def planned(*arguments: str) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        return subprocess.run(
            ["make", "--dry-run", "run", *arguments],
            cwd=ROOT,
            env={**environment, "SECONDS": "9"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert "otlp-streams demo --seconds 30" in planned("SECONDS=30")
    assert "--seconds" not in planned()

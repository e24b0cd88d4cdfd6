"""What the pages say is done: every command is executed, every example is loaded.

Commands stand in blocks marked ``console``, one a line, after ``$ ``. They run in the order of
the page, in one folder, with a configuration of free ports. A command that this module does not
know how to judge fails, so that none can be added unseen.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from schemas.config.checks import cross_check
from schemas.config.load import load
from streams.sampling.outgoing import REKEYED, SOURCE
from topologies.catalogue import to_markdown
from topologies.cli.main import app
from topologies.localkafka.probe import free_ports

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
START_S = 90.0


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


# --- executing -----------------------------------------------------------------------------


class Terminal:
    """A folder, an environment, and what runs in the background until the page is done."""

    def __init__(self, folder: Path, *, sampling: bool, alerts: bool) -> None:
        self.folder = folder
        for name in ("topologies", "docs"):
            (folder / name).symlink_to(ROOT / name)
        names = ("kafka", "grpc", "http", "backend", "admin")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        (folder / "otlp-streams.yaml").write_text(
            f"""
            kafka: {{brokers: ["127.0.0.1:{self.ports["kafka"]}"]}}
            topics: {{partitions: 3}}
            ingest:
              grpc: {{endpoint: "127.0.0.1:{self.ports["grpc"]}"}}
              http: {{endpoint: "127.0.0.1:{self.ports["http"]}"}}
            export:
              backends: {{default: {{endpoint: "http://127.0.0.1:{self.ports["backend"]}"}}}}
            telemetry: {{endpoint: "127.0.0.1:{self.ports["admin"]}"}}
            sampling: {{enabled: {str(sampling).lower()}, decision_wait: 1s, root_wait: 0s}}
            windows: {{enabled: {str(alerts).lower()}}}
            alerts: {{enabled: {str(alerts).lower()}}}
            """
        )
        self.environment = {
            **{
                k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
            },
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OTLP_STREAMS_KAFKA_CACHE": os.environ["OTLP_STREAMS_KAFKA_CACHE"],
            "COLUMNS": "160",
        }
        self._background: list[tuple[str, subprocess.Popen[bytes], Path]] = []

    def run(self, command: str, *, folder: Path | None = None, timeout_s: float = 120) -> str:
        done = subprocess.run(
            shlex.split(command),
            cwd=folder or self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{output}"
        return output

    def start(self, command: str, ready: Callable[[], bool]) -> None:
        """Run in the background, and wait until it is ready."""
        file = self.folder / f"{len(self._background)}.log"
        with file.open("wb") as output:
            process = subprocess.Popen(
                shlex.split(command),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._background.append((command, process, file))
        deadline = time.monotonic() + START_S
        while not ready():
            assert process.poll() is None, f"{command} ended\n{file.read_text()}"
            assert time.monotonic() < deadline, f"{command} is not ready\n{file.read_text()}"
            time.sleep(0.1)

    def close(self) -> list[str]:
        """Stop what runs, last one first; what did not end well."""
        bad = []
        for command, process, file in reversed(self._background):
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            if code:
                bad.append(f"{command}: exit {code} after SIGTERM\n{file.read_text()[-4000:]}")
        return bad


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _kafka(terminal: Terminal, command: str) -> None:
    port = terminal.ports["kafka"]
    data = terminal.folder / "kafka"
    terminal.start(
        f"{command} --port {port} --data {data} --discard",
        lambda: "serves" in (terminal.folder / "0.log").read_text(),
    )


def _backend(terminal: Terminal, command: str) -> None:
    port = terminal.ports["backend"]
    terminal.start(f"{command} --http-port {port} --grpc-port 0", lambda: _listening(port))


def _stages(terminal: Terminal, command: str) -> None:
    probe = ["otlp-streams", "health"]
    terminal.start(
        command,
        lambda: subprocess.run(
            probe,
            cwd=terminal.folder,
            env=terminal.environment,
            capture_output=True,
            timeout=30,
            check=False,
        ).returncode == 0,
    )  # fmt: skip


def _finishes(terminal: Terminal, command: str) -> None:
    terminal.run(command)


def _speaks(terminal: Terminal, command: str) -> None:
    assert terminal.run(command).strip(), f"{command} says nothing"


def _decided(terminal: Terminal, command: str) -> None:
    """Spans take a moment to be decided."""
    deadline = time.monotonic() + START_S
    while not re.search(r"\b(kept|dropped)\b", said := terminal.run(command)):
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


def _demo(terminal: Terminal, command: str) -> None:
    terminal.run(f"{command} SECONDS=5 ARGS=--any-ports", folder=ROOT, timeout_s=240)


def _dry(terminal: Terminal, command: str) -> None:
    """What this very test runs under, or what takes minutes: make knows what it would do."""
    assert ".venv/bin/" in terminal.run(f"{command} --dry-run", folder=ROOT)


HOW: Mapping[str, Callable[[Terminal, str], None]] = {
    "make run": _demo,
    "make test": _dry,
    "make bench": _dry,
    "make lint": _dry,
    "otlp-streams kafka": _kafka,
    "otlp-streams backend": _backend,
    "otlp-streams run all": _stages,
    "otlp-streams replay": _finishes,
    "otlp-streams tap": _finishes,
    "otlp-streams control": _speaks,
    "otlp-streams deadletter": _speaks,
    "otlp-streams alerts": _speaks,
    "otlp-streams explain": _decided,
    "otlp-streams sampling": _speaks,
    "otlp-streams records": _speaks,
    "otlp-streams top": _speaks,
    "otlp-streams topics": _speaks,
    "otlp-streams validate": _speaks,
    "otlp-streams config": _speaks,
    "otlp-streams metrics": _speaks,
    "otlp-streams health": _speaks,
    "otlp-streams version": _speaks,
}


def how(command: str) -> Callable[[Terminal, str], None]:
    words = command.split()
    for length in (3, 2):
        if (known := " ".join(words[:length])) in HOW:
            return HOW[known]
    pytest.fail(f"no rule for {command!r}")


def _needs_kafka(page: Path) -> bool:
    return any(how(c) is not _dry and not c.startswith("make") for c in commands(page))


@pytest.fixture
def terminal(page: Path, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(
        tmp_path,
        sampling=page.name == "sampling.md",
        alerts=page.name in ("aggregation.md", "alerts.md"),
    )
    try:
        yield terminal
    finally:
        bad = terminal.close()
        shutil.rmtree(tmp_path / "kafka", ignore_errors=True)
    assert bad == [], "\n".join(bad)


@pytest.mark.broker
@pytest.mark.timeout(480)
@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: p.name)
def test_every_command_of_a_page_works(page: Path, terminal: Terminal) -> None:
    # Other pages take for granted what the README starts; topics are enough for some.
    needed = ["otlp-streams kafka", "otlp-streams backend", "otlp-streams run all"]
    if page.name == "alerts.md":
        needed[1:] = ["otlp-streams topics create"]
    for command in needed if page.name != "README.md" else ():
        how(command)(terminal, command)
    for command in commands(page):
        how(command)(terminal, command)


# --- reading -------------------------------------------------------------------------------


def test_nothing_that_looks_like_a_command_stands_outside_a_console_block() -> None:
    for page in PAGES:
        for language, body in re.findall(
            r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
        ):
            assert language in {"console", "yaml", "text", "mermaid", "python", "json"}, page
            if language == "console":
                assert all(line.startswith("$ ") for line in body.splitlines() if line), page


def test_every_example_configuration_is_one() -> None:
    found = [block for page in PAGES for block in blocks(page, "yaml")]
    assert found
    for block in found:
        assert cross_check(load(block)) == []


def test_the_consumer_on_the_page_is_the_one_that_is_tested() -> None:
    (shown,) = blocks(ROOT / "docs" / "alerts.md", "python")
    assert shown == (ROOT / "docs" / "examples" / "alerts_consumer.py").read_text()


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_metrics_page_is_current() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert page == to_markdown(), "otlp-streams metrics > docs/metrics.md"


def test_every_metric_that_is_named_exists() -> None:
    existing = set(re.findall(r"otlp_streams_\w+", to_markdown()))
    sources = [f for room in ("streams", "topologies") for f in (ROOT / room).rglob("*.py")]
    for file in [*PAGES, *sources]:
        for name in re.findall(r"\botlp_streams_\w*[a-z]\b", file.read_text()):
            known = {name, f"{name}_total", f"{name}_info"} | {
                name.removesuffix(suffix) for suffix in ("_bucket", "_count", "_sum")
            }
            assert known & existing, f"{file.name}: {name}"


def test_every_setting_that_is_named_exists() -> None:
    from schemas.config import Config
    from schemas.config.fields import settings
    from schemas.control import control_settings

    # Names of the control topic look alike, and so do those of topics and headers.
    config = load("{sampling: {enabled: true}, windows: {enabled: true}, alerts: {enabled: true}}")
    paths = {s.path for s in settings(Config)}
    paths |= control_settings(Config()).keys() | control_settings(config).keys()
    paths |= set(config.topics.names.model_dump().values()) | {SOURCE, REKEYED}
    sections = {path.rpartition(".")[0] for path in paths}
    roots = "|".join(Config.model_fields)
    for page in PAGES:
        for name in re.findall(rf"`((?:{roots})\.[\w.<>\[\]]+)`", page.read_text()):
            assert name in paths | sections, f"{page.name}: {name}"


def test_every_command_is_in_the_readme() -> None:
    import typer

    readme = (ROOT / "README.md").read_text()
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        if name != "version":
            assert re.search(rf"[`,] ?`?{name}\b", readme), name


def test_the_table_of_a_budgets_shares_is_calculated() -> None:
    import numpy as np

    from streams.sampling.strategies.filling import fill

    page = (ROOT / "docs" / "sampling.md").read_text()
    share = float(re.search(r"with a share of (\d+)", page)[1])  # type: ignore[index]
    titles = re.search(r"^\| key \| traces \|(.+)\|$", page, re.MULTILINE)[1]  # type: ignore[index]
    evenness = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", titles)]
    rows = re.findall(r"^\| [A-Z]+ /\w+ \| (\d+) \|(.+)\|$", page, re.MULTILINE)
    traces = np.array([float(count) for count, _ in rows])
    shown = np.array([[float(cell) for cell in cells.split("|")] for _, cells in rows])
    for column, even in enumerate(evenness):
        kept = traces * fill(traces, traces**even, np.zeros(len(traces)), share)
        assert np.abs(kept - shown[:, column]).max() <= 0.05 + 1e-9
    assert shown.shape == (4, 3)

"""The command line as a shell sees it: real processes, exit codes, messages."""

from __future__ import annotations

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import topologies.exits
from schemas.config import Config
from schemas.config.load import load
from schemas.config.reference import to_markdown
from schemas.errors import ConfigurationError
from topologies.boot import boot, check, read_config
from topologies.stages import expand

ROOT = Path(__file__).parents[2]


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "topologies.cli.main", *arguments],
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
            "NO_COLOR": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "good.yaml"
    file.write_text("kafka: {client_id: '${env:WHO:-me}'}\n")
    return file


def test_help_names_the_commands_and_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['otlp-streams', '--help']\n"
        "import atexit\n"
        "atexit.register(lambda: print('LOADED', *sorted(sys.modules)))\n"
        "from topologies.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    text, _, loaded = done.stdout.rpartition("LOADED")
    heavy = {"faust", "mode", "aiokafka", "grpc", "numba", "numpy", "aiohttp", "pydantic"}
    assert heavy & set(loaded.split()) == set()
    for command in ("run", "validate", "config", "health", "version"):
        assert re.search(rf"│ {command}\b", text), command


def test_every_command_has_help(tmp_path: Path) -> None:
    import typer

    from topologies.cli.main import app

    def walk(command: object, path: list[str]) -> Iterator[list[str]]:
        yield path
        for name, sub in getattr(command, "commands", {}).items():
            yield from walk(sub, [*path, name])

    from typer.testing import CliRunner

    for path in walk(typer.main.get_command(app), []):
        result = CliRunner().invoke(app, [*path, "--help"])
        assert result.exit_code == 0, path
        assert len(result.output.strip().splitlines()) > 3, path


def test_version(tmp_path: Path) -> None:
    done = run("version", cwd=tmp_path)
    assert re.fullmatch(r"otlp-streams \d+\.\d+\.\d+\n", done.stdout)
    assert done.returncode == 0


def test_a_wrong_command_line_is_2(tmp_path: Path) -> None:
    assert run("run", cwd=tmp_path).returncode == 2
    assert run("frobnicate", cwd=tmp_path).returncode == 2
    assert run("run", "all", "--workers", "0", cwd=tmp_path).returncode == 2


def test_validate_says_one_friendly_line(good: Path) -> None:
    done = run("validate", str(good), cwd=good.parent)
    assert done.stdout == f"{good} is fine; it can run ingest, shape, export:default.\n"
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", [["validate"], ["run", "all", "--config"]])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kafka: {producer: {compresion: zstd}}",
         "line 1: kafka.producer.compresion: no such setting (value 'zstd'); "
         "did you mean compression?"),
        ("topics: {max_message: 500000}", "kafka.producer.max_message: 1000000 bytes is more"),
        ("ingest: {http: {tls: {cert_file: none.pem, key_file: none.pem}}}",
         "ingest.http.tls.cert_file: none.pem: No such file or directory"),
        ("kafka: {tls: {enabled: true, ca_file: none.pem}}", "kafka.tls.ca_file: none.pem: No"),
        ("export: {backends: {b: {endpoint: 'https://b', tls: {ca_file: none.pem}}}}",
         "export.backends.b.tls.ca_file: none.pem: No such file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_the_same_by_validate_and_run(
    tmp_path: Path, command: list[str], text: str, said: str
) -> None:
    (tmp_path / "file.yaml").write_text(text)
    done = run(*command, "file.yaml", cwd=tmp_path)
    assert done.returncode == 78
    assert done.stderr.startswith("otlp-streams: file.yaml: 1 error\n  ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xfd", b"#" * (1 << 21)])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "file.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"file\.yaml"):
        read_config(file)


def test_stages() -> None:
    config = load("export: {backends: {a: {}, b: {}}}")
    assert expand(["all"], config) == ("ingest", "shape", "export:a", "export:b")
    assert expand(["export", "export:a"], config) == ("export:a", "export:b")
    with pytest.raises(ConfigurationError, match="'ingets' is no stage; did you mean ingest"):
        expand(["ingets"], config)
    with pytest.raises(ConfigurationError, match="'export:c' is no stage"):
        expand(["export:c"], config)


def test_the_stages_of_sampling_are_there_where_it_is_enabled() -> None:
    for name in ("sample", "emit"):
        with pytest.raises(ConfigurationError, match=f"'{name}' .* sampling.enabled: true"):
            expand([name], Config())
    sampling = load("sampling: {enabled: true}")
    assert expand(["all"], sampling) == ("ingest", "sample", "emit", "shape", "export:default")
    assert expand(["emit", "sample"], sampling) == ("emit", "sample")


def test_the_stages_of_windows_and_alerts_are_there_where_they_are_enabled() -> None:
    for name in ("windows", "detect"):
        with pytest.raises(ConfigurationError, match=rf"'{name}' is a stage only with "):
            expand([name], Config())
    target = {"type": "webhook", "url": "http://localhost/"}
    config = Config.model_validate(
        {
            "windows": {"enabled": True},
            "alerts": {"enabled": True},
            "notify": {"targets": {"a": target, "b": target}},
        }
    )
    assert expand(["all"], config) == (
        "ingest", "shape", "windows", "detect", "notify:a", "notify:b", "export:default",
    )  # fmt: skip
    assert expand(["notify"], config) == ("notify:a", "notify:b")
    traces = load("sampling: {enabled: true}\nshape: {signals: [traces]}")
    assert expand(["all"], traces) == ("ingest", "sample", "emit", "export:default")
    with pytest.raises(ConfigurationError, match="'shape' has nothing to do"):
        expand(["shape"], traces)


def test_the_configuration_is_found(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_config(None) == (Config(), "defaults")
    (tmp_path / "otlp-streams.yaml").write_text("kafka: {client_id: here}")
    assert read_config(None)[0].kafka.client_id == "here"
    assert read_config(good, {"WHO": "you"})[0].kafka.client_id == "you"
    assert boot(good, ["ingest"], {}).stages == ("ingest",)


def test_all_problems_at_once_files_included() -> None:
    config = load(
        """
        runtime: {drain_timeout: 20s}
        kafka: {tls: {enabled: true, ca_file: /none.pem}}
        ingest: {grpc: {tls: {cert_file: /none, key_file: /none}}}
        """
    )
    with pytest.raises(ConfigurationError) as caught:
        check(config)
    assert str(caught.value).splitlines()[0] == "configuration: 3 errors"


def test_show_and_reference(good: Path) -> None:
    shown = run("config", "show", "--config", str(good), cwd=good.parent, WHO="you").stdout
    assert load(shown) == load(good.read_text(), {"WHO": "you"})
    as_json = run("config", "show", "--json", cwd=good.parent, OTLP_STREAMS_CONFIG=str(good))
    assert json.loads(as_json.stdout) == YAML(typ="safe").load(shown.replace("you", "me"))
    assert run("config", "reference", cwd=good.parent).stdout == to_markdown()


@pytest.fixture
def admin() -> Iterator[tuple[str, list[int]]]:
    statuses = [200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses[0])
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", statuses
    server.shutdown()
    thread.join()
    server.server_close()


def test_health(tmp_path: Path, admin: tuple[str, list[int]]) -> None:
    endpoint, statuses = admin
    done = run("health", "--endpoint", endpoint, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "/readyz\n")
    statuses[0] = 503
    done = run("health", "--live", "--endpoint", endpoint, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "/livez\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    done = run("health", "--endpoint", nobody, cwd=tmp_path)
    assert done.returncode == 1
    assert "does not answer" in done.stdout


def test_exit_codes_are_documented() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for name in topologies.exits.__all__:
        assert f"| {getattr(topologies.exits, name)} |" in page, name


def test_a_child_whose_parent_is_gone_does_not_begin(tmp_path: Path) -> None:
    done = run("run", "ingest", "--parent", "1", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""

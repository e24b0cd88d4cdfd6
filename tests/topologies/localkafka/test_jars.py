"""Jars and the programs that fetch and run them, with stand-ins for Java and Maven."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from topologies.localkafka import default_cache, fetch_jars, find_java, find_maven

# Says what it was asked, slowly, and leaves a jar where it was told to.
MAVEN = """\
#!{python}
import pathlib, sys, time
calls = pathlib.Path({calls!r})
with calls.open("a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
target = next(a.split("=", 1)[1] for a in sys.argv if a.startswith("-DoutputDirectory="))
time.sleep(0.3)
if {fails}:
    print("[INFO] scanning")
    print("[ERROR] Could not find artifact org.apache.kafka:kafka_2.13:jar:9.9.9")
    sys.exit(1)
pathlib.Path(target, "kafka_2.13-9.9.9.jar").write_bytes(b"jar")
"""


def program(directory: Path, name: str, text: str) -> Path:
    directory.mkdir(exist_ok=True)
    file = directory / name
    file.write_text(text)
    file.chmod(0o755)
    return file


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on the PATH, empty."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return directory


def maven(programs: Path, *, fails: bool = False) -> Path:
    calls = programs / "calls"
    text = MAVEN.format(python=sys.executable, calls=str(calls), fails=fails)
    program(programs, "mvn", text)
    return calls


def test_without_java_the_message_says_what_to_install(programs: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_java()
    for part in (
        "no java on the PATH",
        "Java 17",
        "apt install",
        "docker-compose",
        "kafka.brokers",
    ):
        assert part in str(caught.value)


def test_without_maven_the_message_says_what_to_install(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        fetch_jars(tmp_path / "cache")
    for part in ("no mvn on the PATH", "apt install maven", "docker-compose", "Kafka >= 3.5"):
        assert part in str(caught.value)


def test_java_home_comes_first_and_is_named(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(programs, "java", "#!/bin/sh\necho 'openjdk version \"21.0.1\"' >&2\n")
    assert find_java() == programs / "java"
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    with pytest.raises(ConfigurationError, match=f"no java under JAVA_HOME .{tmp_path / 'jdk'}"):
        find_java()


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ('openjdk version "17.0.15" 2025-04-15', True),
        ('openjdk version "24-ea" 2025-03-18', True),
        ('java version "1.8.0_392"', False),
        ('openjdk version "11.0.2" 2019-01-15', False),
        ("The operation could not be completed. Unable to locate a Java Runtime.", False),
    ],
)
def test_java_of_which_version(programs: Path, said: str, taken: bool) -> None:
    program(programs, "java", f"#!/bin/sh\necho '{said}' >&2\n")
    if taken:
        assert find_java() == programs / "java"
    else:
        with pytest.raises(ConfigurationError, match="Java 17 or newer"):
            find_java()


def test_fetched_once_however_many_ask(programs: Path, tmp_path: Path) -> None:
    calls = maven(programs)
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch_jars(tmp_path / "cache", "9.9.9")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {tmp_path / "cache/jars/9.9.9"}
    assert len(calls.read_text().splitlines()) == 1
    assert [jar.name for jar in found[0].iterdir()] == ["kafka_2.13-9.9.9.jar"]
    (programs / "mvn").unlink()
    assert fetch_jars(tmp_path / "cache", "9.9.9") == found[0]  # needs no Maven any more


def test_a_fetch_that_was_cut_short_is_done_again(programs: Path, tmp_path: Path) -> None:
    maven(programs)
    partial = tmp_path / "cache/jars/9.9.9.partial"
    partial.mkdir(parents=True)
    (partial / "half.jar").write_bytes(b"ha")
    jars = fetch_jars(tmp_path / "cache", "9.9.9")
    assert [jar.name for jar in jars.iterdir()] == ["kafka_2.13-9.9.9.jar"]


def test_mavens_own_words_when_it_fails(programs: Path, tmp_path: Path) -> None:
    maven(programs, fails=True)
    for _ in range(2):  # and a failure is not remembered as a success
        with pytest.raises(ConfigurationError, match=r"9\.9\.9: \[ERROR\] Could not find"):
            fetch_jars(tmp_path / "cache", "9.9.9")


@pytest.mark.parametrize("version", ["", "4", "4.1.1; rm -rf", "../4.1.1", "4.1.1/.."])
def test_a_version_is_a_version(tmp_path: Path, version: str) -> None:
    with pytest.raises(ConfigurationError, match="not a version of Apache Kafka"):
        fetch_jars(tmp_path, version)


def test_the_cache_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTLP_STREAMS_KAFKA_CACHE", str(tmp_path / "elsewhere"))
    assert default_cache() == tmp_path / "elsewhere"
    monkeypatch.delenv("OTLP_STREAMS_KAFKA_CACHE")
    monkeypatch.chdir(tmp_path)
    assert default_cache() == tmp_path / ".kafka"


def test_maven_is_found_on_the_path(programs: Path) -> None:
    maven(programs)
    assert find_maven() == programs / "mvn"

"""The jars of Apache Kafka, fetched once with Maven."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

from schemas.errors import ConfigurationError

from .programs import find_maven

__all__ = ["CACHE_VARIABLE", "KAFKA_VERSION", "default_cache", "fetch_jars"]

KAFKA_VERSION = "4.1.1"
"""The Apache Kafka that is run locally unless another is asked for."""

CACHE_VARIABLE = "OTLP_STREAMS_KAFKA_CACHE"
"""Environment variable that moves the cache of jars."""

_FETCH_TIMEOUT_S = 900

# Kafka's own artifact leaves the choice of a logging backend to whoever runs it.
_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{version}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>2.24.3</version>
    </dependency>
  </dependencies>
</project>
"""


def default_cache() -> Path:
    """Where jars are kept: ``$OTLP_STREAMS_KAFKA_CACHE``, else ``.kafka`` in this directory."""
    return Path(os.environ.get(CACHE_VARIABLE) or ".kafka").absolute()


def fetch_jars(cache: Path | None = None, version: str = KAFKA_VERSION) -> Path:
    """Directory that holds the jars of this version; fetched (about 45 MB) if it is not there.

    Safe when several processes ask at once: one fetches, the others wait for it. A fetch that
    was cut short leaves nothing that looks complete.

    Raises:
        ConfigurationError: no Maven, no such version, or no way to the repository.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+(-[\w.]+)?", version):
        raise ConfigurationError(f"{version!r} is not a version of Apache Kafka, such as 4.1.1")
    root = (cache or default_cache()) / "jars"
    jars = root / version
    if jars.is_dir():
        return jars
    maven = find_maven()
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.is_dir():
            _fetch(maven, version, root, jars)
    return jars


def _fetch(maven: Path, version: str, root: Path, jars: Path) -> None:
    partial = root / f"{version}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    pom = root / f"{version}.pom.xml"
    pom.write_text(_POM.format(version=version))
    command = [
        str(maven), "-q", "-B", "-f", str(pom), "dependency:copy-dependencies",
        "-DincludeScope=runtime", f"-DoutputDirectory={partial}",
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 (a program the user has installed)
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_FETCH_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(
            f"Maven did not fetch Apache Kafka {version} within {_FETCH_TIMEOUT_S} s"
        ) from error
    if done.returncode != 0 or not any(partial.glob("kafka_2.13-*.jar")):
        errors = [line for line in done.stdout.splitlines() if "ERROR" in line] or ["no output"]
        raise ConfigurationError(
            f"Maven could not fetch Apache Kafka {version}: " + "\n".join(errors[:5])
        )
    partial.rename(jars)  # the final name is the mark of completion

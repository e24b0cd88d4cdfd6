"""The two programs that a local Kafka needs: Java to run it, Maven to fetch it once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from schemas.errors import ConfigurationError

__all__ = ["MIN_JAVA", "find_java", "find_maven"]

MIN_JAVA = 17
"""Kafka 4 brokers run on Java 17 and newer."""

_INSTEAD = (
    "Or use another Kafka >= 3.5, such as the one in docker-compose.yml, "
    "and name it in the setting kafka.brokers."
)


def find_java() -> Path:
    """Path of a ``java`` of version 17 or newer, from ``JAVA_HOME`` or ``PATH``.

    Raises:
        ConfigurationError: there is none, or it is too old; the message says what to install.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    where = f"under JAVA_HOME ({home})" if home else "on the PATH"
    install = (
        f"The local Kafka needs Java {MIN_JAVA} or newer: "
        "install a JRE (Debian and Ubuntu: apt install openjdk-17-jre-headless; "
        "macOS: brew install openjdk). "
    )
    if found is None:
        raise ConfigurationError(f"There is no java {where}. {install}{_INSTEAD}")
    try:
        said = subprocess.run(  # noqa: S603 (a program the user has installed)
            [found, "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{found} does not run: {error}. {install}{_INSTEAD}") from error
    version = re.search(r'version "(\d+)(?:\.(\d+))?', said.stderr + said.stdout)
    if version is None:
        raise ConfigurationError(f"{found} does not tell its version. {install}{_INSTEAD}")
    major = int(version[1])
    if major == 1 and version[2]:  # 1.8 is Java 8
        major = int(version[2])
    if major < MIN_JAVA:
        raise ConfigurationError(f"{found} is Java {major}. {install}{_INSTEAD}")
    return Path(found)


def find_maven() -> Path:
    """Path of ``mvn`` on the ``PATH``.

    Raises:
        ConfigurationError: there is none; the message says what to install.
    """
    found = shutil.which("mvn")
    if found is None:
        raise ConfigurationError(
            "There is no mvn on the PATH. The jars of the local Kafka are fetched once with "
            "Maven: install it (Debian and Ubuntu: apt install maven; macOS: brew install "
            f"maven). {_INSTEAD}"
        )
    return Path(found)

"""The boot path, up to the first word to the network: what validates is what runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from schemas.config import ClientTls, Config, ServerTls
from schemas.config.checks import cross_check
from schemas.config.load import load
from schemas.errors import ConfigurationError
from streams.edges import security
from topologies.stages import ALL, expand

__all__ = ["DEFAULT_FILE", "Boot", "boot", "check", "read_config"]

DEFAULT_FILE = Path("otlp-streams.yaml")
_FILE_BYTES_MAX = 1 << 20


class Boot(NamedTuple):
    """What is about to run. ``source`` is the file, or ``defaults``."""

    config: Config
    stages: tuple[str, ...]
    source: str


def boot(
    file: Path | None,
    stages: Iterable[str] = (ALL,),
    environment: Mapping[str, str] | None = None,
) -> Boot:
    """Read, check as a whole, and name the stages. Raises ConfigurationError."""
    config, source = read_config(file, environment)
    check(config, source)
    return Boot(config, expand(stages, config), source)


def read_config(
    file: Path | None, environment: Mapping[str, str] | None = None
) -> tuple[Config, str]:
    """Configuration and its source: ``file``, else ./otlp-streams.yaml, else the defaults."""
    if file is None:
        if not DEFAULT_FILE.exists():
            return Config(), "defaults"
        file = DEFAULT_FILE
    try:
        with file.open("rb") as opened:
            data = opened.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror or error}") from None
    if len(data) > _FILE_BYTES_MAX:
        raise ConfigurationError(f"{file}: more than {_FILE_BYTES_MAX} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: not UTF-8 at byte {error.start}") from None
    return load(text, os.environ if environment is None else environment, str(file)), str(file)


def check(config: Config, source: str = "configuration") -> None:
    """Everything that can be known to be wrong before the network is touched.

    Raises one ConfigurationError that lists all of it.
    """
    problems = [str(p) for p in cross_check(config)]
    for path, verify in _tls(config):
        try:
            verify()
        except ConfigurationError as error:
            problems.append(f"{path}.{str(error).removeprefix('tls.')}")
    if problems:
        many = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        raise ConfigurationError("\n  ".join([f"{source}: {many}", *problems]))


def _tls(config: Config) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each TLS section in use, with a call that loads its files."""
    if config.kafka.tls.enabled:
        yield "kafka.tls", _client(config.kafka.tls)
    for name, backend in config.export.backends.items():
        if backend.tls.enabled or backend.endpoint.startswith("https://"):
            yield f"export.backends.{name}.tls", _client(backend.tls)
    if config.ingest.grpc.enabled and config.ingest.grpc.tls is not None:
        yield "ingest.grpc.tls", _server(config.ingest.grpc.tls, grpc=True)
    if config.ingest.http.enabled and config.ingest.http.tls is not None:
        yield "ingest.http.tls", _server(config.ingest.http.tls, grpc=False)


def _client(tls: ClientTls) -> Callable[[], object]:
    return lambda: security.client_context(tls)


def _server(tls: ServerTls, *, grpc: bool) -> Callable[[], object]:
    if grpc:
        return lambda: security.grpc_server_credentials(tls)
    return lambda: security.server_context(tls)

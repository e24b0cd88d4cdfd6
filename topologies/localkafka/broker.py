"""The process of the local broker: format, start, wait until ready, stop, kill, start again."""

from __future__ import annotations

import asyncio
import atexit
import base64
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from schemas.errors import OtlpStreamsError

from .jars import KAFKA_VERSION, fetch_jars
from .probe import answers_metadata, free_ports, is_free
from .programs import find_java
from .properties import LOG4J2, BrokerTls, Listener, server_properties

__all__ = ["LocalKafka", "LocalKafkaFailed"]

# Measured on 2 cores (start, CPU per MB produced and consumed): 1.05 s, 3.5 ms with these;
# 1.3 s, 3.5 ms with the optimising compiler; 1.4 s, 3.3 ms with G1. Memory is alike.
_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xms64m")
_LOG_MAX_BYTES = 8 << 20
_STOP_TIMEOUT_S = 20.0

# Outlives us by a moment: when our end of the pipe closes, however we ended, Kafka ends too.
_WATCHER = 'read _; kill -TERM "$1" 2>/dev/null || exit; sleep 10; kill -KILL "$1" 2>/dev/null'


class LocalKafkaFailed(OtlpStreamsError):
    """The local broker did not start; the message ends with the last lines of its log."""


class LocalKafka:
    """One node of Apache Kafka (KRaft), a child process that never outlives its parent.

    Blocking methods with thin ``a...`` variants for coroutines; a context manager either way.
    Ports are chosen at construction and stay the same over :meth:`kill` and :meth:`start`.

    Args:
        directory: where data, settings and log lie; a temporary one when None.
        port: of the PLAINTEXT listener; 0 for a free one.
        controller_port: of the controller; 0 for a free one.
        keep: leave the data when closed; a temporary directory is never kept.
        version: of Apache Kafka.
        cache: directory of the jars, see :func:`~topologies.localkafka.default_cache`.
        heap_mb: largest heap of the broker, MiB.
        users: names and passwords; opens a SASL_PLAINTEXT listener (PLAIN, SCRAM-SHA-256,
            SCRAM-SHA-512, and OAUTHBEARER with unsigned tokens). Fixed when data are new.
        tls: opens an SSL listener that asks for client certificates and, with ``users``,
            a SASL_SSL one that does not.
        settings: further lines of ``server.properties``.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int = 0,
        controller_port: int = 0,
        keep: bool = True,
        version: str = KAFKA_VERSION,
        cache: Path | None = None,
        heap_mb: int = 512,
        users: Mapping[str, str] | None = None,
        tls: BrokerTls | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.host = "127.0.0.1"
        self.directory = directory.absolute() if directory else None
        self.keep = keep and directory is not None
        self.version = version
        self._cache = cache
        self._heap_mb = heap_mb
        self._users = dict(users or {})
        for text in (*self._users, *self._users.values()):
            if not text or set(text) & set('"\\,[]\n'):
                raise ValueError("names and passwords here are without quotes, brackets and commas")
        self._tls = tls
        self._settings = dict(settings or {})
        protocols = ["PLAINTEXT"]
        protocols += ["SASL_PLAINTEXT"] if users else []
        protocols += ["SSL"] if tls else []
        protocols += ["SASL_SSL"] if users and tls else []
        free = iter(free_ports(len(protocols) + 1, self.host))
        self._controller_port = controller_port or next(free)
        self._listeners = tuple(
            Listener(name, port if port and name == "PLAINTEXT" else next(free))
            for name in protocols
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Port of the PLAINTEXT listener."""
        return self._listeners[0].port

    @property
    def bootstrap(self) -> str:
        """``host:port`` of the PLAINTEXT listener."""
        return self.bootstrap_of("PLAINTEXT")

    def bootstrap_of(self, protocol: str) -> str:
        """``host:port`` of the listener with this security protocol; KeyError if there is none."""
        ports = {each.protocol: each.port for each in self._listeners}
        return f"{self.host}:{ports[protocol]}"

    @property
    def pid(self) -> int | None:
        """Process id of the running broker."""
        return self._process.pid if self._process and self.running else None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_file(self) -> Path:
        """What the broker has written, warnings and worse."""
        if self.directory is None:
            raise LocalKafkaFailed("the local Kafka has not been started")
        return self.directory / "server.log"

    def start(self, timeout_s: float = 60.0, give_up: Callable[[], bool] = lambda: False) -> None:
        """Start on the data that are there, or on new ones; return when metadata are served.

        ``give_up`` is asked while waiting; once it says yes, the start returns unfinished.

        Raises:
            ConfigurationError: no Java, no Maven, no jars.
            LocalKafkaFailed: a port is taken; or the process ended, or was not ready in time.
        """
        if self.running:
            return
        self.stop()  # if it has ended by itself, its watcher still waits
        self._demand_ports()
        java = [str(find_java()), *_JVM]
        jars = fetch_jars(self._cache, self.version)
        if self.directory is None:
            self.directory = Path(tempfile.mkdtemp(prefix="otlp-streams-kafka-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        atexit.register(self.close)
        (self.directory / "log4j2.properties").write_text(LOG4J2)
        properties = self.directory / "server.properties"
        properties.touch(mode=0o600)  # it may hold passwords
        properties.write_text(self._properties(self.directory))
        java += [
            f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}",
            "-Dlog4j2.disableJmx=true", "-cp", f"{jars}/*",
        ]  # fmt: skip
        self._format(java, self.directory, properties)
        with self.log_file.open("ab") as log:
            if log.tell() > _LOG_MAX_BYTES:
                log.truncate(0)
            # A session of its own: Ctrl-C in a terminal is for us to handle, in our order.
            self._process = subprocess.Popen(  # noqa: S603
                [java[0], f"-Xmx{self._heap_mb}m", *java[1:], "kafka.Kafka", str(properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watcher = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _WATCHER, "sh", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_until_ready(time.monotonic() + timeout_s, give_up)

    def _demand_ports(self) -> None:
        # Kafka would find out by itself; but another broker on the port would answer for it.
        for port in (*(each.port for each in self._listeners), self._controller_port):
            if not is_free(self.host, port):
                raise LocalKafkaFailed(f"port {port} of {self.host} is taken by another program")

    def _properties(self, directory: Path) -> str:
        return server_properties(
            host=self.host,
            data=directory / "data",
            controller_port=self._controller_port,
            listeners=self._listeners,
            users=self._users,
            tls=self._tls,
            extra=self._settings,
        )

    def _format(self, java: list[str], directory: Path, properties: Path) -> None:
        if (directory / "data" / "meta.properties").exists():
            return
        cluster_id = "-"
        while cluster_id.startswith("-"):  # would be taken for an option
            cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [*java, "kafka.tools.StorageTool", "format"]
        command += ["--cluster-id", cluster_id, "--config", str(properties)]
        for name, password in self._users.items():
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                command += ["--add-scram", f"{mechanism}=[name={name},password={password}]"]
        done = subprocess.run(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode != 0:
            raise LocalKafkaFailed(f"Kafka could not format {directory}: {done.stdout[-2000:]}")

    def _wait_until_ready(self, deadline: float, give_up: Callable[[], bool]) -> None:
        while not answers_metadata(self.host, self.port):
            if give_up():
                return
            if self.running and time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            what = "is not ready in time" if self.running else "ended while it was starting"
            self.kill()
            tail = self.log_file.read_text(errors="replace").splitlines()[-15:]
            raise LocalKafkaFailed(f"The local Kafka {what}:\n" + "\n".join(tail))

    def stop(self) -> None:
        """SIGTERM, and wait for the clean end; SIGKILL after 20 s. Data stay."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as a crash would. Data stay; :meth:`start` goes on with them."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, watcher = self._process, self._watcher
        if process is not None:
            process.send_signal(how)
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._process = self._watcher = None
        if watcher is not None:
            # Only now: its target has been reaped, and it must not hit a process that comes
            # to the same number.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(watcher.pid, signal.SIGKILL)
            watcher.wait()
            if watcher.stdin is not None:
                watcher.stdin.close()

    def close(self) -> None:
        """Stop and, unless data are kept, remove what was written."""
        self.stop()
        atexit.unregister(self.close)
        if self.keep or self.directory is None:
            return
        # Only what is ours: the directory may have been somebody's home.
        shutil.rmtree(self.directory / "data", ignore_errors=True)
        for name in ("server.properties", "log4j2.properties", "server.log"):
            (self.directory / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.directory.rmdir()

    async def astart(self, timeout_s: float = 60.0) -> None:
        """:meth:`start` without blocking the event loop."""
        await asyncio.to_thread(self.start, timeout_s)

    async def astop(self) -> None:
        """:meth:`stop` without blocking the event loop."""
        await asyncio.to_thread(self.stop)

    async def akill(self) -> None:
        """:meth:`kill` without blocking the event loop."""
        await asyncio.to_thread(self.kill)

    async def aclose(self) -> None:
        """:meth:`close` without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self.astart()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

"""The backend tool: both receivers in front of counters, faults and files."""

from __future__ import annotations

import asyncio
import json
import signal as signals
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from schemas.config import GrpcReceiver, HttpReceiver
from schemas.errors import ConfigurationError
from schemas.signals import Signal
from streams import wire
from streams.edges.receivers import (
    Accepted,
    Admission,
    Faults,
    FaultSettings,
    GrpcServer,
    HttpServer,
    ReceiverMetrics,
)
from streams.edges.receivers.store import FrameStore, LineStore, open_store

__all__ = ["BackendSettings", "Totals", "run"]

_INFLIGHT_MAX_BYTES = 512 << 20
_GRACE_S = 2.0
_INTERVAL_S = 1.0


@dataclass(frozen=True)
class BackendSettings:
    """What the command line said."""

    grpc: GrpcReceiver
    http: HttpReceiver
    faults: FaultSettings
    max_request_bytes: int
    store: Path | None = None
    quiet: bool = False
    as_json: bool = False


@dataclass
class Totals:
    """What was taken; an acceptor that counts, and stores if there is a store."""

    store: FrameStore | LineStore | None = None
    requests: dict[Signal, int] = field(default_factory=lambda: dict.fromkeys(Signal, 0))
    items: dict[Signal, int] = field(default_factory=lambda: dict.fromkeys(Signal, 0))
    size_bytes: int = 0

    async def __call__(self, signal: Signal, data: bytes, _: Mapping[str, str]) -> Accepted:
        """Count one request. Raises MalformedMessage."""
        items = wire.scan(signal, data).items
        if self.store is not None:
            self.store.write(signal, data)
        self.requests[signal] += 1
        self.items[signal] += items
        self.size_bytes += len(data)
        return Accepted()


async def run(settings: BackendSettings) -> None:
    """Serve until SIGINT or SIGTERM. Raises ConfigurationError if it cannot listen or store."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signals.SIGINT, signals.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    # What is for people goes to standard error, so that --json leaves the output to scripts.
    console = Console(stderr=True, highlight=False)
    with ExitStack() as files:
        totals = Totals()
        if settings.store is not None:
            try:
                store = open_store(settings.store)
            except OSError as error:
                raise ConfigurationError(f"--store: {settings.store}: {error.strerror}") from None
            totals.store = store
            files.callback(store.close)
        faults = Faults(totals, settings.faults)
        admission = Admission(_INFLIGHT_MAX_BYTES)
        metrics = ReceiverMetrics(CollectorRegistry())
        shared: dict[str, Any] = {
            "max_request_bytes": settings.max_request_bytes,
            "admission": admission,
            "metrics": metrics,
        }
        grpc = GrpcServer(settings.grpc, faults, **shared)
        http = HttpServer(settings.http, faults, **shared)
        await asyncio.to_thread(wire.warm_up)
        started = time.monotonic()
        try:
            await grpc.start()
            await http.start()
            host = settings.grpc.endpoint.rpartition(":")[0]
            console.print(
                f"backend: grpc {host}:{grpc.port}, http {host}:{http.port}", soft_wrap=True
            )
            await _watch(stop, totals, faults, None if settings.quiet else console)
        finally:
            await asyncio.gather(grpc.stop(_GRACE_S), http.stop(_GRACE_S))
        seconds = time.monotonic() - started
        if settings.as_json:
            sys.stdout.write(json.dumps(_summary(totals, faults, seconds)) + "\n")
        else:
            Console(highlight=False).print(_table(totals, faults, seconds))


async def _watch(
    stop: asyncio.Event, totals: Totals, faults: Faults, console: Console | None
) -> None:
    """Flush, and print a line, every second."""
    items, size_bytes, idle = dict(totals.items), totals.size_bytes, False
    while not stop.is_set():
        try:
            async with asyncio.timeout(_INTERVAL_S):
                await stop.wait()
        except TimeoutError:
            pass
        if totals.store is not None:
            totals.store.flush()
        moved = size_bytes != totals.size_bytes
        if console is not None and (moved or not idle):
            rates = "  ".join(
                f"{signal.value} {totals.items[signal] - items[signal]:>9,}/s" for signal in Signal
            )
            megabytes = (totals.size_bytes - size_bytes) / 1e6
            wrong = _shown(faults)
            console.print(
                f"{time.strftime('%X')}  {rates}  {megabytes:>8.2f} MB/s{wrong}", soft_wrap=True
            )
        items, size_bytes, idle = dict(totals.items), totals.size_bytes, not moved


def _shown(faults: Faults) -> str:
    wrong = ", ".join(f"{n} {kind}" for kind, n in faults.happened.items() if kind != "ok")
    return f"  ({wrong})" if wrong else ""


def _summary(totals: Totals, faults: Faults, seconds: float) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 3),
        "requests": {signal.value: count for signal, count in totals.requests.items()},
        "items": {signal.value: count for signal, count in totals.items.items()},
        "bytes": totals.size_bytes,
        "fates": dict(faults.happened),
    }


def _table(totals: Totals, faults: Faults, seconds: float) -> Table:
    table = Table(title=f"received in {seconds:.1f} s, {totals.size_bytes / 1e6:,.2f} MB")
    table.add_column("signal")
    table.add_column("requests", justify="right")
    table.add_column("items", justify="right")
    for signal in Signal:
        table.add_row(signal.value, f"{totals.requests[signal]:,}", f"{totals.items[signal]:,}")
    for kind, count in faults.happened.items():
        if kind != "ok":
            table.add_row(f"told to {kind}", f"{count:,}", "")
    return table

"""One replay from the command line: client, progress, files, signals, summary."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal as os_signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from schemas.config import Backend
from schemas.errors import ConfigurationError
from schemas.signals import Signal
from streams.edges.exporters import Delivery, Exported, ExporterMetrics
from streams.recording.identity import identities
from streams.recording.laps import Lap

from .pace import Pace
from .recording import Recording
from .replayer import Replayer, Tally

__all__ = ["Client", "Settings", "replay", "truth_writer"]

_DRAIN_S = 30.0
"""Answers that are still out at the end are waited for so long."""
_REFRESH_S = 0.25


@dataclass(frozen=True)
class Settings:
    """What the command line asks for."""

    backend: Backend
    pace: Pace
    laps: int | None
    now: bool
    fresh_ids: bool
    concurrency: int
    seed: int
    ids_file: Path | None = None
    truth_file: Path | None = None
    as_json: bool = False
    quiet: bool = False


@dataclass
class Client:
    """An OTLP client with retries, and what it counts."""

    backend: Backend
    delivery: Delivery = field(init=False)

    def __post_init__(self) -> None:
        self._registry = CollectorRegistry()
        metrics = ExporterMetrics(self._registry)
        self.delivery = Delivery("replay", self.backend, metrics.of("replay"))

    @property
    def retries(self) -> int:
        """Requests that were sent again."""
        return sum(
            int(
                self._registry.get_sample_value(
                    "otlp_streams_export_retries_total",
                    {"backend": "replay", "signal": signal.value},
                )
                or 0
            )
            for signal in Signal
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Delivery]:
        """The started client; closed at the end."""
        await self.delivery.start()
        try:
            yield self.delivery
        finally:
            await self.delivery.stop()


async def replay(recording: Recording, settings: Settings) -> bool:
    """Send it, show how it goes, and print a summary; whether all was acknowledged."""
    client = Client(settings.backend)
    with contextlib.ExitStack() as files, _signals() as interrupted:
        ids = _open(files, settings.ids_file)
        truth = _open(files, settings.truth_file)
        replayer = Replayer(
            recording,
            client.delivery,
            settings.pace,
            laps=settings.laps,
            now=settings.now,
            fresh_ids=settings.fresh_ids,
            concurrency=settings.concurrency,
            rng=np.random.default_rng(settings.seed),
            on_acknowledged=_ids_writer(ids),
            on_lap=truth_writer(truth, recording),
        )
        interrupted.append(replayer.stop)
        began_s = time.monotonic()
        async with client.running():
            watching = asyncio.create_task(_watch(replayer.tally, recording, client, settings))
            try:
                await replayer.run(drain_s=_DRAIN_S)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        _summarise(replayer.tally, client, time.monotonic() - began_s, settings)
    return replayer.tally.complete


def _open(files: contextlib.ExitStack, path: Path | None) -> TextIO | None:
    try:
        return files.enter_context(path.open("w")) if path is not None else None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None


@contextlib.contextmanager
def _signals() -> Iterator[list[Callable[[], None]]]:
    """Callbacks put into the list run on Ctrl-C or SIGTERM; the second one interrupts."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    callbacks: list[Callable[[], None]] = []
    pressed = 0

    def on_signal() -> None:
        nonlocal pressed
        pressed += 1
        for callback in callbacks:
            callback()
        if pressed > 1 and task is not None:
            task.cancel()

    numbers = (os_signal.SIGINT, os_signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield callbacks
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _ids_writer(file: TextIO | None) -> Callable[[Signal, bytes, Exported], None]:
    """One line per acknowledged item: signal, identity in hex, perhaps ``partial``.

    That is where the server rejected some items of the request; it does not say which.
    """

    def write(signal: Signal, data: bytes, exported: Exported) -> None:
        if file is not None:
            suffix = " partial" if exported.rejected else ""
            file.writelines(f"{signal} {one.hex()}{suffix}\n" for one in identities(signal, data))

    return write


def truth_writer(file: TextIO | None, recording: Recording) -> Callable[[int, Lap], None]:
    """Called with a lap's number and difference, writes a line for each fault that is in it."""

    def write(number: int, lap: Lap) -> None:
        if file is not None:
            for truth in recording.truths:
                file.write(json.dumps(truth.record(lap, number)) + "\n")
            file.flush()

    return write


async def _watch(tally: Tally, recording: Recording, client: Client, settings: Settings) -> None:
    """A progress bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    if settings.quiet or not console.is_terminal:
        return
    total = recording.items.total() * settings.laps if settings.laps is not None else None
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %" if total else "lap {task.fields[laps]}"),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=total, text="", laps=0)
        before, before_s = 0, time.monotonic()
        while True:
            acknowledged, now_s = tally.acknowledged.total(), time.monotonic()
            rate = (acknowledged - before) / max(now_s - before_s, 1e-9)
            before, before_s = acknowledged, now_s
            progress.update(
                bar,
                completed=acknowledged + tally.rejected.total() + tally.failed.total(),
                laps=tally.laps,
                text=f"{rate:,.0f}/s  sent {tally.sent.total():,}  acknowledged {acknowledged:,}"
                f"  rejected {tally.rejected.total():,}  failed {tally.failed.total():,}"
                f"  retries {client.retries:,}",
            )
            await asyncio.sleep(_REFRESH_S)


def _summarise(tally: Tally, client: Client, took_s: float, settings: Settings) -> None:
    if settings.as_json:
        result = {**tally.as_dict(), "retries": client.retries, "seconds": round(took_s, 3)}
        result["complete"] = tally.complete
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for signal in Signal:
        if sent := tally.sent[signal]:
            sys.stdout.write(
                f"{signal.value:8}{sent:>12,} sent{tally.acknowledged[signal]:>12,} acknowledged"
                f"{tally.rejected[signal]:>10,} rejected{tally.failed[signal]:>10,} failed\n"
            )
    sys.stdout.write(
        f"{tally.requests:,} requests, {tally.sent_bytes / 1e6:,.1f} MB, {tally.laps} laps, "
        f"{client.retries:,} retries in {took_s:.1f} s: "
        f"{tally.acknowledged.total() / max(took_s, 1e-9):,.0f} items/s\n"
    )
    for reason, items in tally.errors.most_common():
        sys.stdout.write(f"{items:>12,} items: {reason}\n")

"""What the demonstration sends: the recording in laps, by a crowd; and who hears of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from schemas.config import Backend, Retry
from schemas.errors import ConfigurationError
from schemas.signals import Signal
from streams.edges.exporters import Exported
from streams.recording.inject import parse
from streams.recording.laps import Lap
from topologies.demo_data import FILES
from topologies.replay import Frame, Pace, Recording, Replayer, Tally, load
from topologies.replay.session import Client, truth_writer

from .crowd import Crowd
from .incident import Incident, period
from .ledger import Ledger
from .marking import Marking, endings

__all__ = [
    "CLIENTS", "FAULTS", "FAULT_KINDS", "Source", "Traffic", "clients_for", "loading", "recorded",
]  # fmt: skip

CLIENTS = 60
"""Clients that play the recording at once: about 4,000 spans a second."""
FAULTS = (
    "errors:ts-payment-service@0s+10m,rate=0.05,ancestors=true",
    "errors:ts-order-service@0s+10m,rate=0.003,ancestors=true",
    "latency:ts-order-service@0s+10m,factor=1,add=3s,rate=0.02",
)
"""What is put into each lap where nothing else is asked for: few failures, few slow requests."""
FAULT_KINDS = ("errors", "latency")
"""Faults that make a trace worth keeping."""

_JOIN_MAX_BYTES, _JOIN_MAX_S = 8 << 10, 1.0
"""Requests of the recording are small; clients batch them for a second, as SDKs do."""
_PACE = Pace(1.0)
_CONCURRENCY = 4
"""Requests of one client under way."""


class Source(NamedTuple):
    """What is replayed, by how many, and by which dice."""

    clients: int | None
    """None: as many as make ``rate``."""
    incident: str | None
    """Happens to all clients at once, see incident.py; None: nothing does."""
    injections: tuple[str, ...]
    seed: int
    truth_file: Path | None = None
    rate: float | None = None
    """Spans a second, where the number of clients is not given."""


def clients_for(rate: float, recording: Recording) -> int:
    """How many clients make about so many spans a second."""
    length_s = _PACE.lap_s(recording)
    return max(round(rate * length_s / recording.items[Signal.TRACES]), 1)


def recorded(source: Source) -> Recording:
    """The recording with its faults; takes two seconds. Raises ConfigurationError."""
    rng = np.random.default_rng(source.seed)
    loaded = load(
        FILES,
        injections=source.injections,
        batch_max_bytes=_JOIN_MAX_BYTES,
        batch_max_s=_JOIN_MAX_S,
        rng=rng,
    )
    # Metrics begin a while before the traces: without them a lap has no quiet begin.
    frames = loaded.frames[[f.signal for f in loaded.frames].index(Signal.TRACES) :]
    items: Counter[Signal] = Counter()
    for frame in frames:
        items[frame.signal] += frame.layout.items
    begin_ns = min(f.layout.latest_ns for f in frames if f.layout.latest_ns)
    return loaded._replace(frames=frames, begin_ns=begin_ns, items=items)


@contextlib.asynccontextmanager
async def loading(
    source: Source,
) -> AsyncIterator[tuple[asyncio.Future[tuple[Recording, Incident | None]], TextIO | None]]:
    """The recording and the incident, as a thread loads them, and the file for the truth.

    Raises:
        ConfigurationError: what is asked for is wrong; at once.
    """
    for text in source.injections:
        parse(text, 0)
    if source.incident is not None:
        period(source.incident)
    with contextlib.ExitStack() as files:
        truth = None
        if (path := source.truth_file) is not None:
            try:
                truth = files.enter_context(path.open("w"))
            except OSError as error:
                raise ConfigurationError(f"{path}: {error.strerror}") from error
        task = asyncio.create_task(asyncio.to_thread(_prepared, source))
        try:
            yield task, truth
        finally:
            await asyncio.gather(task, return_exceptions=True)


def _prepared(source: Source) -> tuple[Recording, Incident | None]:
    recording = recorded(source)
    if source.incident is None:
        return recording, None
    rng = np.random.default_rng([source.seed, 2])
    return recording, Incident(period(source.incident), recording.frames, rng)


class Traffic:
    """Clients that replay the recording to an OTLP/gRPC endpoint until they are told to stop."""

    def __init__(
        self,
        endpoint: str,
        recording: Recording,
        source: Source,
        ledger: Ledger,
        *,
        truth: TextIO | None = None,
        incident: Incident | None = None,
    ) -> None:
        self._recording = recording
        self._ledger = ledger
        self._write_truth = truth_writer(truth, recording)
        self._client = Client(
            Backend(
                protocol="grpc",
                endpoint=endpoint,
                compression="none",
                max_connections=2,
                retry=Retry(initial=0.1, maximum=2.0, max_elapsed=30.0),
            )
        )
        self._source = source
        self._endings = endings(recording, _PACE, FAULT_KINDS)
        self.incident = incident
        size = source.clients
        if size is None:
            size = CLIENTS if source.rate is None else clients_for(source.rate, recording)
        self.crowd = Crowd(self._replayer, size)

    def _replayer(self, number: int, phase: float, tally: Tally) -> Replayer:
        phase_s = phase * _PACE.lap_s(self._recording)
        marking = None
        if self._ledger.sampled is not None:
            marking = Marking(self._endings, self._ledger.sampled.mark, phase_s)

        def begins(lap_number: int, lap: Lap) -> None:
            self._write_truth(lap_number, lap)
            if marking is not None:
                marking.lap(lap)

        def choose(frame: Frame) -> Frame | None:
            if marking is not None:
                marking.due(frame)
            return frame if self.incident is None else self.incident.choose(frame)

        return Replayer(
            self._recording,
            self._client.delivery,
            _PACE,
            laps=None,
            now=True,
            fresh_ids=True,
            phase_s=phase_s,
            concurrency=_CONCURRENCY,
            tally=tally,
            rng=np.random.default_rng([self._source.seed, 1, number]),
            on_sent=self._ledger.sent,
            on_acknowledged=self._acknowledged,
            on_lap=begins,
            choose=choose,
        )

    @property
    def retries(self) -> int:
        """Requests that were sent again: what they hold may come twice."""
        return self._client.retries

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """The client is connected while the block runs."""
        async with self._client.running():
            yield

    def _acknowledged(self, kind: Signal, data: bytes, exported: Exported) -> None:
        if not exported.rejected:  # which ones were rejected is not said
            self._ledger.acknowledged(kind, data)

"""A recording in memory, in the order in which it was sent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from schemas.errors import ConfigurationError, MessageTooLarge
from schemas.signals import Signal
from streams.recording import frames
from streams.recording.frames import Request
from streams.recording.inject import Truth, inject, parse
from streams.recording.layout import Layout, find
from streams.wire import json as wire_json

__all__ = ["MEMORY_MAX_BYTES", "Frame", "Recording", "load"]

MEMORY_MAX_BYTES = 1 << 30
"""Requests of all files together, uncompressed; a longer recording is to be cut."""


class Frame(NamedTuple):
    """One request and where its ids and times are."""

    signal: Signal
    data: bytes
    layout: Layout


class Recording(NamedTuple):
    """Requests of all signals, merged by the time of their latest item."""

    frames: tuple[Frame, ...]
    truths: tuple[Truth, ...]
    """What was injected."""
    begin_ns: int
    """When the first request was sent, by its latest item; Unix nanoseconds."""
    end_ns: int
    """When the last one was."""
    items: Counter[Signal]
    """Items of one lap by signal."""


def load(
    paths: Iterable[Path],
    *,
    signal: Signal | None = None,
    injections: Sequence[str] = (),
    batch_max_bytes: int = 0,
    batch_max_s: float = math.inf,
    rng: np.random.Generator,
) -> Recording:
    """Read files, put faults in, and prepare each request for many laps.

    Args:
        paths: recordings, see :mod:`streams.recording.frames`.
        signal: what frames hold whose file name does not say it.
        injections: see :mod:`streams.recording.inject`; relative to the earliest item.
        batch_max_bytes: consecutive requests of a signal are joined up to this size; 0: never.
        batch_max_s: and only as long as the first of them has not waited longer, in its own time.
        rng: decides what an injection hits.

    Raises:
        ConfigurationError: a file cannot be read or does not say its signal, nothing is in
            them, they are too large, or an injection is wrong.
        MalformedMessage: a file is damaged.
    """
    requests, size = [], 0
    for path in paths:
        for request in _read(path, signal):
            requests.append(request)
            size += len(request.data)
            if size > MEMORY_MAX_BYTES:
                raise ConfigurationError(
                    f"{path}: more than MEMORY_MAX_BYTES ({MEMORY_MAX_BYTES}) of requests"
                )
    truths: list[Truth] = []
    if injections:
        layouts = [find(*request) for request in requests]
        begin = min((one.earliest_ns for one in layouts if one.earliest_ns), default=0)
        parsed = [parse(text, begin) for text in injections]
        requests, truths = inject(requests, parsed, rng)
    prepared = [Frame(*request, find(*request)) for request in requests]
    prepared.sort(key=lambda frame: frame.layout.latest_ns)
    if batch_max_bytes:
        prepared = _join(prepared, batch_max_bytes, batch_max_s)
    times = [frame.layout.latest_ns for frame in prepared if frame.layout.latest_ns]
    items: Counter[Signal] = Counter()
    for frame in prepared:
        items[frame.signal] += frame.layout.items
    if not items.total():
        raise ConfigurationError("the recording is empty")
    return Recording(
        tuple(prepared), tuple(truths), min(times, default=0), max(times, default=0), items
    )


def _read(path: Path, signal: Signal | None) -> Iterator[Request]:
    signal = signal or frames.guess_signal(path.name)
    try:
        with path.open("rb") as stream:
            yield from frames.read(stream, signal, wire_json.decode)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    except MessageTooLarge as error:
        raise ConfigurationError(f"{path}: {error}") from None
    except frames.SignalUnknown:
        raise ConfigurationError(f"{path}: say what it holds with --signal") from None


def _join(prepared: Sequence[Frame], size_max_bytes: int, waits_max_s: float) -> list[Frame]:
    """Requests joined: messages concatenated are messages merged (Protocol Buffers encoding)."""
    joined: list[Frame] = []
    pending: dict[Signal, list[bytes]] = {}
    began_ns: dict[Signal, int] = {}

    def close(signal: Signal) -> None:
        data = b"".join(pending.pop(signal))
        joined.append(Frame(signal, data, find(signal, data)))

    for frame in prepared:
        parts = pending.get(frame.signal, [])
        now_ns = frame.layout.latest_ns
        if parts and (
            sum(map(len, parts)) + len(frame.data) > size_max_bytes
            or now_ns - began_ns[frame.signal] > waits_max_s * 1e9
        ):
            close(frame.signal)
        if frame.signal not in pending:
            began_ns[frame.signal] = now_ns
        pending.setdefault(frame.signal, []).append(frame.data)
    for signal in tuple(pending):
        close(signal)
    return sorted(joined, key=lambda frame: frame.layout.latest_ns)

"""A recording through the operators of sampling, in recorded time, as fast as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from schemas.config import Config
from schemas.errors import ConfigurationError, PermanentError
from schemas.signals import Signal
from streams.recording.laps import AS_RECORDED, Lap, at_lap, fresh
from streams.sampling.simulation import Simulation
from topologies.replay import Pace, load
from topologies.replay.recording import Recording

__all__ = ["Plan", "simulate"]

_BEGIN_MS = 1_600_000_000_000
"""When a recording without times begins."""


class Plan(NamedTuple):
    """What is taken, and how."""

    files: Sequence[Path]
    speed: float = 1.0
    """Times as fast as recorded: so much more traffic."""
    laps: int = 1
    seed: int | None = None
    """Of fresh ids and of injections; None: ids as recorded, for one lap."""
    injections: Sequence[str] = ()
    """As of ``replay``."""
    partitions: int | None = None
    """None: as many as the configuration says."""


def simulate(config: Config, plan: Plan) -> Simulation:
    """Run it to its end.

    Raises:
        ConfigurationError: a file cannot be read, is damaged, or holds no spans, or an injection
            is wrong.
    """
    try:
        return _simulate(config, plan)
    except PermanentError as error:
        files = ", ".join(map(str, plan.files))
        raise ConfigurationError(f"{files}: damaged: {error}") from None


def _simulate(config: Config, plan: Plan) -> Simulation:
    rng = np.random.default_rng(plan.seed)
    recording = load(plan.files, signal=Signal.TRACES, injections=plan.injections, rng=rng)
    if not recording.items[Signal.TRACES]:
        files = ", ".join(map(str, plan.files))
        raise ConfigurationError(f"{files}: no spans in there, and only spans are sampled")
    simulation = Simulation(
        config.sampling,
        partitions=plan.partitions or config.topics.partitions,
        partitioner=config.ingest.partitioner,
        max_bytes=config.kafka.producer.max_message,
    )
    pace = Pace(plan.speed)
    begin_ms = (recording.begin_ns or _BEGIN_MS * 1_000_000) / 1e6
    for number in range(plan.laps):
        lap = _lap(recording, plan, number, rng)
        for due_s, frame in pace.schedule(recording):
            if frame.signal is Signal.TRACES:
                data = at_lap(frame.data, frame.layout, lap)
                simulation.take(round(begin_ms + due_s * 1000), data)
        begin_ms += pace.lap_s(recording) * 1000
    simulation.finish()
    return simulation


def _lap(recording: Recording, plan: Plan, number: int, rng: np.random.Generator) -> Lap:
    """Spans of a faster lap would end in the future: they begin as recorded, and so do the laps."""
    shift_ns = number * (recording.end_ns - recording.begin_ns)
    if plan.seed is None and number == 0:
        return AS_RECORDED._replace(shift_ns=shift_ns)
    return fresh(rng, shift_ns)

"""Are the faults of the recording found in its own metrics: one rule about anomalies, all pods.

The gauges come once a minute; a window is a minute, so a point is a window. Nothing is drawn or put
in here: what is wrong is what was wrong then (``faults.json``), and its onset is known to a minute.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from schemas.config import Config
from schemas.signals import Signal
from streams.recording import frames
from streams.recording.layout import find
from streams.wire import json as wire_json

from .fault_pipeline import Aggregating, Alerting, Raised
from .fault_traffic import Fault, Sent

__all__ = ["Judged", "configuration", "judge_metrics", "recorded_faults", "run_metrics"]

WITHIN_S = 600.0
"""An alert so soon after an onset may be of it."""
_NS = 1_000_000_000
_BEFORE_S, _AFTER_S = 120, 240


def configuration(
    sensitivity: float, *, windows: int = 2, of: int = 3, warmup: int | None = None
) -> Config:
    """Every metric of every pod; those of nodes stand at each of their pods, and are left out."""
    rule = {
        "name": "MetricUnusual",
        "on": {"window": "pods", "length": "1m", "statistic": "average"},
        "match": {"not": {"metric": {"regex": "^node_"}}},
        "anomaly": {"sensitivity": sensitivity},
        "at_least": {"windows": windows, "of": of},
        "keep_firing_for": "5m",
    }
    pods = {
        "name": "pods", "signal": "metrics", "metric": "*", "by": ["resource.k8s.pod.name"],
        "lengths": ["1m"],
    }  # fmt: skip
    return Config.model_validate(
        {
            "windows": {"enabled": True, "rules": [pods]},
            "alerts": {"enabled": True, "builtin": False, "rules": [rule]},
            "anomaly": {} if warmup is None else {"warmup": warmup},
        }
    )


def recorded_faults(directory: Path) -> list[Fault]:
    """What was wrong in the recording, in order of time."""
    given = json.loads((directory / "faults.json").read_text())
    faults = []
    for each in given:
        at_s = datetime.fromisoformat(each["at"]).timestamp()
        faults.append(Fault(each["type"], each["service"], at_s, at_s + WITHIN_S, 0.0))
    return sorted(faults, key=lambda fault: fault.start_s)


def _arriving(directory: Path) -> dict[int, list[Sent]]:
    """Requests by the second of their latest point."""
    found: dict[int, list[Sent]] = defaultdict(list)
    with (directory / "metrics.otlp.zst").open("rb") as stream:
        for request in frames.read(stream, Signal.METRICS, wire_json.decode):
            second = find(request.signal, request.data).latest_ns // _NS + 1
            found[second].append(Sent(second, request.signal, request.data))
    return found


def run_metrics(directory: Path, config: Config) -> tuple[list[Raised], float, float]:
    """What is raised; when metrics begin and end."""
    arriving = _arriving(directory)
    begin_s, stop_s = min(arriving), max(arriving)
    aggregating = Aggregating(config, partitions=2, signals=(Signal.METRICS,), seed=0)
    alerting = Alerting(config, partitions=2)

    def seconds() -> Iterator[list[Raised]]:
        for second in range(begin_s - _BEFORE_S, stop_s + _AFTER_S):
            yield alerting.second(second, aggregating.second(second, arriving.get(second, ())))

    return [each for some in seconds() for each in some], float(begin_s), float(stop_s)


class Judged(NamedTuple):
    """What became of the recorded faults."""

    delays_s: list[float | None]
    """From each onset to the first alert of its service; None: there was none in time."""
    silent_s: list[bool]
    """Whether nothing at all was raised before it: detection was still learning."""
    outside: int
    """Alerts, of any service, while no fault was."""
    outside_h: float
    """Hours of that, from the first alert on."""
    by_chance: float
    """Share of moments outside of faults that an alert of such a service followed in time."""


def judge_metrics(
    faults: Sequence[Fault], raised: Sequence[Raised], begin_s: float, stop_s: float
) -> Judged:
    """Compare what was raised with what was wrong."""
    firing = [each for each in raised if each.event.state == "firing"]
    times: dict[Any, list[float]] = defaultdict(list)
    for each in firing:
        times[each.event.labels.get("service")].append(each.at_s)
    first_s = min((each.at_s for each in firing), default=stop_s)
    delays = []
    for fault in faults:
        after = [t - fault.start_s for t in times[fault.service] if t >= fault.start_s]
        delays.append(min((d for d in after if d < WITHIN_S), default=None))
    # Minutes in which nothing was wrong, from when on there was something to say.
    minutes = np.arange(max(begin_s, first_s), stop_s - WITHIN_S, 60.0)
    quiet = [t for t in minutes if not any(f.start_s - 60 <= t < f.stop_s for f in faults)]
    outside = [
        each for each in firing
        if not any(f.start_s - 60 <= each.at_s < f.stop_s for f in faults)
    ]  # fmt: skip
    services = {fault.service for fault in faults}
    alone = {s: [e.at_s for e in outside if e.event.labels.get("service") == s] for s in services}
    followed = [
        any(t <= at_s < t + WITHIN_S for at_s in alone[service])
        for service in services for t in quiet
    ]  # fmt: skip
    return Judged(
        delays,
        [fault.start_s < first_s for fault in faults],
        len(outside),
        len(quiet) / 60,
        float(np.mean(followed)) if followed else 0.0,
    )

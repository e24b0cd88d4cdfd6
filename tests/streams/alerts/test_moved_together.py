"""What else of a service was unusual when an alert fired, and which traces to look at."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from schemas.config.anomaly import Anomaly
from schemas.records.alerts import AlertEvent
from streams.alerts.moved_together import moved_together
from streams.alerts.pairs import Pairs
from streams.alerts.series import Description, SeriesTable, Service
from streams.alerts.statistics import STATISTICS
from streams.alerts.watching import Watching
from streams.anomaly.detection import Observed
from tests.operators.detecting import alerts, detect
from tests.streams.windows.messages import Exemplar

from .hosting import Host, requests

ON = {"window": "spans", "length": "10s"}
CHANNELS = [("spans", 10_000), ("spans", 60_000), ("logs", 10_000)]
END_MS = 1_700_000_000_000


class Shown:
    """Series of two services; values of them that are as unusual as is said."""

    def __init__(self) -> None:
        self.table, self.watching = SeriesTable(100), Watching(Anomaly())
        services = ["cart", "cart", "shop", "cart", "cart"]
        channels = [0, 0, 0, 1, 2]
        for number, (service, channel) in enumerate(zip(services, channels, strict=True)):
            # The series of a minute is that of ten seconds, in longer windows.
            name = "b" if number == 3 else "abcde"[number]
            description = Description(Service("", service), "", (("k", name),), 0)
            hashed = np.array([number + 1], np.uint64)
            self.table.add(hashed, channel, lambda _, d=description: d)  # type: ignore[misc]
            length_ms = CHANNELS[channel][1]
            numbers = np.array([number], np.int32)
            self.watching.watch(numbers, length_ms, lambda _: ("rate", "p99"))

    def be(self, number: int, statistic: str, score: float, at_ms: int = END_MS) -> None:
        """A value was."""
        length_ms = CHANNELS[int(self.table.channel[number])][1]
        pair = self.watching._pairs[number, STATISTICS.index(statistic)]
        pairs = self.watching._lengths[length_ms, False]
        pairs.at_ms[pair], pairs.score[pair], pairs.value[pair] = at_ms, score, 7.0
        pairs.low[pair], pairs.high[pair] = np.nan, 2.0

    def named(self, number: int, statistic: str, windows: int = 3, most: int = 10) -> Sequence[str]:
        found = moved_together(
            self.table, self.watching, CHANNELS,
            number=number, statistic=statistic, end_ms=END_MS, windows=windows, most=most,
        )  # fmt: skip
        assert all((m.value, m.low, m.high) == (7.0, None, 2.0) for m in found)
        return [f"{m.window}/{m.length_ms} {m.attributes['k']} {m.statistic}" for m in found]


def test_the_strangest_of_the_service_first_without_itself() -> None:
    shown = Shown()
    for number, statistic, score in (
        (0, "rate", 0.9), (0, "p99", 0.3), (1, "p99", 0.7), (2, "p99", 0.99), (4, "rate", 0.5),
    ):  # fmt: skip
        shown.be(number, statistic, score)
    assert shown.named(0, "rate") == ["spans/10000 b p99", "logs/10000 e rate", "spans/10000 a p99"]
    assert shown.named(1, "p99", most=1) == ["spans/10000 a rate"]
    assert shown.named(1, "p99", most=0) == []
    assert shown.named(2, "p99") == []


def test_only_of_the_last_windows_of_each_length() -> None:
    shown = Shown()
    shown.be(1, "rate", 0.9, END_MS - 30_000)
    shown.be(1, "p99", 0.8, END_MS - 20_000)
    shown.be(3, "rate", 0.7, END_MS - 120_000)
    assert shown.named(0, "p99") == ["spans/10000 b p99", "spans/60000 b rate"]
    assert shown.named(0, "p99", windows=1) == []


def test_a_statistic_in_windows_of_several_lengths_is_named_once() -> None:
    shown = Shown()
    shown.be(1, "rate", 0.6)
    shown.be(3, "rate", 0.7)
    assert shown.named(0, "p99") == ["spans/60000 b rate"]
    assert shown.named(1, "rate") == []


def test_what_was_forgotten_is_not_named() -> None:
    shown = Shown()
    shown.be(1, "rate", 0.9)
    shown.watching.forget(np.array([1], np.int32), 10_000)
    assert shown.named(0, "p99") == []
    # Nor is it of whoever gets its number.
    shown.watching.watch(np.array([1], np.int32), 10_000, lambda _: ("rate",))
    assert shown.named(0, "p99") == []


def test_an_alert_names_what_moved_with_it_and_a_trace() -> None:
    rules: list[dict[str, Any]] = [
        {
            "name": "Slow",
            "on": {**ON, "statistic": "max"},
            "threshold": {"op": ">", "value": 2},
            "for": "30s",
        },
        {"name": "Mean", "on": {**ON, "statistic": "average"}, "anomaly": {"sensitivity": 20}},
    ]
    rng = random.Random(4)
    h = Host(lambda counts: detect(alerts(*rules), counts=counts))
    told: list[AlertEvent] = []
    for number in range(500):
        groups = []
        for n, name in enumerate(("add", "pay", "see")):
            slow = 50 if number >= 495 and name == "pay" else 1
            durations = [slow * 0.1 * (1 + 0.2 * rng.random()) for _ in range(9)]
            group = requests("cart", durations, span_name=name)
            trace_id = bytes(15) + bytes([n + 1])
            groups.append(replace(group, exemplar=Exemplar(group.max, 1, trace_id, b"\1" * 8)))
        told += [e for e in h.window(*groups) if e.state == "firing" and number >= 495]
        if number == 10:
            assert h.counts.partitions[3].learning_total == 3
    assert h.counts.values == 3 * 500
    slow_ = next(e for e in told if e.rule == "Slow")
    assert ({"span.name": "pay"}, "average") in [
        (m.attributes, m.statistic) for m in slow_.moved_with
    ]
    assert slow_.exemplars[0].trace_id == f"{2:032x}"
    mean = next(e for e in told if e.rule == "Mean" and e.labels["span.name"] == "pay")
    assert mean.detector in Anomaly().detectors
    assert mean.value is not None
    assert mean.high is not None
    assert mean.value > mean.high
    assert sum(h.counts.anomalies.values()) == h.counts.transitions["Mean", "firing"] > 0


class Forest:
    """Says of all vectors that their third number is strange, of the first that none is."""

    counts: ClassVar[dict[str, int]] = {}
    given: NDArray[np.float64]

    def grow(self, services: int, interval_ms: int) -> None:
        assert (services, interval_ms) == (2, 10_000) or services == 1

    def observe(
        self, services: NDArray[np.int32], time_ms: NDArray[np.int64], vectors: NDArray[np.float64]
    ) -> Observed:
        self.given = vectors
        found = {name: np.full(len(services), 0.5) for name in Observed._fields}
        found["detector"] = np.where(services == 0, -1, 2)
        return Observed(**found)


def test_vectors_are_the_numbers_of_a_row_and_a_detector_is_one_of_them() -> None:
    watching, forest = Watching(Anomaly()), Forest()
    watching._lengths[10_000, True] = Pairs(10_000, forest)  # type: ignore[arg-type]
    numbers = np.array([0, 5], np.int32)
    watching.watch(numbers, 10_000, lambda _: ("strangeness",))
    values = np.arange(len(STATISTICS) * 3.0).reshape(len(STATISTICS), 3)
    wanted = [values[STATISTICS.index(s), [0, 2]] for s in ("rate", "error_ratio", "p50")]
    found = watching.observe(10_000, END_MS, np.array([0, 3, 5], np.int32), values)
    ((rows, said),) = found.values()
    assert rows.tolist() == [0, 2]
    assert forest.given[:, :3].T.tolist() == np.array(wanted).tolist()
    assert [said.detector[0], watching.detectors[said.detector[1]]] == [-1, "forest:p50"]
    assert values[-1].tolist() == [0.5, values[-1, 1], 0.5]


def test_strangeness_is_judged_and_goes_on_after_a_restart() -> None:
    strange = {**ON, "statistic": "strangeness"}
    rule = {"name": "Strange", "on": strange, "anomaly": {"sensitivity": 100}}
    hosts = [Host(lambda counts: detect(alerts(rule), counts=counts)) for _ in range(2)]
    rng = random.Random(5)
    for number in range(90):
        groups = [
            requests(service, [rng.random() for _ in range(rng.randint(2, 5))])
            for service in ("cart", "shop")
        ]
        for h in hosts:
            h.window(*groups)
        if number % 40 == 0:
            hosts[0].snapshot()
            hosts[0].restart()
    assert hosts[0].operator.snapshot() == hosts[1].operator.snapshot()
    assert hosts[0].visible == hosts[1].visible
    assert hosts[1].counts.values == 2 * 90
    assert hosts[1].counts.partitions[3].watched == 2

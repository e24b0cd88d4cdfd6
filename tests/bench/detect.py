"""Cost of detection and alert rules on one core, memory, snapshots.

python -m tests.bench.detect [SERIES...] [--watched 0,1,3] [--windows N]

Each size and number of watched statistics in a process of its own. Every series has spans in every
window: three data points of a message, and a row of statistics. ``watched`` of these are judged by
detection; two threshold rules look at all of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from schemas.batches import Batch, Record
from schemas.config.alerts import Alerts
from schemas.config.windows import Windows
from schemas.operators import Scanned
from streams.alerts.counts import DetectCounts
from streams.alerts.detect import Detect
from tests.streams.windows.messages import Group, distribution, messages

LENGTH_MS = 10_000
FIRST_MS = 1_700_000_000_000
PART = 2000
"""Series of one message: under 1 MB."""
WATCHED = ("rate", "p99", "error_ratio", "p50", "average")
PAGE = 4096
VARIANTS = 3
WARM = 80
"""Windows before: detectors look at nothing before they have some history."""


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def settings(watched: int, series: int) -> Alerts:
    """Rules over all series."""
    on = {"window": "spans", "length": "10s"}
    thresholds = [
        {"name": "Errors", "on": {**on, "statistic": "error_ratio"}, "min_count": 20,
         "threshold": {"op": ">", "value": 0.9}},
        {"name": "Slow", "on": {**on, "statistic": "p99"}, "for": "1m",
         "threshold": {"op": ">", "value": 100}},
    ]  # fmt: skip
    anomalies = [
        {"name": f"Strange{n}", "on": {**on, "statistic": statistic}, "anomaly": {"sensitivity": 1}}
        for n, statistic in enumerate(WATCHED[:watched])
    ]
    given = {"builtin": False, "rules": [*thresholds, *anomalies], "series_max": series}
    return Alerts.model_validate(given)


def windows(series: int) -> list[list[Record]]:
    """A few windows; only their headers say which."""
    rng = np.random.default_rng(1)
    values = rng.lognormal(-3, 0.3, (VARIANTS, 16, 60))
    # Distributions are made once: what is in the buckets does not matter here.
    made = [[distribution(Group("spans"), some) for some in variant] for variant in values]
    result = []
    for variant in range(VARIANTS):
        records = []
        for first in range(0, series, PART):
            groups = [
                replace(
                    made[variant][i % 16],
                    service=f"service-{i // 50}",
                    attributes=(
                        ("span.kind", "SPAN_KIND_SERVER"), ("span.name", f"GET /things/{i % 50}"),
                        ("status.code", "STATUS_CODE_UNSET"),
                    ),
                    errors=i % 3,
                )
                for i in range(first, min(first + PART, series))
            ]  # fmt: skip
            records.append(messages("spans", LENGTH_MS, FIRST_MS, groups)[0])
        result.append([*records, messages("spans", LENGTH_MS, FIRST_MS)[-1]])
    return result


class Bench:
    """An operator and its source."""

    def __init__(self, series: int, watched: int) -> None:
        self.series, self.watched = series, watched
        self.source = windows(series)
        self.counts = DetectCounts()
        self.given = settings(watched, series)
        self.operator = self.make()
        self.number = 0

    def make(self) -> Detect:
        """A new one."""
        return Detect(
            self.given, Windows(), alerts_topic="alerts", state_topic="alerts.state", partition=0,
            counts=self.counts,
        )  # fmt: skip

    def window(self, operator: Detect | None = None) -> None:
        """One more window."""
        self.number += 1
        end_ms = FIRST_MS + LENGTH_MS * self.number
        for record in self.source[self.number % VARIANTS]:
            said = record.headers[1:]
            headers = (("window", f"spans/{LENGTH_MS}/{end_ms}".encode()), *said)
            batch = Batch("windows", 0, self.number, end_ms + 11_000, None, record.value, headers)
            (operator or self.operator).process(Scanned(batch, None))

    def seconds(self, count: int) -> float:
        """CPU time a window, after some."""
        for _ in range(WARM if self.series < 10_000 else WARM // 2):
            self.window()
        begun = time.process_time()
        for _ in range(count):
            self.window()
        return (time.process_time() - begun) / count


def measure(series: int, watched: int, count: int) -> None:
    """Print a line."""
    Bench(10, watched).seconds(2)  # compiles
    bench = Bench(series, watched)
    before = resident()
    seconds = bench.seconds(count)
    memory = (resident() - before) / series
    begun = time.perf_counter()
    chunks = list(bench.operator.snapshot())
    taken = time.perf_counter() - begun
    size = sum(map(len, chunks))
    other = bench.make()
    begun = time.perf_counter()
    other.restore(iter(chunks))
    restored = time.perf_counter() - begun
    assert len(bench.counts.partitions) <= 1
    print(
        f"{series:>8,}{watched:>9}{seconds * 1e3:>12.1f}{seconds / series * 1e6:>12.2f}"
        f"{memory:>12.0f}{size / 1e6:>13.1f}{taken:>9.2f}{restored:>9.2f}",
        flush=True,
    )


def main() -> None:
    """A line each size and number of statistics."""
    parser = argparse.ArgumentParser(description="Cost of detect.")
    parser.add_argument("series", nargs="*", type=int, default=[1000, 100_000])
    parser.add_argument("--watched", default="0,1,3")
    parser.add_argument("--windows", type=int, default=30)
    parser.add_argument("--inside", action="store_true")
    given = parser.parse_args()
    watched = [int(each) for each in given.watched.split(",")]
    if given.inside:
        measure(given.series[0], watched[0], given.windows)
        return
    print("  series  watched   ms/window   us/series   RSS B/series  snapshot MB  take s restore s")
    for size in given.series:
        for each in watched:
            windows_ = min(given.windows, max(3, 3_000_000 // size))
            subprocess.run(
                [sys.executable, "-m", __spec__.name, str(size), "--watched", str(each),
                 "--windows", str(windows_), "--inside"],
                check=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()

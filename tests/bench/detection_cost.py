"""What detection costs: microseconds a point, bytes a series, and the time of a snapshot.

python -m tests.bench.detection_cost [SERIES...]

Each size in a process of its own; points are a day's season with noise, a point of every series in
each block, after as many blocks as make all detectors and calibrations ready. Times are of the
process, so that neighbours on the machine count little.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from schemas.config.anomaly import Anomaly
from streams.anomaly.detection import Detection
from streams.anomaly.services import ServiceDetection
from streams.anomaly.warming import warm_up_anomaly

PAGE = 4096
STEP_MS, START_MS = 300_000, 1_700_000_000_000
READY, MEASURED = 700, 20


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def values_at(rng: np.random.Generator, step: int, series: int) -> np.ndarray:
    """A point of every series."""
    day = np.sin(2 * np.pi * step * STEP_MS / 86_400_000)
    return np.asarray(100 + 20 * day + rng.normal(size=series))


def measure(series: int) -> None:
    """Print a line for so many series."""
    warm_up_anomaly()
    rng = np.random.default_rng(1)
    before = resident()
    detection = Detection(Anomaly(), series)
    detection.grow(series, STEP_MS)
    rows = np.arange(series, dtype=np.int32)
    ready = READY if series <= 10_000 else READY // 4
    for step in range(ready):
        detection.observe(rows, START_MS + step * STEP_MS, values_at(rng, step, series))
    taken = []
    for step in range(ready, ready + MEASURED):
        values = values_at(rng, step, series)
        begin = time.process_time()
        detection.observe(rows, START_MS + step * STEP_MS, values)
        taken.append(time.process_time() - begin)
    held = (resident() - before) / series
    begin = time.process_time()
    chunks = list(detection.snapshot())
    written = time.process_time() - begin
    begin = time.process_time()
    Detection(Anomaly(), 0).restore(chunks)
    read = time.process_time() - begin
    size = sum(map(len, chunks)) / series
    print(
        f"{series:>7,} series: {np.median(taken) / series * 1e6:5.2f} us a point, "
        f"block {np.median(taken) * 1e3:7.1f} ms, {detection.row_bytes:,} bytes of state a series, "
        f"{held:,.0f} resident; snapshot {size:,.0f} bytes a series, "
        f"{written:.2f} s to write, {read:.2f} s to read"
    )


def measure_services(services: int) -> None:
    """Print a line for so many services."""
    rng = np.random.default_rng(1)
    detection = ServiceDetection(Anomaly(), services, seed=1)
    detection.grow(services, STEP_MS)
    rows, blocks = np.arange(services, dtype=np.int32), 600
    begin = time.process_time()
    for step in range(blocks):
        vectors = np.abs(rng.normal(size=(services, len(detection.names))))
        detection.observe(rows, START_MS + step * STEP_MS, vectors)
    taken = (time.process_time() - begin) / blocks / services
    print(f"{services:>7,} services: {taken * 1e6:5.1f} us a vector, growing trees included")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        measure(int(sys.argv[1]))
    else:
        for size in sys.argv[1:] or ("1000", "100000"):
            subprocess.run([sys.executable, "-m", __spec__.name, size], check=True)
        measure_services(50)

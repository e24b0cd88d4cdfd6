"""``python -m tests.bench.sensitivity``: is a sensitivity what it says, false alarms per day?

    python -m tests.bench.sensitivity [--series 100] [--days 50] [--only KIND...] [--seed 1]

Series without anomalies of several kinds are made from seeds and fed to the detector of the
`detect` worker; alarms are counted as a rule would raise them, per series and day that the detector
does not call "learning". Nothing is asserted here; a small run of the same is a test.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.signal import lfilter

from schemas.config.anomaly import Anomaly
from streams.anomaly.detection import Detection

DAY_MS = 86_400_000
START_MS = 1_767_571_200_000
"""A Monday, midnight UTC."""

Generator = Callable[[np.random.Generator, int, NDArray[np.float64]], NDArray[np.float64]]
"""From chance, how many series, and days since the start of each point: values (series, points)."""


def _noise(
    chance: np.random.Generator, series: int, points: int, memory: float = 0.0
) -> NDArray[np.float64]:
    """Normal noise of variance 1; ``memory`` is the correlation of neighbours."""
    white = chance.standard_normal((series, points))
    if memory == 0.0:
        return white
    # The first value is drawn from the stationary distribution, too.
    scale = np.sqrt(1.0 - memory * memory)
    start = memory * chance.standard_normal((series, 1))
    return np.asarray(lfilter([scale], [1.0, -memory], white, axis=1, zi=start)[0])


def _each(chance: np.random.Generator, series: int, low: float, high: float) -> NDArray[np.float64]:
    return chance.uniform(low, high, (series, 1))


def white(
    chance: np.random.Generator, series: int, day: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A level and independent noise, 2 to 30 % of it."""
    return 100.0 * (1.0 + _each(chance, series, 0.02, 0.3) * _noise(chance, series, len(day)))


def correlated(
    chance: np.random.Generator, series: int, day: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Noise whose neighbours are correlated by 0.9."""
    return 100.0 + 10.0 * _noise(chance, series, len(day), 0.9)


def heavy(
    chance: np.random.Generator, series: int, day: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Student's t with 3 degrees of freedom: extremes are a part of it."""
    return 100.0 + 5.0 * chance.standard_t(3, (series, len(day)))


def trend(
    chance: np.random.Generator, series: int, day: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A line that rises or falls by up to 1 % of the level a day."""
    return 100.0 + _each(chance, series, -1, 1) * day + 5.0 * _noise(chance, series, len(day), 0.5)


def daily(
    chance: np.random.Generator, series: int, day: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Day and night, and correlated noise."""
    wave = np.sin(2.0 * np.pi * (day + _each(chance, series, 0, 1)))
    return (
        100.0 + _each(chance, series, 10, 60) * wave + 6.0 * _noise(chance, series, len(day), 0.6)
    )


def weekly(
    chance: np.random.Generator, series: int, day: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Day, night and quiet weekends, noise in proportion to the level."""
    wave = 1.0 + 0.5 * np.sin(2.0 * np.pi * (day + _each(chance, series, 0, 1)))
    rest = np.where(day % 7.0 >= 5.0, _each(chance, series, 0.4, 0.8), 1.0)
    return 100.0 * wave * rest * np.exp(0.08 * _noise(chance, series, len(day), 0.5))


def counts(
    chance: np.random.Generator, series: int, day: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Poisson numbers, 5 to 50 a point, with day and night."""
    wave = 1.0 + 0.6 * np.sin(2.0 * np.pi * day)
    return chance.poisson(_each(chance, series, 5, 50) * wave).astype(np.float64)


def rare(chance: np.random.Generator, series: int, day: NDArray[np.float64]) -> NDArray[np.float64]:
    """Poisson numbers that are mostly 0, such as errors."""
    return chance.poisson(_each(chance, series, 0.05, 0.8), (series, len(day))).astype(np.float64)


def constant(
    chance: np.random.Generator, series: int, day: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A constant that is measured with an error of a thousandth."""
    return 100.0 + 0.1 * _noise(chance, series, len(day))


def drift(
    chance: np.random.Generator, series: int, day: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A level that wanders within days, and noise."""
    slow = _noise(chance, series, len(day), 0.999)
    return 100.0 + 15.0 * slow + 5.0 * _noise(chance, series, len(day))


KINDS: Mapping[str, Generator] = {
    each.__name__: each
    for each in (white, correlated, heavy, trend, daily, weekly, counts, rare, constant, drift)
}


class Tally(NamedTuple):
    """What was observed at one sensitivity."""

    alarms: int
    days: float
    """Series-days that were not "learning"."""

    @property
    def per_day(self) -> float:
        """Alarms per series and day."""
        return self.alarms / self.days if self.days else float("nan")


def blocks(
    generator: Generator, seed: int, series: int, days: int, interval_ms: int
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]]:
    """Rows of all series, a day at a time, in order of series and time."""
    points = DAY_MS // interval_ms
    chance = np.random.default_rng([seed, zlib.crc32(generator.__name__.encode())])
    at = np.arange(days * points, dtype=np.int64)
    values = generator(chance, series, at * interval_ms / DAY_MS)
    rows = np.repeat(np.arange(series, dtype=np.int32), points)
    for day in range(days):
        place = slice(day * points, (day + 1) * points)
        time_ms = np.tile(START_MS + at[place] * interval_ms, series)
        yield rows, time_ms, np.ascontiguousarray(values[:, place]).ravel()


def tally(
    generator: Generator,
    sensitivities: Sequence[float],
    *,
    series: int,
    days: int,
    seed: int = 1,
    interval_ms: int = 300_000,
    settings: Anomaly | None = None,
) -> dict[float, Tally]:
    """Alarms of series without anomalies; one alarm silences the next ``dead_time`` points."""
    settings = settings or Anomaly()
    detection = Detection(settings, series)
    detection.grow(series, interval_ms)
    points = DAY_MS // interval_ms
    last = {one: np.full(series, -(10**9)) for one in sensitivities}
    alarms, judged = dict.fromkeys(sensitivities, 0), dict.fromkeys(sensitivities, 0)
    for day, (rows, time_ms, values) in enumerate(
        blocks(generator, seed, series, days, interval_ms)
    ):
        seen = detection.observe(rows, time_ms, values)
        for one in sensitivities:
            judged[one] += int(np.sum(seen.least_per_day <= one))
            for place in np.flatnonzero(seen.rate_per_day <= one).tolist():
                which, now = rows[place], day * points + place % points
                if now - last[one][which] > settings.dead_time:
                    alarms[one] += 1
                    last[one][which] = now
    return {one: Tally(alarms[one], judged[one] / points) for one in sensitivities}


def main() -> None:
    """Entry point of the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--days", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--interval", type=int, default=300, help="seconds between points")
    parser.add_argument("--only", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--sensitivity", type=float, nargs="*", default=[1.0, 0.1, 0.01])
    options = parser.parse_args()
    table = Table("series", *(f"{one:g} a day" for one in options.sensitivity))
    totals = {one: Tally(0, 0.0) for one in options.sensitivity}
    for kind in options.only:
        found = tally(
            KINDS[kind],
            options.sensitivity,
            series=options.series,
            days=options.days,
            seed=options.seed,
            interval_ms=options.interval * 1000,
        )
        for one, seen in found.items():
            totals[one] = Tally(totals[one].alarms + seen.alarms, totals[one].days + seen.days)
        table.add_row(kind, *map(_cell, found.values()))
    table.add_row("all", *map(_cell, totals.values()))
    Console().print(table)


def _cell(seen: Tally) -> str:
    if not seen.days:
        return "learning"
    return f"{seen.per_day:.3g} ({seen.alarms} in {seen.days:.0f} days)"


if __name__ == "__main__":
    main()

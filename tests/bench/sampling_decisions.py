"""How well budgets are kept and estimates made, by simulation of decisions alone.

    python -m tests.bench.sampling_decisions [--seed 1] [--seconds 60]

No Kafka and no spans: made-up traces go through the deciders that the stage `sample` has, in
simulated time. Everything follows from the seed, which is printed. Nothing is asserted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from .sampling_samplers import Ema, Ours, Sampler, Uniform
from .sampling_traffic import Traffic

__all__ = ["Run", "main", "run"]

TARGET = 1000.0
WARM_UP_S = 30
_FULL_S = 10  # sampler's 10 s wait is over; what a rate is at first


class Run(NamedTuple):
    """What a sampler made of traffic. Rows: seconds, or traces after the warm-up."""

    kept_by_second: NDArray[np.int64]
    sigma_by_second: NDArray[np.float64]
    """Standard deviation of the kept ones, were each drawn by itself."""
    key: NDArray[np.int64]
    error: NDArray[np.bool_]
    slow: NDArray[np.bool_]
    duration_ms: NDArray[np.float64]
    kept: NDArray[np.bool_]
    odds: NDArray[np.float64]


def run(
    sampler: Sampler, traffic: Traffic, seconds: int, rate: Callable[[int], float], skip_s: int = 0
) -> Run:
    """Decide ``seconds`` of traffic; the first ``skip_s`` are not in the result."""
    counts = np.zeros(seconds, np.int64)
    variance = np.zeros(seconds)
    rows = []
    for number, step in enumerate(traffic.steps(seconds, rate)):
        kept, odds = sampler.decide(step)
        counts[number // 2] += int(kept.sum())
        variance[number // 2] += float((odds * (1 - odds)).sum())
        if number // 2 >= skip_s:
            rows.append((step.key, step.error, step.slow, step.duration_ms, kept, odds))
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    return Run(counts[skip_s:], np.sqrt(variance[skip_s:]), *columns)


def weighted_p99(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """The 99th percentile of weighted values."""
    order = np.argsort(values)
    until = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(until, 0.99 * until[-1])])


def budget_error(found: Run, target: float) -> str:
    """Over all seconds, in per cent."""
    return f"{100 * (found.kept_by_second.sum() / (target * len(found.kept_by_second)) - 1):+.2f} %"


def worst_sigma(found: Run, target: float) -> float:
    """Of all seconds."""
    return float(np.abs((found.kept_by_second - target) / found.sigma_by_second).max())


def bias(found: Run) -> tuple[float, float]:
    """Of the sum of adjusted counts, in per cent; and its standard deviation."""
    total = len(found.kept)
    estimate = float((1 / found.odds[found.kept]).sum())
    sigma = float(np.sqrt((1 / found.odds - 1).sum()))
    return 100 * (estimate / total - 1), 100 * sigma / total


def budgets(seed: int, seconds: int, console: Console) -> None:
    """Keys from few to many, partitions from one to sixteen, even and skewed."""
    table = Table(
        "keys", "partitions", "skew", "traces/s", "kept/s", "budget error", "worst second",
        title=f"budget {TARGET:g} traces/s, seed {seed}",
    )  # fmt: skip
    cases = [(keys, 1, 0.0) for keys in (100, 1_000, 10_000, 100_000)]
    cases += [(10_000, partitions, 0.0) for partitions in (2, 4, 16)]
    cases += [(1_000, 16, 0.5), (10_000, 16, 0.5), (100_000, 16, 0.5)]
    for keys, partitions, skew in cases:
        traffic = Traffic(seed, keys, partitions=partitions, skew=skew)
        sampler = Ours(TARGET, partitions)
        found = run(sampler, traffic, WARM_UP_S + seconds, lambda _: 10_000.0, WARM_UP_S)
        table.add_row(
            f"{keys:,}", str(partitions), f"{skew:.0%}", "10,000",
            f"{found.kept_by_second.mean():,.1f}", budget_error(found, TARGET),
            f"{worst_sigma(found, TARGET):.2f} σ",
        )  # fmt: skip
    console.print(table)


def steps(seed: int, console: Console) -> None:
    """Five times the traffic from one second to the next."""
    table = Table(
        "before", "after", "keys", "partitions", "worst second", "settled after",
        title=f"fivefold step, budget {TARGET:g} traces/s, seed {seed}",
    )  # fmt: skip
    for before, keys, partitions in (
        (600.0, 1_000, 1), (2_000.0, 1_000, 1), (4_000.0, 10_000, 1),
        (600.0, 1_000, 16), (2_000.0, 10_000, 16),
    ):  # fmt: skip
        traffic = Traffic(seed, keys, partitions=partitions)
        at = WARM_UP_S + 10
        rate = lambda second, b=before, at=at: b * (5 if second >= at else 1)  # noqa: E731
        found = run(Ours(TARGET, partitions), traffic, at + 20, rate, at)
        off = np.abs(found.kept_by_second / TARGET - 1) <= np.maximum(
            0.05, 3 * found.sigma_by_second / TARGET
        )
        settled = next(i for i in range(len(off) + 1) if off[i:].all())
        table.add_row(
            f"{before:,.0f}/s", f"{5 * before:,.0f}/s", f"{keys:,}", str(partitions),
            f"{found.kept_by_second.max() / TARGET:.3f} ×", f"{settled} s",
        )  # fmt: skip
    console.print(table)


def biases(seed: int, console: Console) -> None:
    """Ten minutes of each: chance has to be small before a bias can be seen."""
    table = Table(
        "keys", "partitions", "traces", "estimated", "off by", "standard deviation",
        title=f"sum of adjusted counts, budget {TARGET:g} traces/s, seed {seed}",
    )  # fmt: skip
    for keys, partitions in ((100, 1), (1_000, 1), (1_000, 16), (10_000, 4)):
        traffic = Traffic(seed, keys, partitions=partitions)
        found = run(Ours(TARGET, partitions), traffic, 600, lambda _: 4 * TARGET)
        off, sigma = bias(found)
        table.add_row(
            f"{keys:,}", str(partitions), f"{len(found.kept):,}",
            f"{(1 / found.odds[found.kept]).sum():,.0f}", f"{off:+.2f} %", f"{sigma:.2f} %",
        )  # fmt: skip
    console.print(table)


def compare(seed: int, seconds: int, keys: int, console: Console) -> None:
    """Ours beside an exponential moving average and uniform sampling, on the same traffic."""
    table = Table(
        "sampler", "kept/s", "worst second", "keys seen", "of those with ≥ 10", "error of counts",
        "of the rarer half", "error of p99", "errors kept", "slow kept",
        title=f"{keys:,} operations, 10,000 traces/s, seed {seed}",
    )  # fmt: skip
    samplers: list[tuple[str, Sampler]] = [
        ("budget", Ours(TARGET)),
        ("moving average, 1 in 10", Ema(seed, 10, 2 * keys)),
        ("uniform, 1 in 10", Uniform(seed, 0.1)),
    ]
    for name, sampler in samplers:
        traffic = Traffic(seed, keys)
        rate = lambda _: 10 * TARGET  # noqa: E731
        # The moving average needs its 15 s intervals to find its level.
        found = run(sampler, traffic, 4 * WARM_UP_S + seconds, rate, 4 * WARM_UP_S)
        table.add_row(name, *quality(found, 2 * keys))
    console.print(table)


def quality(found: Run, keys: int) -> list[str]:
    """What can be learned from the kept traces."""
    true = np.bincount(found.key, minlength=keys)
    kept = np.bincount(found.key[found.kept], minlength=keys)
    weight = 1 / found.odds[found.kept]
    estimate = np.bincount(found.key[found.kept], weight, keys)
    there, often = true > 0, true >= 10
    counted = np.flatnonzero(true >= 100)
    off = np.abs(estimate[counted] / true[counted] - 1)
    rarer = true[counted] <= np.median(true[counted])
    p99 = []
    for key in np.flatnonzero(true >= 2000):
        mine = found.key[found.kept] == key
        if mine.sum() < 2:
            p99.append(1.0)
            continue
        guess = weighted_p99(found.duration_ms[found.kept][mine], weight[mine])
        p99.append(abs(guess / np.quantile(found.duration_ms[found.key == key], 0.99) - 1))
    return [
        f"{found.kept_by_second.mean():,.0f}",
        f"{found.kept_by_second.max() / TARGET:.2f} ×",
        f"{(kept[there] > 0).mean():.1%}",
        f"{(kept[often] > 0).mean():.1%}",
        f"{off.mean():.1%}",
        f"{off[rarer].mean():.1%}",
        f"{np.mean(p99):.1%}" if p99 else "-",
        f"{found.kept[found.error].mean():.1%}",
        f"{found.kept[found.slow].mean():.1%}",
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    console = Console(width=140)
    budgets(arguments.seed, arguments.seconds, console)
    steps(arguments.seed, console)
    biases(arguments.seed, console)
    for keys in (100, 1_000, 10_000, 100_000):
        compare(arguments.seed, arguments.seconds, keys, console)


if __name__ == "__main__":
    main()

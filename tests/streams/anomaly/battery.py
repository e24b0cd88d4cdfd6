"""What every detector must pass, whatever it looks at.

A case says how the detector is made and what it may be given. A history is a block of points of
some series, in order of time for each; everything is compared as bytes, since the same input must
give the same output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.blocks import Blocks
from streams.anomaly.detectors import Detector, Scores
from streams.anomaly.snapshots import blocks_from, chunks_of

STEP_MS, START_MS = 900_000, 1_700_000_000_000
"""A point each quarter of an hour, so that days come soon."""
POINTS = 700
SERIES = 4


class Block(NamedTuple):
    """Points in the order in which they come."""

    series: NDArray[np.int32]
    time_ms: NDArray[np.int64]
    values: NDArray[np.float64]

    def part(self, which: slice | NDArray[np.bool_]) -> Block:
        return Block(self.series[which], self.time_ms[which], self.values[which])


@dataclass(frozen=True)
class Case:
    """A detector, and what is true of it."""

    make: Callable[[int], Detector]
    """With room for so many series."""
    features: int = 0
    """Values are vectors of so many; 0: numbers."""
    scales_with: bool = True
    """Scores are the same when all values are multiplied by a number above 0."""
    row_bytes_max: int = 2600
    restored: Callable[[Detector], None] = lambda _: None
    """Told after its blocks were filled."""


def history(case: Case, seed: int = 1, series: int = SERIES, points: int = POINTS) -> Block:
    """A day's season, noise, heavy tails, gaps, and one series that is constant."""
    rng = np.random.default_rng(seed)
    time = np.arange(points)
    day = np.sin(2 * np.pi * time * STEP_MS / 86_400_000)
    width = max(case.features, 1)
    shape = (points, series, width)
    values = 50 + 10 * day[:, None, None] + rng.standard_t(4, shape)
    values[:, series - 1] = 7.0
    values[rng.random(shape[:2]) < 0.03] = np.nan
    times = np.repeat(START_MS + time * STEP_MS, series)
    flat = values.reshape(points * series, width)
    return Block(
        np.tile(np.arange(series, dtype=np.int32), points),
        times.astype(np.int64),
        flat if case.features else flat[:, 0].copy(),
    )


def give(detector: Detector, block: Block) -> Scores:
    found = detector.observe(*block)
    assert all(len(each) == len(block.series) for each in (found.low, found.high))
    assert found.score.shape == (sum(n for n, _ in detector.families), len(block.series))
    return found


def same(one: Scores, other: Scores) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def joined(parts: list[Scores]) -> Scores:
    return Scores(*(np.concatenate(each, axis=-1) for each in zip(*parts, strict=True)))


def copied(blocks: Blocks) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in blocks}


def scores_are_sane(case: Case) -> None:
    """0 or more, finite, there for every series in the end, NaN where a value is missing."""
    block = history(case)
    found = give(case.make(SERIES), block)
    missing = np.isnan(block.values)
    if case.features:
        missing = missing.all(axis=1)
    assert np.isnan(found.score[:, missing]).all()
    last = found.score[:, -20 * SERIES :][:, ~missing[-20 * SERIES :]]
    assert np.isfinite(last).all()
    assert (last >= 0).all()
    known = ~np.isnan(found.low)
    assert (found.low[known] <= found.high[known]).all()


def is_deterministic(case: Case) -> None:
    """The same again from the same points."""
    block = history(case)
    same(give(case.make(SERIES), block), give(case.make(SERIES), block))


def blocks_do_not_matter(case: Case) -> None:
    """Points may come one by one, in blocks of any size, or all at once."""
    block = history(case)
    whole = case.make(SERIES)
    expected = give(whole, block)
    for sizes in ((1, 2, 3, 5, 7, 11), (1000,)):
        detector, parts, at, turn = case.make(SERIES), [], 0, 0
        while at < len(block.series):
            size = sizes[turn % len(sizes)]
            parts.append(give(detector, block.part(slice(at, at + size))))
            at, turn = at + size, turn + 1
        same(joined(parts), expected)
        assert copied(detector.blocks) == copied(whole.blocks)


def series_do_not_matter_to_each_other(case: Case) -> None:
    """A series alone gets the scores that it gets among others."""
    block = history(case)
    expected = give(case.make(SERIES), block)
    for series in (0, 2):
        own = block.series == series
        detector = case.make(SERIES)
        for each, there in zip(give(detector, block.part(own)), expected, strict=True):
            np.testing.assert_array_equal(each, there[..., own])


def the_future_does_not_matter(case: Case) -> None:
    """Scores of the first half are the same whatever comes later."""
    block = history(case)
    half = len(block.series) // 2
    expected = give(case.make(SERIES), block.part(slice(half)))
    other = block.values.copy()
    other[half:] *= -1e6
    found = give(case.make(SERIES), block._replace(values=other))
    same(Scores(*(each[..., :half] for each in found)), expected)


def snapshots_go_on(case: Case) -> None:
    """From a snapshot anywhere it goes on as if nothing had been."""
    block = history(case)
    whole = give(case.make(SERIES), block)
    for at in (1, 130, 1500, 2201):
        detector = case.make(SERIES)
        before = give(detector, block.part(slice(at)))
        chunks = list(chunks_of({"it": detector.blocks}, {}, SERIES, "x"))
        restored = case.make(0)
        assert blocks_from(chunks, {"it": restored.blocks}, {}, "x") == SERIES
        case.restored(restored)
        same(joined([before, give(restored, block.part(slice(at, None)))]), whole)
        assert list(chunks_of({"it": restored.blocks}, {}, SERIES, "x")) != chunks


def growing_changes_nothing(case: Case) -> None:
    """Room for more series does not change what is known of those that are there."""
    block = history(case)
    expected = give(case.make(SERIES), block)
    detector, half = case.make(SERIES), len(block.series) // 2
    before = give(detector, block.part(slice(half)))
    detector.blocks.grow(SERIES + 1000)
    same(joined([before, give(detector, block.part(slice(half, None)))]), expected)


def forgetting_begins_anew(case: Case) -> None:
    """A row that was forgotten is that of a new series; the others go on."""
    block = history(case)
    expected = give(case.make(SERIES), block)
    detector = case.make(SERIES)
    other = history(case, seed=2)
    give(detector, other.part(other.series == 1))
    forget = getattr(detector, "forget", detector.blocks.forget)
    forget(np.array([1], np.int32))
    same(give(detector, block), expected)


def memory_is_bounded(case: Case) -> None:
    """State does not grow with points, only with series."""
    detector = case.make(SERIES)
    before = sum(array.nbytes for _, array in detector.blocks)
    give(detector, history(case))
    assert sum(array.nbytes for _, array in detector.blocks) == before
    assert detector.blocks.row_bytes == before // SERIES <= case.row_bytes_max


def units_do_not_matter(case: Case) -> None:
    """Milliseconds or seconds: scores are the same but for rounding."""
    block = history(case)
    expected = give(case.make(SERIES), block).score
    for factor in (2.0**-10, 1000.0, 3e9):
        found = give(case.make(SERIES), block._replace(values=block.values * factor)).score
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-5)


def extremes_do_no_harm(case: Case) -> None:
    """The greatest and least values that there may be, zeros, and constants."""
    rng = np.random.default_rng(5)
    block = history(case)
    values = block.values.copy()
    values[::7] = 1e30
    values[3::11] = -1e30
    values[5::13] = 0.0
    values[6::17] = 1e-300
    found = give(case.make(SERIES), block._replace(values=values))
    assert not np.isinf(found.score).any()
    later = block._replace(
        values=50 + rng.normal(size=block.values.shape), time_ms=block.time_ms + POINTS * STEP_MS
    )
    zeros = block._replace(values=np.zeros_like(block.values))
    assert np.isfinite(give(case.make(SERIES), zeros).score[:, -SERIES:]).all()
    detector = case.make(SERIES)
    give(detector, block._replace(values=values))
    assert np.isfinite(give(detector, later).score[:, -SERIES:]).all()


def gaps_do_no_harm(case: Case) -> None:
    """A series that was away for a month goes on."""
    block = history(case)
    time_ms = block.time_ms.copy()
    time_ms[len(time_ms) // 2 :] += 30 * 86_400_000
    found = give(case.make(SERIES), block._replace(time_ms=time_ms)).score
    there = ~np.isnan(found[0, -40:])
    assert np.isfinite(found[:, -40:][:, there]).all()
    assert there.any()


def shifts_are_adapted_to(case: Case) -> None:
    """A level that stays becomes usual: within its memory scores are near what they were."""
    points = 3000
    rng = np.random.default_rng(3)
    width = max(case.features, 1)
    values = 50 + rng.normal(size=(points, width))
    values[1000:] += 30
    series = np.zeros(points, np.int32)
    time_ms = START_MS + np.arange(points) * np.int64(STEP_MS)
    flat = values if case.features else values[:, 0].copy()
    score = give(case.make(1), Block(series, time_ms, flat)).score
    usual = np.nanquantile(score[:, 600:1000], 0.9, axis=1)
    after = np.quantile(score[:, 2700:], 0.5, axis=1)
    assert (after <= np.maximum(2.5 * usual, 0.05)).all()


ALL = (
    scores_are_sane,
    is_deterministic,
    blocks_do_not_matter,
    series_do_not_matter_to_each_other,
    the_future_does_not_matter,
    snapshots_go_on,
    growing_changes_nothing,
    forgetting_begins_anew,
    memory_is_bounded,
    units_do_not_matter,
    extremes_do_no_harm,
    gaps_do_no_harm,
    shifts_are_adapted_to,
)

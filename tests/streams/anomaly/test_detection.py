"""Detection as a whole: what it finds, what it says of itself, and that it goes on anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.config.anomaly import Anomaly
from schemas.records import MalformedRecord
from streams.anomaly.detection import Detection, Observed
from streams.anomaly.services import ServiceDetection
from streams.anomaly.warming import warm_up_anomaly

STEP_MS, START_MS = 300_000, 1_700_000_000_000
DAY = 288


def times(points: int) -> NDArray[np.int64]:
    return START_MS + np.arange(points, dtype=np.int64) * STEP_MS


def quiet(points: int, seed: int = 1) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    day = np.sin(2 * np.pi * times(points) / 86_400_000)
    return np.asarray(100 + 20 * day + rng.normal(size=points))


def alone(values: NDArray[np.float64], settings: Anomaly | None = None) -> Observed:
    """One series, in one block."""
    detection = Detection(settings)
    detection.grow(1, STEP_MS)
    return detection.observe(np.zeros(len(values), np.int32), times(len(values)), values)


def same(one: Observed, other: Observed) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def spike(values: NDArray[np.float64], at: int) -> str:
    values[at : at + 3] += 80
    return "season"


def shift(values: NDArray[np.float64], at: int) -> str:
    values[at : at + 60] += 12
    return "level"


def wrong_hour(values: NDArray[np.float64], at: int) -> str:
    values[at : at + 60] = 200 - values[at : at + 60]
    return "level"


def noise(values: NDArray[np.float64], at: int) -> str:
    values[at : at + 60] += 12 * np.random.default_rng(2).normal(size=60)
    return "change"


def calm(values: NDArray[np.float64], at: int) -> str:
    values[at : at + 60] = values[at]
    return "change"


def saw(values: NDArray[np.float64], at: int) -> str:
    values[at : at + 60] += 3.0 * (np.arange(60) % 12) - 16
    return "shape"


@pytest.mark.parametrize("fault", [spike, shift, wrong_hour, noise, calm, saw])
def test_faults_are_found_by_whom_they_are_for(fault) -> None:
    """At 0.1 false alarms a day, within the fault; its detector is among those that say so."""
    values, at = quiet(21 * DAY), 20 * DAY + 100
    who = fault(values, at)
    found = alone(values)
    alarms = np.flatnonzero(found.rate_per_day <= 0.1)
    during = alarms[(alarms >= at) & (alarms < at + 60)]
    assert len(during)
    names = {Detection().names[n] for n in found.detector[at : at + 60]}
    assert who in names
    assert found.score[during].max() > found.score[10 * DAY : at].max()


def test_quiet_series_stay_quiet() -> None:
    found = alone(quiet(21 * DAY, seed=4))
    assert np.sum(found.rate_per_day[14 * DAY :] <= 0.01) == 0
    assert np.sum(found.onset[14 * DAY :] > 0.5) == 0


def test_a_level_that_stays_becomes_usual() -> None:
    values = quiet(40 * DAY)
    values[15 * DAY :] += 60
    found = alone(values)
    alarms = np.flatnonzero(found.rate_per_day <= 0.1)
    assert ((alarms >= 15 * DAY) & (alarms < 15 * DAY + 20)).any()
    assert not (alarms >= 25 * DAY).any()


def test_a_fault_does_not_make_itself_usual() -> None:
    """It stays an alarm for as long as an episode lasts."""
    values, at = quiet(21 * DAY), 20 * DAY + 50
    values[at : at + 60] += 50
    found = alone(values)
    assert (found.rate_per_day[at : at + 50] <= 0.1).all()


def test_it_is_learning_until_it_could_tell() -> None:
    """The rarer the alarm, the longer; a score is none before anything is known."""
    found = alone(quiet(12 * DAY))
    assert np.isinf(found.rate_per_day[: 2 * Anomaly().warmup]).all()
    assert found.learning[: 2 * Anomaly().warmup].all()
    first = [int(np.argmax(found.least_per_day <= each)) for each in (10.0, 0.5, 0.05)]
    assert 0 < first[0] <= first[1] < first[2]
    assert not found.learning[-1]
    assert (found.rate_per_day >= found.least_per_day).all()


def test_expected_values_and_directions() -> None:
    values = quiet(15 * DAY)
    values[-2], values[-1] = 300.0, -100.0
    found = alone(values)
    inside = slice(10 * DAY, -2)
    within = (values >= found.low) & (values <= found.high)
    assert within[inside].mean() > 0.9
    assert not within[-2:].any()
    assert found.direction[-2:].tolist() == [1, -1]


def test_what_is_left_out_is_counted() -> None:
    detection = Detection()
    detection.grow(1)
    given = np.array([1.0, np.nan, np.inf, -np.inf, 1e31, 2.0, 3.0])
    at = np.array([10, 20, 30, 40, 50, 10, 60], np.int64)
    found = detection.observe(np.zeros(7, np.int32), at, given)
    assert detection.counts == {"missing": 1, "infinite": 3, "backwards": 1}
    assert np.isinf(found.rate_per_day).all()
    assert (found.score == 0).all()
    assert (found.detector == -1).all()


def test_points_that_are_left_out_change_nothing() -> None:
    values = quiet(4 * DAY)
    holes = np.insert(values, [500, 700], [np.nan, np.inf])
    at = np.insert(times(len(values)), [500, 700], times(len(values))[[499, 699]] + 1)
    detection = Detection()
    detection.grow(1, STEP_MS)
    found = detection.observe(np.zeros(len(holes), np.int32), at, holes)
    there = np.isfinite(holes)
    same(Observed(*(each[there] for each in found)), alone(values))


def many(detection: Detection, first: int, last: int) -> list[Observed]:
    rows = np.arange(5, dtype=np.int32)
    values = np.stack([quiet(900, seed) for seed in range(5)], axis=1)
    return [detection.observe(rows, int(times(900)[k]), values[k]) for k in range(first, last)]


def grown() -> Detection:
    detection = Detection()
    detection.grow(3, STEP_MS, kind=1)
    detection.grow(5)
    return detection


def test_a_snapshot_goes_on_and_is_the_same_again() -> None:
    whole, half = many(grown(), 0, 900), grown()
    many(half, 0, 450)
    chunks = list(half.snapshot())
    restored = Detection()
    restored.restore(chunks)
    assert list(restored.snapshot()) == chunks
    assert len(restored) == 5
    for one, other in zip(many(restored, 450, 900), whole[450:], strict=True):
        same(one, other)


def test_forgotten_rows_are_new_ones() -> None:
    detection, fresh = Detection(), Detection()
    for each in (detection, fresh):
        each.grow(1, STEP_MS)
    rows, values = np.zeros(50, np.int32), quiet(50)
    detection.observe(rows, times(50), values * 7)
    detection.forget(np.zeros(1, np.int32))
    same(detection.observe(rows, times(50), values), fresh.observe(rows, times(50), values))


def test_what_cannot_be_restored_is_refused() -> None:
    detection = grown()
    chunks = list(detection.snapshot())
    assert len(chunks) == 2
    with pytest.raises(MalformedRecord, match="state of 0 series of 5"):
        Detection().restore(chunks[:1])
    with pytest.raises(MalformedRecord, match="checksum"):
        Detection().restore([chunks[0], chunks[1][:-1] + b"x"])
    with pytest.raises(MalformedRecord, match="other detectors"):
        Detection(Anomaly(detectors=("level",))).restore(chunks)
    with pytest.raises(MalformedRecord, match="where 5 was due"):
        Detection().restore([*chunks, chunks[1]])


def test_arrays_may_be_read_only_and_times_one_for_all() -> None:
    one, other = grown(), grown()
    rows, values = np.arange(5, dtype=np.int32), np.ones(5)
    found = one.observe(rows, np.full(5, START_MS), values)
    for each in (rows, values):
        each.flags.writeable = False
    same(other.observe(rows, START_MS, values), found)


def test_arguments_are_checked() -> None:
    detection = grown()
    with pytest.raises(IndexError, match="5"):
        detection.observe(np.array([5], np.int32), 1, np.zeros(1))
    with pytest.raises(ValueError, match="2 values of 1 series"):
        detection.observe(np.array([0], np.int32), 1, np.zeros(2))
    with pytest.raises(ValueError, match="class 64"):
        detection.grow(9, kind=64)


def test_a_series_fits_into_4_kilobytes() -> None:
    assert Detection().row_bytes <= 4096


def test_services() -> None:
    """An odd combination of usual numbers is found, explained, and a snapshot goes on."""
    warm_up_anomaly()
    rng, n = np.random.default_rng(1), 1200
    vectors = rng.normal((100, 0.01, 0.1, 0.2, 0.3), (5, 0.002, 0.01, 0.02, 0.03), (n, 5))
    vectors[1100] = (130, 0.2, 0.2, 0.5, 0.9)
    vectors[700] = np.nan
    vectors[701, 2:] = np.nan
    rows, at = np.zeros(n, np.int32), times(n)
    detection, restored = ServiceDetection(seed=1), ServiceDetection(seed=1)
    detection.grow(1, STEP_MS)
    half = slice(0, 1050), slice(1050, n)
    detection.observe(rows[half[0]], at[half[0]], vectors[half[0]])
    restored.restore(detection.snapshot())
    found = detection.observe(rows[half[1]], at[half[1]], vectors[half[1]])
    same(restored.observe(rows[half[1]], at[half[1]], vectors[half[1]]), found)
    assert int(np.argmin(found.p_value)) == 50
    assert found.rate_per_day[50] <= 1.0
    assert detection.names[found.detector[50]] == "error_ratio"
    assert found.direction[50] == 1
    assert detection.counts["missing"] == 1
    detection.forget(rows[:1])
    assert np.isinf(detection.observe(rows[:1], 1, vectors[:1]).rate_per_day).all()

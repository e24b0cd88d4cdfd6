"""Detection over services: a forest on each one's vector, judged as the series are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.config.anomaly import Anomaly
from streams.anomaly.blocks import Blocks
from streams.anomaly.conformal import Calibration
from streams.anomaly.detection import Observed, design_of
from streams.anomaly.forest import FEATURES, ServiceForest
from streams.anomaly.intake import Intake, rows_of
from streams.anomaly.rates import Rates
from streams.anomaly.snapshots import blocks_from, chunks_of

__all__ = ["ServiceDetection"]

_EXPLAINED_PER_DAY = 24.0
"""Rates above which nobody is told which feature it was."""


class ServiceDetection:
    """Like ``Detection``, with a vector of ``features`` instead of a value.

    ``Observed.detector`` is the index into ``names`` of the feature that is farthest from its
    past, where the rate is at most 24 a day; what was expected is not said.
    """

    def __init__(
        self,
        settings: Anomaly | None = None,
        capacity: int = 0,
        *,
        seed: int = 0,
        names: tuple[str, ...] = FEATURES,
    ) -> None:
        self.settings = settings = settings or Anomaly()
        self.names = names
        self._forest = ServiceForest(capacity, seed=seed, features=len(names))
        self._calibration = Calibration(
            *(capacity, 1), memory=settings.memory, warmup=settings.warmup, kinds=1
        )
        self._rates = Rates(capacity, settings, kinds=1)
        self._intake = Intake(capacity)
        self._services, self._capacity = 0, capacity

    def __len__(self) -> int:
        """Services that there is room for."""
        return self._services

    @property
    def counts(self) -> dict[str, int]:
        """Vectors that were left out, by reason."""
        return self._intake.counts

    def grow(self, services: int, interval_ms: int = 0) -> None:
        """Be ready for services 0 to ``services`` - 1; see ``Detection.grow``."""
        if services > self._capacity:
            self._capacity = max(services, self._capacity + self._capacity // 4, 16)
            for blocks in self._parts.values():
                blocks.grow(self._capacity)
        if services > self._services:
            new = np.arange(self._services, services, dtype=np.int32)
            self._intake.describe(new, interval_ms)
            self._services = services

    def observe(
        self, services: NDArray[np.int32], time_ms: ArrayLike, vectors: NDArray[np.float64]
    ) -> Observed:
        """Judge vectors (n, features); NaN and infinite features are taken as missing."""
        rows, n = rows_of(services, self._services, "services"), len(services)
        if vectors.shape != (len(rows), len(self.names)):
            raise ValueError(
                f"vectors of shape {vectors.shape}, not {(len(rows), len(self.names))}"
            )
        given = np.where(np.isfinite(vectors), vectors, np.nan)
        there = np.where(np.all(np.isnan(given), axis=1), np.nan, 0.0)
        intake = self._intake
        times, taken = intake.take(rows, time_ms, there)
        given[np.isnan(taken)] = np.nan
        found = self._forest.observe(rows, times, given)
        surprise = self._calibration.observe(intake.kind, rows, found.score)[0]
        judged = self._rates.observe(intake.kind, intake.interval, rows, surprise)
        feature, direction = np.full(n, -1, np.int8), np.zeros(n, np.int8)
        for row in np.flatnonzero(judged.rate_per_day <= _EXPLAINED_PER_DAY):
            feature[row], direction[row] = self._forest.explain(int(rows[row]), given[row])
        return Observed(
            score=judged.score,
            p_value=judged.p_value,
            rate_per_day=judged.rate_per_day,
            least_per_day=judged.least_per_day,
            learning=judged.least_per_day > self.settings.sensitivity,
            detector=feature,
            direction=direction,
            low=np.full(n, np.nan),
            high=np.full(n, np.nan),
            onset=judged.onset,
        )

    def forget(self, services: NDArray[np.int32]) -> None:
        """These services are as new, and may be used for others of the same interval."""
        for each in (self._intake, self._calibration.blocks, self._rates.blocks, self._forest):
            each.forget(services)

    def snapshot(self) -> Iterator[bytes]:
        """All state, as chunks of a bounded size."""
        return chunks_of(self._parts, self._shared, self._services, self._design)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Go on from a snapshot of the same settings; raises MalformedRecord."""
        self._services = blocks_from(chunks, self._parts, self._shared, self._design)
        self._capacity = max(self._capacity, self._services)
        self._forest.restored()

    @property
    def _parts(self) -> dict[str, Blocks]:
        return {
            "intake": self._intake.blocks,
            "forest": self._forest.blocks,
            "calibration": self._calibration.blocks,
            "rates": self._rates.blocks,
        }

    @property
    def _shared(self) -> dict[str, Blocks]:
        return {"calibrations": self._calibration.shared, "rates": self._rates.shared}

    @property
    def _design(self) -> str:
        return design_of(self._parts, self._shared)

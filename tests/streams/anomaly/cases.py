"""Every detector, for the battery."""

from __future__ import annotations

from streams.anomaly.change import Change
from streams.anomaly.forest import FEATURES, ServiceForest
from streams.anomaly.level import Level
from streams.anomaly.season import Season
from streams.anomaly.shape import Shape
from tests.streams.anomaly.battery import Case

CASES = {
    "level": Case(lambda n: Level(n, memory=500)),
    "season": Case(lambda n: Season(n, memory=500)),
    "shape": Case(lambda n: Shape(n, memory=500)),
    "change": Case(lambda n: Change(n, memory=500)),
    "forest": Case(
        lambda n: ServiceForest(n, seed=1, warmup=100, regrow=300),
        features=len(FEATURES),
        row_bytes_max=11_000,
        restored=lambda forest: forest.restored(),
    ),
}

"""Load the kernels of detection before the first message, compiled if the cache has them not."""

from __future__ import annotations

import numpy as np

from schemas.config.anomaly import Anomaly
from streams.anomaly.detection import Detection
from streams.anomaly.forest import Trees, walk

__all__ = ["warm_up_anomaly"]


def warm_up_anomaly(settings: Anomaly | None = None) -> None:
    """Make every kernel of ``Detection`` and ``ServiceDetection`` ready."""
    detection = Detection(settings, 1)
    detection.grow(1)
    detection.observe(np.zeros(1, np.int32), 1, np.zeros(1))
    trees, vector = Trees(), np.zeros(1, np.float32)
    walk(trees.feature, trees.threshold, trees.left, trees.right, trees.path, vector)

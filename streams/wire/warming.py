"""Load every kernel before the first message, compiled if the cache has it not."""

from __future__ import annotations

import numpy as np

from schemas.signals import Signal
from streams.wire.partition import partition_by_resource, partition_by_trace
from streams.wire.rewrite import split, split_by_size
from streams.wire.scan import scan

__all__ = ["warm_up"]

# Two empty data points in one gauge: resource, scope, metric, data, items.
_POINTS = bytes.fromhex("0a0a120812062a040a000a00")


def warm_up() -> None:
    """Make all kernels ready; takes well under a second with a warm cache, else about ten."""
    scan(Signal.LOGS, b"")
    spans = scan(Signal.TRACES, b"")
    partition_by_trace(spans, 1)
    points = scan(Signal.METRICS, _POINTS)
    partition_by_resource(points, 1)
    split(_POINTS, points, np.array([0, 1], np.int32), 2)
    split_by_size(_POINTS, points, len(_POINTS) - 1)

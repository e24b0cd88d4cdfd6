"""Load every kernel before the first message, compiled if the cache has it not."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from schemas.signals import Signal
from streams.wire.counting import count
from streams.wire.lookup import SERVICE_NAME, lookup
from streams.wire.partition import partition_by_resource, partition_by_trace
from streams.wire.rewrite import split, split_by_size
from streams.wire.sampled import sampled
from streams.wire.scan import scan, scan_traces
from streams.wire.text import hash64
from streams.wire.tracestate import trace_state

__all__ = ["Kernels", "warm_up"]

# Two empty data points in one gauge: resource, scope, metric, data, items.
_POINTS = bytes.fromhex("0a0a120812062a040a000a00")
# Two spans with ids only: resource, scope, spans.
_SPANS = bytes.fromhex("0a3e123c" + ("121c0a10" + "01" * 16 + "1208" + "02" * 8) * 2)


def _load_numba_without_scipy() -> None:
    """Load numba's function library, but not scipy.linalg, which it imports to see if it can.

    A fifth of the start-up time and 20 MB a process. Compiled code that calls BLAS imports it
    when it is compiled.
    """
    if "numba.np.arraymath" in sys.modules or "scipy.linalg" in sys.modules:
        return
    sys.modules["scipy.linalg"] = None  # type: ignore[assignment]  # makes the import fail
    try:
        arraymath: Any = importlib.import_module("numba.np.arraymath")
    finally:
        del sys.modules["scipy.linalg"]
    arraymath._HAVE_BLAS = importlib.util.find_spec("scipy") is not None


def _requests() -> None:
    scan(Signal.LOGS, b"")
    spans = scan(Signal.TRACES, b"")
    partition_by_trace(spans, 1)
    points = scan(Signal.METRICS, _POINTS)
    partition_by_resource(points, 1)
    split(_POINTS, points, np.array([0, 1], np.int32), 2)
    split_by_size(_POINTS, points, len(_POINTS) - 1)


def _facts() -> None:
    spans = scan_traces(_SPANS)
    partition_by_trace(spans, 1)
    split(_SPANS, spans, np.array([0, 1], np.int32), 2)
    trace_state(_SPANS, spans)
    lookup(_SPANS, spans, [SERVICE_NAME])
    hash64(b"")


def _sampled() -> None:
    keep, thresholds = np.ones(2, np.bool_), np.zeros(2, np.uint64)
    sampled(_SPANS, scan_traces(_SPANS), keep, thresholds, 0)


Kernels = Literal["requests", "facts", "sampled"]
_GROUPS: dict[Kernels, Callable[[], None]] = {
    "requests": _requests,
    "facts": _facts,
    "sampled": _sampled,
}


def warm_up(*kernels: Kernels, counting_only: bool = False) -> None:
    """Make kernels ready; half a second with a warm cache, else up to half a minute.

    "requests", which is also what no name means: to scan, partition and split requests of every
    signal. "facts": to scan and split spans and read their tracestates and attributes.
    "sampled": to scan spans and write those that are kept. With ``counting_only`` just that of
    ``count``, which is part of all: a second or two where it is not cached.
    """
    _load_numba_without_scipy()
    count(Signal.LOGS, b"")
    if counting_only:
        return
    for name in kernels or ("requests",):
        _GROUPS[name]()

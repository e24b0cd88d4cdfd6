"""Load the kernels of sampling before the first message, compiled if the cache has them not."""

from __future__ import annotations

import numpy as np

from streams.sampling.columns import SpanFacts
from streams.sampling.dropped_traces import DroppedTraces
from streams.sampling.interning import Interned
from streams.sampling.kept_traces import KeptTraces
from streams.sampling.open_traces import OpenTraces
from streams.sampling.root_lags import RootLags
from streams.wire import scan_traces

__all__ = ["warm_up_tables"]


def warm_up_tables() -> None:
    """Make the kernels of traces' tables ready; call ``streams.wire.warm_up`` before."""
    ids = np.zeros(0, np.uint64)
    traces, kept, dropped = OpenTraces(1), KeptTraces(1, 1), DroppedTraces(1 << 9, 1)
    extra, matched = np.zeros((0, 0), np.uint64), np.zeros(0, np.uint32)
    facts = SpanFacts(ids, extra, matched, ids, ids)
    traces.absorb(scan_traces(b""), facts, 0, 0, 0, kept=kept, dropped=dropped)
    traces.due(0)
    traces.oldest(1)
    assert traces.first_offset is None  # noqa: S101 -- compiles it
    kept.add(ids, ids, ids, np.zeros(0, np.int32), now_ms=0)
    kept.overlapping(0, 0)
    kept.retire(0)
    kept.expire(0)
    kept.find(0, 0)
    kept.restore(kept.chunks())
    one = np.ones(1, np.uint64)
    dropped.add(one, one, 0)
    dropped.contains(ids, ids)
    lags, texts = RootLags(1), Interned(1)
    lags.set(one, np.ones(1, np.int64))
    texts.unknown(ids)
    texts.add(1, "")

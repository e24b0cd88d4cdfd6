"""Traces that wait for their decision: a summary a trace, no span."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.sampling.columns import SpanFacts, Traces
from streams.sampling.dropped_traces import DroppedTraces
from streams.sampling.kept_traces import KeptTraces
from streams.sampling.root_lags import RootLags
from streams.wire import Partitioner, SpanScan

__all__ = ["Absorbed", "Fate", "OpenTraces"]


class Fate:
    """What became of a span: values of ``Absorbed.fate``."""

    OPEN = 0
    """Its trace waits for a decision; the span is in the trace's summary."""
    KEPT = 1
    """Late: its trace was decided and kept; the span follows with the next work order."""
    DROPPED = 2
    """Late: its trace was decided and dropped, or the filter of dropped traces errs."""
    MISPLACED = 3
    """Its trace belongs to another partition; it was not taken."""
    INVALID = 4
    """It has no trace id or no span id; it was not taken."""


class Absorbed(NamedTuple):
    """What became of a batch's spans."""

    fate: NDArray[np.uint8]
    """One of ``Fate`` a span."""
    spans: int
    """Taken into open traces."""
    traces: int
    """New open traces."""
    kept: int
    """Late spans of kept traces."""
    dropped: int
    """Late spans of dropped traces."""
    misplaced: int
    """Spans of another partition's traces."""
    invalid: int

    @property
    def misplaced_mask(self) -> NDArray[np.bool_] | None:
        """One a span, for ``wire.select``; None if no span is on a wrong partition."""
        return self.fate == Fate.MISPLACED if self.misplaced else None


class OpenTraces:
    """Summaries of open traces, found by trace id and due by their deadlines.

    A trace is due ``decision_wait_ms`` after its first span arrived, or, with ``root_wait_ms``
    above 0, that long (or the lag learned for its root operation, whichever is more) after its
    root arrived, if that is sooner. A root is a span without parent; the first that arrives
    counts. Deadlines are rounded up to multiples of ``decision_interval_ms``.

    Order and results depend on what was absorbed alone, not on ``seed`` or ``capacity``.
    """

    def __init__(
        self,
        capacity: int,
        fields: int = 0,
        *,
        partition: int = 0,
        partitions: int = 1,
        partitioner: Partitioner = "fnv1a",
        decision_wait_ms: int = 10_000,
        root_wait_ms: int = 2_000,
        decision_interval_ms: int = 500,
        seed: int = 0,
    ) -> None:
        raise NotImplementedError

    def absorb(
        self,
        scan: SpanScan,
        facts: SpanFacts,
        offset: int,
        timestamp_ms: int,
        tenant: int,
        kept: KeptTraces,
        dropped: DroppedTraces,
        lags: RootLags | None = None,
    ) -> Absorbed:
        """Take a batch's spans; batches come in offset order.

        ``timestamp_ms`` is the batch's broker time; one below an earlier one counts as that.
        ``tenant`` is the hash of its header, 0: none. More traces than ``capacity`` are held
        (nothing is lost), but not cheaply: decide ``oldest(len(self) - capacity)`` after it.
        """
        raise NotImplementedError

    def due(self, now_ms: int, at_most: int | None = None) -> Traces:
        """Remove and return what is due at ``now_ms``, oldest first; the rest with the next call."""
        raise NotImplementedError

    def oldest(self, count: int) -> Traces:
        """Remove and return the oldest ``count`` traces, marked ``early``."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def first_offset(self) -> int | None:
        """Least ``first`` of open traces; None: none is open."""
        raise NotImplementedError

    @property
    def oldest_arrival_ms(self) -> int | None:
        """Broker's time of the oldest open trace's first span; None: none is open."""
        raise NotImplementedError

    @property
    def touched_bytes(self) -> int:
        """Memory that was written to since it was last given back, in bytes."""
        raise NotImplementedError

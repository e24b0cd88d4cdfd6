"""What sampling counts: plain numbers, one object a stage and process, shared by its partitions.

Nothing is counted in a replay. Whoever exports them reads the attributes; only ``partitions``
holds what goes up and down, and only of partitions whose operator is there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import ArrayLike

from schemas.records import Value

from .key_counts import KeyCounts

__all__ = ["LATENCY_BOUNDS_MS", "EmitCounts", "Histogram", "SampleCounts", "State"]

LATENCY_BOUNDS_MS = (
    100, 250, 500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 12_500, 15_000, 20_000, 30_000,
    60_000, 120_000, 300_000,
)  # fmt: skip


class Histogram:
    """Observations by upper bounds, inclusive; the last bucket has none."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0
        """Sum of the observations."""

    def observe(self, values: ArrayLike) -> None:
        """Add observations."""
        array = np.asarray(values, np.float64)
        self.total += float(array.sum())
        found = np.bincount(np.searchsorted(self.bounds, array), minlength=len(self.buckets))
        for bucket, count in enumerate(found.tolist()):
            self.buckets[bucket] += count


@dataclass(slots=True, weakref_slot=True)
class State:
    """What a partition holds, and how far behind it is."""

    open_traces: int = 0
    oldest_undecided_ms: int = 0
    """Age of the oldest message with an undecided span, at the time of the last batch or tick."""
    kept_remembered: int = 0
    """Kept traces in memory."""
    dropped_remembered: int = 0
    """Dropped traces in memory."""


@dataclass(slots=True)
class SampleCounts:
    """Of the operator ``sample``."""

    keys_max: int = 1000
    """Sampling keys counted by themselves."""

    spans: int = 0
    """Spans taken, those of known traces too."""
    kept_traces: Counter[str] = field(default_factory=Counter)
    """By policy; so are the next four."""
    kept_spans: Counter[str] = field(default_factory=Counter)
    kept_bytes: Counter[str] = field(default_factory=Counter)
    dropped_traces: Counter[str] = field(default_factory=Counter)
    dropped_spans: Counter[str] = field(default_factory=Counter)
    keys: KeyCounts = field(init=False)
    """Traces by sampling key."""
    late_kept_spans: int = 0
    """Of traces that had been kept: they follow."""
    late_dropped_spans: int = 0
    """Of traces that had been dropped: they are, too. A few are of new traces, as the
    filter of these errs (``DroppedTraces``)."""
    early_traces: int = 0
    """Decided before their wait was over, because more than ``max_open_traces`` were open."""
    invalid_spans: int = 0
    """Without valid ids: they belong to no trace and go no further."""
    wrong_partition_spans: int = 0
    """That another partition is responsible for; sent there again."""
    returned_spans: int = 0
    """The same, but sent here by another partition: counts of partitions disagree. Taken."""
    timeless_traces: int = 0
    """Without a start or an end: their latency is unknown, taken for 0."""
    orders: int = 0
    order_bytes: int = 0
    order_source_bytes: int = 0
    """Bytes of the source in ranges of orders."""
    set_back_s: float = 0.0
    """By which batches' times went back, in seconds, where that was more than ``clock.BACK_MS``."""
    partition_changes: int = 0
    """The topic was seen with another number of partitions than before."""
    verdict_records: int = 0
    verdict_bytes: int = 0
    end_to_decision_ms: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS_MS))
    """From a trace's last end to its decision; only where clocks agree."""
    skewed_traces: int = 0
    """Whose spans end after their decision, or more than a day before: clocks are off."""
    forgotten_kept: int = 0
    """Kept traces forgotten before ``decision_memory`` was over: a bound was reached."""
    forgotten_dropped: int = 0
    """Dropped ones."""
    forgotten_generations: int = 0
    """Of the filter that these were in."""
    forgotten_keys: int = 0
    """Keys whose latency and traffic were forgotten for others': more than ``keys_max``."""
    unnamed_hashes: int = 0
    """Parts of keys that are shown as their hash, because there was no room for their text;
    counted with every batch that has them."""
    unread_thresholds: int = 0
    """Spans whose ``th`` or ``rv`` could not be read, and counts as not there."""
    partitions: WeakValueDictionary[int, State] = field(default_factory=WeakValueDictionary)
    """By number; an entry goes with the operator that holds it, unless another has taken over."""
    adjusted: dict[str, Value] = field(default_factory=dict)
    """What is set at run time, by name; None: as configured."""

    def __post_init__(self) -> None:
        self.keys = KeyCounts(self.keys_max)


@dataclass(slots=True)
class EmitCounts:
    """Of the operator ``emit``."""

    orders: int = 0
    source_messages: int = 0
    source_spans: int = 0
    source_bytes: int = 0
    spans: Counter[str] = field(default_factory=Counter)
    """Sent on, by policy."""
    records: int = 0
    bytes: int = 0
    """Of the records' values."""
    removed_offsets: int = 0
    """Of the source, that retention had removed: their spans are lost."""
    unreadable_messages: int = 0
    """Of the source, that are no telemetry: ``sample`` has sent them to the dead letters."""
    oversized_spans: int = 0
    """Larger than a record may be."""
    shortened_states: int = 0
    """Spans whose tracestate lost its last members: there was no room for what sampling says."""

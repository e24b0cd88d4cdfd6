"""What the operators of partials count; the stage turns it into metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["DROPPED", "PartialCounts"]

DROPPED = (
    "timeless", "ahead", "no_recorded_value", "no_value", "not_finite", "bucket_counts",
    "bucket_bounds", "no_temporality", "too_many_buckets", "negative", "rekeyed",
    "sent_back",
)  # fmt: skip
"""Why an item was not aggregated: it has no time, or one too far ahead of its message's; a data
point without a recorded value, or any; NaN or an infinity; buckets that do not fit; neither delta
nor cumulative; more than windows.buckets_max; a sum below 0 that says it only grows; it was counted
on the partition that it came to first; it was counted before it became a dead letter."""


@dataclass
class PartialCounts:
    """Of all partitions of a stage."""

    items: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Aggregated, by signal (spans, logs, metrics) and rule."""
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Not aggregated, by signal and reason (``DROPPED``)."""
    no_duration: int = 0
    """Spans without a start, or that end before it: aggregated with a duration of 0."""
    unused_attributes: int = 0
    """Values to group by that are no scalars (bytes, arrays, maps): as if absent."""
    cut_values: int = 0
    """Texts in groups that were too long, and cut."""
    groups: int = 0
    """Groups in records, each time."""
    cells: int = 0
    """Cells in records."""
    points: int = 0
    """Cumulative points in records."""
    early: int = 0
    """Times that gathered cells were sent before a commit: windows.partials_max was reached."""
    records: int = 0
    """Records written."""
    bytes: int = 0
    """Bytes of them."""

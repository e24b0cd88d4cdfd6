"""What windows count: plain numbers, one object a stage and process, shared by its partitions.

Nothing is counted in a replay. Whoever exports them reads the attributes; only ``partitions``
holds what goes up and down, and only of partitions whose operator is there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

__all__ = ["WindowCounts", "WindowState"]

Length = tuple[str, int]
"""A rule, and a length of its windows in milliseconds."""


@dataclass(slots=True, weakref_slot=True)
class WindowState:
    """What a partition holds, and how far it is."""

    watermarks: dict[str, int] = field(default_factory=dict)
    """By source topic, Unix milliseconds; of topics whose watermark has been known."""
    silent_sources: dict[str, int] = field(default_factory=dict)
    """Source partitions, by topic, that have said nothing for ``windows.source_timeout``."""
    behind_sources: dict[str, int] = field(default_factory=dict)
    """Source partitions, by topic, that are not waited for: ``windows.max_behind``."""
    groups: dict[str, int] = field(default_factory=dict)
    """By rule."""
    open_windows: int = 0
    """Windows with something in them that are not closed; as of when the last one was."""
    open_cells: int = 0
    """What groups have in them."""
    streams: int = 0
    """Cumulative streams whose last point is remembered."""
    waiting_points: int = 0
    """Cumulative points whose window is open."""
    bytes: int = 0
    """Reserved for all of that."""


@dataclass(slots=True)
class WindowCounts:
    """Of the operator ``windows``."""

    records: int = 0
    """Partials taken."""
    items: Counter[str] = field(default_factory=Counter)
    """In cells that were taken, by rule; of cumulative points the points."""
    cells: Counter[str] = field(default_factory=Counter)
    """Taken, by rule; with them cumulative points."""
    ignored: Counter[str] = field(default_factory=Counter)
    """Cells and points that were not taken, by reason: ``rule`` (a rule that is not ours, or with
    another digest), ``topic`` (a source that none of our rules is about), ``pane`` (panes that are
    no part of our windows), ``overflow`` (even groups for what overflows were too many)."""
    late: Counter[Length] = field(default_factory=Counter)
    """Items whose window had been emitted, by rule and length. They are still in longer ones that
    are open. Of cumulative points (length 0) nothing is lost: the next one has it."""
    windows: Counter[Length] = field(default_factory=Counter)
    """Emitted, those without groups too."""
    emitted: Counter[Length] = field(default_factory=Counter)
    """Groups in them."""
    skipped: Counter[Length] = field(default_factory=Counter)
    """Windows without groups that were not emitted, because there were more than ``GAP_MAX`` of
    them in a row."""
    forced: int = 0
    """Windows emitted early, because more than ``windows.open_cells_max`` were open."""
    overflow: Counter[str] = field(default_factory=Counter)
    """Groups, by rule, that found no room and were merged into otel.metric.overflow; each time."""
    type_changes: Counter[str] = field(default_factory=Counter)
    """Series, by rule, that came with another kind or unit: from then on there are two of them."""
    forgotten_groups: Counter[str] = field(default_factory=Counter)
    """By rule: of which nothing came for ``windows.forget_after``."""
    dropped_groups: int = 0
    """Of rules and lengths that are no longer configured, or otherwise, in what was restored."""
    resets: int = 0
    """Of cumulative streams."""
    gaps: int = 0
    """Of cumulative streams: no point for ``windows.stale_after``."""
    overlaps: int = 0
    """Cumulative points that began before the ones before them: two writers of one stream."""
    duplicates: int = 0
    """Cumulative points that came twice."""
    bounds_changes: int = 0
    """Cumulative histograms whose bounds changed without a reset."""
    new_streams: int = 0
    forgotten_streams: int = 0
    """Before they were stale: there were more than ``windows.streams_max``."""
    refused_bounds: int = 0
    """Times that a set of explicit bounds found no number: its buckets were merged into one."""
    timed_out_sources: int = 0
    """Times that a source partition had been silent for ``windows.source_timeout``."""
    oversized_groups: int = 0
    """Groups that fit into no record."""
    message_records: int = 0
    message_bytes: int = 0
    partitions: WeakValueDictionary[int, WindowState] = field(default_factory=WeakValueDictionary)
    """By number; an entry goes with the operator that holds it, unless another has taken over."""

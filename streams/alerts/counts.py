"""What detect counts: plain numbers, one object a stage and process, shared by its partitions.

Nothing is counted in a replay. Only ``partitions`` holds what goes up and down, and only of
partitions whose operator is there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

__all__ = ["DetectCounts", "DetectState"]


@dataclass(slots=True, weakref_slot=True)
class DetectState:
    """What a partition holds."""

    series: int = 0
    """Groups of a rule and length that are watched."""
    watched: int = 0
    """Statistics of them that detection looks at."""
    learning: dict[int, int] = field(default_factory=dict)
    """Of these, with too little history, as of the last window; by channel."""
    alerts: dict[str, int] = field(default_factory=dict)
    """Alerts by state: pending, firing, no_data."""
    stalled: bool = False
    """`PipelineStalled` fires."""
    silent_sources: int = 0
    """Source partitions that nothing is known of, as the last closing messages said."""
    closed_ms: int = 0
    """The latest end of a window that was closed."""
    unmatched_rules: tuple[str, ...] = ()
    """Rules that no series here has matched yet."""
    suppressed: int = 0
    """Alerts that were not raised since the start of the history: ``alerts.active_max``."""

    @property
    def learning_total(self) -> int:
        """Of all channels."""
        return sum(self.learning.values())


@dataclass(slots=True)
class DetectCounts:
    """Of the operator ``detect``."""

    messages: int = 0
    """With windows that some rule looks at."""
    passed_messages: int = 0
    """With windows that none does."""
    foreign_messages: int = 0
    """Without the header ``window``: no windows of ours."""
    foreign_points: int = 0
    """In messages of ours, of another scope."""
    unknown_messages: int = 0
    """Of window rules that the configuration does not have."""
    points: int = 0
    """Data points taken."""
    faulty_points: int = 0
    """That say nothing that can be used."""
    windows: int = 0
    """Closed and evaluated."""
    values: int = 0
    """Judged by detection."""
    late_messages: int = 0
    """Of windows that had been closed: windows has been set back."""
    unclosed_windows: int = 0
    """That were never closed, because the next one came: windows has been set back."""
    new_series: int = 0
    forgotten_series: int = 0
    """Without items for ``alerts.series_memory``, or that no rule looks at any more."""
    overflowed_points: int = 0
    """Of series that found no room: ``alerts.series_max``."""
    anomalies: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Alerts of anomaly rules that fired, by rule and detector."""
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Of alerts, by rule and new state."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Values that detection could not use, by reason."""
    rule_changes: int = 0
    """Other rules came into force in a partition."""
    refused_rules: int = 0
    """Values of ``alerts.rules`` that are wrong: the rules before stay in force."""
    refusal: str = ""
    """What is wrong with the last one; empty: nothing."""
    partitions: WeakValueDictionary[int, DetectState] = field(default_factory=WeakValueDictionary)
    """By number; an entry goes with its operator."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What somebody should look at while all works."""
        return (f"alerts.rules is refused: {self.refusal}",) if self.refusal else ()

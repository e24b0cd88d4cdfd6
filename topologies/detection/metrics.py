"""What detection and alert rules count, as Prometheus sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from streams.alerts.counts import DetectCounts
from streams.sampling.counts import LATENCY_BOUNDS_MS, Histogram
from topologies.families import by_partition, counters, labelled, seconds

__all__ = ["DetectMetrics"]

_DETECT = "otlp_streams_detect_"
_ALERTS = "otlp_streams_alerts_"
_OF_DETECT = (
    ("messages", "messages", "Messages with windows that some rule looks at."),
    ("passed_messages", "passed_messages", "Messages with windows that no rule looks at."),
    ("foreign_messages", "foreign_messages", "Messages without the header window: not ours."),
    ("foreign_points", "foreign_points", "Data points of another scope in messages of ours."),
    ("unknown_messages", "unknown_messages",
     "Messages of window rules that this configuration does not have."),
    ("points", "points", "Data points taken."),
    ("faulty_points", "faulty_points", "Data points that say nothing that can be used."),
    ("windows", "windows", "Windows closed and evaluated."),
    ("values", "values", "Values judged by detection."),
    ("late_messages", "late_messages", "Messages of closed windows: windows was reset."),
    ("unclosed_windows", "unclosed_windows",
     "Windows that were never closed, because the next one came: windows was reset."),
    ("new_series", "new_series", "Series that are watched from then on."),
    ("forgotten_series", "forgotten_series",
     "Series without items for alerts.series_memory, or that no rule looks at any more."),
    ("overflowed_points", "overflowed_points",
     "Data points of series that are not watched: there are more than alerts.series_max."),
    ("rule_changes", "rule_changes", "Times that other rules came into force in a partition."),
    ("refused_rules", "refused_rules",
     "Values of alerts.rules that are wrong: the rules before stay in force."),
)  # fmt: skip
"""Attribute of DetectCounts, metric, help."""


class DetectMetrics(Collector):
    """Of the stage ``detect`` in this process.

    Args:
        registry: where they appear.
        counts: of the operators.
        clock: seconds since the epoch, for how long windows took to come here.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        counts: DetectCounts | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._counts = DetectCounts() if counts is None else counts
        self._clock = clock
        self._evaluated_ms = Histogram(LATENCY_BOUNDS_MS)
        registry.register(self)

    def closed(self, end_ms: int) -> None:
        """A window that ended then has just been evaluated."""
        self._evaluated_ms.observe([max(0.0, self._clock() * 1000 - end_ms)])

    def collect(self) -> Iterator[Metric]:
        """Everything, family by family."""
        counts = self._counts
        yield from counters(_DETECT, _OF_DETECT, counts)
        yield labelled(
            f"{_DETECT}unusable_values",
            "Values that detection could not use. By reason.",
            ("reason",),
            counts.left_out,
        )
        yield labelled(
            f"{_DETECT}anomalies",
            "Alerts of anomaly rules that fired. By rule and detector.",
            ("rule", "detector"),
            counts.anomalies,
        )
        yield labelled(
            f"{_ALERTS}transitions",
            "What alerts have become. By rule and new state.",
            ("rule", "state"),
            counts.transitions,
        )
        yield seconds(
            f"{_ALERTS}window_end_to_evaluation_seconds",
            "From a window's end to its evaluation, by this machine's clock; what follows is on "
            "alerts within runtime.commit_interval.",
            self._evaluated_ms,
        )
        yield from self._partitions()

    def _partitions(self) -> Iterator[Metric]:
        states = sorted(self._counts.partitions.items())
        for attribute, name, text in (
            ("series", f"{_DETECT}series", "Groups of a rule and length that are watched."),
            ("watched", f"{_DETECT}watched_statistics",
             "Statistics of them that detection looks at."),
            ("learning_total", f"{_DETECT}learning_statistics",
             "Of these, with too little history for the sensitivity asked for."),
            ("stalled", f"{_ALERTS}pipeline_stalled", "1: PipelineStalled fires."),
            ("silent_sources", f"{_DETECT}silent_sources",
             "Source partitions that nothing is known of: absence means nothing meanwhile."),
            ("suppressed", f"{_ALERTS}suppressed",
             "Alerts that were not raised, for there are more than alerts.active_max of a rule."),
        ):  # fmt: skip
            yield by_partition(
                name, text, [((n,), float(getattr(state, attribute))) for n, state in states]
            )
        yield by_partition(
            f"{_DETECT}closed_seconds",
            "The latest end of a window that was closed, Unix seconds.",
            [((n,), state.closed_ms / 1000) for n, state in states],
        )
        yield by_partition(
            f"{_ALERTS}active",
            "Alerts by state.",
            [((n, name), count) for n, state in states
             for name, count in sorted(state.alerts.items())],
            ("state",),
        )  # fmt: skip

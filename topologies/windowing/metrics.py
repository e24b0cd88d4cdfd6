"""What windows and those who feed them count, as Prometheus sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from streams.windows.counts_windows import WindowCounts
from streams.windows.partial_counts import PartialCounts
from topologies.families import by_partition, counters, labelled

__all__ = ["PartialMetrics", "WindowMetrics"]

_PARTIALS = "otlp_streams_partials_"
_WINDOWS = "otlp_streams_windows_"
_OF_PARTIALS = (
    ("no_duration", "spans_without_duration",
     "Spans without a start, or that end before it: aggregated with a duration of 0."),
    ("unused_attributes", "unused_attributes",
     "Values to group by that are no scalars (bytes, arrays, maps): as if absent."),
    ("cut_values", "cut_values", "Texts in groups that were too long, and cut."),
    ("groups", "groups", "Groups in records, each time."),
    ("cells", "cells", "Groups and panes in records, each time."),
    ("points", "points", "Cumulative points in records."),
    ("early", "early_sends",
     "Times that what was gathered was sent before a commit: windows.partials_max was reached."),
    ("records", "records", "Records written."),
    ("bytes", "bytes", "Bytes of these records."),
)  # fmt: skip
"""Attribute of PartialCounts, metric, help."""
_OF_WINDOWS = (
    ("records", "records", "Records of partials taken."),
    ("forced", "forced",
     "Windows emitted before their time: more groups were open than windows.open_cells_max."),
    ("dropped_groups", "dropped_groups",
     "Groups in a restored state, of rules and lengths that are not configured any more."),
    ("resets", "resets", "Cumulative streams that began anew, or whose value went backwards."),
    ("gaps", "gaps", "Cumulative streams without a point for windows.stale_after."),
    ("overlaps", "overlaps",
     "Cumulative points that began before the ones before them: two writers of one stream."),
    ("duplicates", "duplicate_points", "Cumulative points that came twice."),
    ("bounds_changes", "bounds_changes",
     "Cumulative histograms whose bounds changed without a reset."),
    ("new_streams", "new_streams", "Cumulative streams seen for the first time, or again."),
    ("forgotten_streams", "forgotten_streams",
     "Cumulative streams forgotten for others: there were more than windows.streams_max."),
    ("refused_bounds", "refused_bounds",
     "Sets of explicit bounds that found no room; their buckets were merged into one."),
    ("timed_out_sources", "timed_out_sources",
     "Times that a source partition had said nothing for windows.source_timeout."),
    ("oversized_groups", "oversized_groups", "Groups that fit into no message; left out."),
    ("message_records", "messages", "Messages written."),
    ("message_bytes", "message_bytes", "Bytes of these messages."),
)  # fmt: skip
"""Attribute of WindowCounts, metric, help."""
_BY_RULE = (
    ("items", "items", "Spans, log records and data points aggregated. By rule."),
    ("cells", "cells", "Cells taken, with them cumulative points. By rule."),
    ("overflow", "overflow",
     "Groups that found no room (windows.cardinality_limit) and were merged into "
     "otel.metric.overflow, each time. By rule."),
    ("type_changes", "type_changes",
     "Series that came with another kind or unit, and are two from then on. By rule."),
    ("forgotten_groups", "forgotten_groups",
     "Groups of which nothing had come for long. By rule."),
)  # fmt: skip
_BY_LENGTH = (
    ("late", "late_items",
     "Items whose window had been emitted: not in it. By rule and length in seconds; 0: cumulative "
     "points, of which the next one has everything."),
    ("windows", "closed", "Windows emitted, those of nothing too. By rule and length in seconds."),
    ("emitted", "groups_emitted", "Groups in these windows. By rule and length in seconds."),
    ("skipped", "skipped",
     "Windows of nothing that were not emitted, for there were too many of them. By rule and "
     "length in seconds."),
)  # fmt: skip


class PartialMetrics(Collector):
    """Of the operator ``partials`` in this process."""

    def __init__(self, registry: CollectorRegistry, counts: PartialCounts | None = None) -> None:
        self._counts = PartialCounts() if counts is None else counts
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Everything, family by family."""
        counts = self._counts
        yield labelled(
            f"{_PARTIALS}items",
            "Items aggregated, once for each rule.",
            ("signal", "rule"),
            counts.items,
        )
        yield labelled(
            f"{_PARTIALS}dropped_items",
            "Items not aggregated. By reason; ahead: their time is windows.max_ahead after their "
            "message's.",
            ("signal", "reason"),
            counts.dropped,
        )
        yield from counters(_PARTIALS, _OF_PARTIALS, counts)


class WindowMetrics(Collector):
    """Of the stage ``windows`` in this process.

    Args:
        registry: where they appear.
        counts: of the operators.
        clock: seconds since the epoch, for how far windows are behind.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        counts: WindowCounts | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._counts = WindowCounts() if counts is None else counts
        self._clock = clock
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Everything, family by family."""
        counts = self._counts
        for attribute, name, text in _BY_RULE:
            yield labelled(_WINDOWS + name, text, ("rule",), getattr(counts, attribute))
        for attribute, name, text in _BY_LENGTH:
            by_length = {
                (rule, f"{length_ms / 1000:g}"): value
                for (rule, length_ms), value in getattr(counts, attribute).items()
            }
            yield labelled(_WINDOWS + name, text, ("rule", "length"), by_length)
        yield labelled(
            f"{_WINDOWS}ignored_cells",
            "Cells and points not taken: of a rule or a source that this configuration does not "
            "have, of panes that fit no window, or of more groups than can overflow. By reason.",
            ("reason",),
            counts.ignored,
        )
        yield from counters(_WINDOWS, _OF_WINDOWS, counts)
        yield from self._partitions()

    def _partitions(self) -> Iterator[Metric]:
        states = sorted(self._counts.partitions.items())
        yield by_partition(
            f"{_WINDOWS}watermark_seconds",
            "Event time up to which all sources have said everything, Unix seconds.",
            [((n, topic), ms / 1000) for n, state in states
             for topic, ms in sorted(state.watermarks.items())],
            ("topic",),
        )  # fmt: skip
        now_s = self._clock()
        yield by_partition(
            f"{_WINDOWS}watermark_lag_seconds",
            "How far that is behind this machine's clock.",
            [((n, topic), max(0.0, now_s - ms / 1000)) for n, state in states
             for topic, ms in sorted(state.watermarks.items())],
            ("topic",),
        )  # fmt: skip
        yield by_partition(
            f"{_WINDOWS}silent_sources",
            "Partitions of a source that have said nothing for windows.source_timeout.",
            [((n, topic), count) for n, state in states
             for topic, count in sorted(state.silent_sources.items())],
            ("topic",),
        )  # fmt: skip
        yield by_partition(
            f"{_WINDOWS}behind_sources",
            "Partitions of a source whose items are older than windows.max_behind.",
            [((n, topic), count) for n, state in states
             for topic, count in sorted(state.behind_sources.items())],
            ("topic",),
        )  # fmt: skip
        yield by_partition(
            f"{_WINDOWS}groups",
            "Groups that are known.",
            [((n, rule), count) for n, state in states
             for rule, count in sorted(state.groups.items())],
            ("rule",),
        )  # fmt: skip
        for attribute, name, text in (
            ("open_windows", "open", "Windows with something in them that are not closed."),
            ("open_cells", "open_cells", "Groups in these windows."),
            ("streams", "streams", "Cumulative streams whose last point is remembered."),
            ("waiting_points", "waiting_points", "Cumulative points whose window is open."),
            ("bytes", "state_bytes", "Memory reserved for all of that."),
        ):
            yield by_partition(
                _WINDOWS + name,
                text,
                [((n,), getattr(state, attribute)) for n, state in states],
            )

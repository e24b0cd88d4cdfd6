"""What somebody should look at while windows are made: shown by ``/readyz``."""

from __future__ import annotations

from collections.abc import Mapping

from streams.windows.counts_windows import WindowCounts
from topologies.concerns import Concerns

__all__ = ["WindowConcerns"]

_TEXTS = {
    "overflow": "groups overflow: there are more than windows.cardinality_limit "
    "({count:,} times they were merged into otel.metric.overflow)",
    "forced": "{count:,} windows were emitted before their time: too many groups are open",
    "forgotten_streams": "{count:,} cumulative streams were forgotten for others: there are more "
    "than windows.streams_max",
}


class WindowConcerns:
    """Counts that should not grow, and sources that nothing is heard of."""

    def __init__(self, counts: WindowCounts) -> None:
        self._counts = counts
        self._growing = Concerns(counts, _TEXTS, {})

    def __call__(self) -> Mapping[str, str]:
        """By part."""
        found = dict(self._growing())
        silent: dict[str, int] = {}
        behind: dict[str, int] = {}
        for state in list(self._counts.partitions.values()):
            for most, counts in ((silent, state.silent_sources), (behind, state.behind_sources)):
                for topic, count in counts.items():
                    most[topic] = max(most.get(topic, 0), count)
        for topic, count in sorted(silent.items()):
            if count:
                found[f"silent.{topic}"] = (
                    f"{count} partitions of {topic} have said nothing for windows.source_timeout: "
                    "windows do not wait for what is on them"
                )
        for topic, count in sorted(behind.items()):
            if count:
                found[f"behind.{topic}"] = (
                    f"items on {count} partitions of {topic} are older than windows.max_behind: "
                    "windows do not wait for them (a client's clock?)"
                )
        return found

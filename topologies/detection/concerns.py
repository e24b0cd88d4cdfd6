"""What somebody should look at while detection works: shown by ``/readyz``."""

from __future__ import annotations

from collections.abc import Mapping

from streams.alerts.counts import DetectCounts
from topologies.concerns import Concerns

__all__ = ["DetectConcerns"]

_TEXTS = {
    "overflowed_points": "{count:,} points are of series that nobody watches: there are more than "
    "alerts.series_max",
    "unknown_messages": "{count:,} messages are of window rules that detect does not have: give "
    "windows and detect the same configuration",
}


class DetectConcerns:
    """Counts that should not grow, rules that do not run, and a pipeline that stands still.

    Args:
        counts: what is counted.
        left_out: built-in rules that do not run, and why.
    """

    def __init__(self, counts: DetectCounts, left_out: Mapping[str, str] | None = None) -> None:
        self._counts = counts
        self._left_out = left_out or {}
        self._growing = Concerns(counts, _TEXTS, {})

    def __call__(self) -> Mapping[str, str]:
        """By part."""
        found = dict(self._growing())
        if self._counts.refusal:
            found["rules"] = (
                f"alerts.rules is refused, the rules before hold: {self._counts.refusal}"
            )
        if self._left_out:
            names = ", ".join(self._left_out)
            found["builtin"] = (
                f"these built-in rules do not run, list them in alerts.without: {names} "
                f"({next(iter(self._left_out.values()))})"
            )
        states = list(self._counts.partitions.items())
        stalled = sorted(n for n, state in states if state.stalled)
        if stalled:
            found["stalled"] = (
                f"PipelineStalled fires for partitions {', '.join(map(str, stalled))}"
            )
        if suppressed := sum(state.suppressed for _, state in states):
            found["suppressed"] = (
                f"{suppressed:,} alerts were not raised: there are more than alerts.active_max of "
                "a rule"
            )
        return found

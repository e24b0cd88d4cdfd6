"""What the sample stage does, added up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import consistent
from .columns import Traces
from .counts import SampleCounts
from .key_counts import Texts
from .open_traces import Absorbed
from .step import Step

__all__ = ["Tally"]

_DAY_MS = 86_400_000


class Tally:
    """Adds to counts that other partitions add to as well; only what is live comes here."""

    def __init__(self, counts: SampleCounts) -> None:
        self.counts = counts
        self._since: dict[str, int] = {}

    def batch(self, absorbed: Absorbed) -> None:
        """Spans of a batch."""
        counts = self.counts
        counts.spans += absorbed.spans + absorbed.kept + absorbed.dropped
        counts.late_kept_spans += absorbed.kept
        counts.late_dropped_spans += absorbed.dropped
        counts.wrong_partition_spans += absorbed.misplaced
        counts.invalid_spans += absorbed.invalid

    def step(self, step: Step, traces: Traces, texts: Texts, policies: tuple[str, ...]) -> None:
        """A decision step."""
        counts, groups, verdicts = self.counts, step.groups, step.verdicts
        kept, group = verdicts.kept, verdicts.group
        place = 2 * groups.policy[group] + kept
        for weights, dropped_counter, kept_counter in (
            (None, counts.dropped_traces, counts.kept_traces),
            (traces.spans, counts.dropped_spans, counts.kept_spans),
            (traces.bytes, None, counts.kept_bytes),
        ):
            sums = iter(_sums(place, weights, 2 * len(policies)).tolist())
            for name, dropped, passed in zip(policies, sums, sums, strict=True):
                if dropped and dropped_counter is not None:
                    dropped_counter[name] += round(dropped)
                if passed:
                    kept_counter[name] += round(passed)
        adjusted = np.where(kept, consistent.adjusted_count(verdicts.threshold), 0.0)
        size = len(groups.policy)
        kept_here = _sums(group[kept], None, size)
        dropped_here = _sums(group, None, size) - kept_here
        represented = _sums(group, np.nan_to_num(adjusted, nan=1.0), size)
        counts.keys.add(groups.key, kept_here, dropped_here, represented, texts)
        counts.early_traces += int(np.count_nonzero(traces.early))
        self._times(traces, step.now_ms)

    def _times(self, traces: Traces, now_ms: int) -> None:
        timed = (traces.start > 0) & (traces.end > 0)
        self.counts.timeless_traces += int(np.count_nonzero(~timed))
        took = now_ms - traces.end[traces.end > 0].astype(np.float64) / 1e6
        sane = (took >= 0) & (took < _DAY_MS)
        self.counts.skewed_traces += int(np.count_nonzero(~sane))
        self.counts.end_to_decision_ms.observe(took[sane])

    def verdicts(self, size_bytes: int) -> None:
        """A record of verdicts."""
        self.counts.verdict_records += 1
        self.counts.verdict_bytes += size_bytes

    def order(self, size_bytes: int, source_bytes: int) -> None:
        """A work order."""
        self.counts.orders += 1
        self.counts.order_bytes += size_bytes
        self.counts.order_source_bytes += source_bytes

    def ever(self, **totals: int) -> None:
        """Counts by name, as they have grown from the first call on: a replay's is before it."""
        for name, total in totals.items():
            more = total - self._since.get(name, total)
            setattr(self.counts, name, getattr(self.counts, name) + more)
        self._since |= totals


def _sums(
    places: NDArray[np.int32], weights: NDArray[np.int64] | NDArray[np.float64] | None, size: int
) -> NDArray[np.float64]:
    found = np.bincount(places, weights=weights, minlength=size)
    return found.astype(np.float64)

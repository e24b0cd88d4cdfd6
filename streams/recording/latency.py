"""What happens to a trace when some of its spans take longer.

A span ends later by its own delay and by what it waited for: the slowest chain of children
that ended within it, where a child that began after a delayed one ended begins later by as
much. Children in parallel count once, children in turn add up, children that outlive their
parent (asynchronous work) delay nobody.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Delayed", "Timed", "delay"]


class Timed(NamedTuple):
    """One span; times in Unix nanoseconds, ``own_ns`` is the delay of its own work."""

    parent: bytes
    start_ns: int
    end_ns: int
    own_ns: int = 0


class Delayed:
    """How one span changes."""

    __slots__ = ("_delays", "_ends", "longer_ns", "moved_ns")

    def __init__(self) -> None:
        self.moved_ns = 0
        """It starts later by this."""
        self.longer_ns = 0
        """It takes longer by this."""
        self._ends: list[int] = []  # ends of children, ascending,
        self._delays: list[int] = []  # and the delay from there on, ascending

    def within_ns(self, time_ns: int) -> int:
        """Delay, after the span's own start, of what happened in it at a recorded time."""
        at = bisect_right(self._ends, time_ns)
        return self._delays[at - 1] if at else 0

    def _wait(self, end_ns: int, delay_ns: int) -> None:
        if delay_ns <= self.within_ns(end_ns):
            return
        at = bisect_right(self._ends, end_ns)
        stop = at
        while stop < len(self._delays) and self._delays[stop] <= delay_ns:
            stop += 1
        self._ends[at:stop] = [end_ns]
        self._delays[at:stop] = [delay_ns]


def delay(spans: Mapping[bytes, Timed]) -> dict[bytes, Delayed]:
    """Changes of one trace's spans, by span id; those in a circle of parents are left out."""
    children: dict[bytes, list[bytes]] = defaultdict(list)
    order = []
    for span_id, span in spans.items():
        if span.parent in spans and span.parent != span_id:
            children[span.parent].append(span_id)
        else:
            order.append(span_id)
    for span_id in order:  # grows while it is walked: parents come before their children
        order += children[span_id]

    changes = {span_id: Delayed() for span_id in order}
    for span_id in reversed(order):
        span, change = spans[span_id], changes[span_id]
        for child in sorted(children[span_id], key=lambda child: spans[child].start_ns):
            begun_late = change.within_ns(spans[child].start_ns)
            change._wait(spans[child].end_ns, begun_late + changes[child].longer_ns)
        change.longer_ns = span.own_ns + change.within_ns(span.end_ns)
    for span_id in order:
        change = changes[span_id]
        for child in children[span_id]:
            changes[child].moved_ns = change.moved_ns + change.within_ns(spans[child].start_ns)
    return changes

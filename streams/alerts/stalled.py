"""`PipelineStalled`: that windows are no longer closed, or not all sources are heard.

Absence of telemetry means something only while windows are closed on time by all of their sources.
Whether they are is seen on the broker's clock, in ticks. Ticks are not replayed: what was said is
in the operator's log, and that alone says after a restart whether the alert fires.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Change", "Stalled"]

_CHANNELS_MAX = 1024
"""More than there can be by configuration; headers could say anything."""


class Change(NamedTuple):
    """The alert's new state, and why."""

    firing: bool
    starts_ms: int
    """Since when it fires, or fired."""
    at_ms: int
    late_ms: int
    """For how long no window of some rule had been closed beyond the shortest one's length."""
    silent_sources: int
    """Source partitions that nothing is known of."""


@dataclass(slots=True)
class Stalled:
    """What is known of one partition."""

    after_ms: int
    """How long beside the shortest window's length none of a rule need be closed."""
    rules: frozenset[str]
    """The window rules that there are: of others nothing is missing."""
    closings: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By window rule: the broker's time of the last closing message, and the shortest length of
    its windows. Rules have sources of their own: the windows of one can stand still alone."""
    silent: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    """Where sources are silent: how many, by window rule and length, and when that was said."""
    starts_ms: int = 0
    """Since when it fires, or fired last; 0: it never has. A later time each time, even where the
    broker's clock goes back: it is part of what is told."""
    firing: bool = False

    def closed(self, time_ms: int, rule: str, length_ms: int, silent_sources: int) -> None:
        """A window was closed, by a message of this time."""
        if self.closings and all(
            self._late_ms(time_ms, *said) > self.after_ms for said in self.closings.values()
        ):
            # Everything stood still: those that are back are missed from now on, not since then.
            for each, (_, shortest_ms) in self.closings.items():
                self.closings[each] = time_ms, shortest_ms
        if rule in self.rules:
            last_ms, shortest_ms = self.closings.get(rule, (0, length_ms))
            self.closings[rule] = max(last_ms, time_ms), min(shortest_ms, length_ms)
        self.silent.pop((rule, length_ms), None)
        if silent_sources and len(self.silent) < _CHANNELS_MAX:
            self.silent[rule, length_ms] = silent_sources, time_ms

    @staticmethod
    def _late_ms(now_ms: int, last_ms: int, length_ms: int) -> int:
        return now_ms - last_ms - length_ms

    def silent_sources(self, now_ms: int) -> int:
        """Source partitions that nothing is known of; 0 where that was said too long ago."""
        return max(
            (
                count
                for (_, length_ms), (count, time_ms) in self.silent.items()
                if now_ms - time_ms <= 2 * length_ms + self.after_ms
            ),
            default=0,
        )

    def judge(self, now_ms: int) -> Change | None:
        """What changes at this time, if anything does."""
        late_ms = max([0, *(self._late_ms(now_ms, *said) for said in self.closings.values())])
        silent = self.silent_sources(now_ms)
        firing = late_ms > self.after_ms or silent > 0
        if firing == self.firing:
            return None
        self.firing = firing
        if firing:
            self.starts_ms = max(now_ms, self.starts_ms + 1)
        return Change(firing, self.starts_ms, max(now_ms, self.starts_ms), late_ms, silent)

    def recall(self, firing: bool, starts_ms: int) -> None:
        """What was told before a restart."""
        self.firing, self.starts_ms = firing, starts_ms

    def to_json(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "closings": [[rule, *said] for rule, said in self.closings.items()],
            "silent": [[*place, *said] for place, said in self.silent.items()],
            "starts_ms": self.starts_ms,
            "firing": self.firing,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """From a snapshot. Raises KeyError, TypeError or ValueError."""
        self.closings = {
            str(rule): (int(last_ms), int(shortest_ms))
            for rule, last_ms, shortest_ms in state["closings"]
            if rule in self.rules
        }
        self.silent = {
            (str(rule), int(length_ms)): (int(count), int(time_ms))
            for rule, length_ms, count, time_ms in state["silent"]
        }
        self.recall(bool(state["firing"]), int(state["starts_ms"]))

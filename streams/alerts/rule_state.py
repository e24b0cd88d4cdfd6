"""One rule and all series that it matches.

A window says yes, no or nothing to a series; nothing leaves it as it is, unless the rule says what
it means (``no_data``). What an alert does then:

=========  =============================  =================================================
state      the condition holds            it does not
=========  =============================  =================================================
inactive   pending; without ``for``       (nothing)
           firing at once
pending    firing after ``for``           inactive
firing     (nothing)                      resolved after ``keep_firing_for``
no_data    firing                         firing, or resolved if that is long enough ago
=========  =============================  =================================================

Of an alert that nothing was heard of for ``no_data_after``, a pending one becomes inactive and a
firing one no_data. As in Prometheus (rules/alerting.go), ``for`` runs from the end of the first
window in which the condition held, ``keep_firing_for`` from the end of the first in which it did
not. Windows that are missing are windows that say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .absence import Presence
from .conditions import NO, NOTHING, UNCERTAIN, YES, Evidence, evaluate
from .rows import Block
from .rules import Rule
from .series import Series
from .transitions import Active, Transition, transition

__all__ = ["RuleState"]

_HOLD = -1
_NO_DATA = {"keep": _HOLD, "resolve": NO, "fire": YES}


class RuleState:
    """A rule's alerts.

    Args:
        rule: the rule.
        detectors: names of detectors by their numbers.
        active_max: alerts that there may be; of more, the rest is counted in ``suppressed``.
    """

    def __init__(self, rule: Rule, detectors: tuple[str, ...], active_max: int) -> None:
        self.rule = rule
        self.matched = np.zeros(0, np.bool_)
        """By series: whether the rule is about it."""
        self.history: NDArray[np.uint64] | None = None
        """By series: the last windows that said something, a bit each, the newest lowest."""
        self.presence: Presence | None = None
        self.actives: dict[int, Active] = {}
        self.suppressed = 0
        """Windows in which a series could not become an alert, for there were too many."""
        self.ever_matched = False
        self._active = np.zeros(0, np.bool_)
        self._fingerprints: set[str] = set()
        self._detectors = detectors
        self._active_max = active_max
        self._means = np.zeros(4, np.int8)
        self._means[[NO, YES, UNCERTAIN]] = NO, YES, _HOLD
        self._means[NOTHING] = _NO_DATA[rule.config.no_data]
        if rule.config.at_least is not None:
            self.history = np.zeros(0, np.uint64)
            self._mask = np.uint64((1 << rule.config.at_least.of) - 1)
            self._least = rule.config.at_least.windows
        if rule.config.absence is not None:
            self.presence = Presence(rule.config.absence, rule.length_ms)

    def grow(self, size: int) -> None:
        """Room for series with numbers below ``size``."""
        self.matched = _grown(self.matched, size)
        self._active = _grown(self._active, size)
        if self.history is not None:
            self.history = _grown(self.history, size)
        if self.presence is not None:
            self.presence.grow(size)

    def match(self, series_id: int) -> None:
        """The rule is about this series."""
        self.matched[series_id] = True
        self.ever_matched = True

    def adopt(self, active: Active) -> None:
        """Take over an alert from a snapshot."""
        self.actives[active.series_id] = active
        self._active[active.series_id] = True
        self._fingerprints.add(active.fingerprint)

    def step(self, block: Block, describe: Callable[[int], Series]) -> Iterator[Transition]:
        """What follows from one window; it is finished when the iterator is."""
        rows = np.flatnonzero(self.matched[block.ids])
        said = evaluate(self.rule, block, rows, self.presence)
        ids = block.ids[rows]
        holds = self._means[said.verdict]
        if self.history is not None:
            holds = self._m_of_n(ids, holds)
        touched = np.flatnonzero((holds == YES) | self._active[ids])
        absent = self._absent(ids)
        for row in touched.tolist():
            series_id = int(ids[row])
            active = self.actives.get(series_id)
            evidence = said.evidence(row)
            if active is not None:
                yield from self._move(active, int(holds[row]), evidence, block.end_ms)
            if series_id not in self.actives and holds[row] == YES:
                yield from self._begin(series_id, evidence, block.end_ms, describe)
        for series_id in absent:
            active = self.actives[series_id]
            yield from self._move(active, _HOLD, active.evidence, block.end_ms)

    def _m_of_n(self, ids: NDArray[np.int32], holds: NDArray[np.int8]) -> NDArray[np.int8]:
        assert self.history is not None  # noqa: S101 - only then it is called
        told = holds != _HOLD
        at = ids[told]
        bits = ((self.history[at] << np.uint64(1)) | (holds[told] == YES)) & self._mask
        self.history[at] = bits
        enough = holds.copy()
        enough[told] = np.bitwise_count(bits) >= self._least
        return enough

    def _absent(self, ids: NDArray[np.int32]) -> list[int]:
        """Alerts whose series is not in the block."""
        if not self.actives:
            return []
        ours = np.sort(np.fromiter(self.actives, np.int32, len(self.actives)))
        found: list[int] = ours[~np.isin(ours, ids, assume_unique=True)].tolist()
        return found

    def _begin(
        self, series_id: int, evidence: Evidence, end_ms: int, describe: Callable[[int], Series]
    ) -> Iterator[Transition]:
        if len(self.actives) >= self._active_max:
            self.suppressed += 1
            return
        active = Active(series_id, describe(series_id), end_ms, end_ms, evidence)
        active.name(self.rule)
        if active.fingerprint in self._fingerprints:
            return  # attributes 1 and "1" are one label: it is the alert that there is
        self.adopt(active)
        if self.rule.for_ms:
            yield self._to(active, "pending", end_ms)
        else:
            active.fired_at_ms = end_ms
            yield self._to(active, "firing", end_ms)

    def _move(
        self, active: Active, holds: int, evidence: Evidence, end_ms: int
    ) -> Iterator[Transition]:
        # A window that says something has said so since its start.
        silent_until_ms = end_ms if holds == _HOLD else end_ms - self.rule.length_ms
        lapsed = silent_until_ms - active.known_at_ms >= self.rule.no_data_ms
        if holds != _HOLD:
            active.evidence, active.known_at_ms = evidence, end_ms
        if active.state == "pending":
            yield from self._pending(active, holds, lapsed, end_ms)
        else:
            yield from self._firing(active, holds, lapsed, end_ms)

    def _pending(
        self, active: Active, holds: int, lapsed: bool, end_ms: int
    ) -> Iterator[Transition]:
        if holds == NO:
            yield self._end(active, "inactive", end_ms)
        elif lapsed:
            yield self._end(active, "inactive", end_ms, "no_data")
        elif holds == YES and end_ms - active.starts_at_ms >= self.rule.for_ms:
            active.fired_at_ms = end_ms
            yield self._to(active, "firing", end_ms)

    def _firing(
        self, active: Active, holds: int, lapsed: bool, end_ms: int
    ) -> Iterator[Transition]:
        if holds == YES:
            active.not_since_ms = None
            if active.state == "no_data":
                yield self._to(active, "firing", end_ms)
            return
        if holds == NO and active.not_since_ms is None:
            active.not_since_ms = end_ms
        since = active.not_since_ms
        if since is not None and end_ms - since >= self.rule.keep_ms:
            yield self._end(active, "resolved", end_ms)
        elif holds == NO and active.state == "no_data":
            yield self._to(active, "firing", end_ms, "keep_firing_for")
        elif holds == _HOLD and lapsed and active.state == "firing":
            active.lapses += 1
            yield self._to(active, "no_data", end_ms, "no_data")

    def _to(self, active: Active, state: Any, end_ms: int, reason: Any = "condition") -> Transition:
        return transition(self.rule, active, state, end_ms, reason, self._detectors)

    def _end(
        self, active: Active, state: Any, end_ms: int, reason: Any = "condition"
    ) -> Transition:
        self.drop(active)
        return self._to(active, state, end_ms, reason)

    def drop(self, active: Active) -> None:
        """It is no alert any more, and nobody is told."""
        del self.actives[active.series_id]
        self._active[active.series_id] = False
        self._fingerprints.discard(active.fingerprint)

    def close(self, active: Active, end_ms: int, reason: Any) -> Transition:
        """End an alert for a reason outside of the data."""
        state = "inactive" if active.state == "pending" else "resolved"
        return self._end(active, state, end_ms, reason)

    def forget(self, ids: NDArray[np.int32], end_ms: int) -> Iterator[Transition]:
        """These series are gone; their numbers may come again for others."""
        for series_id in ids.tolist():
            if (active := self.actives.get(series_id)) is not None:
                yield self.close(active, end_ms, "series_gone")
        self.matched[ids] = False
        if self.history is not None:
            self.history[ids] = 0
        if self.presence is not None:
            self.presence.forget(ids)


def _grown(column: NDArray[Any], size: int) -> NDArray[Any]:
    larger: NDArray[Any] = np.zeros(size, column.dtype)
    larger[: len(column)] = column
    return larger

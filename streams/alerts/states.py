"""All rules and their alerts over one partition of windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.records.alerts import AlertEvent

from .rows import Block
from .rule_state import RuleState
from .rules import Rule
from .series import Series
from .snapshots import read_state, write_state
from .transitions import Active, Transition

__all__ = ["RuleStates"]

_ROOM_MIN = 64


class RuleStates:
    """Evaluates rules on windows. The same calls in the same order give the same transitions.

    Args:
        rules: what ``compile_rules`` gave.
        describe: what a number of a series stands for; called when an alert of it begins, and for
            every series when rules are replaced.
        detectors: names of detectors by their numbers.
        active_max: alerts of one rule that there may be at once.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        describe: Callable[[int], Series],
        detectors: Sequence[str] = (),
        active_max: int = 1000,
    ) -> None:
        self._describe = describe
        self._detectors = tuple(detectors)
        self._active_max = active_max
        self._live = np.zeros(0, np.bool_)
        self._orphans: list[tuple[RuleState, Active, str]] = []
        self._suppressed = 0
        self._states = [self._state(rule) for rule in rules]

    def _state(self, rule: Rule) -> RuleState:
        state = RuleState(rule, self._detectors, self._active_max)
        state.grow(len(self._live))
        return state

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force."""
        return tuple(state.rule for state in self._states)

    @property
    def suppressed(self) -> int:
        """How often a series was no alert although it should be: ``active_max`` was reached."""
        return self._suppressed + sum(state.suppressed for state in self._states)

    @property
    def unmatched(self) -> tuple[str, ...]:
        """Names of rules that no series has matched yet."""
        return tuple(state.rule.name for state in self._states if not state.ever_matched)

    @property
    def actives(self) -> list[tuple[Rule, Active]]:
        """Alerts that are pending, firing or no_data, by rule."""
        return [(state.rule, each) for state in self._states for each in state.actives.values()]

    def active_ids(self) -> NDArray[np.int32]:
        """Numbers of series with alerts, ascending."""
        return np.unique(np.array([each.series_id for _, each in self.actives], np.int32))

    def enter(self, series_id: int, series: Series) -> None:
        """A new series has this number."""
        if series_id >= len(self._live):
            self._grow(max(2 * len(self._live), series_id + 1, _ROOM_MIN))
        self._live[series_id] = True
        for state in self._states:
            if state.rule.matches(series):
                state.match(series_id)

    def watched(self, series_id: int) -> tuple[str, ...]:
        """Statistics of it that rules about anomalies look at, in order of their names."""
        if series_id >= len(self._live):
            return ()
        return tuple(
            sorted(
                {
                    state.rule.statistic
                    for state in self._states
                    if state.rule.anomaly and state.matched[series_id]
                }
            )
        )

    def step(self, block: Block) -> list[Transition]:
        """What follows from a window of one window rule and length, rule by rule."""
        found = self._bury(block.end_ms)
        for state in self._states:
            if (state.rule.window, state.rule.length_ms) == (block.window, block.length_ms):
                found += state.step(block, self._describe)
        return found

    def forget(self, ids: NDArray[np.int32], end_ms: int) -> list[Transition]:
        """These series are gone: what was firing is resolved, the numbers are free."""
        ids = ids[ids < len(self._live)]
        self._live[ids] = False
        found = self._bury(end_ms)
        return found + [each for state in self._states for each in state.forget(ids, end_ms)]

    def settle(self, fingerprint: str, event: AlertEvent | None) -> bool:
        """Bring an alert to where an event says that it is; whether there is such a one.

        One that is none by the event (None), or another than it says, is dropped unsaid.
        """
        for state in self._states:
            for active in state.actives.values():
                if active.fingerprint == fingerprint:
                    if event is not None and active.is_of(event, state.rule):
                        active.take_over(event)
                        return True
                    state.drop(active)
                    return False
        return False

    def replace(self, rules: Sequence[Rule]) -> None:
        """Other rules from now on.

        A rule that is the same as before goes on as if nothing had happened. Alerts of others end
        with the next step or ``forget``, whichever block that is.
        """
        before = {state.rule.name: state for state in self._states}
        after: list[RuleState] = []
        new: list[RuleState] = []
        for rule in rules:
            old = before.get(rule.name)
            if old is not None and old.rule.digest == rule.digest:
                old.rule = rule
                after.append(before.pop(rule.name))
            else:
                new.append(self._state(rule))
                after.append(new[-1])
        names = {rule.name for rule in rules}
        for name, state in before.items():
            reason = "rule_changed" if name in names else "rule_removed"
            self._orphans += [(state, active, reason) for active in state.actives.values()]
            self._suppressed += state.suppressed
        self._states = after
        for series_id in np.flatnonzero(self._live).tolist() if new else ():
            series = self._describe(series_id)
            for state in new:
                if state.rule.matches(series):
                    state.match(series_id)

    def _bury(self, end_ms: int) -> list[Transition]:
        orphans, self._orphans = self._orphans, []
        return [state.close(active, end_ms, reason) for state, active, reason in orphans]

    def _grow(self, size: int) -> None:
        live = np.zeros(size, np.bool_)
        live[: len(self._live)] = self._live
        self._live = live
        for state in self._states:
            state.grow(size)

    # --- snapshots

    def snapshot(self) -> list[bytes]:
        """Everything, the rules included; a chunk for each of them and one for the rest."""
        orphaned: dict[int, RuleState] = {id(state): state for state, _, _ in self._orphans}
        reasons = {id(state): reason for state, _, reason in self._orphans}
        return [
            write_state(None, self._live, suppressed=self._suppressed),
            *(write_state(state, self._live) for state in self._states),
            *(write_state(s, self._live, orphan=reasons[key]) for key, s in orphaned.items()),
        ]

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over what ``snapshot`` gave: its rules are in force until they are replaced.

        Raises MalformedRecord if it is none.
        """
        self._states, self._orphans, self._live = [], [], np.zeros(0, np.bool_)
        for chunk in chunks:
            head, live, fill = read_state(chunk)
            if head.rule is None:
                self._suppressed, self._live = head.suppressed, live
                continue
            state = self._state(Rule(head.rule, head.builtin))
            fill(state)
            if head.orphan:
                self._orphans += [(state, each, head.orphan) for each in state.actives.values()]
            else:
                self._states.append(state)

"""Other rules while alerts fire."""

from __future__ import annotations

import pytest

from schemas.config import Alerts, Windows
from schemas.config.load import load_rules
from schemas.errors import ConfigurationError, MalformedMessage
from schemas.records import AlertEvent
from streams.alerts.rules import Rule, compile_rules
from streams.alerts.states import RuleStates
from streams.alerts.transitions import Transition
from tests.streams.alerts.windows import block, series

ONE = (
    "- {name: One, on: {window: services, length: 10s, statistic: p99}, "
    "threshold: {op: '>', value: 1}}\n"
)
TWO = ONE.replace("One", "Two")
STRICTER = ONE.replace("value: 1", "value: 2")
WAITING = TWO.replace("threshold", "for: 20s, threshold")


def rules(*texts: str) -> list[Rule]:
    return [Rule(rule) for rule in load_rules("".join(texts))]


def firing(*texts: str) -> RuleStates:
    """Both series fire of each rule, or are pending."""
    states = RuleStates(rules(*texts), series)
    for each in (0, 1):
        states.enter(each, series(each))
    states.step(block(10_000, [0, 1], {"p99": [9.0, 9.0]}))
    return states


def said(transitions: list[Transition]) -> list[tuple[str, int, str, str, int]]:
    return [(t.rule.name, t.series_id, t.state, t.reason, t.at_ms) for t in transitions]


def step(states: RuleStates, end_ms: int) -> list[tuple[str, int, str, str, int]]:
    return said(states.step(block(end_ms, [0, 1], {"p99": [9.0, 0.0]})))


def test_alerts_of_a_rule_that_is_gone_are_resolved() -> None:
    states = firing(ONE, WAITING)
    states.replace(rules(ONE))
    assert step(states, 20_000) == [
        ("Two", 0, "inactive", "rule_removed", 20_000),
        ("Two", 1, "inactive", "rule_removed", 20_000),
        ("One", 1, "resolved", "condition", 20_000),
    ]
    assert step(states, 30_000) == []


def test_a_rule_that_says_something_else_begins_anew() -> None:
    states = firing(ONE)
    old = states.rules[0].digest
    states.replace(rules(STRICTER))
    transitions = states.step(block(20_000, [0, 1], {"p99": [9.0, 1.5]}))
    assert said(transitions) == [
        ("One", 0, "resolved", "rule_changed", 20_000),
        ("One", 1, "resolved", "rule_changed", 20_000),
        ("One", 0, "firing", "condition", 20_000),
    ]
    ended, begun = transitions[0], transitions[2]
    assert ended.rule.digest == old != begun.rule.digest
    # The same alert to whoever gets it, and yet another transition.
    assert ended.fingerprint == begun.fingerprint
    assert ended.id != begun.id


def test_a_rule_that_stays_goes_on() -> None:
    states = firing(ONE, WAITING)
    states.replace(rules(WAITING, ONE, STRICTER.replace("One", "Three")))
    assert step(states, 20_000) == [
        ("Two", 1, "inactive", "condition", 20_000),
        ("One", 1, "resolved", "condition", 20_000),
        ("Three", 0, "firing", "condition", 20_000),
    ]
    assert step(states, 30_000) == [("Two", 0, "firing", "condition", 30_000)]


def test_what_was_to_be_resolved_is_so_after_a_restart() -> None:
    states = firing(ONE)
    states.replace(rules(TWO))
    again = RuleStates(rules(STRICTER), series)
    again.restore(states.snapshot())
    assert again.snapshot() == states.snapshot()
    assert [rule.name for rule in again.rules] == ["Two"]
    assert step(again, 20_000) == step(states, 20_000)


def test_a_restart_with_another_configuration_resolves_what_is_no_longer_asked_for() -> None:
    again = RuleStates([], series)
    again.restore(firing(ONE).snapshot())
    again.replace(rules(TWO))
    assert step(again, 20_000) == [
        ("One", 0, "resolved", "rule_removed", 20_000),
        ("One", 1, "resolved", "rule_removed", 20_000),
        ("Two", 0, "firing", "condition", 20_000),
    ]


def test_an_orphan_is_buried_with_its_series_at_the_latest() -> None:
    states = firing(ONE)
    states.replace([])
    found = states.forget(block(0, [0], {}).ids, 15_000)
    assert said(found) == [
        ("One", 0, "resolved", "rule_removed", 15_000),
        ("One", 1, "resolved", "rule_removed", 15_000),
    ]


def test_damaged_snapshots_are_refused() -> None:
    chunks = firing(ONE).snapshot()
    for damaged in (
        [chunk[:-9] for chunk in chunks],
        [chunks[1]],
        [b"", *chunks],
        [chunks[0], chunks[1][:20] + b"x" + chunks[1][21:]],
    ):
        with pytest.raises(MalformedMessage):
            RuleStates([], series).restore(damaged)


def test_every_transition_is_a_record() -> None:
    states = firing(ONE)
    for end_ms in (20_000, 30_000):
        for each in states.step(block(end_ms, [0, 1], {"p99": [float("inf"), 0.0]})):
            event = each.event()
            assert AlertEvent.of(event.headers(), event.encode()) == event
            assert event.value == (None if each.value == float("inf") else each.value)


def test_rules_that_matched_nothing_are_told() -> None:
    states = firing(ONE, TWO.replace("threshold", "match: {service: nobody}, threshold"))
    assert states.unmatched == ("Two",)
    again = RuleStates([], series)
    again.restore(states.snapshot())
    assert again.unmatched == ("Two",)


def test_wrong_rules_leave_the_old_ones() -> None:
    """``compile_rules`` raises before anything is replaced; a line says where."""
    with pytest.raises(ConfigurationError, match=r"line 2: alerts\.rules\[1\]\.on\.window"):
        compile_rules(Alerts(), Windows(), ONE + TWO.replace("services", "servces"))

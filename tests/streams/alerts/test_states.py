"""Alerts of many series at once equal those of each alone, kept by hand."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config.alerts import AlertRule
from streams.alerts.rules import Rule
from streams.alerts.states import RuleStates
from streams.alerts.transitions import Transition
from tests.streams.alerts.plain_rules import COMPARE, PlainSeries, Told
from tests.streams.alerts.windows import LENGTH_MS, block, series

SERIES = 4
NAN, INF = math.nan, math.inf


def of_threshold(draw: Any) -> dict[str, Any]:
    return {
        "on": {
            "window": "services",
            "length": "10s",
            "statistic": draw(st.sampled_from(["p99", "count", "rate"])),
        },
        "threshold": {"op": draw(st.sampled_from(sorted(COMPARE))), "value": 5},
        "min_count": draw(st.sampled_from([0, 0, 3])),
    }


def of_absence(draw: Any) -> dict[str, Any]:
    return {
        "on": {"window": "services", "length": "10s", "statistic": "count"},
        "absence": {
            "history": draw(st.integers(1, 4)),
            "sensitivity": draw(st.sampled_from([None, 0.1, 100])),
        },
    }


@st.composite
def rules(draw: Any) -> AlertRule:
    """Any rule about a threshold or absence."""
    said = of_threshold(draw) if draw(st.integers(0, 3)) else of_absence(draw)
    if draw(st.booleans()):
        m = draw(st.integers(1, 3))
        said["at_least"] = {"windows": m, "of": draw(st.integers(m, 4))}
    return AlertRule.model_validate(
        said
        | {
            "name": "R",
            "for": draw(st.sampled_from([0, 10, 25])),
            "keep_firing_for": draw(st.sampled_from([0, 10, 25])),
            "no_data": draw(st.sampled_from(["keep", "resolve", "fire"])),
            "no_data_after": draw(st.sampled_from([10, 20, 35])),
        }
    )


VALUES = st.sampled_from([NAN, 0.0, 4.0, 5.0, 6.0, 6.0, 6.0, INF, -INF])
COUNTS = st.sampled_from([0.0, 2.0, 3.0, 100.0])
ROW = st.tuples(st.booleans() | st.just(True), VALUES, COUNTS)
"""Whether it is in the block, its value, its count."""
STEP = st.tuples(
    st.sampled_from([1, 1, 1, 2, 4]),
    st.sampled_from([True, True, True, False]),
    st.lists(ROW, min_size=SERIES, max_size=SERIES),
    st.sampled_from(["", "", "", "restart", "replace", "forget"]),
)
"""Windows since the last one, whether all sources were heard, rows, what else happens."""


def told(each: Transition) -> Told:
    return Told(
        each.state, each.reason, each.at_ms, each.starts_at_ms, each.fired_at_ms, each.value
    )


def new_states(rule: AlertRule, ids: Sequence[int]) -> RuleStates:
    states = RuleStates([Rule(rule)], series)
    for each in ids:
        states.enter(each, series(each))
    return states


def run(rule: AlertRule, steps: Sequence[Any], ids: Sequence[int]) -> dict[int, list[Told]]:
    """What a RuleStates tells of these series."""
    states = new_states(rule, ids)
    found: dict[int, list[Told]] = defaultdict(list)
    identities: set[str] = set()
    end_ms = 0
    for gap, known, rows, what in steps:
        end_ms += gap * LENGTH_MS
        if what == "restart":
            chunks = states.snapshot()
            states = RuleStates([], series)
            states.restore(chunks)
            assert states.snapshot() == chunks
        elif what == "replace":
            states.replace([Rule(rule)])
        elif what == "forget" and ids[0] == 0:
            for each in states.forget(np.array([0], np.int32), end_ms - LENGTH_MS):
                found[each.series_id].append(told(each))
                identities.add(each.id)
            states.enter(0, series(0))
        there = [each for each in ids if rows[each][0]]
        values = [rows[each][1] for each in there]
        counts = [rows[each][2] for each in there]
        columns = {"p99": values, "rate": values, "count": counts}
        if rule.on.statistic == "count" and rule.absence is None:
            columns["count"] = values
        seen = [count > 0 for count in counts]
        transitions = states.step(block(end_ms, there, columns, seen=seen, known=known))
        for each in transitions:
            found[each.series_id].append(told(each))
            assert each.id not in identities
            identities.add(each.id)
            assert (each.ends_at_ms is None) == (each.state in ("pending", "firing", "no_data"))
    return found


def expected(rule: AlertRule, steps: Sequence[Any], number: int) -> list[Told]:
    """What is told of one series, by hand."""
    plain = PlainSeries(rule)
    found: list[Told] = []
    end_ms = 0
    for gap, known, rows, what in steps:
        end_ms += gap * LENGTH_MS
        if what == "forget" and number == 0:
            found += plain.gone(end_ms - LENGTH_MS)
            plain = PlainSeries(rule)
        there, value, count = rows[number]
        if not there:
            found += plain.nothing(end_ms)
            continue
        if rule.absence is not None:
            value = count
        given = value if rule.on.statistic == "count" else count
        found += plain.window(end_ms, value, given, count > 0, known)
    return found


@settings(max_examples=250, derandomize=True, deadline=None)
@given(rules(), st.lists(STEP, max_size=25))
def test_all_series_together_are_as_each_by_hand(rule: AlertRule, steps: list[Any]) -> None:
    found = run(rule, steps, range(SERIES))
    for number in range(SERIES):
        # Through repr, so that NaN is NaN.
        assert repr(found[number]) == repr(expected(rule, steps, number)), number


@settings(max_examples=50, derandomize=True, deadline=None)
@given(rules(), st.lists(STEP, max_size=15))
def test_series_do_not_concern_each_other(rule: AlertRule, steps: list[Any]) -> None:
    together = run(rule, steps, range(SERIES))
    apart = run(rule, steps, [0, 3]) | run(rule, steps, [1, 2])
    assert repr({k: v for k, v in together.items() if v}) == repr(
        {k: apart[k] for k in together if together[k]}
    )


def test_beyond_the_limit_alerts_are_counted_and_not_raised() -> None:
    rule = AlertRule.model_validate(
        {
            "name": "R",
            "on": {"window": "services", "length": "10s", "statistic": "p99"},
            "threshold": {"op": ">", "value": 1},
        }
    )
    states = RuleStates([Rule(rule)], series, active_max=2)
    for each in range(5):
        states.enter(each, series(each))
    first = states.step(block(10_000, range(5), {"p99": [2.0] * 5}))
    assert [(each.series_id, each.state) for each in first] == [(0, "firing"), (1, "firing")]
    assert states.suppressed == 3
    # One is over: the next window has room for one more.
    then = states.step(block(20_000, range(5), {"p99": [0.0, 2.0, 0.0, 2.0, 2.0]}))
    assert [(each.series_id, each.state) for each in then] == [(0, "resolved"), (3, "firing")]
    assert states.suppressed == 4
    assert states.active_ids().tolist() == [1, 3]
    again = RuleStates([], series, active_max=2)
    again.restore(states.snapshot())
    assert again.suppressed == 4


def test_blocks_of_other_windows_do_not_concern_a_rule() -> None:
    rule = AlertRule.model_validate(
        {
            "name": "R",
            "on": {"window": "services", "length": "1m", "statistic": "p99"},
            "threshold": {"op": ">", "value": 1},
        }
    )
    states = new_states(rule, [0])
    assert states.step(block(60_000, [0], {"p99": [9.0]})) == []
    assert states.unmatched == ("R",)

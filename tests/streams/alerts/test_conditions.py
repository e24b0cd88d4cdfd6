"""What a window says to a rule, number by number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from schemas.config.alerts import AlertRule
from streams.alerts.conditions import NO, NOTHING, UNCERTAIN, YES, evaluate
from streams.alerts.rows import Judged
from streams.alerts.rules import Rule
from tests.streams.alerts.plain_rules import COMPARE
from tests.streams.alerts.windows import block, observed

NAN, INF = math.nan, math.inf
NUMBERS = [NAN, -INF, -1.0, 0.0, 4.9999, 5.0, 5.0001, INF]


def rule(statistic: str = "p99", **said: Any) -> Rule:
    on = {"window": "services", "length": "10s", "statistic": statistic}
    return Rule(AlertRule.model_validate({"name": "R", "on": on, **said}))


def verdict(of: Rule, *args: Any, **said: Any) -> list[int]:
    given = block(*args, **said)
    found: list[int] = evaluate(of, given, np.arange(len(given.ids)), None).verdict.tolist()
    return found


@pytest.mark.parametrize("op", sorted(COMPARE))
def test_every_comparison_with_every_kind_of_number(op: str) -> None:
    found = verdict(
        rule(threshold={"op": op, "value": 5}), 0, range(len(NUMBERS)), {"p99": NUMBERS}
    )
    assert found == [
        NOTHING if math.isnan(n) else YES if COMPARE[op](n, 5.0) else NO for n in NUMBERS
    ]


def test_thresholds_have_units() -> None:
    assert rule(threshold={"op": ">", "value": "500ms"}).config.threshold.value == 0.5  # type: ignore[union-attr]
    assert rule(threshold={"op": ">", "value": "5%"}).config.threshold.value == 0.05  # type: ignore[union-attr]
    assert rule(threshold={"op": ">", "value": "-1e3"}).config.threshold.value == -1000  # type: ignore[union-attr]


@pytest.mark.parametrize("op", sorted(COMPARE))
def test_a_count_of_incomplete_windows_is_never_too_small(op: str) -> None:
    counted = rule("count", threshold={"op": op, "value": 5})
    found = verdict(counted, 0, range(3), {"count": [4.0, 5.0, 6.0]}, known=False)
    may_be_told = (">", ">=")
    assert found == [
        (YES if op in may_be_told else UNCERTAIN) if COMPARE[op](n, 5) else NO for n in (4, 5, 6)
    ]
    # A quantile is no sum: it is what it is.
    measured = rule(threshold={"op": op, "value": 5})
    assert UNCERTAIN not in verdict(measured, 0, range(3), {"p99": [4.0, 5.0, 6.0]}, known=False)


def test_of_few_items_nothing_is_told() -> None:
    guarded = rule(threshold={"op": ">", "value": 5}, min_count=10)
    found = verdict(
        guarded,
        0,
        range(4),
        {"p99": [9.0, 9.0, 9.0, NAN], "count": [10.0, 9.0, NAN, 0.0]},
        seen=[True, True, True, False],
    )
    assert found == [YES, UNCERTAIN, UNCERTAIN, NOTHING]


def unusual(*looked: int, values: list[float], what: Judged, **said: Any) -> list[int]:
    condition = {"sensitivity": 1.0} | said.pop("anomaly", {})
    return verdict(
        rule(anomaly=condition, **said),
        0,
        range(len(values)),
        {"p99": values},
        observed={"p99": (looked, what)},
    )


def test_an_anomaly_is_as_rare_as_was_asked_for() -> None:
    rates = [0.0, 1.0, 1.0001, NAN, 0.5]
    found = unusual(
        0, 1, 2, 3, 4,
        values=[9.0, 9.0, 9.0, 9.0, NAN], what=observed(rates),
    )  # fmt: skip
    assert found == [YES, YES, NO, UNCERTAIN, NOTHING]


def test_what_is_learning_is_no_answer() -> None:
    found = unusual(
        0, 1, 2, values=[9.0] * 3, what=observed([1.0, 1.0, 5.0], least=[1.0, 1.1, INF])
    )
    assert found == [YES, UNCERTAIN, UNCERTAIN]


def test_series_that_nobody_looks_at_are_uncertain() -> None:
    found = unusual(1, 3, values=[9.0] * 5, what=observed([0.0, 9.0]))
    assert found == [UNCERTAIN, YES, UNCERTAIN, NO, UNCERTAIN]
    nobody = rule(anomaly={"sensitivity": 1.0})
    assert verdict(nobody, 0, range(2), {"p99": [1.0, 2.0]}) == [UNCERTAIN, UNCERTAIN]


@pytest.mark.parametrize(
    ("direction", "wanted"),
    [("up", [NO, NO, YES]), ("down", [YES, NO, NO]), ("both", [YES, YES, YES])],
)
def test_directions(direction: str, wanted: list[int]) -> None:
    found = unusual(
        0, 1, 2,
        values=[1.0, 5.0, 9.0],
        what=observed([0.0] * 3, direction=[-1, 0, 1]),
        anomaly={"direction": direction},
    )  # fmt: skip
    assert found == wanted


def test_what_is_unusual_must_also_matter() -> None:
    what = observed([0.0] * 6, low=[10.0] * 5 + [NAN], high=[20.0] * 5 + [NAN])
    values = [29.9, 30.0, 5.1, 5.0, 15.0, 15.0]
    told = unusual(*range(6), values=values, what=what, anomaly={"min_change": 0.5})
    # Inside of what was expected nothing matters; a range that is not known excuses nothing.
    assert told == [NO, YES, NO, YES, NO, YES]
    told = unusual(*range(6), values=values, what=what, anomaly={"min_difference": 9.95})
    assert told == [NO, YES, NO, NO, NO, YES]


def test_too_little_in_incomplete_windows_is_no_anomaly() -> None:
    counted = rule("rate", anomaly={"sensitivity": 1.0})
    what = observed([0.0, 0.0], direction=[-1, 1])
    found = verdict(
        counted, 0, range(2), {"rate": [1.0, 9.0]}, known=False, observed={"rate": ([0, 1], what)}
    )
    assert found == [UNCERTAIN, YES]

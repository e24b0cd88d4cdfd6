"""Unit tests of rules, as users write them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from schemas.config.alert_tests import STALE, expand
from schemas.errors import ConfigurationError
from streams.alerts.testing import load_tests, run_test

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
RULES = """
builtin: true
rules:
- name: Slow
  on: {window: services, length: 10s, statistic: p99}
  threshold: {op: ">", value: 500ms}
  for: 20s
  summary: "{{ value | duration }}"
- name: Few
  on: {window: services, length: 10s, statistic: rate}
  threshold: {op: "<", value: 5}
  min_count: 10
- name: Strange
  on: {window: spans, length: 1m, statistic: p50}
  anomaly: {sensitivity: 0.1, direction: up, min_change: 0.5}
- name: Silent
  on: {window: services, length: 10s, statistic: count}
  absence: {history: 2}
"""


def failures(tests: str, rules: str = RULES) -> list[str]:
    loaded, compiled = load_tests(f"{rules}\ntests:\n{tests}", "t.yaml", lambda _: "")
    return [str(failure) for each in loaded.tests for failure in run_test(each, compiled)]


def complaint(text: str, files: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_tests(text, "t.yaml", (files or {}).__getitem__)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        # The table of promtool's documentation.
        ("-2+4x3", (-2, 2, 6, 10)),
        ("1-2x4", (1, -1, -3, -5, -7)),
        ("1x4", (1, 1, 1, 1, 1)),
        ("1 _x3 stale", (1, None, None, None, STALE)),
        ("_ 5 1e3x1 .5 +Inf -inf", (None, 5, 1000, 1000, 0.5, math.inf, -math.inf)),
        ("0.1+0.2x1", (0.1, 0.1 + 0.2)),
        ("1x0", (1,)),
        ("", ()),
    ],
)
def test_values_expand(text: str, values: tuple[object, ...]) -> None:
    assert expand(text) == values


def test_nan_is_a_value() -> None:
    assert math.isnan(expand("NaN")[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["x", "1+x3", "1x", "_x", "1+2x3.5", "stalex2", "1,2", "1--2x3"])
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is none of"):
        expand(text)


def test_values_have_an_end() -> None:
    for text in ("1x99999999999", "_x1000000", "1x60000 1x60000"):
        with pytest.raises(ValueError, match="more than 100000 values"):
            expand(text)


def test_the_example_of_the_documentation_holds() -> None:
    text = (EXAMPLES / "alert_rules_test.yaml").read_text()
    tests, rules = load_tests(text, "example", lambda name: (EXAMPLES / name).read_text())
    assert [failure for each in tests.tests for failure in run_test(each, rules)] == []
    assert sum(len(check.exp_alerts) for each in tests.tests for check in each.alert_rule_test) == 3


SLOW = """
- input_series: [{series: 'services.p99{service="cart"}', values: "0.7x3 0.2"}]
  alert_rule_test:
  - eval_time: %s
    alertname: Slow
    exp_alerts: %s
"""
FIRING = '[{exp_labels: {service: cart, severity: warning}, exp_annotations: {summary: "700ms"}}]'
PENDING = "[{state: pending, exp_labels: {service: cart, severity: warning}}]"


@pytest.mark.parametrize(
    ("at", "alerts"),
    [
        ("0s", "[]"), ("9s", "[]"), ("10s", PENDING), ("20s", PENDING), ("30s", FIRING),
        ("45s", FIRING), ("50s", "[]"), ("10s", "[]"),
    ],
)  # fmt: skip
def test_alerts_over_time(at: str, alerts: str) -> None:
    """A pending alert is looked at only where one is expected, as in promtool."""
    assert failures(SLOW % (at, alerts)) == []


@pytest.mark.parametrize(
    ("at", "alerts", "lines"),
    [
        (
            "30s", "[]",
            ['  + firing {service="cart", severity="warning"}', "      summary: 700ms"],
        ),
        ("50s", PENDING, ['  - pending {service="cart", severity="warning"}']),
        (
            "30s", FIRING.replace("700", "701"),
            ['  - firing {service="cart", severity="warning"}', "      summary: 701ms",
             '  + firing {service="cart", severity="warning"}', "      summary: 700ms"],
        ),
        (
            "30s", FIRING.replace("severity: warning", "severity: info"),
            ['  - firing {service="cart", severity="info"}', "      summary: 700ms",
             '  + firing {service="cart", severity="warning"}', "      summary: 700ms"],
        ),
    ],
)  # fmt: skip
def test_a_difference_is_shown(at: str, alerts: str, lines: list[str]) -> None:
    (failure,) = failures(SLOW % (at, alerts))
    assert failure.splitlines() == [f"test: Slow at {at}:", *lines]


def test_what_was_not_given_follows_from_what_was() -> None:
    """The rate from the count; a window without anything has a rate of 0, and few items."""
    found = """
- input_series: [{series: 'services.count{service="cart"}', values: "40 60 _ 9"}]
  alert_rule_test:
  - eval_time: 10s
    alertname: Few
    exp_alerts: &one [{exp_labels: {service: cart, severity: warning}}]
  - {eval_time: 20s, alertname: Few}
  - {eval_time: 40s, alertname: Few}
  - {eval_time: 30s, alertname: Silent, exp_alerts: *one}
  - {eval_time: 40s, alertname: Silent}
  - {eval_time: 50s, alertname: Silent, exp_alerts: *one}
- input_series: [{series: 'services.error_ratio{service="cart"}', values: "0.9x3"}]
  alert_rule_test:
  - eval_time: 30s
    alertname: ErrorRatioHigh
    exp_alerts: [{exp_labels: {service: cart, severity: critical}}]
"""
    assert failures(found) == []


def test_what_detection_expects_is_given() -> None:
    found = """
- interval: 1m
  input_series:
  - series: 'spans.p50{service="cart", span.name="GET \\"/\\"", tenant="t"}'
    values: "1 2 2.9 3 9"
    expected: {low: 500ms, high: 2}
  - {series: 'spans.p50{service="unknown"}', values: "1x3 99"}
  alert_rule_test:
  - {eval_time: 3m, alertname: Strange}
  - eval_time: 4m
    alertname: Strange
    exp_alerts:
    - exp_labels: {service: cart, severity: warning, span.name: 'GET "/"', tenant: t}
      exp_annotations: {summary: "p50 of cart is 3, expected 0.5 to 2"}
"""
    assert failures(found) == []


def test_a_series_that_is_stale_is_gone() -> None:
    found = """
- input_series: [{series: 'services.p99{service="cart"}', values: "0.7x2 stale 0.7x9"}]
  alert_rule_test:
  - eval_time: 30s
    alertname: Slow
    exp_alerts: [{exp_labels: {service: cart, severity: warning}}]
  - {eval_time: 40s, alertname: Slow}
  - {eval_time: 2m, alertname: Slow}
"""
    assert failures(found) == []


ONE = "tests: [{input_series: [{series: %s, values: '1'}], alert_rule_test: [%s]}]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "line 1: this file is a mapping of sections"),
        ("{}", "tests: is required"),
        ("tests: []", "at least 1 item"),
        (ONE % ("servces.p99", ""), "did you mean services?"),
        (ONE % ("services.p98", ""), "p98 is not one of count"),
        (ONE % ("logs.p99", ""), "windows of logs (logs) have no p99"),
        (ONE % ("services", ""), "a series is WINDOW.STATISTIC"),
        (ONE % ("'services.p99{a=1}'", ""), "labels are KEY="),
        (ONE % ("""'services.p99{a="1", a="2"}'""", ""), "label a stands there twice"),
        (ONE % ("""'services.p99{a="1"}'""", ""), "services is not grouped by 'a'"),
        (ONE % ("services.p99", "{eval_time: 1m, alertname: Sloww}"), "did you mean Slow?"),
        (ONE % ("services.p99", "{eval_time: 1x, alertname: Slow}"), "a duration is a number"),
        ("test:\n" + ONE % ("services.p99", ""), "did you mean tests?"),
        (ONE.replace("'1'", "'1 y'") % ("services.p99", ""), "'y' is none of a, axN"),
        (
            "tests: [{interval: 15s, input_series: [{series: services.p99, values: '1'}]}]",
            "services has no windows of 15s",
        ),
        (
            "tests: [{input_series: [{series: services.p99, values: '1', "
            "expected: {low: 2, high: 1}}]}]",
            "low is more than high",
        ),
        ("rule_files: [a, b]\ntests: [{input_series: [{series: services.p99, values: 1}]}]",
         "two rules are called A"),
        ("rule_files: [c]\ntests: [{input_series: [{series: services.p99, values: 1}]}]",
         "c: 1 error\n  line 1: alerts.rules[0].on.window"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_told(text: str, said: str) -> None:
    rule = (
        "- {name: A, on: {window: services, length: 10s, statistic: p99}, "
        "threshold: {op: '>', value: 1}}"
    )
    files = {"a": rule, "b": rule, "c": rule.replace("services", "x")}
    own = text if text[:1] in "[{" or "test:" in text[:5] or "rule_files" in text else RULES + text
    assert said in complaint(own, files)

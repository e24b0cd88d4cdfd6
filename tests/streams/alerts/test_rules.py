"""Rules as they are written: what they match, what is wrong with them, what is built in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from schemas.config import Alerts, Windows
from schemas.config.alerts import PIPELINE_STALLED, AlertRule, BuiltinRule
from schemas.config.load import load
from schemas.errors import ConfigurationError
from streams.alerts.builtin import builtin_rules
from streams.alerts.rules import Rule, builtin_left_out, compile_rules
from streams.alerts.series import Series

ON = "on: {window: services, length: 10s, statistic: p99}"
OVER = "threshold: {op: '>', value: 1}"
MINE: dict[str, Any] = {
    "on": {"window": "services", "length": "10s", "statistic": "p99"},
    "threshold": {"op": ">", "value": 1},
}
METRICS = Windows.model_validate(
    {
        "rules": [
            {"name": "queues", "signal": "metrics", "metric": "queue.*", "by": ["resource.host"]},
            {"name": "cpu", "signal": "metrics", "metric": "system.cpu", "lengths": ["1m"]},
        ]
    }
)


def matches(series: Series, window: str = "w", metric: str | None = None, **match: Any) -> bool:
    said: dict[str, Any] = {
        "name": "R",
        "on": {"window": window, "length": "10s", "statistic": "count", "metric": metric},
        "threshold": {"op": ">", "value": 0},
    }
    if match:
        said["match"] = match
    return Rule(AlertRule.model_validate(said)).matches(series)


def test_what_a_rule_matches() -> None:
    one = Series("w", 10_000, "acme", "cart", "", (("code", 500), ("ok", True), ("p", "/a")))
    assert matches(one)
    assert not matches(one, window="v")
    assert not matches(one._replace(length_ms=60_000))
    assert matches(one, service="cart", tenant={"regex": "^ac"})
    assert not matches(one, service=["pay", "shop"])
    assert matches(one, attributes={"code": "500", "ok": "true", "p": {"regex": "a$"}})
    assert not matches(one, attributes={"code": ["50", "5000"]})
    assert not matches(one, attributes={"gone": {"regex": ""}})
    assert not matches(one, **{"not": {"service": "cart"}})
    assert matches(one, service="cart", **{"not": {"service": "cart", "tenant": "other"}})


def test_metrics_by_name() -> None:
    queue = Series("w", 10_000, "", "", "window.queue.size", ())
    for glob, fits in (
        ("queue.size", True), ("queue.*", True), ("*", True), ("q*s*e", True),
        ("queue", False), ("*.siz", False), ("queue?size", False), ("window.queue.size", False),
    ):  # fmt: skip
        assert matches(queue, metric=glob) is fits, glob
    assert matches(queue, **{"not": {"metric": "cpu"}})
    assert not matches(queue, **{"not": {"metric": "queue.size"}})


def complaints(text: str, windows: Windows | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        compile_rules(Alerts(builtin=False), windows or Windows(), text, "rules.yaml")
    head, *lines = str(caught.value).splitlines()
    assert head.startswith("rules.yaml: ")
    return [line.strip() for line in lines]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x: 1", "line 1: alert rules are a list"),
        ("rules: 3", "line 1: alert rules are a list"),
        ("- {", "line 1: not YAML"),
        (f"- {{name: A, {ON}}}", "says not when, but needs exactly one of threshold, anomaly"),
        (f"- {{name: A, {ON}, {OVER}, absence: {{}}}}", "says threshold and absence"),
        (f"- {{name: A, {ON}, absence: {{}}}}", "on.statistic must be count"),
        (f"-\n  name: A\n  {ON}\n  {OVER}\n  fro: 1m", "line 5: alerts.rules[0].fro: no such"),
        (f"-\n  name: A\n  {ON}\n  {OVER}\n  for: 1x", "line 5: alerts.rules[0].for: '1x': a dur"),
        (f"- {{name: 1A, {ON}, {OVER}}}", "alerts.rules[0].name: '1A'"),
        (f"- {{name: A, {ON}, threshold: {{op: '=>', value: 1}}}}", "did you mean >?"),
        (f"- {{name: A, {ON}, threshold: {{op: '>', value: .nan}}}}", "finite"),
        (f"- {{name: A, {ON}, threshold: {{op: '>', value: 1z}}}}", "a duration is a number"),
        (f"- {{name: A, {ON}, {OVER}, at_least: {{windows: 3, of: 2}}}}", "never so many"),
        (f"- {{name: A, {ON}, {OVER}, match: {{}}}}", "has no condition"),
        (f"- {{name: A, {ON}, {OVER}, match: {{service: {{regex: '('}}}}}}", "regular expression"),
        (f"- {{name: A, {ON}, {OVER}}}\n- {{name: A, {ON}, {OVER}}}", "two rules are called A"),
        (f"- {{name: {PIPELINE_STALLED}, {ON}, {OVER}}}", "looks at no windows"),
        (f"- {{name: A, {ON}, {OVER}, labels: {{severity: x}}}}", "comes from the rule itself"),
        (f"- {{name: A, {ON}, {OVER}, labels: {{service: x}}}}", "tells them apart"),
        (f"- {{name: A, {ON}, {OVER}, labels: {{v: '{{{{ value }}}}'}}}}", "another alert"),
        (f"- {{name: A, {ON}, {OVER}, summary: '{{{{ servce }}}}'}}", "did you mean service?"),
        (f"- {{name: A, {ON}, {OVER}, summary: '{{{{ value | percnt }}}}'}}", "mean percent?"),
        (f"- {{name: A, {ON}, {OVER}, summary: '{{{{ value'}}", "{{ without }}"),
        (f"- {{name: A, {ON}, {OVER}, summary: '{{{{ labels.x }}}}'}}", "is not grouped by 'x'"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_place(text: str, said: str) -> None:
    assert any(said in line for line in complaints(text)), complaints(text)


def test_what_names_nothing_is_told_with_the_nearest_name() -> None:
    found = complaints(
        """
- name: A
  on: {window: service, length: 10s, statistic: p99}
  threshold: {op: ">", value: 1}
- name: B
  on: {window: spans, length: 15s, statistic: p99}
  match: {attributes: {span.knd: x}, not: {metric: x}}
  threshold: {op: ">", value: 1}
  labels: {x: "{{ labels.spam.name }}"}
- name: C
  on: {window: logs, length: 1m, statistic: error_ratio}
  threshold: {op: ">", value: 1}
"""
    )
    assert found == [
        "line 3: alerts.rules[0].on.window: no rule of windows.rules is called 'service'; "
        "did you mean services?",
        "line 6: alerts.rules[1].on.length: spans has no windows of 15s, but of 10s, 1m; "
        "did you mean 10s?",
        "line 7: alerts.rules[1].match.attributes.span.knd: spans is not grouped by 'span.knd'; "
        "did you mean span.kind?",
        "line 7: alerts.rules[1].match.not.metric: spans is of spans, which have no metric",
        "line 9: alerts.rules[1].labels.x: {{ labels.spam.name }}: spans is not grouped by "
        "'spam.name'; did you mean span.name?",
        "line 11: alerts.rules[2].on.statistic: windows of logs (logs) have no error_ratio; "
        "there is count, rate",
    ]


def test_metrics_that_there_are_not() -> None:
    on = "{window: cpu, length: 1m, statistic: last, metric: %s}"
    text = f"- {{name: A, on: {on}, {OVER}}}"
    assert "did you mean system.cpu?" in complaints(text % "system.cpus", METRICS)[0]
    compile_rules(Alerts(), METRICS, text % "system.*")
    text = "- {name: A, on: {window: spans, length: 1m, statistic: p99, metric: x}, " + OVER + "}"
    assert "spans is of spans, which have no metric" in complaints(text)[0]


def test_rules_of_the_configuration_are_checked_in_the_same_way() -> None:
    config = load(f"alerts: {{rules: [{{name: A, {ON.replace('services', 'x')}, {OVER}}}]}}")
    with pytest.raises(ConfigurationError, match=r"alerts\.rules\[0\]\.on\.window"):
        compile_rules(config.alerts, config.windows)


# --- which rules there are -----------------------------------------------------------------


def names(alerts: Alerts, windows: Windows | None = None, text: str | None = None) -> list[str]:
    return [rule.name for rule in compile_rules(alerts, windows or Windows(), text)]


def test_a_text_replaces_the_rules_of_the_configuration_and_no_built_in_ones() -> None:
    rule = {
        "name": "Own", "on": {"window": "services", "length": "10s", "statistic": "p99"},
        "threshold": {"op": ">", "value": 1},
    }  # fmt: skip
    alerts = Alerts.model_validate({"rules": [rule]})
    built_in = [each.name for each in builtin_rules()]
    assert names(alerts) == [*built_in, "Own"]
    text = f"rules: [{{name: Other, {ON}, {OVER}}}]"
    assert names(alerts, text=text) == [*built_in, "Other"]
    assert names(alerts, text="") == names(alerts, text=" \n") == names(alerts)
    assert names(alerts, text="[]") == built_in


def test_built_in_rules_can_be_taken_away_one_by_one() -> None:
    assert names(Alerts(builtin=False)) == []
    first, *others = [each.name for each in builtin_rules()]
    assert names(Alerts.model_validate({"without": [first, PIPELINE_STALLED]})) == others
    assert {first, *others, PIPELINE_STALLED} == set(get_args(BuiltinRule))
    with pytest.raises(ConfigurationError, match=r"without\[0\]: .* did you mean FatalLogs\?"):
        load("alerts: {without: [FatalLog]}")
    mine = f"- {{name: {first}, {ON}, {OVER}}}"
    assert names(Alerts(), text=mine) == [*others, first]
    assert not compile_rules(Alerts(), Windows(), mine)[-1].builtin


def test_the_page_lists_all_built_in_rules() -> None:
    page = (Path(__file__).parents[3] / "docs/alert-rules.md").read_text()
    table = page.split("\n## Built-in rules\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(listed) == sorted([*(each.name for each in builtin_rules()), PIPELINE_STALLED])


def test_built_in_rules_need_windows_that_there_are() -> None:
    assert names(Alerts(), METRICS) == []
    built_in = [each.name for each in builtin_rules()]
    left_out = builtin_left_out(Alerts(), METRICS)
    assert list(left_out) == built_in
    assert left_out["ServiceSilent"].startswith("no rule of windows.rules is called 'services'")
    some = Windows.model_validate(
        {"rules": [{"name": "services", "signal": "spans", "lengths": ["10s"]}]}
    )
    left_out = builtin_left_out(Alerts(), some)
    assert left_out["ErrorRatioHighSlow"].startswith("services has no windows of 1m")
    assert {"FatalLogs", "ErrorRatioHighSlow"} <= set(left_out)
    assert set(names(Alerts(), some)) == set(built_in) - set(left_out)
    # Nobody has to be told of what is not wanted.
    assert not builtin_left_out(Alerts(builtin=False), METRICS)
    assert not builtin_left_out(Alerts.model_validate({"without": list(left_out)}), some)
    mine = {**MINE, "name": "FatalLogs"}
    assert "FatalLogs" not in builtin_left_out(Alerts.model_validate({"rules": [mine]}), some)


def test_the_digest_is_of_everything_that_is_said() -> None:
    def digest(**more: Any) -> str:
        said: dict[str, Any] = {
            "name": "A", "on": {"window": "services", "length": 10, "statistic": "p99"},
            "threshold": {"op": ">", "value": "500ms"},
        }  # fmt: skip
        return Rule(AlertRule.model_validate(said | more)).digest

    assert digest() == digest(threshold={"op": ">", "value": 0.5}, severity="warning")
    others = [
        digest(threshold={"op": ">=", "value": 0.5}),
        digest(**{"for": 1}),
        digest(keep_firing_for=1),
        digest(summary="x"),
        digest(labels={"a": "b"}),
        digest(match={"service": "a"}),
        digest(match={"service": {"regex": "a"}}),
    ]
    assert len({digest(), *others}) == len(others) + 1

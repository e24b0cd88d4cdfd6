"""What a configuration may say about alerts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.config import Config
from schemas.config.fields import settings
from schemas.config.load import load, load_rules
from schemas.config.reference import effective
from schemas.errors import ConfigurationError

RULES = (Path(__file__).parents[2] / "docs" / "examples" / "alert_rules.yaml").read_text()
LINES = "".join(f"    {line}\n" for line in RULES.splitlines())
CONFIG = f"alerts:\n  enabled: true\n  without: [FatalLogs]\n  rules:\n{LINES}"


def test_rules_arrive() -> None:
    slow, often = load(CONFIG).alerts.rules
    assert (slow.for_, slow.keep_firing_for, slow.condition) == (120.0, 60.0, "threshold")
    assert slow.threshold is not None
    assert slow.threshold.value == 0.5
    assert slow.match is not None
    assert slow.match.attributes["span.kind"].equals == "SPAN_KIND_SERVER"
    assert often.at_least is not None
    assert (often.at_least.windows, often.at_least.of) == (3, 5)
    assert load_rules(RULES) == load_rules(f"rules:\n{LINES}") == (slow, often)


def test_what_was_loaded_can_be_shown_and_loaded_again() -> None:
    config = load(CONFIG)
    shown = json.dumps(effective(config))
    assert '"for": "2m"' in shown
    again = load(shown)
    assert again == config
    assert [r.digest for r in again.alerts.rules] == [r.digest for r in config.alerts.rules]


def test_keys_are_those_of_prometheus() -> None:
    paths = {setting.path for setting in settings(Config)}
    assert {"alerts.rules[].for", "alerts.rules[].keep_firing_for"} <= paths
    assert not any("for_" in path for path in paths)


def test_dollars_of_expressions_are_written_twice_where_braces_follow() -> None:
    (rule,) = load_rules(
        "- {name: A, on: {window: services, length: 10s, statistic: p99}, "
        "threshold: {op: '>', value: 1}, match: {service: {regex: '^cart$|x$${1}'}}}"
    )
    assert rule.match is not None
    assert rule.match.service is not None
    assert rule.match.service.regex == "^cart$|x${1}"
    with pytest.raises(ConfigurationError, match="environment variable HOME is not set"):
        load_rules("- {name: '${env:HOME}'}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alerts: {active_max: 0}", "active_max: 0 must be at least 1"),
        ("alerts: {rules: [{nam: x}]}", "alerts.rules[0].nam: no such setting"),
        ("alerts: {rule: []}", "did you mean rules"),
        (
            CONFIG.replace("at_least: {windows: 3, of: 5}", "anomaly: {sensitivity: 0}"),
            "sensitivity: 0 must be more than 0",
        ),
        (CONFIG.replace("for: 2m", "for: 8d"), "for: '8d' must be at most 7d"),
    ],
)
def test_what_is_wrong_is_told(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    assert said in str(caught.value)

"""What alerts are called and what they say."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config.alerts import AlertRule
from schemas.config.templates import FORMATS, SERIES_FIELDS, VALUE_FIELDS, parse
from streams.alerts.conditions import Evidence
from streams.alerts.labels import alert_labels, fingerprint
from streams.alerts.rules import Rule
from streams.alerts.series import Series
from streams.alerts.templates import render, write
from streams.alerts.transitions import Active, annotate

LOGS = Series("logs", 10_000, "acme", "cart", "", (("n", 7), ("ok", False), ("severity", "ERROR")))


def rule(**said: Any) -> Rule:
    on = {"window": "logs", "length": "1m", "statistic": "count"}
    over = {"threshold": {"op": ">", "value": 5}} if "anomaly" not in said else {}
    return Rule(AlertRule.model_validate({"name": "R", "on": on, **over, **said}))


def test_fingerprints_are_alertmanagers() -> None:
    """Vectors of TestLabelSetToFingerprint in prometheus/common."""
    assert int(fingerprint({}), 16) == 14695981039346656037
    labels = {"name": "garland, briggs", "fear": "love is not enough"}
    assert int(fingerprint(labels), 16) == 5799056148416392346
    assert fingerprint(dict(reversed(labels.items()))) == fingerprint(labels)


def test_labels() -> None:
    found = alert_labels(
        rule(labels={"team": "of-{{ service }}", "sev": "{{ labels.severity }}"}), LOGS
    )
    assert found == {
        "alertname": "R", "attribute.severity": "ERROR", "n": "7", "ok": "false", "sev": "ERROR",
        "service": "cart", "severity": "warning", "team": "of-cart", "tenant": "acme",
    }  # fmt: skip
    assert list(found) == sorted(found)


def test_empty_labels_are_none() -> None:
    found = alert_labels(rule(labels={"team": "{{ metric }}"}), Series("logs", 1, "", "", "", ()))
    assert found == {"alertname": "R", "severity": "warning"}


def test_very_long_values_stay_different() -> None:
    long = [
        alert_labels(rule(), LOGS._replace(attributes=(("k", "x" * 5000 + end),))) for end in "ab"
    ]
    assert len(long[0]["k"]) < 1100
    assert fingerprint(long[0]) != fingerprint(long[1])


def annotations(evidence: Evidence, **said: Any) -> dict[str, str]:
    one = rule(**said)
    active = Active(0, LOGS, 0, 0, evidence)
    active.name(one)
    return annotate(one, active, "season")


def test_annotations() -> None:
    value = Evidence(0.0123, math.nan, math.nan, math.nan, -1)
    found = annotations(
        value,
        summary="{{ rule }} {{value|percent}} {{ threshold }} of {{ labels.severity }}",
        description="{{ window }} {{ length }} {{ statistic }} [{{ low }}] {{ tenant }}",
        annotations={"series": "{{ series }}"},
    )
    assert found == {
        "summary": "R 1.23% > 5 of ERROR",
        "description": "logs 1m count [] acme",
        "series": "attribute.severity=ERROR, n=7, ok=false, service=cart, tenant=acme",
    }


@pytest.mark.parametrize(
    ("said", "summary"),
    [
        ({}, "count of cart is 9 (> 5)"),
        ({"anomaly": {"sensitivity": 1}}, "count of cart is 9, expected 1 to 2"),
    ],
)
def test_a_rule_without_a_summary_says_what_it_is(said: dict[str, Any], summary: str) -> None:
    assert annotations(Evidence(9.0, 1.0, 2.0, 0.5, 0), **said) == {"summary": summary}


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0.0123, "", "0.0123"), (1234.5678, "", "1235"), (123456.7, "", "123457"),
        (0.0123, "percent", "1.23%"), (2.0, "percent", "200%"),
        (0.0123, "duration", "12.3ms"), (0.00005, "duration", "50us"), (1.5, "duration", "1.5s"),
        (90.0, "duration", "90s"), (7200.0, "duration", "2h"), (0.0, "duration", "0s"),
        (-90.0, "duration", "-90s"), (1e-9, "duration", "0.001us"),
        (12300.0, "si", "12.3k"), (0.0123, "si", "12.3m"), (5.0, "si", "5"), (0.0, "si", "0"),
        (2048.0, "bytes", "2KiB"), (3.0, "bytes", "3B"), (0.0, "bytes", "0B"),
        (0.0123, ".2f", "0.01"), (math.nan, "percent", ""), (math.inf, "", "inf"),
        ("text", "percent", "text"),
    ],
)  # fmt: skip
def test_formats(value: float | str, form: str, text: str) -> None:
    assert write(value, form) == text


@settings(max_examples=200, derandomize=True)
@given(st.text(alphabet="{} a.|lbevpx", max_size=30))
def test_any_text_is_a_template_or_an_error(text: str) -> None:
    try:
        parts = parse(text)
    except ValueError:
        assert "{{" in text or "}}" in text
        return
    again = "".join(p.text or f"{{{{{p.field}{'|' * bool(p.form)}{p.form}}}}}" for p in parts)
    assert parse(again) == parts
    if "{{" not in text:
        assert render(text, {}, {}) == text


@settings(max_examples=200, derandomize=True)
@given(st.floats(), st.sampled_from([*FORMATS[:-1], "", ".0f", ".9f"]))
def test_every_number_can_be_written(value: float, form: str) -> None:
    assert isinstance(write(value, form), str)


def test_every_field_has_a_value() -> None:
    fields = [f for f in (*SERIES_FIELDS, *VALUE_FIELDS) if f not in ("metric", "threshold")]
    text = ",".join(f"{{{{ {field} }}}}" for field in fields)
    said = annotations(Evidence(9.0, 1.0, 2.0, 0.5, 0), summary=text, anomaly={"sensitivity": 1})
    assert "" not in said["summary"].replace(", ", " ").split(",")

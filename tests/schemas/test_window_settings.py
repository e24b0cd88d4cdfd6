"""Settings of windows: what a rule may say, and what is wrong with one that may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.config import Config, WindowRule, Windows
from schemas.config.windows import attribute_name


def rule(**said: Any) -> WindowRule:
    return WindowRule(**({"name": "r", "signal": "spans"} | said))


def test_windows_are_off_and_have_rules() -> None:
    windows = Config().windows
    assert not windows.enabled
    assert [(r.name, r.signal, r.export_length_ms) for r in windows.rules] == [
        ("spans", "spans", 10_000),
        ("services", "spans", None),
        ("logs", "logs", 10_000),
    ]
    assert windows.pane_ms == 10_000


def test_a_pane_is_what_all_lengths_consist_of() -> None:
    rules = (rule(name="a", lengths=("1m", "10s")), rule(name="b", output="b", lengths=(15, "45s")))
    assert Windows(rules=rules).pane_ms == 5000
    assert rules[0].lengths_ms == (10_000, 60_000)
    assert rule(lengths=("10s", "1m"), export_length="1m").export_length_ms == 60_000


def test_the_digest_says_what_is_grouped_and_measured_and_no_more() -> None:
    one = rule(by=("a",))
    assert one.digest == rule(by=("a",), lengths=("1m",), export=False, statistics=("p99",)).digest
    others = [rule(by=("b",)), rule(), rule(by=("a",), match={"a": "b"}), rule(name="q", by=("a",))]
    others += [rule(signal="logs", by=("a",)), rule(by=("a",), match={"a": 1})]
    others += [rule(by=("a",), match={"a": "1"}), rule(by=("a",), match={"a": True})]
    digests = {one.digest, *(each.digest for each in others)}
    assert len(digests) == len(others) + 1


def test_names_of_attributes_in_what_comes_out() -> None:
    keys = ("span.name", "resource.k8s.pod.name", "scope.x", "http.route")
    assert [attribute_name(key) for key in keys] == ["span.name", "k8s.pod.name", "x", "http.route"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"signal": "traces"}, "Input should be 'spans', 'logs' or 'metrics'"),
        ({"name": "a b"}, "String should match pattern"),
        ({"name": ""}, "at least 1 character"),
        ({"metric": "m"}, "metric: is not for spans"),
        ({"signal": "metrics"}, "metric: needs the name of one"),
        ({"by": ["span.nam"]}, "did you mean span.name?"),
        ({"by": ["severity"]}, "severity is of logs, not of spans"),
        ({"signal": "logs", "by": ["span.kind"]}, "span.kind is of spans, not of logs"),
        ({"match": {"severity": "ERROR"}}, "severity is of logs, not of spans"),
        ({"by": ["tenant"]}, "tenant is always part of the group"),
        ({"by": ["service.name"]}, "service.name is always part of the group"),
        ({"by": [""]}, "needs the key of an attribute"),
        ({"by": ["resource."]}, "needs the key of an attribute"),
        ({"by": ["a", "a"]}, "a stands there twice"),
        ({"by": ["resource.a", "a"]}, "two of them would come out as a"),
        ({"match": {"span.kind": "server"}}, "span.kind is one of SPAN_KIND_UNSPECIFIED"),
        ({"match": {"status.code": [2]}}, "status.code is one of STATUS_CODE_UNSET"),
        ({"match": {"a": []}}, "at least 1 item"),
        ({"lengths": []}, "at least 1 item"),
        ({"lengths": ["500ms"]}, "greater than or equal to 1"),
        ({"lengths": ["1.5s"]}, "so many whole seconds"),
        ({"lengths": ["10s", "15s"]}, "15s is no multiple of the shortest, 10s"),
        ({"lengths": ["10s", "10s"]}, "10.0 stands there twice"),
        ({"lengths": ["2d"]}, "less than or equal to 86400"),
        ({"export_length": "30s"}, "export_length is none of the lengths"),
        ({"statistics": ["p42"]}, "Input should be"),
        ({"signal": "metrics", "metric": "a*", "output": "x"}, "several metrics would come out"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_rules_with_errors(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        rule(**said)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"rules": []}, "must not be empty"),
        ({"rules": [rule(), rule()]}, "two rules are called r"),
        ({"rules": [rule(), rule(name="q", by=("a",))]}, "r and q both export traces.span.metrics"),
        ({"source_timeout": "4s"}, "source_timeout is less than idle_after"),
        ({"record_max": 1000}, "greater than or equal to 100000"),
        ({"partials_max": 1}, "greater than or equal to 100"),
    ],
)
def test_settings_with_errors(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Windows(**said)
    assert message in str(caught.value)


def test_rules_that_share_a_name_where_they_do_not_count_twice() -> None:
    matched = rule(name="q", match={"span.kind": "SPAN_KIND_SERVER"})
    for other in (matched, rule(name="q", export=False), rule(name="q", output="server")):
        assert len(Windows(rules=(rule(), other)).rules) == 2

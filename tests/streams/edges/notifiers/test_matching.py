"""Matchers and silences."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config.labels import LabelMatcher, parse_matcher
from schemas.records import MalformedRecord
from schemas.records.silences import Silences
from streams.edges.notifiers.matching import Matching, Muting

LABELS = {"service": "cart", "severity": "critical", "http.route": '/a "b"'}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("service=cart", True),
        (' service = "cart" ', True),
        ("service=car", False),
        ("service!=cart", False),
        ("service!=pay", True),
        ('severity=~"critical|error"', True),
        ("severity=~crit", False),
        ("severity=~crit.*", True),
        ("severity!~crit", True),
        ("severity!~crit.*", False),
        (r'http.route="/a \"b\""', True),
        ("zone=", True),
        ("zone!=", False),
        ("zone=~.*", True),
        ("service=~", False),
    ],
)
def test_a_matcher_holds_or_not(text: str, holds: bool) -> None:
    assert Matching([text])(LABELS) is holds


def test_all_matchers_must_hold_and_none_always_does() -> None:
    assert Matching([])({})
    assert Matching(["service=cart", "severity=critical"])(LABELS)
    assert not Matching(["service=cart", "severity=info"])(LABELS)


@pytest.mark.parametrize(
    "text", ["", "service", "=cart", 'service="cart', 'service="a"b', "a b=c", "x=~(", "{a=b}"]
)
def test_what_is_no_matcher_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"matcher|quotes|regular expression"):
        parse_matcher(text)


@settings(max_examples=200, derandomize=True)
@given(
    st.from_regex(r"[a-z][a-z0-9._-]{0,10}", fullmatch=True),
    st.sampled_from(["=", "!="]),
    st.text(max_size=20),
)
def test_a_matcher_reads_back(name: str, op: str, value: str) -> None:
    matcher = LabelMatcher(name, op, value)  # type: ignore[arg-type]
    assert parse_matcher(str(matcher)) == matcher


def silences(**changes: object) -> str:
    import json

    one = {
        "id": "s1", "matchers": ["service=cart"], "who": "me", "comment": "deploy",
        "starts_at": "1970-01-01T00:00:10Z", "ends_at": "1970-01-01T00:00:20Z", **changes,
    }  # fmt: skip
    return json.dumps({"schema_version": 1, "silences": [one]})


def test_a_silence_is_in_force_from_its_start_to_its_end() -> None:
    muting = Muting(Silences.of_text(silences()).silences)
    at = {at_s: muting(LABELS, at_s) for at_s in (9.9, 10, 19.9, 20)}
    assert at == {9.9: False, 10: True, 19.9: True, 20: False}
    assert not muting({"service": "pay"}, 15)
    assert (muting.active(15), muting.active(25)) == (1, 0)


def test_no_text_is_no_silence() -> None:
    assert Silences.of_text("").silences == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ends_at": "1970-01-01T00:00:10Z"}, "not after"),
        ({"matchers": []}, "matchers"),
        ({"matchers": ["service=~("]}, "regular expression"),
        ({"starts_at": "yesterday"}, "starts_at"),
    ],
)
def test_what_is_no_silence_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(MalformedRecord, match=why):
        Silences.of_text(silences(**changes))

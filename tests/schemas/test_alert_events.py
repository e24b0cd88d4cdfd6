"""Alerts on the wire: JSON, and the headers of a CloudEvent."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import AlertEvent, MalformedRecord, NewerVersion
from schemas.records.alerts import Exemplar, MovedWith, OfSeries, OfWindow
from schemas.records.cloudevents import CloudEvent, from_headers, to_headers
from schemas.records.reference import json_schemas

AT = datetime(2030, 1, 31, 8, 0, 10, tzinfo=UTC)
EVENT = AlertEvent(
    id="00f1.1.firing", fingerprint="0123456789abcdef", state="firing", rule="Slow",
    rule_version="1", labels={"alertname": "Slow", "service": "cart"},
    annotations={"summary": "langsam é"}, at=AT, starts_at=AT - timedelta(seconds=20), fired_at=AT,
    series=OfSeries(service="cart", attributes={"code": 500, "ok": True, "share": 0.5, "p": "/"}),
    window=OfWindow(rule="services", length_ms=10_000, end=AT, statistic="p99"),
    value=0.7, threshold="> 0.5",
    moved_with=(
        MovedWith(window="services", length_ms=10_000, statistic="rate", value=3, score=0.9),
    ),
    exemplars=(Exemplar(trace_id="ab" * 16, span_id="cd" * 8, value=1.5),),
)  # fmt: skip


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(EVENT.encode()), **fields}).encode()


def test_headers_are_those_of_the_kafka_binding() -> None:
    """The example of section 3.2.5: names, order of none, values in UTF-8."""
    assert dict(EVENT.headers()) == {
        "ce_specversion": b"1.0",
        "ce_id": b"00f1.1.firing",
        "ce_source": b"otlp-streams/detect",
        "ce_type": b"io.otlp-streams.alert.firing",
        "ce_subject": b"cart",
        "ce_time": b"2030-01-31T08:00:10Z",
        "content-type": b"application/json",
    }


def test_what_is_on_the_wire() -> None:
    """Other programs read this: it may grow, and must not change."""
    said = json.loads(EVENT.encode())
    assert said["schema_version"] == 1
    assert said["starts_at"] == "2030-01-31T07:59:50Z"
    assert said["series"]["attributes"] == {"code": 500, "ok": True, "share": 0.5, "p": "/"}
    assert (said["ends_at"], said["low"], said["score"]) == (None, None, None)
    assert set(json_schemas()["AlertEvent"]["properties"]) == set(said)


def test_a_record_comes_back() -> None:
    back = AlertEvent.of(EVENT.headers(), EVENT.encode())
    assert back == EVENT
    assert back.series is not None
    kinds = {key: type(value) for key, value in back.series.attributes.items()}
    assert kinds == {"code": int, "ok": bool, "share": float, "p": str}
    assert back.active
    assert not back.model_copy(update={"state": "resolved"}).active


def test_fields_and_headers_that_are_not_known_are_passed_over() -> None:
    headers = (*EVENT.headers(), ("ce_traceparent", b"00-1"), ("other", b"\xff"))
    assert AlertEvent.of(headers, changed(more={"a": 1})) == EVENT


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"state": "burning"}, "state"), ({"fingerprint": "12"}, "fingerprint"),
        ({"labels": {"a": 1}}, "labels"), ({"at": "2030-01-31T08:00:10"}, "at"),
        ({"value": "much"}, "value"), ({"score": 2}, "score"), ({"id": ""}, "id"),
        ({"exemplars": [{"trace_id": "xyz"}]}, "trace_id"),
    ],
)  # fmt: skip
def test_what_is_no_alert_is_refused(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(MalformedRecord, match=what):
        AlertEvent.decode(changed(**fields))


def test_a_newer_version_is_refused() -> None:
    with pytest.raises(NewerVersion, match="schema_version 2"):
        AlertEvent.of(EVENT.headers(), changed(schema_version=2))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"ce_id": b"other"}, "another's"),
        ({"ce_type": b"io.otlp-streams.alert.resolved"}, "another's"),
        ({"ce_type": b"com.example.order"}, "no alert, but 'com.example.order'"),
        ({"ce_specversion": None}, "ce_specversion is missing"),
        ({"ce_source": None}, "ce_source is missing"),
        ({"ce_id": b""}, "ce_id is missing"),
        ({"ce_id": b"\xff"}, "ce_id is not UTF-8"),
        ({"ce_time": b"yesterday"}, "no time of RFC 3339"),
        ({"ce_time": b"2030-13-31T08:00:10Z"}, "no time of RFC 3339"),
        ({"ce_time": b"2030-01-31T08:00:10"}, "no time of RFC 3339"),
        ({"content-type": b"Application/CloudEvents+json"}, "structured mode"),
    ],
)
def test_headers_that_say_something_else(change: dict[str, bytes | None], what: str) -> None:
    headers: dict[str, bytes | None] = dict(EVENT.headers()) | change
    given = tuple((name, value) for name, value in headers.items() if value is not None)
    with pytest.raises(MalformedRecord, match=what):
        AlertEvent.of(given, EVENT.encode())


def test_another_specversion_and_headers_that_are_there_twice() -> None:
    given = dict(EVENT.headers())
    with pytest.raises(NewerVersion, match=r"specversion 2\.0"):
        from_headers(tuple((given | {"ce_specversion": b"2.0"}).items()))
    assert from_headers(tuple((given | {"ce_specversion": b"1.1"}).items())).id == EVENT.id
    with pytest.raises(MalformedRecord, match="twice"):
        from_headers((*EVENT.headers(), ("ce_id", b"x")))


def test_times_of_other_zones_and_precision() -> None:
    zone = timezone(timedelta(hours=2))
    event = CloudEvent("1", "s", "t", datetime(2030, 1, 1, 2, 0, 0, 250_000, zone))
    headers = to_headers(event)
    assert dict(headers)["ce_time"] == b"2030-01-01T00:00:00.250Z"
    assert from_headers(headers).time == event.time


TEXT = st.text(min_size=1, max_size=20)


@settings(max_examples=200, derandomize=True)
@given(
    st.builds(
        CloudEvent,
        id=TEXT.map(lambda t: f"i{t}"), source=TEXT.map(lambda t: f"s{t}"),
        type=TEXT.map(lambda t: f"t{t}"), subject=st.text(max_size=20),
        content_type=st.just("application/json"),
        time=st.none() | st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1)),
    )
)  # fmt: skip
def test_any_event_comes_back_without_characters_that_none_may_have(event: CloudEvent) -> None:
    back = from_headers(to_headers(event))
    for text, given_text in zip(back, event, strict=True):
        if isinstance(text, str):
            assert [c for c in text if ord(c) < 32 or 127 <= ord(c) < 160] == []
            assert set(text) <= set(str(given_text))
    assert (back.time is None) == (event.time is None)
    if event.time is not None and back.time is not None:
        assert abs(back.time - event.time) <= timedelta(milliseconds=1)
    assert from_headers(to_headers(back)) == back


@settings(max_examples=200, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*dict(EVENT.headers()), "x"]),
            st.binary(max_size=20) | st.sampled_from([v for _, v in EVENT.headers()]),
        )
    ),
    st.binary(max_size=20) | st.just(EVENT.encode()),
)
def test_any_bytes_are_an_alert_or_an_error(headers: list[tuple[str, bytes]], value: bytes) -> None:
    with contextlib.suppress(MalformedRecord):
        assert AlertEvent.of(tuple(headers), value).rule

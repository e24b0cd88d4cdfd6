"""What answers mean, without a socket."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.signals import Signal
from streams.edges.exporters.answers import (
    MESSAGE_MAX_CHARS,
    Exported,
    Masking,
    http_failure_message,
    parse_json_success,
    parse_retry_after,
    parse_status,
    parse_success,
    retry_info_s,
)

from .servers import retry_status

NOW = datetime(2025, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("signal", list(Signal))
@given(rejected=st.integers(-5, 2**40), message=st.text(max_size=50))
def test_partial_success_in_both_encodings(signal, rejected, message) -> None:
    from google.protobuf.json_format import MessageToJson

    from streams.edges.exporters.answers import _RESPONSES

    kind, field, _ = _RESPONSES[signal]
    answer = kind(partial_success={field: rejected, "error_message": message})
    expected = Exported(max(0, rejected), message)
    assert parse_success(signal, answer.SerializeToString()) == expected
    assert parse_json_success(signal, MessageToJson(answer).encode()) == expected


@given(st.sampled_from(Signal), st.binary(max_size=60))
def test_any_bytes_are_a_verdict_or_a_value_error(signal, body) -> None:
    for parse in (parse_success, parse_json_success):
        try:
            assert parse(signal, body).rejected >= 0
        except ValueError:
            assert body


@pytest.mark.parametrize(
    "body", [b"[]", b"3", b'{"partialSuccess": 3}', b'{"partialSuccess": {"rejectedSpans": []}}']
)
def test_json_that_is_no_answer(body) -> None:
    with pytest.raises(ValueError, match="no Export response"):
        parse_json_success(Signal.TRACES, body)


@given(st.integers(0, 10**6), st.integers(0, 999_999))
def test_retry_info(seconds, micros) -> None:
    delay_s = seconds + micros / 1e6
    status = parse_status(retry_status(8, "later", delay_s))
    assert retry_info_s(status) == pytest.approx(delay_s, abs=1e-6)


def test_no_retry_info() -> None:
    assert retry_info_s(None) is None
    assert retry_info_s(parse_status(retry_status(8, "no hint"))) is None
    assert retry_info_s(parse_status(retry_status(8, "at once", 0))) == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("9" * 400, 999_999_999_999.0),
        ("Sat, 01 Mar 2025 12:00:30 GMT", 30.0),
        ("Saturday, 01-Mar-25 12:01:00 GMT", 60.0),
        ("Sat Mar  1 12:00:10 2025", 10.0),
        ("Sat, 01 Mar 2025 11:00:00 GMT", 0.0),
        ("Sat, 99 Mar 2025 11:00:00 GMT", None),
    ],
)
def test_retry_after(value, expected) -> None:
    assert parse_retry_after(value, NOW) == expected


@given(st.integers(-(10**6), 10**8))
def test_retry_after_as_a_date(delta_s) -> None:
    text = format_datetime(NOW + timedelta(seconds=delta_s), usegmt=True)
    assert parse_retry_after(text, NOW) == max(0.0, float(delta_s))


@given(st.text(max_size=80))
def test_any_retry_after_is_a_time_or_nothing(text) -> None:
    wish_s = parse_retry_after(text, NOW)
    assert wish_s is None or wish_s >= 0


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/x-protobuf", retry_status(3, "bad id"), "bad id"),
        ("application/x-protobuf", b"\xff\xff", ""),
        ("application/json", b'{"code": 3, "message": "bad id"}', "bad id"),
        ("application/json", b'{"message": 3}', ""),
        ("application/json", b"[1]", ""),
        ("application/json", b"{", ""),
        ("text/plain", b"no \xff route", "no � route"),
        ("text/html", b"<h1>502</h1>", ""),
    ],
)
def test_failure_messages(content_type, body, expected) -> None:
    assert http_failure_message(content_type, body) == expected


def test_masking_takes_out_whole_secrets_and_their_words() -> None:
    masking = Masking(["Bearer token-abcdef", "on", "token-abcdef-long"])
    text = masking("got 'Bearer token-abcdef', token-abcdef\nand token-abcdef-long on")
    assert text == "got '***', *** and *** on"


@given(st.text(max_size=2000), st.lists(st.text(min_size=4, max_size=20), max_size=3))
def test_masked_text_is_short_printable_and_clean(text, secrets) -> None:
    masked = Masking(secrets)(text)
    assert len(masked) <= MESSAGE_MAX_CHARS
    assert masked.isprintable()
    assert not any(secret in masked for secret in secrets if "*" not in secret)

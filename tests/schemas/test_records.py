"""Records on the wire, and the page that tells of them."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.batches import Batch
from schemas.errors import ConfigurationError, MalformedMessage, RetriesExhausted
from schemas.records import (
    Audit,
    Control,
    DeadLetter,
    MalformedRecord,
    NewerVersion,
    OffsetRange,
    VersionedRecord,
)
from schemas.records.deadletter import source_headers
from schemas.records.reference import RECORDS, json_schemas, to_markdown
from topologies.runtime.deadletter import dead_letter, without_value

AT = datetime(2030, 1, 31, 8, 0, 1, 250_000, tzinfo=UTC)
CONTROL = Control(name="log.level", value="debug", who="ann@desk", at=AT, reason="why é")
AUDIT = Audit(
    id="1", action="applied", name="log.level", before=None, after="debug", who="ann@desk", at=AT,
    control_offset=7, stages=("shape",), worker="h:1",
    ranges=(OffsetRange(topic="otlp_logs", partition=3, first=None),),
)  # fmt: skip


def test_what_is_on_the_wire() -> None:
    """Other programs read this: it may grow, and must not change."""
    assert json.loads(CONTROL.encode()) == {
        "schema_version": 1,
        "name": "log.level",
        "value": "debug",
        "who": "ann@desk",
        "at": "2030-01-31T08:00:01.250000Z",
        "reason": "why é",
    }
    assert json.loads(AUDIT.encode())["ranges"] == [
        {"topic": "otlp_logs", "partition": 3, "first": None, "last": None}
    ]


@pytest.mark.parametrize("record", [CONTROL, AUDIT], ids=lambda r: type(r).__name__)
def test_a_record_comes_back(record: VersionedRecord) -> None:
    assert type(record).decode(record.encode()) == record


@pytest.mark.parametrize("value", [True, False, 1, 0, 1.5, "x", "", None])
def test_a_value_keeps_its_type(value: object) -> None:
    back = Control.decode(CONTROL.model_copy(update={"value": value}).encode()).value
    assert back == value
    assert type(back) is type(value)


def test_fields_that_are_not_known_are_ignored() -> None:
    more = {**json.loads(CONTROL.encode()), "expires": {"at": 1}}
    assert Control.decode(json.dumps(more).encode()) == CONTROL


def test_a_newer_version_is_refused_whatever_else_it_says() -> None:
    with pytest.raises(NewerVersion, match="schema_version 2, this release reads up to 1"):
        Control.decode(b'{"schema_version": 2, "target": "log.level"}')
    with pytest.raises(NewerVersion, match="schema_version 9"):
        DeadLetter.of((("deadletter.schema_version", b"9"),))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[1]", "object"),
        (b"{}", "schema_version"),
        (b'{"schema_version": "1"}', "schema_version"),
        (b'{"schema_version": true}', "schema_version"),
        (b'{"schema_version": 0}', "schema_version"),
        (b'{"schema_version": 1}', "name"),
        (CONTROL.encode().replace(b'"debug"', b"[1]"), "value"),
        (CONTROL.encode().replace(b'"debug"', b"NaN"), "JSON|value"),
        (CONTROL.encode().replace(b"Z", b""), "at"),
    ],
)
def test_what_is_no_record_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(MalformedRecord, match=what) as caught:
        Control.decode(data)
    assert caught.value.reason == "malformed"
    assert "at byte" not in str(caught.value)


@settings(max_examples=200, derandomize=True)
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
        lambda inner: st.dictionaries(
            st.sampled_from(["schema_version", *Control.model_fields]), inner, max_size=7
        ),
    ).map(lambda document: json.dumps(document).encode())
)
def test_any_bytes_are_a_record_or_an_error(data: bytes) -> None:
    for kind in (Control, Audit):
        with contextlib.suppress(MalformedMessage):
            assert isinstance(kind.decode(data), kind)


# --- dead letters --------------------------------------------------------------------------

BATCH = Batch("otlp_logs", 4, 99, 0, b"k", b"bytes", (("tenant", b"acme"),))


def test_a_dead_letter_as_the_runtime_writes_it() -> None:
    record = dead_letter("deadletter", "shape", BATCH, RetriesExhausted("é" * 2000), 10**18)
    letter = DeadLetter.of(record.headers)
    assert (letter.reason, letter.stage) == ("retries_exhausted", "shape")
    assert (letter.topic, letter.partition, letter.offset) == ("otlp_logs", 4, 99)
    assert letter.message == "é" * 512
    assert letter.given_up_at == datetime.fromtimestamp(10**9, UTC)
    assert (letter.value_bytes, letter.replayed) == (None, 0)
    assert DeadLetter.of(without_value(record).headers).value_bytes == 5
    assert source_headers(record.headers) == BATCH.headers


def test_the_count_of_replays_survives_the_next_dead_letter() -> None:
    sent_back = BATCH._replace(headers=(*BATCH.headers, ("deadletter.replayed", b"3")))
    again = dead_letter("deadletter", "shape", sent_back, RetriesExhausted("x"), 0)
    assert DeadLetter.of(again.headers).replayed == 3
    assert source_headers(again.headers) == BATCH.headers


HEADERS = (*DeadLetter.model_fields, "time_unix_nano")


@settings(max_examples=200, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([f"deadletter.{name}" for name in HEADERS]),
            st.binary(max_size=30) | st.integers(0, 10**25).map(lambda n: str(n).encode()),
        )
    )
)  # fmt: skip
def test_any_headers_are_a_dead_letter_or_an_error(headers: list[tuple[str, bytes]]) -> None:
    with contextlib.suppress(MalformedRecord):
        assert DeadLetter.of(tuple(headers)).partition >= 0


# --- names ---------------------------------------------------------------------------------


def test_names_and_values_that_can_be_set() -> None:
    from schemas.config import Config
    from schemas.control import control_settings, find_setting

    known = control_settings(Config())
    assert find_setting("shape.enabled.logs", known).parse("off") is False
    assert find_setting("export.enabled.default", known).parse("TRUE") is True
    assert find_setting("log.level", known).parse("debug") == "debug"
    with pytest.raises(ConfigurationError, match=r"did you mean shape\.enabled\.logs\?"):
        find_setting("shape.enable.log", known)
    with pytest.raises(ConfigurationError, match=r"there are log\.level, "):
        find_setting("zzz", known)
    with pytest.raises(ConfigurationError, match="did you mean debug"):
        known["log.level"].parse("debgu")
    with pytest.raises(ConfigurationError, match="not one of true, false"):
        known["shape.enabled.logs"].parse("1")
    assert not known["shape.enabled.logs"].valid(1)
    assert known["shape.enabled.logs"].valid(None)


def test_numbers_of_policies_can_be_set() -> None:
    from schemas.config.load import load
    from schemas.control import control_settings

    known = control_settings(
        load(
            """
            sampling:
              enabled: true
              policies:
              - {name: slow, match: {latency: {min: 1s}}, probability: 0.5}
              - {name: rest, budget: {bytes_per_second: 5MiB}}
            """
        )
    )
    size = known["sampling.rest.bytes_per_second"]
    assert (size.default, size.shown(size.default)) == (5 << 20, "5MiB")
    assert size.parse("1MB") == 1_000_000
    probability = known["sampling.slow.probability"]
    assert (probability.parse("0.25"), probability.parse("1")) == (0.25, 1)
    for wrong, said in (
        ("0", "greater than 0"), ("1.01", "less than or equal to 1"), ("x", "number"),
        ("nan", ""), ("inf", ""), ("", "number"), ("true", "number"),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match=rf"sampling\.slow\.probability: '.*{said}"):
            probability.parse(wrong)
    # What lies on the topic is checked too: whoever wrote it may have had another configuration.
    assert [probability.valid(v) for v in (None, 0.5, 1)] == [True] * 3
    assert not any(probability.valid(v) for v in (0, 2, -1.0, True, "0.5", float("nan")))
    assert known["emit.enabled"].stage == "emit"
    assert "sample.enabled" not in control_settings(load(""))


ALERTING = """
    windows: {enabled: true}
    alerts: {enabled: true}
    notify: {targets: {pager: {type: webhook, url: 'http://localhost/'}}}
    """


def test_texts_can_be_set_if_they_are_what_they_should() -> None:
    from schemas.config.load import load
    from schemas.control import TEXT_MAX_BYTES, control_settings

    known = control_settings(load(ALERTING))
    rules, silences = known["alerts.rules"], known["alerts.silences"]
    good = (
        "- name: Busy\n  on: {window: spans, length: 10s, statistic: count}\n"
        "  threshold: {op: '>', value: 3}\n"
    )
    assert rules.parse(good) == good
    assert (rules.shown(good), rules.shown("")) == ("3 lines", "(none)")
    assert [rules.valid(value) for value in (None, "", good)] == [True] * 3
    assert not any(rules.valid(value) for value in (1, True, "- {}", good.replace("10s", "11s")))
    with pytest.raises(ConfigurationError, match=r"line 2: alerts\.rules\[0\]\.on\.length"):
        rules.parse(good.replace("10s", "11s"))
    with pytest.raises(ConfigurationError, match="at most"):
        rules.parse("#" * TEXT_MAX_BYTES + good)
    assert not rules.valid("#" * TEXT_MAX_BYTES + good)
    assert silences.valid("")
    with pytest.raises(ConfigurationError, match=r"alerts\.silences: "):
        silences.parse("{")


def test_a_setting_may_concern_all_stages_of_a_kind() -> None:
    from schemas.config.load import load
    from schemas.control import control_settings

    known = control_settings(load(ALERTING))
    silences = known["alerts.silences"]
    assert [silences.concerns(s) for s in ("notify.pager", "notify", "notifying", "detect")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert known["notify.enabled.pager"].concerns("notify.pager")
    assert known["detect.enabled"].concerns("detect")
    assert known["log.level"].concerns("detect")
    assert not {"windows.enabled", "alerts.rules"} & control_settings(load("")).keys()


# --- the page ------------------------------------------------------------------------------


def test_the_records_page_is_current() -> None:
    page = (Path(__file__).parents[2] / "docs" / "records.md").read_text()
    assert page == to_markdown(), "otlp-streams records > docs/records.md"


def test_every_field_says_what_it_means() -> None:
    for record in RECORDS:
        assert [n for n, field in record.model_fields.items() if not field.description] == []
    assert all("schema_version" in schema["required"] for schema in json_schemas().values())

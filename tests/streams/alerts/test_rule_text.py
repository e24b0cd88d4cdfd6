"""Which rules held for which message, as the log says it."""

from __future__ import annotations

import pytest

from schemas.config.windows import Windows
from schemas.errors import ConfigurationError
from schemas.records import MalformedRecord
from streams.alerts.rule_text import RuleText
from tests.operators.detecting import BUSY_TEXT, MANY, alerts


def made() -> RuleText:
    return RuleText(alerts(MANY), Windows())


def names(text: RuleText) -> list[str]:
    return [rule.name for rule in text.rules]


def test_each_message_has_the_rules_that_held_for_it() -> None:
    writer, reader = made(), made()
    writer.set(BUSY_TEXT)
    reader.recall(writer.encode(10, 3))
    writer.set(None)
    reader.recall(writer.encode(20, 6))
    assert not reader.due(9)
    assert names(reader) == ["Many"]
    assert reader.due(12)
    assert (reader.replay(12), names(reader)) == (3, ["Busy"])
    assert not reader.due(19)
    assert (reader.replay(25), names(reader)) == (6, ["Many"])


def test_what_was_passed_over_in_between_counts_no_more() -> None:
    writer, reader = made(), made()
    writer.set(BUSY_TEXT)
    reader.recall(writer.encode(10, 3))
    writer.set("")
    reader.recall(writer.encode(11, 3))
    assert (reader.replay(30), names(reader)) == (3, ["Many"])


def test_text_that_is_wrong_by_now_gives_the_configuration_s_rules() -> None:
    text = made()
    text.set(BUSY_TEXT)
    with pytest.raises(ConfigurationError):
        text.set("- {name: Wrong}")
    assert names(text) == ["Busy"]
    text.restore("- {name: Wrong}")
    assert (text.text, names(text)) == (None, ["Many"])


@pytest.mark.parametrize(
    "value", [b"", b"{}", b"[]", b"{", b'{"offset": 1, "rules": null}', b'{"offset": null}']
)
def test_other_records_are_none(value: bytes) -> None:
    with pytest.raises(MalformedRecord):
        made().recall(value)

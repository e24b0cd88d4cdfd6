"""A restart whose replay does not come to the same alerts: nobody is left with one for ever."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.batches import Record
from schemas.records.alerts import AlertEvent
from tests.operators.detecting import ERRORS, MANY, STATE, alerts, detect

from .hosting import Host, requests

NEVER = {**MANY, "threshold": {"op": ">=", "value": 100}}
OTHER = {**MANY, "threshold": {"op": ">=", "value": 4}}


def host(*rules: dict[str, Any], **more: Any) -> Host:
    return Host(lambda counts: detect(alerts(*rules, **more), counts=counts))


def restart(h: Host, *rules: dict[str, Any], **more: Any) -> None:
    h.restart(lambda counts: detect(alerts(*rules, **more), counts=counts))


def told(h: Host) -> list[tuple[str, str, str]]:
    return [(e.labels["service"], e.state, e.reason) for e in h.states()]


def firing(h: Host, *services: str, windows: int = 3) -> None:
    for _ in range(windows):
        h.window(requests("aaa"), *(requests(each, [0.1] * 5) for each in services))


@pytest.mark.parametrize(
    ("rules", "more", "reason"),
    [
        ([NEVER], {}, "rule_changed"),
        ([ERRORS], {}, "rule_removed"),
        ([MANY], {"series_max": 1}, "series_gone"),
    ],
)
def test_what_is_not_found_again_is_over(
    rules: list[dict[str, Any]], more: dict[str, Any], reason: str
) -> None:
    h = host(MANY)
    firing(h, "cart")
    restart(h, *rules, **more)
    h.window(requests("aaa"))
    assert told(h) == [("cart", "firing", "condition"), ("cart", "resolved", reason)]
    first, last = h.states()
    assert last.id == first.id.replace("firing", "resolved")
    assert last.ends_at == last.at >= first.at
    assert len([r for r in h.visible if r.topic == "alerts"]) == 2
    restart(h, *rules, **more)
    h.window(requests("aaa"))
    assert len(told(h)) == 2, "it was told"


def test_it_is_told_before_anything_that_is_new() -> None:
    h = host(MANY)
    firing(h, "cart")
    restart(h, OTHER)
    firing(h, "cart", windows=1)
    assert [state for _, state, _ in told(h)] == ["firing", "resolved", "firing"]
    assert len({e.fingerprint for e in h.states()}) == 1
    assert len({e.id for e in h.states()}) == 3


def test_a_tick_tells_it_and_so_does_a_commit() -> None:
    def tick(h: Host) -> list[Record]:
        return list(h.operator.tick(0).records)

    def flush(h: Host) -> list[Record]:
        return list(h.operator.flush())

    for say in (tick, flush):
        h = host(MANY)
        firing(h, "cart")
        restart(h, ERRORS)
        events = [AlertEvent.of(r.headers, r.value) for r in say(h) if r.topic == STATE]
        assert [e.state for e in events] == ["resolved"]
        assert say(h) == []


def test_what_there_is_room_for_no_longer_is_over() -> None:
    h = host(MANY)
    firing(h, "cart", "shop")
    restart(h, MANY, active_max=1)
    firing(h, "cart", "shop")
    assert told(h)[2:] == [("shop", "resolved", "series_gone")]


def test_what_was_found_and_never_told_begins_again() -> None:
    """By limits that were lower then: what there is room for now is new now."""
    h = host(MANY, active_max=1)
    firing(h, "cart", "shop")
    assert told(h) == [("cart", "firing", "condition")]
    restart(h, MANY)
    firing(h, "cart", "shop", windows=1)
    assert told(h)[1:] == [("shop", "firing", "condition")]
    assert h.states()[1].starts_at > h.states()[0].starts_at


def test_what_was_told_is_how_things_are() -> None:
    """The replay finds more than was told: with what is in the log it goes on."""
    h = host(ERRORS)
    h.window(requests("cart", errors=1))
    h.window(requests("cart", errors=1))
    h.window(requests("other"))
    states = ["pending", "firing", "no_data"]
    assert [state for _, state, _ in told(h)] == states
    while told(h)[-1][1] == "no_data":
        h.visible.pop()  # as if the program had been another one then
    h.restart()
    h.window(requests("other"))
    h.window(requests("cart"))
    assert [state for _, state, _ in told(h)] == [*states, "resolved"]
    assert len({e.id for e in h.states()}) == 4

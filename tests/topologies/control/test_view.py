"""Changes and the boundaries at which lanes take them over."""

from __future__ import annotations

import asyncio

import pytest

from schemas.config import Config
from schemas.control import control_settings
from schemas.records import Control, MalformedRecord, NewerVersion, OffsetRange
from topologies.control import ControlView
from topologies.control.follower import Wanted, read_control

LOGS = "shape.enabled.logs"
SETTINGS = control_settings(Config())


@pytest.fixture
def view() -> ControlView:
    return ControlView(SETTINGS)


def ranges(*expected: tuple[int, int | None]) -> tuple[OffsetRange, ...]:
    return tuple(OffsetRange(topic="otlp_logs", partition=p, first=first) for p, first in expected)


async def test_a_lane_takes_a_change_over_when_it_asks(view: ControlView) -> None:
    woken: list[int] = []
    told: list[tuple[str, object]] = []
    lanes = [view.lane("shape", "otlp_logs", p, wake=lambda p=p: woken.append(p)) for p in (0, 1)]
    other = view.lane("shape", "otlp_spans", 0)
    assert lanes[0].ready(5)
    application = view.change(LOGS, False)
    assert sorted(woken) == [0, 1]
    assert not lanes[0].paused, "not before its boundary"
    assert not lanes[0].ready(6, lambda *what: told.append(what))
    assert told == [(LOGS, False)]
    assert not lanes[0].ready(6), "and stays so"
    assert other.ready(1)
    assert not application.done
    assert not lanes[1].ready(70)
    assert await application.complete(0) == ranges((0, 6), (1, 70))
    back = view.change(LOGS, None)
    assert (back.before, back.after) == (False, None)
    assert lanes[0].ready(6)
    assert lanes[1].ready(70)
    assert back.done


async def test_a_busy_lane_is_named_without_an_offset(view: ControlView) -> None:
    view.lane("shape", "otlp_logs", 3)
    application = view.change(LOGS, False)
    assert await application.complete(0.01) == ranges((3, None))


async def test_a_lane_that_goes_is_not_waited_for(view: ControlView) -> None:
    lane = view.lane("shape", "otlp_logs", 3)
    application = view.change(LOGS, False)
    waiting = asyncio.ensure_future(application.complete(30))
    await asyncio.sleep(0)
    lane.close()
    assert await waiting == ()
    assert view.change(LOGS, True).done


async def test_the_later_of_two_changes_counts(view: ControlView) -> None:
    lane = view.lane("shape", "otlp_logs", 0)
    first = view.change(LOGS, False)
    second = view.change(LOGS, True)
    told: list[tuple[str, object]] = []
    assert first.done
    assert lane.ready(9, lambda *what: told.append(what))
    assert told == [(LOGS, True)]
    assert await first.complete(0) == ()
    assert await second.complete(0) == ranges((0, 9))


async def test_a_new_lane_begins_with_what_is_in_force(view: ControlView) -> None:
    view.change(LOGS, False)
    lane = view.lane("shape", "otlp_logs", 0)
    assert lane.paused
    assert not lane.ready(None)
    sink = view.lane("export.default", "otlp_logs", 0)
    assert sink.ready(None), "the name is about shape"
    view.change("export.enabled.default", False)
    assert not sink.ready(None)


def test_the_configuration_counts_where_nothing_is_set() -> None:
    config = Config.model_validate({"telemetry": {"log_level": "error"}})
    view = ControlView(control_settings(config))
    assert view.current("log.level") == "error"
    view.change("log.level", "debug")
    assert view.current("log.level") == "debug"
    view.change("log.level", None)
    assert view.current("log.level") == "error"


# --- what lies on the topic ----------------------------------------------------------------

CONTROL = Control.model_validate(
    {"name": LOGS, "value": False, "who": "ann", "at": "2030-01-31T08:00:00Z"}
)


def test_what_a_message_wants() -> None:
    def read(control: Control) -> Wanted | str:
        return read_control(control.name.encode(), control.encode(), 3, SETTINGS)

    assert read(CONTROL) == Wanted(LOGS, False, 3, CONTROL)
    assert read_control(LOGS.encode(), None, 4, SETTINGS) == Wanted(LOGS, None, 4, None)
    assert read(CONTROL.model_copy(update={"name": "new.name"})) == "unknown"
    assert read(CONTROL.model_copy(update={"value": "maybe"})) == "invalid"
    assert read(CONTROL.model_copy(update={"value": 1})) == "invalid"
    assert read_control(None, None, 4, SETTINGS) == "unknown"
    with pytest.raises(MalformedRecord, match="key"):
        read_control(b"other", CONTROL.encode(), 3, SETTINGS)
    with pytest.raises(NewerVersion):
        read_control(LOGS.encode(), b'{"schema_version": 2}', 3, SETTINGS)

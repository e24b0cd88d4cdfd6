"""One format for all lines, and an outage that does not drown them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from schemas.config import Telemetry
from streams.edges.platform.logs import OUR_LINES_MAX, RateLimit, configure_logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_our_lines_and_a_librarys_are_json_of_one_shape() -> None:
    stream = io.StringIO()
    configure_logs(Telemetry(), {"stage": "ingest", "worker": "1"}, stream)
    structlog.get_logger("topologies.x").info("started", port=4317)
    logging.getLogger("aiokafka.client").warning("Unable connect to %s", "node 1")
    ours, theirs = lines(stream)
    assert ours["event"] == "started"
    assert ours["port"] == 4317
    assert theirs["event"] == "Unable connect to node 1"
    assert theirs["level"] == "warning"
    assert theirs["logger"] == "aiokafka.client"
    for line in (ours, theirs):
        assert line["stage"] == "ingest"
        assert line["worker"] == "1"
        assert str(line["timestamp"]).endswith("Z")


def test_an_exception_is_one_line_of_json() -> None:
    stream = io.StringIO()
    configure_logs(Telemetry(), stream=stream)
    try:
        raise ValueError("no\ngood")
    except ValueError:
        structlog.get_logger("topologies.x").exception("failed")
    (line,) = lines(stream)
    assert line["exception"][0]["exc_type"] == "ValueError"  # type: ignore[index]


def test_lines_for_people_carry_the_suppressed_count_too() -> None:
    stream = io.StringIO()
    configure_logs(Telemetry(log_format="console"), stream=stream)
    logging.getLogger("mode").warning("again", extra={"suppressed": 7})
    assert "again" in stream.getvalue()
    assert "suppressed=7" in stream.getvalue()
    assert "\x1b" not in stream.getvalue(), "no colours where there is no terminal"


def test_the_level_is_kept() -> None:
    stream = io.StringIO()
    configure_logs(Telemetry(log_level="error"), stream=stream)
    structlog.get_logger("topologies.x").warning("not this")
    logging.getLogger("aiokafka").warning("nor this")
    structlog.get_logger("topologies.x").error("this")
    assert [line["event"] for line in lines(stream)] == ["this"]


@pytest.mark.parametrize(("level", "heard"), [("debug", True), ("info", False), ("error", False)])
def test_what_libraries_call_information_is_for_debugging(
    level: Literal["debug", "info", "error"], heard: bool
) -> None:
    stream = io.StringIO()
    configure_logs(Telemetry(log_level=level), stream=stream)
    logging.getLogger("aiokafka.consumer").info("Subscribed")
    assert bool(lines(stream)) is heard


def test_a_library_may_repeat_itself_only_so_often() -> None:
    now = 0.0
    limit = RateLimit(lines_max=3, period_s=10.0, clock=lambda: now)

    def passed(name: str, level: int = logging.WARNING) -> logging.LogRecord | None:
        record = logging.LogRecord(name, level, "", 0, "m", None, None)
        return record if limit.filter(record) else None

    assert sum(passed("aiokafka.conn") is not None for _ in range(700)) == 3
    assert passed("aiokafka.client") is not None, "another logger has a limit of its own"
    assert passed("aiokafka.conn", logging.ERROR) is not None, "and so has another level"
    ours = [passed("topologies.ingest") for _ in range(50)]
    assert sum(line is not None for line in ours) == OUR_LINES_MAX, "and so have texts of ours"
    now = 10.0
    first, second = passed("aiokafka.conn"), passed("aiokafka.conn")
    assert first is not None
    assert first.suppressed == 697  # type: ignore[attr-defined]
    assert second is not None
    assert not hasattr(second, "suppressed")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_values(log_format: Literal["json", "console"]) -> None:
    """Locals hold telemetry, headers and passwords."""

    def fail(password: str) -> None:
        raise RuntimeError(f"{len(password)} characters")

    stream = io.StringIO()
    configure_logs(Telemetry(log_format=log_format), stream=stream)
    try:
        fail("hunter2-hunter2")
    except RuntimeError:
        logging.getLogger("topologies.test").exception("it failed")
    said = stream.getvalue()
    assert "RuntimeError" in said
    assert "15 characters" in said
    assert "hunter2" not in said.replace('fail("hunter2-hunter2")', "")

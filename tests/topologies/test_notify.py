"""The notify sink alone: what it takes for news, what it knows at the start, its table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from schemas.batches import Batch
from schemas.config import Config
from schemas.errors import BackendRefused, BackendUnavailable, BrokerUnavailable
from schemas.records import AlertEvent, MalformedRecord
from schemas.records.alerts import AlertState, MovedWith
from streams.edges.notifiers import (
    Notification,
    Notifier,
    NotifierMetrics,
    Start,
    TargetMetrics,
    create_sender,
    of_event,
)
from tests.alert_events import as_batch, event
from tests.streams.edges.exporters.servers import until
from topologies import notify
from topologies.notify import NotifySink, stage
from topologies.runtime import LastingSink
from topologies.tap import Message

NOW = datetime.now(UTC)
CONFIG = Config.model_validate(
    {
        "notify": {
            "external_url": "http://alerts.example/",
            "targets": {
                "it": {
                    "type": "webhook", "url": "http://127.0.0.1:1/", "group_by": ["..."],
                    "group_wait": 0, "group_interval": "20ms", "repeat_interval": "1h",
                    "max_pending": 77,
                }
            },
        }
    }
)  # fmt: skip


class Ears:
    """A sender that hears; ``answer`` may be an error."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bool]] = []
        self.answer: Exception | None = None

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def send(self, notification: Notification, now_s: float) -> Mapping[str, BackendRefused]:
        if self.answer is not None:
            raise self.answer
        self.heard += [(alert.labels["service"], alert.firing) for alert in notification.alerts]
        return {}


def message(what: AlertEvent | None, key: bytes = b"", headers: tuple = ()) -> Message:
    if what is None:
        return Message("alerts.state", 0, 0, 0, key, b"", headers)
    key = what.fingerprint.encode()
    return Message("alerts.state", 0, 0, 0, key, what.encode(), what.headers())


@asynccontextmanager
async def running(
    state: Sequence[Message] = (), failures: int = 0
) -> AsyncIterator[tuple[NotifySink, Ears, TargetMetrics]]:
    left = [BrokerUnavailable("no")] * failures

    async def read() -> AsyncGenerator[Message, None]:
        if left:
            raise left.pop()
        for each in state:
            yield each

    ears = Ears()
    metrics = NotifierMetrics(CollectorRegistry()).of("it")
    notifier = Notifier("it", CONFIG.notify.targets["it"], ears, metrics)
    sink = NotifySink("it", notifier, metrics, read)
    sink.start()
    try:
        yield sink, ears, metrics
    finally:
        sink.close()


async def test_only_what_somebody_is_to_be_told_of_is() -> None:
    states: tuple[AlertState, ...] = ("pending", "inactive", "firing", "no_data", "resolved")
    async with running() as (sink, ears, metrics):
        for n, state in enumerate(states):
            at = NOW + timedelta(seconds=n)
            await sink.deliver([as_batch(event("cart", state, at), n)])
        assert ears.heard == [("cart", True), ("cart", False)]
        assert metrics.transitions["unsaid"]._value.get() == 3


async def test_what_is_no_alert_is_the_runtimes_to_bury() -> None:
    async with running() as (sink, ears, metrics):
        with pytest.raises(MalformedRecord):
            await sink.deliver([Batch("alerts", 0, 0, 0, b"k", b"{}", ())])
        assert metrics.transitions["malformed"]._value.get() == 1
        assert ears.heard == []


async def test_what_fires_at_the_start_is_known_whatever_else_lies_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notify, "RETRY_S", 0.001)
    gone, cart, pay = event("gone", at=NOW), event("cart", at=NOW), event("pay", at=NOW)
    odd = Message("alerts.state", 0, 0, 0, b"k", b"{}", (("ce_type", b"io.otlp-streams.rules"),))
    broken = Message(
        "alerts.state", 0, 0, 0, b"k", b"{}", (("ce_type", b"io.otlp-streams.alert.firing"),)
    )
    state = [
        message(gone), message(cart), odd, broken, message(None, gone.fingerprint.encode()),
        message(pay), message(event("ship", "pending", NOW)),
    ]  # fmt: skip
    async with running(state, failures=3) as (sink, ears, _):
        # It waits until that is read, and then cart is no news, but its end is.
        await sink.deliver([as_batch(event("cart", "resolved", NOW + timedelta(seconds=9)))])
        assert ears.heard == [("cart", False)]
        assert len(sink._notifier._plan) == 1


async def test_a_defect_while_it_begins_is_raised_by_deliveries() -> None:
    async def read() -> AsyncGenerator[Message, None]:
        raise ZeroDivisionError
        yield

    metrics = NotifierMetrics(CollectorRegistry()).of("it")
    notifier = Notifier("it", CONFIG.notify.targets["it"], Ears(), metrics)
    sink = NotifySink("it", notifier, metrics, read)
    sink.start()
    with pytest.raises(ZeroDivisionError):
        await sink.deliver([as_batch(event("cart"))])
    sink.close()


async def test_a_silence_that_cannot_be_read_changes_nothing() -> None:
    async with running() as (sink, ears, metrics):
        silence = (
            '{"schema_version": 1, "silences": [{"id": "1", "matchers": ["service=cart"], '
            '"starts_at": "2000-01-01T00:00:00Z", "ends_at": "2999-01-01T00:00:00Z", "who": "me"}]}'
        )
        sink.adjust("alerts.silences", silence)
        sink.adjust("alerts.silences", "{")
        sink.adjust("log.level", "debug")
        await sink.deliver([as_batch(event("cart"))])
        assert ears.heard == []
        assert metrics.transitions["silenced"]._value.get() == 1
        sink.adjust("alerts.silences", "")
        await until(lambda: ears.heard == [("cart", True)])


async def test_the_table_of_a_target() -> None:
    metrics = NotifierMetrics(CollectorRegistry()).of("it")
    ears = Ears()
    table = stage(CONFIG, "it", ears, metrics)
    assert (table.name, table.topics, table.reads_topics) == (
        "notify.it", ("alerts",), ("alerts.state",),
    )  # fmt: skip
    assert (table.max_inflight, table.merge_max_bytes) == (77, 0)
    assert table.sink is not None
    assert table.warnings is not None
    sink = table.sink("alerts", 0)
    assert isinstance(sink, NotifySink)
    assert isinstance(sink, LastingSink)
    assert table.warnings() == {}
    ears.answer = BackendUnavailable("away")
    sink._notifier.begin(Start({}, {}, set()))
    task = asyncio.create_task(sink.deliver([as_batch(event("cart"))]))
    await until(lambda: table.warnings() != {})  # type: ignore[misc]
    assert "Kafka" in table.warnings()["target"]
    sink.close()
    assert table.warnings() == {}
    with pytest.raises(asyncio.CancelledError):
        await task
    sender = create_sender(CONFIG.notify, "it")
    assert "127.0.0.1" not in repr(sender)


def test_what_an_event_says_is_told_with_what_was_found() -> None:
    told = of_event(event("cart", at=NOW), "http://alerts.example/")
    assert told.firing
    assert (told.starts_s, told.ends_s, told.url) == (
        NOW.timestamp(), None, "http://alerts.example/",
    )  # fmt: skip
    assert told.annotations == {"value": "0.25", "threshold": "> 0.05", "summary": "cart fails"}
    more = event("cart", "no_data", NOW).model_copy(
        update={
            "threshold": None, "low": 0.0, "high": None, "detector": "level",
            "annotations": {"value": "of a rule"},
            "moved_with": (MovedWith(window="services", length_ms=1000, statistic="p99", value=2),),
        }
    )  # fmt: skip
    assert of_event(more).annotations == {
        "no_data": "it fired when it was last heard of", "value": "of a rule",
        "expected": "0 to ?", "detector": "level", "moved_with": "services p99 2",
    }  # fmt: skip
    over = of_event(event("cart", "resolved", NOW))
    assert (over.firing, over.ends_s) == (False, NOW.timestamp())

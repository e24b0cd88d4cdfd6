"""What a process says of its stages before any of them has begun."""

from __future__ import annotations

from typing import NoReturn

import pytest
from aiokafka.errors import KafkaConnectionError
from prometheus_client import CollectorRegistry

from schemas.config import Config
from schemas.errors import BrokerUnavailable
from topologies.exits import EXIT_CRASHED, EXIT_TRY_AGAIN
from topologies.runtime import Stage, process
from topologies.runtime.worker import Worker


def test_warnings_are_told_by_stage_and_part() -> None:
    found = {"spans": "on the wrong partition"}
    stages = [
        Stage(name="a", topics=("t",), operators=lambda *_: (), warnings=lambda: found),
        Stage(name="b", topics=("t",), operators=lambda *_: ()),
    ]
    worker = Worker(stages, Config(), CollectorRegistry(), lambda error: None)
    assert worker.warnings == {"a.spans": "on the wrong partition"}
    found.clear()
    assert worker.warnings == {}
    assert worker.unready == {"runtime": "waiting for Kafka"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KafkaConnectionError("unable to bootstrap"), EXIT_TRY_AGAIN),
        (BrokerUnavailable("away"), EXIT_TRY_AGAIN),
        (ValueError("something else"), EXIT_CRASHED),
        (None, EXIT_CRASHED),
    ],
)
def test_a_kafka_that_goes_away_during_the_start_is_no_crash(
    error: Exception | None, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []

    def die(code: int, why: str, error: BaseException | None = None) -> NoReturn:
        ended.append(code)
        raise SystemExit(code)

    monkeypatch.setattr(process, "die", die)
    wrapped = None
    if error is not None:
        wrapped = RuntimeError("could not start")
        wrapped.__cause__ = error
    with pytest.raises(SystemExit):
        process._crashed("the start failed", wrapped)
    assert ended == [code]

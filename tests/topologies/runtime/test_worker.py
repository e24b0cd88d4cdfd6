"""What a process says of its stages before any of them has begun."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from schemas.config import Config
from topologies.runtime import Stage
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

"""Transitions of alerts for tests, as detect writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaProducer

from schemas.batches import Batch
from schemas.records import AlertEvent

__all__ = ["as_batch", "event", "publish"]


def event(
    service: str,
    state: str = "firing",
    at: datetime | None = None,
    *,
    fired_at: datetime | None = None,
    **labels: str,
) -> AlertEvent:
    """One of the rule HighErrorRatio; service and labels tell alerts apart."""
    at = at or datetime.now(UTC)
    wanted = {"alertname": "HighErrorRatio", "severity": "critical", "service": service, **labels}
    fingerprint = hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest()[:16]
    over = state == "resolved"
    found: dict[str, Any] = {
        "id": f"{fingerprint}-{state}-{at.timestamp()}",
        "fingerprint": fingerprint,
        "state": state,
        "rule": "HighErrorRatio",
        "rule_version": "1",
        "labels": wanted,
        "annotations": {"summary": f"{service} fails"},
        "at": at,
        "starts_at": (fired_at or at) - timedelta(seconds=30),
        "fired_at": None if state == "pending" else fired_at or at,
        "ends_at": at if over else None,
        "value": 0.25,
        "threshold": "> 0.05",
    }
    return AlertEvent.model_validate(found)


def as_batch(what: AlertEvent, offset: int = 0) -> Batch:
    """As it is consumed from ``alerts``."""
    at_ms = round(what.at.timestamp() * 1000)
    key = what.fingerprint.encode()
    return Batch("alerts", 0, offset, at_ms, key, what.encode(), what.headers())


async def publish(bootstrap: str, topics: Iterable[str], events: Iterable[AlertEvent]) -> None:
    """To each of the topics, in their order."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5) as producer:
        sent = [
            await producer.send(
                topic, each.encode(), key=each.fingerprint.encode(), headers=list(each.headers())
            )
            for each in events
            for topic in topics
        ]
        for each in sent:
            await each

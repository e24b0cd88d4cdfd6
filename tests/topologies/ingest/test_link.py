"""The link to Kafka: opens by itself, whatever kept it closed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from schemas.batches import Record
from schemas.config import Config, Kafka
from schemas.errors import ConfigurationError, MessageTooLarge
from topologies.ingest.link import Link
from topologies.ingest.metrics import IngestMetrics
from topologies.ingest.publisher import Publisher
from topologies.kafka import create_producer
from topologies.localkafka import LocalKafka


async def opened(link: Link) -> None:
    async with asyncio.timeout(20):
        while not link.open:  # noqa: ASYNC110 - the condition is Kafka's
            await asyncio.sleep(0.02)


async def test_it_opens_after_any_failure_to_make_a_producer(kafka: LocalKafka, topic: str) -> None:
    failures: list[Exception] = [
        ConfigurationError("a certificate is being renewed"), RuntimeError("x"), OSError("y"),
    ]  # fmt: skip

    def create() -> Any:
        if failures:
            raise failures.pop()
        return create_producer(Kafka(brokers=(kafka.bootstrap,)))

    link = Link(create)
    link.start()
    try:
        await opened(link)
        await link.send(Record(topic, b"x", 0))
    finally:
        await link.stop()
    assert not failures


async def test_equal_records_may_be_on_their_way_at_once(kafka: LocalKafka, topic: str) -> None:
    """A client that did not wait for its answer sends the same bytes again."""
    link = Link(lambda: create_producer(Kafka(brokers=(kafka.bootstrap,))))
    link.start()
    try:
        await opened(link)
        await asyncio.gather(*(link.send(Record(topic, b"same", 0)) for _ in range(5)))
        assert link.stalled_s == 0
    finally:
        await link.stop()


def test_a_tenant_is_taken_as_its_bytes_and_bounded() -> None:
    config = Config.model_validate({"ingest": {"tenant_header": "X-Tenant"}})
    publisher = Publisher(config, Link(lambda: None), IngestMetrics(CollectorRegistry()))
    as_http_gives_it = b"\xff\xfe".decode("utf-8", "surrogateescape")
    assert publisher._header_set({"x-tenant": as_http_gives_it}) == (("tenant", b"\xff\xfe"),)
    assert publisher._header_set({}) == ()
    with pytest.raises(MessageTooLarge, match=r"ingest\.tenant_max"):
        publisher._header_set({"x-tenant": "t" * 257})

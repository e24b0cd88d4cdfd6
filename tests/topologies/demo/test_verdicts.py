"""Verdicts as the ledger takes them, from the topic on which they lie."""

import asyncio

import numpy as np
import pytest

from schemas.config.load import load
from schemas.records import MalformedRecord
from schemas.records.sampling import KEPT
from streams.sampling import consistent
from streams.sampling.records import (
    DecidedGroups,
    DecidedTraces,
    OrderedTraces,
    Raised,
    VerdictRecord,
    WorkOrder,
)
from topologies.demo.sampled import Verdict
from topologies.demo.verdicts import decided_by, verdicts
from topologies.kafka import create_producer


def record(first_id: int) -> VerdictRecord:
    """Three traces of a budget that kept one in four, and one kept by other means."""
    quarter = consistent.threshold(0.25)
    traces = DecidedTraces(
        trace_id_high=np.array([1, 1, 1, 1], np.uint64),
        trace_id_low=np.arange(first_id, first_id + 4, dtype=np.uint64),
        group=np.array([0, 0, 0, 1], np.int32),
        flags=np.array([KEPT, 0, KEPT, KEPT], np.uint8),
        duration_ms=np.ones(4, np.float32),
        spans=np.ones(4, np.int64),
        bytes=np.ones(4, np.int64),
        root=np.full(4, -1, np.int32),
        root_lag_ms=np.full(4, -1, np.int64),
    )
    groups = DecidedGroups(
        policy=np.array([1, 0], np.int32),
        key=np.array([5, 6], np.uint64),
        share=np.array([7, 8], np.uint64),
        threshold=np.array([quarter, consistent.UNKNOWN], np.uint64),
        probability=np.array([0.25, np.nan]),
        text_stop=np.zeros(2, np.int32),
    )
    # The third came with a tenth already, and keeps that.
    raised = Raised(np.array([2], np.int32), np.array([consistent.threshold(0.125)], np.uint64))
    policies, roots = ("limit", "budget"), np.empty(0, np.uint64)
    return VerdictRecord("spans", 0, 1, policies, traces, groups, roots, raised)


def order() -> WorkOrder:
    nothing = OrderedTraces(
        *(np.empty(0, t) for t in (np.uint64, np.uint64, np.int32, np.uint64, np.uint8))
    )
    return WorkOrder("spans", 0, 0, 9, 1, 1, ("limit",), nothing)


def test_each_trace_with_its_policy_and_what_it_stands_for():
    assert list(verdicts(record(16))) == [
        ((1 << 64 | 16).to_bytes(16, "big"), Verdict(True, "budget", 4.0)),
        ((1 << 64 | 17).to_bytes(16, "big"), Verdict(False, "budget", None)),
        ((1 << 64 | 18).to_bytes(16, "big"), Verdict(True, "budget", 8.0)),
        ((1 << 64 | 19).to_bytes(16, "big"), Verdict(True, "limit", None)),
    ]


async def test_what_was_written_by_the_end_is_read(kafka, make_topic):
    topic = make_topic(2)
    config = load(
        f"kafka: {{brokers: ['{kafka.bootstrap}']}}\n"
        f"topics: {{partitions: 2, names: {{decisions: {topic}}}}}"
    )
    found: list[bytes] = []
    producer = create_producer(config.kafka)
    await producer.start()
    try:
        await producer.send_and_wait(topic, record(0).encode(), partition=0)
        await producer.send_and_wait(topic, order().encode(), partition=1)
        async with decided_by(config, lambda trace_id, _: found.append(trace_id)):
            async with asyncio.timeout(20):
                while len(found) < 4:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            for number in range(1, 10):
                value = record(4 * number).encode()
                await producer.send_and_wait(topic, value, partition=number % 2)
        assert sorted(found) == [(1 << 64 | n).to_bytes(16, "big") for n in range(40)]
        with pytest.raises(MalformedRecord):
            async with decided_by(config, lambda *_: None):
                await producer.send_and_wait(topic, b"no record", partition=1)
    finally:
        await producer.stop()

"""Batches on their way through: the same bytes, in messages of a good size."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.batches import Batch, Record
from schemas.errors import MalformedMessage, MessageTooLarge
from schemas.operators import Scanned
from schemas.signals import Signal
from streams import wire
from streams.shaping import PassThrough
from tests.broker.traffic import ids, request
from tests.strategies import REQUESTS, requests

HEADERS = (("tenant", b"a"), ("x", b""))


def passed(signal: Signal, value: bytes, max_bytes: int = 1 << 20) -> Sequence[Record]:
    batch = Batch("in", 5, 10, 0, b"key", value, HEADERS)
    scan = wire.scan(signal, value, strict_ids=False)
    outcome = PassThrough("out", max_bytes).process(Scanned(batch, scan))
    assert outcome.replay_from is None, "what follows from a batch follows from it alone"
    return outcome.records


@pytest.mark.parametrize("signal", Signal)
def test_a_batch_goes_on_byte_for_byte(signal: Signal) -> None:
    @settings(max_examples=60)
    @given(requests(signal))
    def check(message: object) -> None:
        value = message.SerializeToString()  # type: ignore[attr-defined]
        found = passed(signal, value)
        items = wire.scan(signal, value).items
        assert list(found) == ([Record("out", value, 5, None, HEADERS)] if items else [])

    check()


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(150, 2000))
def test_a_large_one_is_split_between_items(spans: int, max_bytes: int) -> None:
    value = request(1, spans, pad=b"x" * 20)
    found = passed(Signal.TRACES, value, max_bytes)
    assert all(len(record.value) <= max_bytes for record in found)
    assert [number for record in found for number in ids(record.value)] == ids(value)
    assert {(r.topic, r.partition, r.headers) for r in found} == {("out", 5, HEADERS)}
    merged = REQUESTS[Signal.TRACES].FromString(wire.merge(r.value for r in found))
    assert {r.resource.SerializeToString() for r in merged.resource_spans} == {
        REQUESTS[Signal.TRACES].FromString(value).resource_spans[0].resource.SerializeToString()
    }


def test_an_item_that_fits_no_message_is_named() -> None:
    value = request(1, 1, name="checkout", pad=b"x" * 500)
    with pytest.raises(MessageTooLarge, match=r"span 'checkout' has .* kafka.producer.max_message"):
        passed(Signal.TRACES, value, 300)


def test_ids_that_are_wrong_are_left_to_who_reads_them() -> None:
    value = request(0, 1)  # all zero
    assert [record.value for record in passed(Signal.TRACES, value)] == [value]


def test_there_is_no_snapshot_to_take() -> None:
    with pytest.raises(MalformedMessage):
        PassThrough("out", 1000).restore(iter([b"state"]))

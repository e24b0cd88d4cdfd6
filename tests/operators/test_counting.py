"""The oracle itself, against figures made by hand."""

from __future__ import annotations

import pytest

from schemas.batches import Batch
from schemas.errors import MalformedMessage
from schemas.operators import Operator, Scanned

from .counting import OTHER, Counted, Counting, expected, read


def batches(*values: bytes) -> list[Batch]:
    return [Batch("words", 2, n, 0, None, value, ()) for n, value in enumerate(values)]


def test_counts_are_cumulative_and_poison_is_left_out() -> None:
    values = batches(b"a b a", b"!", b"b", b"c", b"a", b"a a", b"d")
    assert expected(values, every=2) == [
        Counted(0, 3, 4, {"a": 2, "b": 2}),
        Counted(3, 5, 6, {"a": 3, "b": 2, "c": 1}),
        Counted(5, 7, 9, {"a": 5, "b": 2, "c": 1, "d": 1}),
    ]


def test_a_tick_makes_a_record_only_where_a_log_remembers_it() -> None:
    (batch,) = batches(b"a")
    operators: list[Operator] = [Counting.by_snapshot("out"), Counting.by_replay("out")]
    found = []
    for operator in operators:
        assert operator.process(Scanned(batch, None)).records == ()
        outcome = operator.tick(10)
        found.append([(r.topic, r.partition, read(r.value)) for r in outcome.records])
        assert operator.tick(11).records == ()
    assert found == [[], [("out", 2, Counted(0, 1, 1, {"a": 1}))]]


def test_keys_are_bounded() -> None:
    operator = Counting.by_snapshot("out", every=3, keys_max=2)
    outcomes = [operator.process(Scanned(b, None)) for b in batches(b"a b", b"c d", b"a")]
    assert read(outcomes[-1].records[0].value).counts == {"a": 2, "b": 1, OTHER: 2}


@pytest.mark.parametrize("chunks", [[], [b"{}"], [b"[0,0,0,0,1]"], [b"\xff"], [b"[0]", b"[]"]])
def test_what_is_no_snapshot_is_refused(chunks: list[bytes]) -> None:
    with pytest.raises(MalformedMessage):
        Counting.by_snapshot("out").restore(chunks)

"""What the log says about a trace, from records made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.records.sampling import EARLY, ERROR, KEPT, MORE
from streams.sampling import consistent
from streams.sampling.explain import Explanation
from streams.sampling.outgoing import source_text
from streams.sampling.records import (
    DecidedGroups,
    DecidedTraces,
    OrderedTraces,
    Raised,
    VerdictRecord,
    WorkOrder,
    decode,
)

HALF = consistent.threshold(0.5)


def trace(number: int) -> bytes:
    return (7).to_bytes(8, "big") + number.to_bytes(8, "big")


def verdicts(
    decided_ms: int, rows: dict[int, tuple[int, int]], texts: tuple[str, ...] = ("cart", "")
) -> VerdictRecord:
    """``rows``: trace number to (group, flags)."""
    count = len(rows)
    encoded = [text.encode() for text in texts]
    record = VerdictRecord(
        "otlp_spans", 3, decided_ms, ("errors", "rest"),
        DecidedTraces(
            np.full(count, 7, np.uint64), np.array([*rows], np.uint64),
            np.array([group for group, _ in rows.values()], np.int32),
            np.array([flags for _, flags in rows.values()], np.uint8),
            np.full(count, 12.5, np.float32), np.full(count, 4, np.int64),
            np.full(count, 2000, np.int64), np.full(count, -1, np.int32),
            np.full(count, -1, np.int64),
        ),
        DecidedGroups(
            np.array([1, 0], np.int32), np.array([101, 102], np.uint64),
            np.array([1, 2], np.uint64), np.array([HALF, consistent.UNKNOWN], np.uint64),
            np.array([0.5, np.nan]),
            np.cumsum([len(each) for each in encoded]).astype(np.int32),
        ),
        np.empty(0, np.uint64), Raised(np.empty(0, np.int32), np.empty(0, np.uint64)), (),
        b"".join(encoded), ("service",),
    )  # fmt: skip
    found = decode(record.encode())
    assert isinstance(found, VerdictRecord)
    return found


def order(start: int, stop: int, rows: dict[int, int]) -> WorkOrder:
    """``rows``: trace number to flags."""
    count = len(rows)
    record = WorkOrder(
        "otlp_spans", 3, start, stop, 2_000, 1_900, ("rest",),
        OrderedTraces(
            np.full(count, 7, np.uint64), np.array([*rows], np.uint64), np.zeros(count, np.int32),
            np.full(count, HALF, np.uint64), np.array([*rows.values()], np.uint8),
        ),
    )  # fmt: skip
    found = decode(record.encode())
    assert isinstance(found, WorkOrder)
    return found


def test_a_kept_trace_and_where_its_spans_went() -> None:
    found = Explanation(trace(5))
    found.take(order(20, 30, {5: 0, 6: 0}), 12)
    found.take(verdicts(1_000, {4: (0, 0), 5: (0, KEPT | ERROR)}), 9)
    found.take(order(10, 20, {5: MORE}), 11)
    found.take(order(30, 40, {6: 0}), 13)
    assert found.kept is True
    verdict = found.verdict
    assert verdict is not None
    assert (verdict.policy, verdict.key, verdict.th) == ("rest", "cart", "8")
    assert (verdict.probability, verdict.decided_ms, verdict.offset) == (0.5, 1_000, 9)
    assert (verdict.error, verdict.early, verdict.spans) == (True, False, 4)
    assert [(each.offset, each.source, each.more) for each in found.orders] == [
        (11, "otlp_spans/3/10-20", True),
        (12, "otlp_spans/3/20-30", False),
    ]
    assert found.orders[0].source == source_text("otlp_spans", 3, 10, 20)


def test_a_dropped_trace_has_no_orders_and_no_threshold_that_is_not_known() -> None:
    found = Explanation(trace(4))
    found.take(verdicts(1_000, {4: (1, EARLY)}), 9)
    found.take(order(10, 20, {5: 0}), 11)
    verdict = found.verdict
    assert verdict is not None
    assert (found.kept, verdict.early, verdict.policy) == (False, True, "errors")
    assert (verdict.probability, verdict.threshold, verdict.th) == (None, None, None)
    assert found.orders == []


def test_a_key_that_is_not_spelled_out_is_found_in_another_record() -> None:
    found = Explanation(trace(4))
    found.take(verdicts(1_000, {4: (1, 0)}), 9)
    assert found.verdict is not None
    assert (found.verdict.key, found.verdict.key_hash) == (None, 102)
    found.take(verdicts(2_000, {8: (1, 0)}, texts=("", "shop")), 10)
    assert found.verdict.key == "shop"


def test_the_last_verdict_is_in_force_and_all_are_told() -> None:
    found = Explanation(trace(4))
    found.take(verdicts(9_000, {4: (0, KEPT)}), 30)
    found.take(verdicts(1_000, {4: (1, 0)}), 9)
    assert [each.kept for each in found.verdicts] == [False, True]
    assert found.kept is True


@pytest.mark.parametrize("trace_id", [b"", bytes(16), b"x" * 15, b"x" * 17])
def test_what_is_no_trace_id_is_refused(trace_id: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Explanation(trace_id)


def test_a_trace_that_nobody_has_seen() -> None:
    found = Explanation(trace(5))
    found.take(verdicts(1_000, {4: (0, KEPT)}), 9)
    assert (found.kept, found.verdict, found.orders) == (None, None, [])

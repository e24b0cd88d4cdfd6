"""What is decided: verdicts that late spans follow, and how far the source is ordered.

All of it follows from the records of the log, by ``learn`` and ``settle``, whether these have
just been made or are recalled after a crash; and from the offsets of kept traces' spans, which
the table of open traces notes as they are absorbed, live or replayed.

**For which messages a verdict counts** is the same whether they come or are replayed: from
``decided_ms`` on for ``decision_memory``, by the messages' time; and, where ``kept_max`` or
``dropped_max`` make place for newer ones, up to the offset ``next`` of the record that did.
What counts for a message behind the last order is held until that is ordered, for the replay
begins there: beyond the bounds that is at most what was decided while those messages came.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.config import Sampling
from schemas.errors import MalformedMessage
from schemas.records.sampling import MORE

from .clock import Clock
from .decider import Decider
from .dropped_traces import DroppedTraces
from .kept_traces import Kept, KeptTraces
from .orders import Orders, Range
from .partitions import PartitionCounts
from .records import OrderedTraces, VerdictRecord, WorkOrder
from .root_lags import RootLags

__all__ = ["Decisions", "Issued"]

_DROPPED_LEAST = 512
"""Dropped traces that are remembered at least: the filter has no smaller form."""
_POLICIES_MAX = 1000
_ROW_BYTES = 27
"""Of a trace in an order, at most, but for policies beyond the first 256."""
_HEAD_BYTES = 1200
"""Of an order's header, without the policies' names."""
_COUNT = struct.Struct("<I")


class Issued(NamedTuple):
    """A work order as it goes to the log."""

    value: bytes
    size_bytes: int
    """Of the source's messages in its range; 0 for all but the first part of a range."""


class Place(NamedTuple):
    """Whose decisions these are."""

    topic: str
    partition: int


class Decisions:
    """Decisions of one partition.

    Args:
        settings: of sampling.
        decider: which learns from the same records.
        place: topic and partition of the source.
    """

    def __init__(self, settings: Sampling, decider: Decider, place: Place) -> None:
        memory_ms = round(settings.decision_memory * 1000)
        self.kept = KeptTraces(settings.kept_max, memory_ms)
        self.dropped = DroppedTraces(max(settings.dropped_max, _DROPPED_LEAST), memory_ms)
        self.lags = RootLags()
        self.orders = Orders(settings.order_source_max, round(settings.order_interval * 1000))
        self._decider = decider
        self._place = place
        self._order_max = settings.order_max
        self._policies: list[str] = []
        """Names that the kept traces' policies refer to."""

    # --- verdicts

    def learn(
        self,
        record: VerdictRecord,
        first: NDArray[np.int64] | None = None,
        last: NDArray[np.int64] | None = None,
    ) -> None:
        """Take in verdicts. ``first`` and ``last``: of their traces; None for recalled ones."""
        self._decider.learn(record.decided)
        self._learn_lags()
        traces = record.traces
        kept = traces.kept
        names = np.array([self._policy(name) for name in record.policies], np.int32)
        rows = np.flatnonzero(kept)
        self.kept.add(
            traces.trace_id_high[rows],
            traces.trace_id_low[rows],
            record.thresholds[rows],
            names[record.groups.policy[traces.group[rows]]],
            now_ms=record.decided_ms,
            offset=record.next,
            first=None if first is None else first[rows],
            last=None if last is None else last[rows],
        )
        rows = np.flatnonzero(~kept)
        ids = traces.trace_id_high[rows], traces.trace_id_low[rows]
        self.dropped.add(*ids, record.decided_ms, record.next)

    def _learn_lags(self) -> None:
        self.lags.clear()
        self.lags.set(*self._decider.root_lags())

    def _policy(self, name: str) -> int:
        """Number of a policy's name, which may be one of an older configuration."""
        if name not in self._policies and len(self._policies) < _POLICIES_MAX:
            self._policies.append(name)
        return self._policies.index(name) if name in self._policies else len(self._policies) - 1

    # --- orders

    def order(self, upto: int, now_ms: int, partitions: PartitionCounts) -> Iterator[Issued]:
        """Orders that are due, given that everything before ``upto`` is decided."""
        for each in self.orders.due(upto, now_ms):
            yield from self._order(each, now_ms, partitions)

    def _order(self, span: Range, now_ms: int, partitions: PartitionCounts) -> Iterator[Issued]:
        listed = self.kept.overlapping(span.start, span.stop)
        head = _HEAD_BYTES + sum(len(name) + 6 for name in self._policies)
        rows_max = max((self._order_max - head) // _ROW_BYTES, 1)
        size = len(listed.trace_id_low)
        halves = span.halves() if size > rows_max else None
        if halves is not None:
            for half in halves:
                yield from self._order(half, now_ms, partitions)
            return
        # In the order of their ids: how they were found differs between live and replayed.
        by_id = np.lexsort((listed.trace_id_high, listed.trace_id_low))
        self.kept.retire(span.stop)
        more = _among(listed, by_id, self.kept.overlapping(span.start, span.stop + 1))
        parts = max(1, -(-size // rows_max))
        for part in range(parts):
            rows = by_id[size * part // parts : size * (part + 1) // parts]
            order = WorkOrder(
                *self._place, span.start, span.stop, now_ms, span.clock.time_ms,
                tuple(self._policies),
                OrderedTraces(
                    listed.trace_id_high[rows], listed.trace_id_low[rows], listed.policy[rows],
                    listed.threshold[rows], more[rows] * np.uint8(MORE),
                ),
                partitions.told(), part, parts, partitions.strangers_until_ms,
                span.clock.ahead_ms, span.clock.highest_ms,
            )  # fmt: skip
            yield Issued(order.encode(), 0 if part else span.size_bytes)
            self._settled(order)

    def mark(self, offset: int, now_ms: int, partitions: PartitionCounts) -> WorkOrder:
        """An order of nothing, which tells of ``partitions``; the first one of all begins here."""
        first = self.orders.end is None
        end = offset if self.orders.end is None else self.orders.end
        none = np.empty(0, np.uint64)
        order = WorkOrder(
            *self._place, end, end, now_ms, now_ms if first else self.orders.time_ms,
            tuple(self._policies),
            OrderedTraces(none, none, none.astype(np.int32), none, none.astype(np.uint8)),
            partitions.told(), 0, 1, partitions.strangers_until_ms,
            self.orders.clock.ahead_ms, self.orders.clock.highest_ms,
        )  # fmt: skip
        self.settle(order)
        return order

    def settle(self, order: WorkOrder) -> None:
        """Take in an order that is recalled."""
        traces = order.traces
        rows = np.flatnonzero(traces.more)
        self.kept.activate(traces.trace_id_high[rows], traces.trace_id_low[rows], order.stop)
        if order.part == order.parts - 1:
            self.kept.retire(order.stop)
        self._settled(order)

    def _settled(self, order: WorkOrder) -> None:
        if order.part == order.parts - 1:
            self.orders.settle(order.stop, order.issued_ms, order.clock)
            self.kept.expire(self.orders.time_ms)
            self.dropped.expire(self.orders.time_ms, order.stop)

    # --- snapshots

    def snapshot(self) -> Sequence[bytes]:
        """All of it, and what the decider has learned."""
        parts = [self.kept.chunks(), self.dropped.chunks(), list(self._decider.snapshot())]
        head = {
            "end": self.orders.end,
            "issued_ms": self.orders.issued_ms,
            "clock": self.orders.clock,
            "policies": self._policies,
            "chunks": [len(part) for part in parts],
        }
        return [json.dumps(head).encode(), *(chunk for part in parts for chunk in part)]

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over. Raises MalformedMessage."""
        first, *rest = list(chunks) or [b""]
        try:
            head = json.loads(first)
            end, issued_ms, clock = head["end"], int(head["issued_ms"]), head["clock"]
            clock = Clock(*(int(each) for each in clock))
            end = None if end is None else int(end)
            policies = [str(name) for name in head["policies"]]
            kept, dropped, decider = (int(size) for size in head["chunks"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise MalformedMessage(f"no snapshot of decisions: {error}") from None
        if min(kept, dropped, decider) < 0 or kept + dropped + decider != len(rest):
            raise MalformedMessage(f"snapshot of decisions in {len(rest)} chunks")
        self.kept.restore(rest[:kept])
        self.dropped.restore(rest[kept : kept + dropped])
        self._decider.restore(rest[kept + dropped :])
        self._learn_lags()
        self._policies = policies
        if end is not None:
            self.orders.settle(end, issued_ms, clock)


def _among(listed: Kept, by_id: NDArray[np.intp], others: Kept) -> NDArray[np.bool_]:
    """Which of ``listed``, whose order by id is ``by_id``, are among the others."""
    found = np.zeros(len(by_id), np.bool_)
    if len(others.trace_id_low):
        low, high = listed.trace_id_low, listed.trace_id_high
        wanted = set(zip(others.trace_id_high.tolist(), others.trace_id_low.tolist(), strict=True))
        for row in np.flatnonzero(np.isin(low, others.trace_id_low)).tolist():
            found[row] = (int(high[row]), int(low[row])) in wanted
    return found

"""What the decisions log says about one trace. Pure: records come from whoever reads the topic."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import consistent
from .outgoing import source_text
from .records import VerdictRecord, WorkOrder

__all__ = [
    "Explanation", "TraceOrder", "TraceVerdict", "order_of", "split_trace_id", "verdict_of",
]  # fmt: skip


class TraceVerdict(NamedTuple):
    """One decision about the trace."""

    offset: int
    """Of the record on the decisions topic."""
    topic: str
    """Source topic that the trace came on."""
    partition: int
    decided_ms: int
    """Broker's time, Unix milliseconds."""
    kept: bool
    early: bool
    """Before its wait was over, because too many traces were open."""
    policy: str
    key: str | None
    """Readable sampling key; None: the record had no room for it."""
    key_hash: int
    key_fields: tuple[str, ...]
    probability: float | None
    """That traces like it were kept with; None: not known."""
    threshold: int | None
    """56 bits, ``consistent.MAX``: none is kept; None: not known, ``th`` was removed."""
    duration_ms: float
    spans: int
    """That had come when it was decided."""
    size_bytes: int
    error: bool

    @property
    def th(self) -> str | None:
        """The threshold as it stands in ``tracestate``."""
        known = self.threshold is not None and self.threshold < consistent.MAX
        return consistent.encode(self.threshold) if known else None  # type: ignore[arg-type]


class TraceOrder(NamedTuple):
    """One range of the source that its spans were taken from."""

    offset: int
    """Of the record on the decisions topic."""
    topic: str
    partition: int
    start: int
    stop: int
    issued_ms: int
    policy: str
    threshold: int | None
    more: bool
    """It had spans behind this range, too."""

    @property
    def source(self) -> str:
        """As header ``sampling.source`` of what was sent says it."""
        return source_text(self.topic, self.partition, self.start, self.stop)


def split_trace_id(trace_id: bytes) -> tuple[int, int]:
    """The two numbers that stand for a trace id in columns. Raises ValueError."""
    if len(trace_id) != 16 or not any(trace_id):
        raise ValueError("a trace id has 16 bytes, not all of them zero")
    return int.from_bytes(trace_id[:8], "big"), int.from_bytes(trace_id[8:], "big")


def verdict_of(record: VerdictRecord, trace_id: bytes, offset: int = -1) -> TraceVerdict | None:
    """What a record decides about a trace; None: nothing."""
    traces, groups = record.traces, record.groups
    row = _row(traces.trace_id_high, traces.trace_id_low, trace_id)
    if row is None:
        return None
    group = int(traces.group[row])
    key, threshold = int(groups.key[group]), int(record.thresholds[row])
    probability = float(groups.probability[group])
    return TraceVerdict(
        offset=offset,
        topic=record.topic,
        partition=record.partition,
        decided_ms=record.decided_ms,
        kept=bool(traces.kept[row]),
        early=bool(traces.early[row]),
        policy=record.policies[int(groups.policy[group])],
        key=record.key_texts.get(key),
        key_hash=key,
        key_fields=record.key_fields,
        probability=None if math.isnan(probability) else probability,
        threshold=None if threshold == consistent.UNKNOWN else threshold,
        duration_ms=float(traces.duration_ms[row]),
        spans=int(traces.spans[row]),
        size_bytes=int(traces.bytes[row]),
        error=bool(traces.error[row]),
    )


def order_of(order: WorkOrder, trace_id: bytes, offset: int = -1) -> TraceOrder | None:
    """How an order takes the trace's spans from its range; None: it does not list the trace."""
    traces = order.traces
    row = _row(traces.trace_id_high, traces.trace_id_low, trace_id)
    if row is None:
        return None
    threshold = int(traces.threshold[row])
    return TraceOrder(
        offset=offset,
        topic=order.topic,
        partition=order.partition,
        start=order.start,
        stop=order.stop,
        issued_ms=order.issued_ms,
        policy=order.policies[int(traces.policy[row])],
        threshold=None if threshold == consistent.UNKNOWN else threshold,
        more=bool(traces.more[row]),
    )


def _row(high: NDArray[np.uint64], low: NDArray[np.uint64], trace_id: bytes) -> int | None:
    first, second = split_trace_id(trace_id)
    found = np.flatnonzero((low == np.uint64(second)) & (high == np.uint64(first)))
    return int(found[0]) if found.size else None


@dataclass
class Explanation:
    """Grows with the records of one partition, in any order; says what is known so far."""

    trace_id: bytes
    verdicts: list[TraceVerdict] = field(default_factory=list)
    """By the offset of their records; more than one where a trace came back after it had been
    forgotten (``decision_memory``)."""
    orders: list[TraceOrder] = field(default_factory=list)
    """By the offset of their records."""

    def __post_init__(self) -> None:
        split_trace_id(self.trace_id)

    def take(self, record: VerdictRecord | WorkOrder, offset: int) -> None:
        """Look into a record."""
        if isinstance(record, WorkOrder):
            order = order_of(record, self.trace_id, offset)
            if order is not None:
                self.orders.append(order)
                self.orders.sort()
            return
        verdict = verdict_of(record, self.trace_id, offset)
        if verdict is not None:
            self.verdicts.append(verdict)
            self.verdicts.sort(key=lambda each: each.offset)
        self._find_texts(record)

    def _find_texts(self, record: VerdictRecord) -> None:
        """A key that one record has no room to spell out stands in another."""
        for at, verdict in enumerate(self.verdicts):
            if verdict.key is None:
                text = record.key_texts.get(verdict.key_hash)
                if text is not None:
                    self.verdicts[at] = verdict._replace(key=text)

    @property
    def verdict(self) -> TraceVerdict | None:
        """The decision in force: the last one; None: the trace is unknown or still open."""
        return self.verdicts[-1] if self.verdicts else None

    @property
    def kept(self) -> bool | None:
        """Whether it was kept; None: not known."""
        return None if self.verdict is None else self.verdict.kept

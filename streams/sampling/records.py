"""The two kinds of records on ``sampling.decisions``, as arrays and as bytes.

``decode`` is what a reader of the topic calls for each value; ``docs/records.md`` has the layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.records import MalformedRecord
from schemas.records.binary import Table
from schemas.records.sampling import (
    DECIDED_GROUPS,
    DECIDED_ROOTS,
    DECIDED_TRACES,
    EARLY,
    ERROR,
    KEPT,
    KEY_TEXT,
    MORE,
    ORDERED_TRACES,
    RAISED,
    VerdictsHeader,
    WorkOrderHeader,
)
from streams.packing import kind_of, pack, read_table, unpack

from .clock import Clock
from .step import Decided, Memory

__all__ = [
    "DecidedGroups", "DecidedTraces", "OrderedTraces", "Raised", "VerdictRecord", "WorkOrder",
    "decode",
]  # fmt: skip


class DecidedTraces(NamedTuple):
    """One row a trace; the columns of ``schemas.records.sampling.DECIDED_TRACES``."""

    trace_id_high: NDArray[np.uint64]
    trace_id_low: NDArray[np.uint64]
    group: NDArray[np.int32]
    flags: NDArray[np.uint8]
    duration_ms: NDArray[np.float32]
    spans: NDArray[np.int64]
    bytes: NDArray[np.int64]
    root: NDArray[np.int32]
    """Row of ``VerdictRecord.roots``; -1: no root."""
    root_lag_ms: NDArray[np.int64]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Whether it was kept."""
        return (self.flags & KEPT).astype(np.bool_)

    @property
    def early(self) -> NDArray[np.bool_]:
        """Whether it was decided before its wait was over."""
        return (self.flags & EARLY).astype(np.bool_)

    @property
    def error(self) -> NDArray[np.bool_]:
        """Whether a span of it has status error."""
        return (self.flags & ERROR).astype(np.bool_)


class DecidedGroups(NamedTuple):
    """One row a group: traces of one policy, sampling key and threshold."""

    policy: NDArray[np.int32]
    """Index into ``VerdictRecord.policies``."""
    key: NDArray[np.uint64]
    """Hash of the sampling key."""
    share: NDArray[np.uint64]
    """Hash of policy, key and class."""
    threshold: NDArray[np.uint64]
    """56 bits; ``consistent.MAX``: none is kept, ``UNKNOWN``: the probability is not known."""
    probability: NDArray[np.float64]
    """That ``threshold`` stands for; NaN: not known."""
    text_stop: NDArray[np.int32]
    """Offset in the record's ``key_text`` after the readable key."""


class Raised(NamedTuple):
    """Kept traces that came with a greater threshold than their group's, and keep it."""

    trace: NDArray[np.int32]
    """Row of the traces."""
    threshold: NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class VerdictRecord:
    """What one decision step decided, or a part of it."""

    topic: str
    partition: int
    decided_ms: int
    policies: tuple[str, ...]
    traces: DecidedTraces
    groups: DecidedGroups
    roots: NDArray[np.uint64]
    """Name hashes of root operations."""
    raised: Raised
    memory: Memory = ()
    """What each of the policies remembers after this step."""
    key_text: bytes = b""
    key_fields: tuple[str, ...] = ()
    part: int = 0
    parts: int = 1
    next: int = 0
    """Offset after the last message that had come."""

    @property
    def thresholds(self) -> NDArray[np.uint64]:
        """Of each trace: its group's, or its own where that is greater."""
        threshold = self.groups.threshold[self.traces.group]
        threshold[self.raised.trace] = self.raised.threshold
        return threshold

    @property
    def decided(self) -> Decided:
        """What a ``Decider`` learns from."""
        traces, groups = self.traces, self.groups
        known = traces.root >= 0
        operations = np.zeros(len(known), np.uint64)
        operations[known] = self.roots[traces.root[known]]
        return Decided(
            self.decided_ms, self.policies, self.memory, groups.policy, groups.key, groups.share,
            traces.group, traces.kept, traces.error, traces.duration_ms, traces.spans,
            traces.bytes, operations, traces.root_lag_ms,
        )  # fmt: skip

    @cached_property
    def key_texts(self) -> dict[int, str]:
        """Readable sampling keys by hash, as many as there was room for."""
        texts: dict[int, str] = {}
        start = 0
        for key, stop in zip(self.groups.key.tolist(), self.groups.text_stop.tolist(), strict=True):
            if stop > start:
                texts[key] = self.key_text[start:stop].decode("utf-8", "replace")
            start = stop
        return texts

    def encode(self) -> bytes:
        """As it lies on the topic."""
        header = VerdictsHeader(
            topic=self.topic,
            partition=self.partition,
            decided_ms=self.decided_ms,
            next=self.next,
            part=self.part,
            parts=self.parts,
            policies=self.policies,
            memory=self.memory,
            key_fields=self.key_fields,
            columns=(),
        )
        columns = {
            **_named(DECIDED_TRACES, self.traces),
            **_named(DECIDED_GROUPS, self.groups),
            **_named(DECIDED_ROOTS, (self.roots,)),
            **_named(RAISED, self.raised),
            **_named(KEY_TEXT, (np.frombuffer(self.key_text, np.uint8),)),
        }
        return pack(header, columns)


class OrderedTraces(NamedTuple):
    """Kept traces that may have spans in the range; one row a trace."""

    trace_id_high: NDArray[np.uint64]
    trace_id_low: NDArray[np.uint64]
    policy: NDArray[np.int32]
    """Index into ``WorkOrder.policies``."""
    threshold: NDArray[np.uint64]
    """For their tracestate; ``consistent.UNKNOWN``: ``th`` is to be removed."""
    flags: NDArray[np.uint8]

    @property
    def more(self) -> NDArray[np.bool_]:
        """Whether it had spans behind the range when the order was issued."""
        return (self.flags & MORE).astype(np.bool_)


@dataclass(frozen=True, eq=False)
class WorkOrder:
    """A range of the source in which every trace is decided, and which of them were kept."""

    topic: str
    partition: int
    start: int
    stop: int
    issued_ms: int
    time_ms: int
    policies: tuple[str, ...]
    traces: OrderedTraces
    partitions: tuple[tuple[int, int], ...] = ()
    """(from which offset on, number of partitions that the source's topic was seen with)."""
    part: int = 0
    parts: int = 1
    strangers_until_ms: int = 0
    ahead_ms: int = 0
    highest_ms: int = 0

    @property
    def clock(self) -> Clock:
        """At the end of the range."""
        return Clock(self.time_ms, self.ahead_ms, self.highest_ms or self.time_ms)

    @property
    def strangers(self) -> bool:
        """Whether traces that belong to another partition may be listed."""
        return self.issued_ms < self.strangers_until_ms

    def encode(self) -> bytes:
        """As it lies on the topic."""
        header = WorkOrderHeader(
            topic=self.topic,
            partition=self.partition,
            start=self.start,
            stop=self.stop,
            issued_ms=self.issued_ms,
            time_ms=self.time_ms,
            part=self.part,
            parts=self.parts,
            partitions=self.partitions,
            strangers_until_ms=self.strangers_until_ms,
            ahead_ms=self.ahead_ms,
            highest_ms=self.highest_ms,
            policies=self.policies,
            columns=(),
        )
        return pack(header, _named(ORDERED_TRACES, self.traces))


def decode(value: bytes) -> VerdictRecord | WorkOrder:
    """A record of the decisions topic; its arrays are read-only views of ``value``.

    Raises:
        NewerVersion: a newer release wrote it, in a way that would be misunderstood.
        MalformedRecord: it is none, or it is damaged.
    """
    kind, text = kind_of(value)
    if kind == "verdicts":
        return _verdicts(VerdictsHeader.decode(text), value, text)
    if kind == "work_order":
        return _work_order(WorkOrderHeader.decode(text), value, text)
    raise MalformedRecord(f"a decision record of kind {kind[:40]!r}")


def _verdicts(header: VerdictsHeader, value: bytes, text: bytes) -> VerdictRecord:
    columns = unpack(value, text, header.columns)
    traces = DecidedTraces(*read_table(columns, DECIDED_TRACES))
    groups = DecidedGroups(*read_table(columns, DECIDED_GROUPS))
    (roots,) = read_table(columns, DECIDED_ROOTS)
    raised = Raised(*read_table(columns, RAISED))
    (key_text,) = read_table(columns, KEY_TEXT)
    _within("group", traces.group, 0, len(groups.policy))
    _within("root", traces.root, -1, len(roots))
    _within("raised_trace", raised.trace, 0, len(traces.group))
    if len(header.memory) not in (0, len(header.policies)):
        raise MalformedRecord(f"memory of {len(header.memory)} policies")
    _within("group_policy", groups.policy, 0, len(header.policies))
    stops = groups.text_stop
    _within("group_text_stop", stops, 0, len(key_text) + 1)
    if len(stops) and (np.diff(stops) < 0).any():
        raise MalformedRecord("column group_text_stop goes backwards")
    _parts(header.part, header.parts)
    return VerdictRecord(
        header.topic, header.partition, header.decided_ms, header.policies, traces, groups, roots,
        raised, header.memory, key_text.tobytes(), header.key_fields, header.part, header.parts,
        header.next,
    )  # fmt: skip


def _work_order(header: WorkOrderHeader, value: bytes, text: bytes) -> WorkOrder:
    if header.stop < header.start:
        raise MalformedRecord(f"work order from {header.start} to {header.stop}")
    if any(not (0 <= a < 2**63 and 1 <= n < 2**31) for a, n in header.partitions):
        raise MalformedRecord("work order with a wrong number of partitions")
    traces = OrderedTraces(*read_table(unpack(value, text, header.columns), ORDERED_TRACES))
    _within("policy", traces.policy, 0, len(header.policies))
    _parts(header.part, header.parts)
    return WorkOrder(
        header.topic, header.partition, header.start, header.stop, header.issued_ms,
        header.time_ms, header.policies, traces, header.partitions, header.part, header.parts,
        header.strangers_until_ms, header.ahead_ms, header.highest_ms,
    )  # fmt: skip


def _parts(part: int, parts: int) -> None:
    if part >= parts:
        raise MalformedRecord(f"part {part} of {parts}")


def _within(name: str, values: NDArray[Any], least: int, bound: int) -> None:
    if values.size and not (least <= int(values.min()) and int(values.max()) < bound):
        raise MalformedRecord(f"column {name} points outside of its table")


def _named(table: Table, columns: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {column.name: values for column, values in zip(table, columns, strict=True)}

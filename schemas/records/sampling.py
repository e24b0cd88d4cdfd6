"""``sampling.decisions``: what was decided about traces, and what is to be sent on for it.

Two kinds of records. Each is a block of columns behind a JSON header that says what they are
(binary.py), so that a reader needs nothing but ``docs/records.md``, which is made from ``BINARY``
and the models here.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..columns import Column
from .base import VersionedRecord
from .binary import ColumnPlace, Table

__all__ = [
    "BINARY", "DECIDED_GROUPS", "DECIDED_ROOTS", "DECIDED_TRACES", "EARLY", "ERROR", "KEPT",
    "KEY_TEXT", "MORE", "ORDERED_TRACES", "RAISED", "VerdictsHeader", "WorkOrderHeader",
]  # fmt: skip

KEPT, EARLY, ERROR = 1, 2, 4
"""Flags of a trace in a verdict record."""
MORE = 1
"""Flag of a trace in a work order."""
_OFFSET_MAX = 2**63 - 1


class VerdictsHeader(VersionedRecord):
    """Traces that were decided together, kept or dropped. Written before it takes effect."""

    schema_version: Literal[1] = 1
    """Of this format."""
    kind: Literal["verdicts"] = "verdicts"
    """Tells it from the other kind."""
    topic: str
    """Topic that the traces came on."""
    partition: int = Field(ge=0)
    """Its partition."""
    decided_ms: int = Field(ge=0, le=_OFFSET_MAX)
    """When, by the broker's clock; Unix milliseconds."""
    next: int = Field(default=0, ge=0, le=_OFFSET_MAX)
    """Offset after the last message that had come. Where there are too many verdicts to remember
    them all, the oldest count for the messages before it only."""
    part: int = Field(default=0, ge=0)
    """A step of many traces has several records: which one this is."""
    parts: int = Field(default=1, ge=1)
    """How many there are."""
    policies: tuple[str, ...]
    """Names of the policies that the groups refer to."""
    memory: tuple[tuple[float, ...], ...] = ()
    """What each policy has to remember beside its keys, after this step; one entry for each of
    ``policies``, or none at all."""
    key_fields: tuple[str, ...] = ()
    """What the sampling key consists of."""
    columns: tuple[ColumnPlace, ...]
    """What follows the header."""


class WorkOrderHeader(VersionedRecord):
    """Everything in a range of the source is decided: its kept spans can be sent on.

    The orders of a partition tile it: each starts where the one before stopped. One with
    ``start`` = ``stop`` only tells of a new number of partitions.
    """

    schema_version: Literal[1] = 1
    """Of this format."""
    kind: Literal["work_order"] = "work_order"
    """Tells it from the other kind."""
    topic: str
    """Topic of the source."""
    partition: int = Field(ge=0)
    """Its partition."""
    start: int = Field(ge=0, le=_OFFSET_MAX)
    """First offset of the range."""
    stop: int = Field(ge=0, le=_OFFSET_MAX)
    """Offset after its last."""
    issued_ms: int = Field(ge=0, le=_OFFSET_MAX)
    """When, by the broker's clock; Unix milliseconds."""
    time_ms: int = Field(ge=0, le=_OFFSET_MAX)
    """The latest time of a message before ``stop``; later where a broker's clock was set back."""
    ahead_ms: int = Field(default=0, ge=0, le=_OFFSET_MAX)
    """So much is ``time_ms`` ahead of the messages' times since their clock was set back."""
    highest_ms: int = Field(default=0, ge=0, le=_OFFSET_MAX)
    """The latest time of a message before ``stop``, before it was set back; 0: ``time_ms``."""
    part: int = Field(default=0, ge=0)
    """A range with many kept traces has several orders, each with some of them."""
    parts: int = Field(default=1, ge=1)
    """How many there are."""
    partitions: tuple[tuple[int, int], ...] = ()
    """From which offset on the topic was seen with how many partitions; what still matters."""
    strangers_until_ms: int = Field(default=0, ge=0, le=_OFFSET_MAX)
    """Until then traces that belong to another partition may be known here, and listed. While
    ``issued_ms`` is below it, their spans count only from messages that were sent here for them
    (header `sampling.rekeyed`)."""
    policies: tuple[str, ...]
    """Names of the policies that the traces refer to."""
    columns: tuple[ColumnPlace, ...]
    """What follows the header."""


_TRACE_ID: Table = (
    Column("trace_id_high", "u8", "first 8 bytes of the trace id, as a big-endian number"),
    Column("trace_id_low", "u8", "last 8 bytes of the trace id, as a big-endian number"),
)

DECIDED_TRACES: Table = (
    *_TRACE_ID,
    Column("group", "i4", "row of its group"),
    Column("flags", "u1", f"sum of {KEPT}: kept, {EARLY}: before its time, {ERROR}: with an error"),
    Column("duration_ms", "f4", "from the first start to the last end; 0 where one is missing"),
    Column("spans", "i8", "spans that had come"),
    Column("bytes", "i8", "their encoded size"),
    Column("root", "i4", "row of its root's operation; -1: no root had come"),
    Column("root_lag_ms", "i8", "from the root's arrival to the last span's; -1: no root"),
)

DECIDED_GROUPS: Table = (
    Column("group_policy", "i4", "place of the policy's name in `policies`"),
    Column("group_key", "u8", "hash of the sampling key"),
    Column("group_share", "u8", "hash of policy, key and class: whose part of a budget it is"),
    Column("group_threshold", "u8", "rejection threshold; 2^56: none is kept, 2^64 - 1: not known"),
    Column("group_probability", "f8", "that the threshold stands for; NaN: not known"),
    Column("group_text_stop", "i4", "offset in `key_text` after its key"),
)

DECIDED_ROOTS: Table = (Column("root_operation", "u8", "hash of a root span's name"),)

RAISED: Table = (
    Column("raised_trace", "i4", "row of a kept trace that came with a greater threshold"),
    Column("raised_threshold", "u8", "which it keeps, instead of its group's"),
)

KEY_TEXT: Table = (
    Column(
        "key_text", "u1", "readable keys in UTF-8, one after the other, as far as there is room"
    ),
)

ORDERED_TRACES: Table = (
    *_TRACE_ID,
    Column("policy", "i4", "place of the policy's name in `policies`"),
    Column("threshold", "u8", "what goes into tracestate, 56 bits; 2^64 - 1: `th` is removed"),
    Column("flags", "u1", f"{MORE}: it has spans behind the range too"),
)

BINARY: tuple[tuple[str, type[VersionedRecord], tuple[Table, ...]], ...] = (
    ("Verdicts", VerdictsHeader, (DECIDED_TRACES, DECIDED_GROUPS, DECIDED_ROOTS, RAISED, KEY_TEXT)),
    ("WorkOrder", WorkOrderHeader, (ORDERED_TRACES,)),
)
"""Name, header and tables of each kind."""

"""Snapshots of the operator: a head with columns, then the chunks of detection and of the rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, ClassVar, Literal

from schemas.records import MalformedRecord, VersionedRecord
from schemas.records.binary import ColumnPlace
from streams.packing import kind_of, pack, unpack

from .panels import Panels
from .stalled import Stalled
from .states import RuleStates

__all__ = ["pack_state", "unpack_state"]


class _Head(VersionedRecord):
    VERSION: ClassVar[int] = 1

    schema_version: int = 1
    kind: Literal["detect"] = "detect"
    rules: str | None
    """What was set at run time."""
    partitions: int
    """Over which series were spread."""
    channels: tuple[tuple[str, int, int, int], ...]
    stalled: dict[str, Any]
    detection: tuple[int, ...]
    """How many chunks follow for each window length."""
    states: int
    """How many chunks of the rules follow these."""
    columns: tuple[ColumnPlace, ...] = ()


def pack_state(
    panels: Panels, states: RuleStates, stalled: Stalled, rules: str | None, partitions: int
) -> list[bytes]:
    """All state, as chunks."""
    detection = panels.watching.snapshots()
    of_rules = states.snapshot()
    head = _Head(
        rules=rules,
        partitions=partitions,
        channels=tuple(panels.channels()),
        stalled=stalled.to_json(),
        detection=tuple(len(chunks) for chunks in detection),
        states=len(of_rules),
    )
    first = pack(head, panels.columns())
    return [first, *(chunk for chunks in detection for chunk in chunks), *of_rules]


def unpack_state(
    chunks: Iterable[bytes], panels: Panels, states: RuleStates, stalled: Stalled
) -> tuple[str | None, int]:
    """Take over what ``pack_state`` gave; the rules that were set, and the partitions.

    Raises MalformedRecord, KeyError, ValueError, TypeError or IndexError.
    """
    given: Sequence[bytes] = list(chunks)
    if not given:
        raise MalformedRecord("no state of detect: nothing at all")
    kind, text = kind_of(given[0])
    if kind != "detect":
        raise MalformedRecord(f"no state of detect but {kind}")
    head = _Head.decode(text)
    if len(given) != 1 + sum(head.detection) + head.states:
        raise MalformedRecord(f"state of detect has {len(given)} chunks")
    rest = iter(given[1:])
    detection = [list(islice(rest, count)) for count in head.detection]
    columns = unpack(given[0], text, head.columns)
    panels.restore(head.channels, columns, detection)
    states.restore(rest)
    stalled.restore(head.stalled)
    return head.rules, head.partitions

"""Which windows are to be closed, in which order, and which have been before a restart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .merging import NEVER

__all__ = ["GAP_MAX", "Closed", "by_end", "ends", "read_closing", "window_headers"]

GAP_MAX = 100
"""So many windows without groups are emitted in a row; of more only the last."""


def ends(
    closed_ms: int, length_ms: int, until_ms: int, begins: Iterable[int]
) -> tuple[list[int], int]:
    """Ends of the windows to be closed, in order, and how many empty ones are left out.

    ``closed_ms``: where the last closed one ends, or NEVER; ``until_ms``: where the last one that
    is to be closed does; ``begins``: where those with something in them begin, in any order.
    The first of all is the first with something in it, or the last.
    """
    full = sorted({begin + length_ms for begin in begins if begin + length_ms <= until_ms})
    if closed_ms == NEVER:
        closed_ms = min([*full, until_ms]) - length_ms
    found: list[int] = []
    skipped = 0
    for end in [*full, until_ms + length_ms]:
        empty = (end - closed_ms) // length_ms - 1
        if empty > GAP_MAX:
            skipped += empty - GAP_MAX
            closed_ms = end - (GAP_MAX + 1) * length_ms
        found += range(closed_ms + length_ms, end + 1, length_ms)
        closed_ms = max(end, closed_ms)
    return found[:-1], skipped


class Closed(NamedTuple):
    """A window that was closed, as its last message tells."""

    next: int
    """Offset after the last record that is in it."""
    rule: str
    length_ms: int
    end_ms: int


def window_headers(rule: str, length_ms: int, end_ms: int) -> tuple[str, bytes]:
    """The header of all messages of a window."""
    return "window", f"{rule}/{length_ms}/{end_ms}".encode()


def read_closing(headers: Iterable[tuple[str, bytes]]) -> Closed | None:
    """What a message says, if it is the last of a window."""
    said = dict(headers)
    if "window.closed" not in said:
        return None
    try:
        rule, length, end = said["window"].decode().rsplit("/", 2)
        return Closed(int(said["window.next"]), rule, int(length), int(end))
    except (KeyError, ValueError):
        return None  # somebody else's: no rule of ours has such a window


def by_end(found: Iterable[tuple[int, list[int]]]) -> Iterator[tuple[int, list[int]]]:
    """From (slot, ends) to (end, slots), both in ascending order."""
    slots: dict[int, list[int]] = {}
    for slot, each in found:
        for end in each:
            slots.setdefault(end, []).append(slot)
    yield from sorted(slots.items())

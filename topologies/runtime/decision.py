"""Where a lane goes on, from what the journal and the group say. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .journal import Progress

__all__ = ["Decision", "Found", "Start", "decide"]

Start = Literal["resume", "reset", "journal lost", "log replaced", "first"]


class Found(NamedTuple):
    """What step 1 has found. ``begin`` and ``end`` are the source partition's."""

    progress: Progress | None
    committed: int | None
    begin: int
    end: int


class Decision(NamedTuple):
    """Where to go on, and why there."""

    start: Start
    position: int
    lost: int = 0
    """Offsets that retention has removed before they were processed."""

    @property
    def fresh(self) -> bool:
        """State begins empty there."""
        return self.start != "resume"


def decide(found: Found, auto_offset_reset: str) -> Decision:
    """Step 2.

    ==========  ===========  ==============================================================
    progress    committed
    ==========  ===========  ==============================================================
    R           R, or none   resume at R; a missing offset is no reset, they expire
    R           another      a person has reset the group: there, with fresh state
    none        C            the journal is lost: at C, with fresh state
    none        none         the first start: where ``auto_offset_reset`` says
    ==========  ===========  ==============================================================

    Beyond the end of the log: the topic is another one than it was; as at a first start.
    Before its begin: retention has removed the difference; on from the begin.
    """
    progress, committed, begin, end = found
    first = begin if auto_offset_reset == "earliest" else end
    if progress is not None and committed in (None, progress.position):
        start, position = "resume", progress.position
    elif committed is not None:
        start, position = ("journal lost" if progress is None else "reset"), committed
    else:
        return Decision("first", first)
    if position > end:
        return Decision("log replaced", first)
    return Decision(start, max(position, begin), max(0, begin - position))  # type: ignore[arg-type]

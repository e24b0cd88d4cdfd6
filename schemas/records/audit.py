"""``audit``: what was changed, by whom, and from which message on."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from .base import Value, VersionedRecord

__all__ = ["Audit", "OffsetRange"]


class OffsetRange(BaseModel):
    """Messages of one partition."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    topic: str
    """Topic."""
    partition: int = Field(ge=0)
    """Partition."""
    first: int | None
    """First offset; null: not reached when the record was written, it follows at the partition's
    next batch."""
    last: int | None = None
    """Last offset; null: open."""


class Audit(VersionedRecord):
    """One thing that was done. Records with the same ``id`` tell of the same thing."""

    schema_version: Literal[1] = 1
    """Of this format."""
    id: str
    """What it is recognised by, should it be there twice."""
    action: Literal["set", "applied", "replayed"]
    """``set``: somebody set a value; ``applied``: a worker works with it; ``replayed``: dead
    letters were sent back."""
    name: str
    """Of the setting (key of the message); ``deadletter`` for a replay."""
    before: Value = None
    """Value until then; null: as the configuration says."""
    after: Value = None
    """Value from then on; null: as the configuration says."""
    who: str
    """Who set it, or replayed."""
    at: AwareDatetime
    """When this was done, by the clock of who did it."""
    reason: str = ""
    """Why, in words."""
    control_offset: int | None = None
    """Offset of the control record that this follows from."""
    stages: tuple[str, ...] = ()
    """Of an applied value: the stages of the worker."""
    worker: str | None = None
    """Of an applied value: host and process id."""
    at_start: bool = False
    """Whether the worker began with it."""
    ranges: tuple[OffsetRange, ...] = ()
    """Of an applied value: from which message on, by partition of the source topics. Of a
    replay: the dead letters that were sent."""

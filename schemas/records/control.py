"""``control``: what is set at run time. Compacted; the key is the name."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from .base import Value, VersionedRecord

__all__ = ["Control"]


class Control(VersionedRecord):
    """The newest one of a name is in force, in every worker, from the next batch boundary on."""

    schema_version: Literal[1] = 1
    """Of this format."""
    name: str = Field(min_length=1, max_length=200)
    """Of the setting; also the message's key."""
    value: Value
    """What it is set to; null: as the configuration says."""
    who: str = Field(max_length=200)
    """Who set it."""
    at: AwareDatetime
    """When, by the clock of who set it."""
    reason: str = Field(default="", max_length=1000)
    """Why, in words."""

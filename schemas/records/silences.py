"""Silences: alerts that nobody is told of for a while. The value of `alerts.silences`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from ..config.labels import WrittenMatcher
from .base import VersionedRecord

__all__ = ["SILENCES_MAX", "Silence", "Silences"]

SILENCES_MAX = 1000
"""Silences at a time, those that are over but still listed among them."""


class Silence(BaseModel):
    """One silence. Source: Alertmanager, Concepts, Silences."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    id: str = Field(min_length=1, max_length=100)
    """What it is called."""
    matchers: tuple[WrittenMatcher, ...] = Field(min_length=1, max_length=100)
    """An alert whose labels fit all of these is silenced: `service="checkout"`; =, !=, =~, !~."""
    starts_at: AwareDatetime
    """From when on."""
    ends_at: AwareDatetime
    """Until when."""
    who: str = Field(max_length=200)
    """Who wants it."""
    comment: str = Field(default="", max_length=1000)
    """Why."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.ends_at <= self.starts_at:
            raise ValueError("ends_at is not after starts_at")
        return self


class Silences(VersionedRecord):
    """All silences. Towards targets; the alerts themselves go on, on the topics."""

    schema_version: Literal[1] = 1
    """Of this format."""
    silences: tuple[Silence, ...] = Field(default=(), max_length=SILENCES_MAX)
    """Each of them."""

    @classmethod
    def of_text(cls, text: str) -> Self:
        """From the setting's value; empty: there are none. Raises MalformedRecord."""
        return cls.decode(text.encode()) if text.strip() else cls()

    @model_validator(mode="after")
    def _different(self) -> Self:
        ids = [each.id for each in self.silences]
        if len(set(ids)) < len(ids):
            raise ValueError("two silences have the same id")
        return self

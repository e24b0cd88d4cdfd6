"""A dead letter as a reader sees it: its headers, and the message that it was.

The record itself is the source message's bytes with headers ``deadletter.*`` beside its own
(topologies/runtime/deadletter.py writes them). Header ``deadletter.schema_version`` is there
from version 2 on; without it a record is of version 1.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import AwareDatetime, Field, ValidationError

from ..batches import Batch, Headers
from .base import MalformedRecord, NewerVersion, VersionedRecord

__all__ = ["PREFIX", "REPLAYED", "WAS", "DeadLetter", "source_headers"]

PREFIX = "deadletter."
"""Of the headers that tell of a dead letter."""
REPLAYED = "deadletter.replayed"
"""How often a message was sent back to its topic; it keeps this header."""
WAS = "deadletter.was"
"""Beside it: why it had been given up, where that was ``too_large``. Its items were understood
then: who counts items has done so."""
_NUMBERS = {"partition", "offset", "value_bytes", "replayed"}
_COUNT_MAX_DIGITS = 19


class DeadLetter(VersionedRecord):
    """Why a message was given up, and where it lies."""

    schema_version: Literal[1] = 1
    """Of these headers."""
    reason: str
    """Stable label, as in counters: ``malformed``, ``refused``, …"""
    message: str = ""
    """The error, for people."""
    stage: str
    """Who gave up."""
    topic: str
    """Where the message lies."""
    partition: int = Field(ge=0)
    """Its partition."""
    offset: int = Field(ge=0)
    """Its offset."""
    given_up_at: AwareDatetime | None = None
    """When it was given up (``deadletter.time_unix_nano``)."""
    value_bytes: int | None = Field(default=None, ge=0)
    """Size of a value that was too large for the dead-letter topic and was left out."""
    replayed: int = Field(default=0, ge=0)
    """How often the message had been sent back before it was given up again."""

    @classmethod
    def of(cls, headers: Headers) -> Self:
        """From a record's headers.

        Raises:
            NewerVersion: a newer release wrote it.
            MalformedRecord: these are no headers of a dead letter.
        """
        fields: dict[str, Any] = {}
        for name, value in headers:
            if name.startswith(PREFIX):
                fields[name.removeprefix(PREFIX)] = value.decode("utf-8", "replace")
        version = _integer(fields.pop("schema_version", "1"))
        if version is not None and version > cls.VERSION:
            raise NewerVersion(
                f"dead letter of schema_version {version}, this release reads up to {cls.VERSION}"
            )
        at = _integer(fields.pop("time_unix_nano", ""))
        fields["given_up_at"] = None if at is None else _time(at)
        for name in _NUMBERS & fields.keys():
            fields[name] = _integer(fields[name])
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            names = sorted({f"{PREFIX}{each['loc'][0]}" for each in error.errors()})
            raise MalformedRecord(f"no dead letter: {', '.join(names)}") from None

    @classmethod
    def of_batch(cls, batch: Batch) -> Self:
        """From a record of the dead-letter topic. Raises as :meth:`of`."""
        return cls.of(batch.headers)


def source_headers(headers: Headers) -> Headers:
    """The headers that the message had before it became a dead letter."""
    return tuple(header for header in headers if not header[0].startswith(PREFIX))


def _integer(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= _COUNT_MAX_DIGITS else None


def _time(unix_nano: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(unix_nano / 1e9, UTC)
    except (ValueError, OverflowError, OSError):
        return None

"""What every record type shares: a version, JSON, and errors that say what is wrong."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from ..errors import MalformedMessage

__all__ = ["MalformedRecord", "NewerVersion", "Value", "VersionedRecord"]

Value = StrictBool | StrictInt | StrictFloat | StrictStr | None
"""Of a setting; None: as the configuration says."""


class MalformedRecord(MalformedMessage):
    """Bytes or headers that are no such record."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.args = (message,)  # no byte says what is wrong with a field


class NewerVersion(MalformedRecord):
    """The record was written by a newer release, in a way that this one would misunderstand."""

    reason = "newer_version"


class _Head(BaseModel):
    """What must be read before anything else is believed."""

    schema_version: StrictInt = Field(ge=1)


class VersionedRecord(BaseModel):
    """A record type. Subclasses state the version that they write, and read up to."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
    VERSION: ClassVar[int] = 1

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """From the wire.

        Raises:
            NewerVersion: its ``schema_version`` is above ours.
            MalformedRecord: it is no such record.
        """
        kind = cls.__name__
        try:
            version = _Head.model_validate_json(data).schema_version
        except ValidationError as error:
            raise MalformedRecord(f"no {kind} record: {_first(error)}") from None
        if version > cls.VERSION:
            raise NewerVersion(
                f"{kind} record of schema_version {version}, this release reads up to {cls.VERSION}"
            )
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise MalformedRecord(f"no {kind} record: {_first(error)}") from None

    def encode(self) -> bytes:
        """To the wire."""
        return self.model_dump_json().encode()


def _first(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    path = ".".join(map(str, first["loc"]))
    return f"{path}: {first['msg']}" if path else first["msg"]

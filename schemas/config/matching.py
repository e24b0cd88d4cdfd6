"""Which traces a sampling policy is about."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Self

import re2
from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from .base import Settings
from .units import Duration

__all__ = [
    "SPAN_CONDITIONS_MAX",
    "AttributeMatch",
    "CountRange",
    "DurationRange",
    "Match",
    "Scalar",
    "TextMatch",
    "compile_regex",
    "span_conditions",
]

SPAN_CONDITIONS_MAX = 32
"""Different conditions about spans that all policies together may have: a bit each."""

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # they are raised; the library would print them as well
_OPTIONS.max_mem = 8 << 20
_SET_MAX = 1000


def compile_regex(pattern: str) -> Any:
    """The compiled RE2 expression: matching takes linear time. Raises ValueError if it is none."""
    try:
        return re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        said = error.args[0] if error.args else error
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise ValueError(f"not a regular expression (RE2 syntax): {text}") from None


def _check_regex(pattern: str | None) -> str | None:
    if pattern is not None:
        compile_regex(pattern)
    return pattern


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | bool | int | float):
        raise ValueError("a text, a number, true or false is needed here")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


Scalar = Annotated[Any, BeforeValidator(_scalar)]
"""A text, a number, true or false: as in an attribute of OpenTelemetry."""


def _not_empty(value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    # min_length would complain beside every complaint about an item.
    if value is not None and not value:
        raise ValueError("must not be empty")
    return value


_NotEmpty = AfterValidator(_not_empty)


class TextMatch(Settings):
    """A text, in one of three ways. A plain text stands for ``equals``, a list for ``one_of``."""

    equals: str | None = None
    """Exactly this."""
    one_of: Annotated[tuple[str, ...] | None, _NotEmpty] = Field(default=None, max_length=_SET_MAX)
    """One of these."""
    regex: str | None = None
    """Matched by this regular expression (RE2 syntax) anywhere; ^ and $ for the ends."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"equals": value}
        if isinstance(value, list | tuple):
            return {"one_of": value}
        if isinstance(value, int | float):
            # The loader puts in what is written there: 1.10 is a name like any other.
            raise PydanticCustomError("string_type", "Input should be a valid string")
        return value

    @field_validator("regex")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        return _check_regex(pattern)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        _exactly_one(self, ("equals", "one_of", "regex"))
        return self


class AttributeMatch(Settings):
    """An attribute of a span, or of the resource or the scope that it belongs to."""

    where: Literal["span", "resource", "scope"] = "span"
    """Whose attribute."""
    key: str = Field(min_length=1, max_length=1000)
    """Its key, such as http.response.status_code."""
    equals: Scalar | None = None
    """Exactly this text, number or boolean; 200 is no text, and "200" is no number."""
    one_of: Annotated[tuple[Scalar, ...] | None, _NotEmpty] = Field(
        default=None, max_length=_SET_MAX
    )
    """One of these."""
    regex: str | None = None
    """A text that this regular expression (RE2 syntax) matches anywhere."""
    min: float | None = Field(default=None, allow_inf_nan=False)
    """A number that is at least this."""
    max: float | None = Field(default=None, allow_inf_nan=False)
    """A number that is at most this."""
    exists: bool | None = None
    """Whatever its value; true is all it can be, `not` is for those without."""

    @field_validator("regex")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        return _check_regex(pattern)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.exists is False:
            raise ValueError("to match traces without an attribute, put `exists: true` under `not`")
        if self.min is not None or self.max is not None:
            _none_of(self, ("equals", "one_of", "regex", "exists"), "min and max")
            _in_order(self.min, self.max)
        else:
            _exactly_one(self, ("equals", "one_of", "regex", "exists"), or_else="min and max")
        return self


class DurationRange(Settings):
    """From when to when a duration counts."""

    min: Duration | None = Field(default=None, ge=0)
    """At least this long."""
    max: Duration | None = Field(default=None, ge=0)
    """At most this long."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        _in_order(self.min, self.max)
        return self


class CountRange(Settings):
    """From how many to how many."""

    min: int | None = Field(default=None, ge=1)
    """At least so many."""
    max: int | None = Field(default=None, ge=1)
    """At most so many."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        _in_order(self.min, self.max)
        return self


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict | Settings) else value


def _statuses(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Match(Settings):
    """Conditions on a trace, all of which must hold.

    ``root``, ``service``, ``operation``, ``status`` and ``attribute`` of one ``match`` must hold
    for the same span, whichever it is; under ``and`` each part may find another one. ``not`` of
    them holds when no span of the trace is like that.
    """

    root: Literal[True] | None = None
    """Only the root span counts; a trace whose root has not come does not match."""
    service: TextMatch | None = None
    """`service.name` of the span's resource."""
    operation: TextMatch | None = None
    """The span's name."""
    status: Annotated[
        tuple[Literal["unset", "ok", "error"], ...] | None, BeforeValidator(_statuses), _NotEmpty
    ] = None
    """The span's status: unset, ok, error or a list of them."""
    attribute: Annotated[tuple[AttributeMatch, ...] | None, BeforeValidator(_listed), _NotEmpty] = (
        Field(default=None, max_length=SPAN_CONDITIONS_MAX)
    )
    """An attribute, or a list of them which the span must have all."""
    latency: DurationRange | None = None
    """From the trace's first start to its last end; where one of them is missing it is unknown,
    and matches nothing."""
    span_count: CountRange | None = None
    """Spans of the trace that had come."""
    and_: Annotated[tuple[Match, ...] | None, _NotEmpty] = Field(default=None, alias="and")
    """All of these."""
    or_: Annotated[tuple[Match, ...] | None, _NotEmpty] = Field(default=None, alias="or")
    """At least one of these."""
    not_: Match | None = Field(default=None, alias="not")
    """Not this."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("has no condition; leave `match` away to take every trace")
        return self

    @property
    def of_span(self) -> bool:
        """Whether it has conditions about a span."""
        parts = (self.root, self.service, self.operation, self.status, self.attribute)
        return any(part is not None for part in parts)

    @property
    def error_only(self) -> bool:
        """Whether all it says about a span is that its status is error."""
        others = (self.root, self.service, self.operation, self.attribute)
        return self.status == ("error",) and all(part is None for part in others)

    def span_part(self) -> Match:
        """Its conditions about a span alone."""
        names = {"root", "service", "operation", "status", "attribute"}
        return Match.model_construct(**{name: getattr(self, name) for name in names})


def span_conditions(matches: Sequence[Match | None]) -> list[Match]:
    """Every different condition about spans; its place in the list is its bit.

    That some span has an error is known of every trace and needs none.
    """
    found: list[Match] = []
    for match in matches:
        for part in () if match is None else _nested(match):
            if part.of_span and not part.error_only:
                condition = part.span_part()
                if condition not in found:
                    found.append(condition)
    return found


def _nested(match: Match) -> Iterator[Match]:
    yield match
    inner = (*(match.and_ or ()), *(match.or_ or ()), *((match.not_,) if match.not_ else ()))
    for part in inner:
        yield from _nested(part)


def _set(model: Settings, names: Sequence[str]) -> list[str]:
    return [name for name in names if getattr(model, name) is not None]


def _exactly_one(model: Settings, names: Sequence[str], or_else: str = "") -> None:
    given = _set(model, names)
    possible = ", ".join(names) + (f", or {or_else}" if or_else else "")
    if len(given) != 1:
        what = " and ".join(given) if given else "nothing"
        raise ValueError(f"says {what}, but needs exactly one of {possible}")


def _none_of(model: Settings, names: Sequence[str], beside: str) -> None:
    if given := _set(model, names):
        raise ValueError(f"{' and '.join(given)} cannot stand beside {beside}")


def _in_order(least: float | None, most: float | None) -> None:
    if least is None and most is None:
        raise ValueError("needs min, max or both")
    if least is not None and most is not None and least > most:
        raise ValueError("min is more than max: nothing could match")

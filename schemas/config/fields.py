"""The configuration models looked at from outside: every setting with its path, type, range."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union

import annotated_types
from pydantic import BaseModel, BeforeValidator, HttpUrl, SecretStr
from pydantic.fields import FieldInfo

from .root import Config
from .units import format_duration, format_size, parse_duration, parse_size

__all__ = [
    "Setting",
    "fields_of",
    "find",
    "format_value",
    "is_secret",
    "model_at",
    "settings",
    "unit_of",
]

_PLAIN = {
    bool: "true or false", int: "integer", float: "number", str: "text", Path: "path",
    SecretStr: "secret", HttpUrl: "URL", Any: "anything",
}  # fmt: skip


class Setting(NamedTuple):
    """One setting. ``default`` and ``bounds`` are text, empty where there is none."""

    path: str
    kind: str
    default: str
    bounds: str
    description: str


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Its fields by what they are called in a file: ``not`` can be no attribute of Python."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def settings(
    model: type[BaseModel], prefix: str = "", outer: tuple[type[BaseModel], ...] = ()
) -> Iterator[Setting]:
    """Every setting below ``model``, in the order of the models; one inside of itself once."""
    for name, field in fields_of(model).items():
        path = f"{prefix}{name}"
        inner, suffix = _inner_model(field.annotation)
        if inner in (*outer, model):
            inner = None
        if inner is None or suffix or field.is_required() or field.default is None:
            yield Setting(
                path, _kind(field), _default(field), _bounds(field), field.description or ""
            )
        if inner is not None:
            yield from settings(inner, f"{path}{suffix}.", (*outer, model))


def find(location: tuple[int | str, ...]) -> FieldInfo | None:
    """The field that a location belongs to: the innermost one that is a field of a model."""
    return _walk(location)[0]


def model_at(location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model whose fields stand at ``location``."""
    return _walk(location)[1]


def _walk(location: tuple[int | str, ...]) -> tuple[FieldInfo | None, type[BaseModel] | None]:
    model: type[BaseModel] | None = Config
    found: FieldInfo | None = None
    item_next = False
    for step in location:
        if item_next:
            item_next = False  # a name in, or an index into, a collection of models
        elif model is None:
            break  # items of a plain collection belong to its field
        elif step in (fields := fields_of(model)):
            found = fields[str(step)]
            model, suffix = _inner_model(found.annotation)
            item_next = bool(suffix)
        else:
            return found, None
    return found, model


def is_secret(field: FieldInfo) -> bool:
    """Whether values of this field must never be shown."""
    return _mentions(field.annotation, SecretStr)


def unit_of(field: FieldInfo) -> Literal["duration", "size"] | None:
    """``duration`` (seconds inside) or ``size`` (bytes inside), for fields that are one."""
    for item in (*field.metadata, *_metadata(field.annotation)):
        if isinstance(item, BeforeValidator):
            if item.func is parse_duration:
                return "duration"
            if item.func is parse_size:
                return "size"
    return None


def format_value(field: FieldInfo, value: Any) -> Any:
    """A number with its unit, as one would write it; anything else as it is."""
    unit = unit_of(field)
    if value is None or unit is None:
        return value
    if isinstance(value, tuple):
        return tuple(format_value(field, each) for each in value)
    if unit == "duration":
        return format_duration(value)
    text = format_size(int(value))
    return int(text) if text.isdigit() else text


def _metadata(annotation: Any) -> Iterator[Any]:
    if typing.get_origin(annotation) is typing.Annotated:
        yield from annotation.__metadata__
    for argument in typing.get_args(annotation):
        yield from _metadata(argument)


def _mentions(annotation: Any, wanted: type) -> bool:
    return annotation is wanted or any(
        _mentions(argument, wanted) for argument in typing.get_args(annotation)
    )


def _inner_model(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The model inside an annotation, and how a path goes on from the field to it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    for argument in arguments:
        inner, suffix = _inner_model(argument)
        if inner is not None:
            here = {dict: ".<name>", tuple: "[]", list: "[]"}.get(origin, "")
            return inner, here + suffix
    return None, ""


def _kind(field: FieldInfo) -> str:
    return unit_of(field) or _name(field.annotation)


def _name(annotation: Any) -> str:  # noqa: PLR0911 - one kind of type after another
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _name(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_name(a) for a in arguments if a is not type(None))
    if origin in (tuple, list):
        return f"list of {_name(arguments[0])}"
    if origin is dict:
        return f"{_name(arguments[1])} by name"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return _PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "unset"
    if isinstance(value, dict):
        return ", ".join(f"`{key}`" for key in value) or "none"
    if isinstance(value, tuple):
        shown = format_value(field, value)
        words = [f"`{v.value if isinstance(v, Enum) else v}`" for v in shown]
        return ", ".join(words) or "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{format_value(field, value)}`"


def _bounds(field: FieldInfo) -> str:
    words = {}
    for item in field.metadata:
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            kind = {"gt": annotated_types.Gt, "ge": annotated_types.Ge,
                    "lt": annotated_types.Lt, "le": annotated_types.Le}[name]  # fmt: skip
            if isinstance(item, kind):
                words[name] = f"{sign} {format_value(field, getattr(item, name))}"
    return ", ".join(words.values())

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
    "inner_models",
    "is_secret",
    "model_at",
    "settings",
    "unit_of",
    "written",
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
    """Every setting below ``model``, in the order of the models; one inside of itself once.

    Of models that one place may hold each setting is there once for all that have the same.
    """
    for name, field in fields_of(model).items():
        path = f"{prefix}{name}"
        inner, suffix = inner_models(field.annotation)
        inner = [each for each in inner if each not in (*outer, model)]
        if not inner or suffix or field.is_required() or field.default is None:
            yield Setting(
                path, _kind(field), _default(field), _bounds(field), field.description or ""
            )
        known = set[Setting]()
        for each in inner:
            for setting in settings(each, f"{path}{suffix}.", (*outer, model)):
                if setting not in known:
                    known.add(setting)
                    yield setting


def find(location: tuple[int | str, ...], root: type[BaseModel] = Config) -> FieldInfo | None:
    """The field that a location below ``root`` belongs to: the innermost that is one of a model."""
    return _walk(location, root)[0]


def model_at(
    location: tuple[int | str, ...], root: type[BaseModel] = Config
) -> type[BaseModel] | None:
    """The model whose fields stand at ``location``; of several that may, the first."""
    models = _walk(location, root)[1]
    return models[0] if models else None


def written(
    location: tuple[int | str, ...], root: type[BaseModel] = Config
) -> tuple[int | str, ...]:
    """A location of pydantic's as it is in a file: without what says which model was meant."""
    kept = list[int | str]()
    for i, step in enumerate(location):
        _, models, item_next = _walk(location[:i], root)
        if item_next or _tagged(models, step) is None:
            kept.append(step)
    return tuple(kept)


def _walk(
    location: tuple[int | str, ...], root: type[BaseModel]
) -> tuple[FieldInfo | None, list[type[BaseModel]], bool]:
    """The innermost field, the models that may follow it, and whether a name comes before."""
    models: list[type[BaseModel]] = [root]
    found: FieldInfo | None = None
    item_next = False
    for step in location:
        if item_next:
            item_next = False  # a name in, or an index into, a collection of models
        elif not models:
            break  # items of a plain collection belong to its field
        elif fields := [fields_of(each)[str(step)] for each in models if step in fields_of(each)]:
            found = fields[0]
            models, suffix = inner_models(found.annotation)
            item_next = bool(suffix)
        elif (meant := _tagged(models, step)) is not None:
            models = [meant]
        else:
            return found, [], False
    return found, models, item_next


def _tagged(models: list[type[BaseModel]], step: int | str) -> type[BaseModel] | None:
    """Of models of which one place may hold any, the one whose ``type`` is this."""
    if len(models) < 2 or any(step in fields_of(each) for each in models):
        return None
    for each in models:
        tag = fields_of(each).get("type")
        if tag is not None and step in typing.get_args(tag.annotation):
            return each
    return None


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


def inner_models(annotation: Any) -> tuple[list[type[BaseModel]], str]:
    """The models inside an annotation, and how a path goes on from the field to them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation], ""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    here = {dict: ".<name>", tuple: "[]", list: "[]"}.get(origin, "")
    found = list[type[BaseModel]]()
    for argument in arguments:
        inner, suffix = inner_models(argument)
        if suffix:
            return inner, here + suffix
        found += inner
    return found, here if found else ""


def _kind(field: FieldInfo) -> str:
    return unit_of(field) or _name(field.annotation)


def _name(annotation: Any) -> str:  # noqa: PLR0911 - one kind of type after another
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _name(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_name(a) for a in arguments if a is not type(None)))
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

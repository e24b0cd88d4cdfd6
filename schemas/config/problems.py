"""What is wrong in a configuration, in words: path, value, and what would have been right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pydantic import BaseModel

from .fields import fields_of, find, is_secret, model_at, settings, unit_of, written
from .root import Config
from .units import format_duration, format_size

__all__ = [
    "MASK",
    "Location",
    "Problem",
    "explain",
    "hide_userinfo",
    "may_be_secret",
    "nearest",
    "path_of",
]

Location = tuple[int | str, ...]
"""Keys and indices from the root, as pydantic counts them."""

MASK = "********"
_VALUE_CHARACTERS_MAX = 80
_USERINFO = re.compile(r"(//|\A|['\"])[^/@\s'\"]+@")
_SECRET_NAME = re.compile(r"pass|secret|token|credential|auth|api_?key|private", re.IGNORECASE)
_BOUNDS = {
    "greater_than": ("gt", "must be more than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}
_SHAPES = {
    "model_type": "a section (a mapping of settings)",
    "dict_type": "a mapping of names",
    "tuple_type": "a list",
    "string_type": "a text",
    "int_parsing": "an integer",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "path_type": "a path",
}


class Problem(NamedTuple):
    """One thing that is wrong; ``line`` counts from 1, None where there is none."""

    location: Location
    line: int | None
    message: str

    def __str__(self) -> str:
        where = "" if self.line is None else f"line {self.line}: "
        path = path_of(self.location)
        return f"{where}{path}: {self.message}" if path else f"{where}{self.message}"


def path_of(location: Location) -> str:
    """``kafka.brokers[0]`` from ``("kafka", "brokers", 0)``."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step != "[key]":
            path += f".{step}" if path else step
    return path


def nearest(word: str, possible: Iterable[str]) -> str | None:
    """The possible word that ``word`` was probably meant to be."""
    by_lower = {p.lower(): p for p in possible}
    found = difflib.get_close_matches(word.lower().replace("-", "_"), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def may_be_secret(location: Location, root: type[BaseModel] = Config) -> bool:
    """Whether what stands there must not be shown.

    A secret that is misspelt, or stands in a wrong place, is a secret too.
    """
    field = find(location, root)
    if field is not None and is_secret(field):
        return True
    name = str(location[-1]) if location else ""
    model = model_at(location[:-1], root) if location else None
    known = fields_of(model) if model is not None else {}
    if name in known:
        return False
    siblings = known.values()
    secrets = {s.path.rpartition(".")[2] for s in settings(Config) if "secret" in s.kind}
    return (
        any(is_secret(sibling) for sibling in siblings)
        or _SECRET_NAME.search(name) is not None
        or nearest(name, secrets) is not None
    )


def hide_userinfo(text: str) -> str:
    """A URL without the user and password in it."""
    return _USERINFO.sub(rf"\g<1>{MASK}@", text)


def explain(
    error: Any,
    document: dict[str, Any],
    line_of: Callable[[Location], int | None],
    root: type[BaseModel] = Config,
) -> Problem:
    """One error of pydantic (an ``ErrorDetails``) as a problem of the file, which is a ``root``."""
    location: Location = tuple(error["loc"])
    place = written(location, root)
    value = _written(document, place, error["input"])
    return Problem(place, line_of(place), _message(error, location, value, root))


def _written(document: Any, location: Location, fallback: Any) -> Any:
    """What the file says there; validators may have turned ``9s`` into 9.0 already."""
    here = document
    for step in location:
        if isinstance(here, str):  # a single item in place of a list
            return fallback
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            return fallback
    return here


def _message(  # noqa: PLR0911 - one kind of error after another
    error: Any, location: Location, written: Any, root: type[BaseModel]
) -> str:
    kind, context = error["type"], error.get("ctx") or {}
    if kind == "extra_forbidden":
        return _unknown(location, written, root)
    if kind == "missing":
        return "is required"
    value = _shown(location, written, root)
    if kind in _SHAPES:
        return f"{value} is not {_SHAPES[kind]}" if value else f"must be {_SHAPES[kind]}"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"{value} {words} {_with_unit(location, context[key], root)}"
    if kind in {"literal_error", "enum"}:
        possible = re.findall(r"'([^']*)'", str(context["expected"]))
        guess = nearest(str(written), possible)
        hint = f"; did you mean {guess}?" if guess else ""
        return f"{value} is not one of {', '.join(possible)}{hint}"
    if kind == "union_tag_not_found":
        return f"needs {context['discriminator']}, which says what it is"
    if kind == "union_tag_invalid":
        possible = re.findall(r"'([^']*)'", str(context["expected_tags"]))
        guess = nearest(str(context["tag"]), possible)
        hint = f"; did you mean {guess}?" if guess else ""
        return f"type {context['tag']!r} is not one of {', '.join(possible)}{hint}"
    text = str(error["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        if isinstance(error["input"], str) and text.startswith(repr(error["input"])):
            return hide_userinfo(text)
        return hide_userinfo(text) if not value else f"{value}: {hide_userinfo(text)}"
    text = text[:1].lower() + text[1:]
    return f"{value}: {text}" if value else text


def _unknown(location: Location, value: Any, root: type[BaseModel]) -> str:
    name = str(location[-1])
    model = model_at(location[:-1], root)
    siblings = fields_of(model) if model else {}
    guess = nearest(name, siblings)
    secret = may_be_secret(location, root) and not isinstance(value, dict | list)
    shown = MASK if secret else _cut(value)
    said = f"no such setting (value {shown})" if shown else "no such setting"
    elsewhere = [s.path for s in settings(root) if s.path.rpartition(".")[2] == name]
    guesses = ([guess] if guess else []) + elsewhere[:3]
    if guesses:
        return f"{said}; did you mean {' or '.join(guesses)}?"
    return f"{said}; known here: {', '.join(siblings)}" if siblings else said


def _shown(location: Location, value: Any, root: type[BaseModel]) -> str:
    field, section = find(location, root), model_at(location, root)
    if field is not None and is_secret(field):
        return MASK
    # What was meant for a secret inside may stand where its section should.
    if section is not None and any("secret" in s.kind for s in settings(section)):
        return "" if isinstance(value, dict | list) else MASK
    return _cut(value)


def _cut(value: Any) -> str:
    if isinstance(value, dict | list):  # may hold secrets of its own
        return ""
    text = "empty" if value is None else hide_userinfo(repr(value))
    return text if len(text) <= _VALUE_CHARACTERS_MAX else f"{text[:_VALUE_CHARACTERS_MAX]}…"


def _with_unit(location: Location, number: float, root: type[BaseModel]) -> str:
    field = find(location, root)
    unit = None if field is None else unit_of(field)
    if unit == "duration":
        return format_duration(number)
    return format_size(int(number)) if unit == "size" else f"{number:g}"

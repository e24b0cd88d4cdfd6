"""Templates of alerts: text with ``{{ FIELD }}`` or ``{{ FIELD | FORMAT }}`` in it.

There is nothing to compute in them: a template that loads can be filled in for every alert.
Fields of a series (``labels.KEY`` is any attribute of it) are the same from window to window;
those of its value are not, and cannot stand in a label, which says which alert it is.

========= =============================== ================
format    of                              0.0123 becomes
========= =============================== ================
(none)    anything                        0.0123
percent   a share                         1.23%
duration  seconds                         12.3ms
si        a quantity                      12.3m
bytes     bytes                           0.0123B
.2f       a number, so many decimals      0.01
========= =============================== ================
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

__all__ = [
    "FORMATS", "SERIES_FIELDS", "VALUE_FIELDS", "LabelTemplate", "Part", "Template", "parse",
]  # fmt: skip

SERIES_FIELDS = ("rule", "severity", "service", "tenant", "metric", "window", "length", "statistic")
"""What does not change while an alert lasts; beside ``labels.KEY``."""
VALUE_FIELDS = ("value", "low", "high", "threshold", "score", "detector", "series")
"""What does: the value, the expected range or the threshold, and what detection says."""
FORMATS = ("percent", "duration", "si", "bytes", ".Nf")
"""How numbers can be written; N is 0 to 9."""

_FIELD = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_LABEL = "labels."
_DECIMALS = re.compile(r"\.[0-9]f")


class Part(NamedTuple):
    """A piece of a template."""

    text: str = ""
    """As it is; empty for a field."""
    field: str = ""
    """Name of a field; empty for a text."""
    form: str = ""
    """How to write it."""


def parse(text: str, fields: tuple[str, ...] = (*SERIES_FIELDS, *VALUE_FIELDS)) -> tuple[Part, ...]:
    """The pieces of a template. Raises ValueError that names the nearest field or format."""
    parts: list[Part] = []
    at = 0
    for match in _FIELD.finditer(text):
        parts += _plain(text[at : match.start()])
        name, bar, form = (word.strip() for word in match[1].partition("|"))
        parts.append(Part(field=_field(name, fields), form=_form(form) if bar else ""))
        at = match.end()
    parts += _plain(text[at:])
    return tuple(parts)


def _plain(text: str) -> list[Part]:
    for sign, other in (("{{", "}}"), ("}}", "{{")):
        if sign in text:
            raise ValueError(f"{sign} without {other}")
    return [Part(text=text)] if text else []


def _field(name: str, fields: tuple[str, ...]) -> str:
    if name in fields or (name.startswith(_LABEL) and len(name) > len(_LABEL)):
        return name
    if name in VALUE_FIELDS:
        raise ValueError(
            f"{{{{ {name} }}}} changes from window to window: each time it would be another alert; "
            "put it into an annotation"
        )
    possible = (*fields, "labels.KEY")
    return _refuse(name, possible)


def _form(form: str) -> str:
    if form in FORMATS[:-1] or _DECIMALS.fullmatch(form):
        return form
    return _refuse(form, FORMATS)


def _refuse(word: str, possible: tuple[str, ...]) -> str:
    guess = difflib.get_close_matches(word.lower(), possible, n=1)
    hint = f"; did you mean {guess[0]}?" if guess else ""
    raise ValueError(f"{{{{ {word} }}}}: {word!r} is not one of {', '.join(possible)}{hint}")


def _of_alert(text: str) -> str:
    parse(text)
    return text


def _of_label(text: str) -> str:
    parse(text, SERIES_FIELDS)
    return text


Template = Annotated[str, AfterValidator(_of_alert)]
"""A text with fields."""
LabelTemplate = Annotated[str, AfterValidator(_of_label)]
"""A text with fields of the series alone."""

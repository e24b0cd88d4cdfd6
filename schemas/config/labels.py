"""Matchers on labels, as Alertmanager writes them: ``service="checkout"``, ``severity=~"a|b"``.

Source: Alertmanager configuration, section Label matchers. A label that is not there is empty; a
regular expression (RE2 syntax) must match all of a value.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple, cast

from pydantic import AfterValidator, Field

from .matching import compile_regex

__all__ = ["LabelMatcher", "Operator", "WrittenMatcher", "parse_matcher"]

Operator = Literal["=", "!=", "=~", "!~"]

MATCHER_MAX_CHARS = 2000
"""Of a matcher as it is written."""
_MATCHER = re.compile(r"\s*([^\s\"'=!~{},]+)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}


class LabelMatcher(NamedTuple):
    """One condition on one label."""

    name: str
    op: Operator
    value: str

    def __str__(self) -> str:
        quoted = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.op}"{quoted}"'


def parse_matcher(text: str) -> LabelMatcher:
    """A matcher from its text; quotes around the value may be left away. Raises ValueError."""
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise ValueError(
            f'{text!r} is no matcher: a label, then =, !=, =~ or !~, then a value: service="cart"'
        )
    name, op, value = found.groups()
    if value.startswith('"'):
        quoted = _QUOTED.fullmatch(value)
        if quoted is None:
            raise ValueError(f"{text!r}: the quotes around the value do not fit together")
        value = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), quoted[1], flags=re.DOTALL)
    if "~" in op:
        compile_regex(value)
    return LabelMatcher(name, cast("Operator", op), value)


def _readable(text: str) -> str:
    return str(parse_matcher(text))


WrittenMatcher = Annotated[
    str, Field(min_length=1, max_length=MATCHER_MAX_CHARS), AfterValidator(_readable)
]
"""The text of a matcher, that is one."""

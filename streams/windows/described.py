"""What ``windows.partials`` says of a group."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from schemas.records import MalformedRecord
from streams.wire import hash64

from .naming import KINDS

__all__ = ["Described", "describe", "identity_of"]


_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


class Described(NamedTuple):
    """A group's descriptor."""

    tenant: str
    service: str
    metric: str
    unit: str
    kind: str
    attributes: dict[str, str | bool | int | float]


def describe(text: bytes) -> Described:
    """From JSON. Raises MalformedRecord."""
    try:
        said = json.loads(text)
        found = Described(*[said.get(name, "") for name in Described._fields])
    except (ValueError, AttributeError, RecursionError):
        raise MalformedRecord("group whose descriptor is no JSON object") from None
    if not found.attributes:
        found = found._replace(attributes={})
    if not isinstance(found.attributes, dict) or not all(map(_is_text, found[:5])):
        raise MalformedRecord("group whose descriptor has values of other types")
    for value in found.attributes.values():
        if not isinstance(value, str | float) and not (
            isinstance(value, int) and _INT_MIN <= value <= _INT_MAX
        ):
            raise MalformedRecord("group with an attribute that is no scalar")
    if found.kind not in KINDS:
        raise MalformedRecord(f"group of kind {found.kind[:40]!r}")
    return found


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def identity_of(rule: str, said: Described) -> int:
    """Hash of what a series is, whatever its kind and unit."""
    parts = [rule, said.tenant, said.service, said.metric, said.attributes]
    return hash64(json.dumps(parts, separators=(",", ":")).encode())

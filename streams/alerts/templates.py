"""Templates filled in; ``schemas.config.templates`` describes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

from schemas.config.templates import parse
from schemas.config.units import format_duration

__all__ = ["render", "write"]

_LABEL = "labels."
_SI = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0), ("m", 1e-3), ("µ", 1e-6))
_BYTES = (("TiB", 2.0**40), ("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10))
_SECONDS = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
_MINUTE_S = 60.0


def render(text: str, fields: Mapping[str, str | float], labels: Mapping[str, str]) -> str:
    """The text with its fields; one that has no value in this alert, and a NaN, is nothing."""
    return "".join(
        part.text if not part.field else write(_value(part.field, fields, labels), part.form)
        for part in _parsed(text)
    )


_parsed = lru_cache(maxsize=10_000)(parse)


def _value(name: str, fields: Mapping[str, str | float], labels: Mapping[str, str]) -> str | float:
    if name.startswith(_LABEL):
        return labels.get(name.removeprefix(_LABEL), "")
    return fields.get(name, "")


def write(value: str | float, form: str = "") -> str:
    """A value as a format of templates says; texts are as they are."""
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "" if math.isnan(value) else str(value)
    if form == "percent":
        return f"{value * 100:.3g}%"
    if form == "duration":
        return _duration(value)
    if form == "si":
        return _scaled(value, _SI)
    if form == "bytes":
        return _scaled(value, (*_BYTES, ("B", 1.0)))
    if form:
        return format(value, form)
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.6g}"


def _duration(value: float) -> str:
    if abs(value) >= _MINUTE_S:
        return ("-" if value < 0 else "") + format_duration(round(abs(value)))
    return _scaled(value, _SECONDS) if value else "0s"


def _scaled(value: float, units: tuple[tuple[str, float], ...]) -> str:
    for unit, size in units:
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    unit, size = units[-1] if value else min(units, key=lambda each: abs(each[1] - 1.0))
    return f"{value / size:.4g}{unit}"

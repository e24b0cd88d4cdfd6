"""Durations and sizes as people write them: ``20ms``, ``1m30s``, ``64MiB``."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

__all__ = ["Duration", "Size", "format_duration", "format_size", "parse_duration", "parse_size"]

_DURATION_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS_BYTES = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9,
    "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")


def parse_duration(value: Any) -> float:
    """Seconds from ``20ms``, ``1m30s`` or a plain number of seconds."""
    if isinstance(value, bool):
        raise ValueError("a duration is a number with a unit, such as 20ms or 1m30s")
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip()
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("a duration is a number with a unit, such as 20ms or 1m30s")
    return sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in parts)


def parse_size(value: Any) -> int:
    """Bytes from ``64MiB``, ``1MB`` or a plain number of bytes."""
    if isinstance(value, bool):
        raise ValueError("a size is a number with a unit, such as 64MiB")
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(str(value).strip())
    if match is None or match[2].lower() not in _SIZE_UNITS_BYTES:
        raise ValueError("a size is a number with a unit, such as 64MiB")
    return int(float(match[1]) * _SIZE_UNITS_BYTES[match[2].lower()])


def format_duration(seconds: float) -> str:
    """The shortest spelling that :func:`parse_duration` reads back."""
    for unit in ("d", "h", "m", "s", "ms"):
        factor = _DURATION_UNITS_S[unit]
        if seconds >= factor and abs(seconds / factor - round(seconds / factor)) < 1e-9:
            return f"{round(seconds / factor)}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def format_size(size_bytes: int) -> str:
    """The shortest spelling that :func:`parse_size` reads back."""
    for unit in ("GiB", "MiB", "KiB"):
        factor = _SIZE_UNITS_BYTES[unit.lower()]
        if size_bytes >= factor and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return str(size_bytes)


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "title": "duration", "examples": ["20ms", "1m30s"]}),
]
"""Seconds."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": "string", "title": "size", "examples": ["64MiB"]}),
]
"""Bytes."""

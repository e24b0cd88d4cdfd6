"""Scalars of OTLP/JSON: what a field's JSON value may be, and how it is written.

Source: protobuf's JSON mapping, and its deviations in the OTLP specification, section JSON
Protobuf Encoding.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

__all__ = ["Convert", "Wrong", "converters", "shown"]

Convert = Callable[[Any], Any]

_ID_BYTES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
_DECIMAL = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_F = FieldDescriptor
_WIDE = {_F.TYPE_INT64, _F.TYPE_UINT64, _F.TYPE_SINT64, _F.TYPE_FIXED64, _F.TYPE_SFIXED64}
_NARROW = {_F.TYPE_INT32, _F.TYPE_UINT32, _F.TYPE_SINT32, _F.TYPE_FIXED32, _F.TYPE_SFIXED32}
_REAL = {_F.TYPE_DOUBLE, _F.TYPE_FLOAT}


class Wrong(Exception):
    """A value that its field cannot have; ``path`` is collected from the inside out."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.path: list[str] = []


def converters(field: FieldDescriptor) -> tuple[Convert, Convert | None]:
    """What reads the JSON value of a scalar, and what writes it (None: as it is)."""
    kind = field.type
    if kind == _F.TYPE_BYTES and field.name in _ID_BYTES:
        return _id_reader(_ID_BYTES[field.name]), bytes.hex
    if kind == _F.TYPE_BYTES:
        return _read_bytes, _write_bytes
    if kind == _F.TYPE_ENUM:
        return _read_enum, None
    if kind in _REAL:
        return _read_real, _write_real
    if kind in _WIDE:
        return _read_integer, str
    if kind in _NARROW:
        return _read_integer, None
    return (_read_bool if kind == _F.TYPE_BOOL else _read_string), None


def _id_reader(size_bytes: int) -> Convert:
    digits = 2 * size_bytes

    def read(value: Any) -> bytes:
        if type(value) is not str:
            raise Wrong(f"a hex string is wanted, not {shown(value)}")
        if value and len(value) != digits:
            raise Wrong(f"{digits} hex digits are wanted, not {len(value)}")
        try:
            return binascii.unhexlify(value)
        except ValueError:
            raise Wrong(f"a hex string is wanted, not {shown(value)}") from None

    return read


def _read_string(value: Any) -> str:
    if type(value) is not str:
        raise Wrong(f"a string is wanted, not {shown(value)}")
    return value


def _read_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise Wrong(f"true or false is wanted, not {shown(value)}")
    return value


def _read_enum(value: Any) -> int:
    if type(value) is not int:
        raise Wrong(f"OTLP/JSON has integers for enums, not {shown(value)}")
    return value


def _read_integer(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is str and _DECIMAL.fullmatch(value):
        return int(value)
    if type(value) is float and value.is_integer():
        return int(value)
    raise Wrong(f"an integer is wanted, not {shown(value)}")


def _read_real(value: Any) -> float:
    if type(value) is float:
        if math.isinf(value):
            raise Wrong("the number is beyond a double's range")
        return value
    try:
        if type(value) is int:
            return float(value)
        if type(value) is str:
            if _NUMBER.fullmatch(value):
                return _read_real(float(value))
            return _NOT_FINITE[value]
    except (KeyError, OverflowError):
        pass
    raise Wrong(f"a number is wanted, not {shown(value)}")


def _write_real(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _read_bytes(value: Any) -> bytes:
    """Base64, the standard or the URL alphabet, with or without padding, as protobuf says."""
    if type(value) is not str:
        raise Wrong(f"a base64 string is wanted, not {shown(value)}")
    text = value.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise Wrong(f"a base64 string is wanted, not {shown(value)}") from None


def _write_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


def shown(value: Any) -> str:
    """A value as an error message shows it: its kind, or its beginning."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."

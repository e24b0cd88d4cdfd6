"""The parts of a request that never change, as protobuf bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from streams.windows.naming import Output

__all__ = ["SCOPE", "attributes", "field", "metric_head", "pair", "resource", "scope"]

SCOPE = "otlp-streams.windows"
Scalar = str | bool | int | float


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def field(tag: int, body: bytes) -> bytes:
    """Tag, length and body."""
    return bytes((tag,)) + _varint(len(body)) + body


def _any_value(value: Scalar) -> bytes:
    """AnyValue; integers are of 64 bits."""
    if isinstance(value, str):
        return field(0x0A, value.encode("utf-8", "replace"))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + _varint(value & (1 << 64) - 1)
    return b"\x21" + struct.pack("<d", value)


def pair(key: str, value: Scalar) -> bytes:
    """A KeyValue."""
    name = field(0x0A, key.encode("utf-8", "replace")) if key else b""
    return name + field(0x12, _any_value(value))


def attributes(values: Mapping[str, Scalar]) -> bytes:
    """KeyValues, each with its length before it and no tag: that depends on where they go."""
    pairs = (pair(key, value) for key, value in values.items())
    return b"".join(_varint(len(each)) + each for each in pairs)


def resource(service: str | None) -> bytes:
    """Field `resource` of ResourceMetrics; nothing where the service is not known."""
    if not service:
        return b""
    return field(0x0A, field(0x0A, pair("service.name", service)))


def scope(rule: str, length_ms: int) -> bytes:
    """Field `scope` of ScopeMetrics."""
    body = field(0x0A, SCOPE.encode())
    for key, value in (("window.rule", rule), ("window.length_ms", length_ms)):
        body += field(0x1A, pair(key, value))
    return field(0x0A, body)


def metric_head(output: Output) -> bytes:
    """Name and unit of a Metric."""
    name = field(0x0A, output.name.encode("utf-8", "replace"))
    return name + (field(0x1A, output.unit.encode("utf-8", "replace")) if output.unit else b"")

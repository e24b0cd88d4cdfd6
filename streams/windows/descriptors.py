"""Descriptors of groups: what a person and an exporter read, made once and remembered."""

from __future__ import annotations

import json
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.config.windows import (
    SEVERITIES,
    SPAN_KINDS,
    STATUS_CODES,
    attribute_name,
)
from streams import wire
from streams.windows.gathering import KINDS
from streams.windows.grouping import Grouping
from streams.wire import SERVICE_NAME, ValueKind, Values

__all__ = ["Described", "Descriptors", "Message"]

_TEXT_MAX = 1000
"""Longest text in a descriptor, in bytes of UTF-8."""
_INT_MAX = 2.0**53
_AFTER_OWNER = b',"metric":'
"""No text has it in JSON: a quotation mark in one is escaped."""


class Described(NamedTuple):
    """A group as others read it."""

    text: bytes
    """Its descriptor."""
    owner: int
    """Hash of tenant and service, with which the descriptor begins."""


class Descriptors:
    """JSON descriptors by the hash of the group.

    Args:
        grouping: the rules.
        most: how many are remembered; beyond it those made first are forgotten.
    """

    def __init__(self, grouping: Grouping, most: int) -> None:
        self._grouping = grouping
        self._most = most
        self._known: dict[int, Described] = {}
        self.cut = 0
        """Values that were too long."""

    def get(self, group: int) -> Described | None:
        """That of a group, if it is remembered."""
        return self._known.get(group)

    def make(
        self, group: int, rule: int, kind: int, item: int, tenant: bytes, message: Message
    ) -> Described:
        """Make that of a group that ``item`` of the message belongs to."""
        attributes: dict[str, str | bool | int | float] = {}
        start = int(self._grouping.stops[rule - 1]) if rule else 0
        codes = self._grouping.codes[start : int(self._grouping.stops[rule])].tolist()
        for key, code in zip(self._grouping.rules[rule].by, codes, strict=True):
            value = message.field(key, item) if code < 0 else message.attribute(code, item)
            if value is not None:
                attributes[attribute_name(key)] = (
                    self._short(value) if isinstance(value, str) else value
                )
        described = {
            "tenant": self._short(tenant.decode(errors="replace")),
            "service": self._short(message.service(item)),
            "metric": self._short(message.metric(item)),
            "unit": self._short(message.unit(item)),
            "kind": KINDS[kind],
            "attributes": dict(sorted(attributes.items())),
        }
        text = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
        if len(self._known) >= self._most:
            for old in list(self._known)[: self._most // 2 + 1]:
                del self._known[old]
        made = Described(text, wire.hash64(text[: text.index(_AFTER_OWNER)]))
        self._known[group] = made
        return made

    def _short(self, value: str) -> str:
        encoded = value.encode()
        if len(encoded) <= _TEXT_MAX:
            return value
        self.cut += 1
        return f"{encoded[:_TEXT_MAX].decode(errors='ignore')}…{wire.hash64(encoded):016x}"


class Message:
    """A message whose items are described; attributes are read when first asked for."""

    def __init__(self, data: bytes, scan: wire.Scan, values: Values | None) -> None:
        self._data = data
        self._scan = scan
        self._values = values
        self._services: Values | None = None
        self._units: NDArray[np.int32] | None = None

    def service(self, item: int) -> str:
        """Its service.name; '' if it has none."""
        if self._services is None:
            self._services = wire.lookup(self._data, self._scan, [SERVICE_NAME])
        return self._services.text(self._data, 0, item)

    def metric(self, item: int) -> str:
        """Name of its metric; '' for what is no data point."""
        scan = self._scan
        return scan.item_name(self._data, item) if isinstance(scan, wire.PointScan) else ""

    def unit(self, item: int) -> str:
        """Unit of its metric."""
        if not isinstance(self._scan, wire.PointScan):
            return ""
        if self._units is None:
            self._units = wire.metric_units(self._data, self._scan)
        start, stop = self._units[int(self._scan.metric[item])].tolist()
        return self._data[start:stop].decode()

    def field(self, key: str, item: int) -> str:
        """A field of the item that is no attribute."""
        scan = self._scan
        if key == "span.name":
            assert isinstance(scan, wire.SpanScan)  # noqa: S101 - for the type checker
            return scan.span_name(self._data, item)
        if key == "severity":
            number = int(scan.column("severity")[item])
            return SEVERITIES[(number + 3) // 4 if 0 < number <= 24 else 0]
        column, names = ("kind", SPAN_KINDS) if key == "span.kind" else ("status", STATUS_CODES)
        number = int(scan.column(column)[item])
        return names[number if 0 <= number < len(names) else 0]

    def attribute(self, row: int, item: int) -> str | bool | int | float | None:
        """A value that was looked up; None if it is absent or no scalar."""
        assert self._values is not None  # noqa: S101 - its attribute was looked up
        kind = int(self._values.kind[row, item])
        number = float(self._values.number[row, item])
        if kind == ValueKind.STRING:
            return self._values.text(self._data, row, item)
        if kind == ValueKind.BOOL:
            return number != 0.0
        if kind == ValueKind.INT:
            return int(number) if abs(number) < _INT_MAX else number
        if kind == ValueKind.DOUBLE:
            return number if math.isfinite(number) else str(number)
        return None

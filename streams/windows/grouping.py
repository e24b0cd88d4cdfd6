"""Which groups of which rules an item belongs to: rules as the kernels take them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.config.windows import SEVERITIES, SPAN_KINDS, STATUS_CODES, WindowRule
from schemas.signals import Signal
from streams import wire
from streams.windows.gathering import KIND, NAME, SEVERITY, STATUS
from streams.wire import Attribute, ValueKind, Values

__all__ = ["RULE_SIGNALS", "Grouping", "exact"]

RULE_SIGNALS = {Signal.TRACES: "spans", Signal.LOGS: "logs", Signal.METRICS: "metrics"}
"""``WindowRule.signal`` of a topic's signal."""
_ITEMS = {Signal.TRACES: "span", Signal.LOGS: "record", Signal.METRICS: "point"}
_CODES = {"span.name": NAME, "span.kind": KIND, "status.code": STATUS, "severity": SEVERITY}
_NAMES = {"span.kind": SPAN_KINDS, "status.code": STATUS_CODES, "severity": SEVERITIES}
_FIELD_SIGNALS = {
    "span.name": Signal.TRACES, "span.kind": Signal.TRACES, "status.code": Signal.TRACES,
    "severity": Signal.LOGS,
}  # fmt: skip
_EXACT = 2.0**53
"""Integers up to here are exact as a double."""
_ROUNDED = np.uint64(0xC2B2AE3D27D4EB4F)
_PATTERNS_MAX = 10_000
_ALL = np.zeros(0, np.uint64)


class _Condition(NamedTuple):
    """One key of a rule's ``match``."""

    code: int
    """Below 0: a field of the item, else the row of the attribute."""
    numbers: tuple[float, ...]
    """Of fields of the item: their numbers. Of attributes: ints and doubles."""
    bools: tuple[bool, ...]
    hashes: NDArray[np.uint64]
    """Of texts."""


class Grouping:
    """The rules of one signal.

    Args:
        rules: all of them; those of other signals are passed over.
        signal: of the topic.
    """

    def __init__(self, rules: Sequence[WindowRule], signal: Signal) -> None:
        self.signal = signal
        self.rules = tuple(rule for rule in rules if rule.signal == RULE_SIGNALS[signal])
        self.attributes: list[Attribute] = []
        """To be looked up for every item; columns in this order."""
        codes = [[self._code(key) for key in rule.by] for rule in self.rules]
        self.codes = np.array([code for rule in codes for code in rule], np.int64)
        """Fields of all rules one after the other; below 0: of the item, else an attribute."""
        self.stops = np.cumsum([len(rule) for rule in codes], dtype=np.int64)
        """Where each rule's stop."""
        self._matches = [
            [self._condition(key, values) for key, values in (rule.match or {}).items()]
            for rule in self.rules
        ]
        self._names = [
            re.compile(".*".join(map(re.escape, (rule.metric or "*").split("*"))), re.DOTALL)
            for rule in self.rules
        ]
        self._wanted: dict[int, int] = {}

    def seeds(self, tenant: bytes) -> NDArray[np.uint64]:
        """Each rule's hash for a tenant, which a group's hash begins with."""
        return np.array(
            [wire.hash64(f"{r.name}\0{r.digest}\0".encode() + tenant) for r in self.rules],
            np.uint64,
        )

    def values(self, data: bytes, scan: wire.Scan) -> Values | None:
        """The attributes of every item; None if no rule asks for any."""
        return wire.lookup(data, scan, self.attributes) if self.attributes else None

    def held(self, data: bytes, scan: wire.Scan, values: Values | None) -> NDArray[np.uint64]:
        """Rules whose ``match`` holds for each item, as bits; empty: no rule has one."""
        if not any(self._matches):
            return _ALL
        result = np.zeros(scan.items, np.uint64)
        for r, conditions in enumerate(self._matches):
            true = np.ones(scan.items, np.bool_)
            for condition in conditions:
                true &= _holds(condition, scan, values)
            result |= true.astype(np.uint64) << np.uint64(r)
        return result

    def wanted(self, data: bytes, scan: wire.PointScan) -> NDArray[np.uint64]:
        """Rules that take each metric by its name, as bits."""
        known = self._wanted
        first = scan.level_first
        hashes = scan.hashes[first[3] : first[4]].tolist()
        if len(known) > _PATTERNS_MAX:
            known.clear()
        for metric, hashed in enumerate(hashes):
            if hashed not in known:
                name = scan.metric_name(data, metric)
                known[hashed] = sum(
                    1 << r for r, names in enumerate(self._names) if names.fullmatch(name)
                )
        return np.array([known[hashed] for hashed in hashes], np.uint64)

    def _code(self, key: str) -> int:
        if _FIELD_SIGNALS.get(key) == self.signal:
            return _CODES[key]
        where, _, rest = key.partition(".")
        attribute = (
            Attribute(where, rest)  # type: ignore[arg-type]
            if where in ("resource", "scope") and rest
            else Attribute(_ITEMS[self.signal], key)  # type: ignore[arg-type]
        )
        if attribute not in self.attributes:
            self.attributes.append(attribute)
        return self.attributes.index(attribute)

    def _condition(self, key: str, values: tuple[object, ...]) -> _Condition:
        code = self._code(key)
        texts = [value for value in values if isinstance(value, str)]
        hashes = np.array([wire.hash64(text.encode()) for text in texts], np.uint64)
        if code < 0 and code != NAME:
            numbers = tuple(float(_NAMES[key].index(text)) for text in texts)
            return _Condition(code, numbers, (), hashes[:0])
        return _Condition(
            code,
            tuple(
                float(value)
                for value in values
                if isinstance(value, int | float) and not isinstance(value, bool)
            ),
            tuple(value for value in values if isinstance(value, bool)),
            hashes,
        )


def exact(values: Values | None) -> tuple[NDArray[np.uint64], int]:
    """Hashes of attributes to group by, and how many values are no scalars: these are as if absent.

    Integers that are no exact double are hashed as the double that is said of them.
    """
    if values is None:
        return np.zeros((0, 0), np.uint64), 0
    hashes = values.hash
    others = values.kind == ValueKind.OTHER
    count = int(np.count_nonzero(others))
    rounded = (values.kind == ValueKind.INT) & (np.abs(values.number) >= _EXACT)
    if count or rounded.any():
        bits = values.number.view(np.uint64) ^ _ROUNDED
        hashes = np.where(others, np.uint64(0), np.where(rounded, bits, hashes))
    return hashes, count


def _holds(condition: _Condition, scan: wire.Scan, values: Values | None) -> NDArray[np.bool_]:
    if condition.code < 0:
        if condition.code == NAME:
            return np.isin(scan.column("name_hash"), condition.hashes)
        return np.isin(_numbers(condition.code, scan), condition.numbers)
    assert values is not None  # noqa: S101 - its attribute was looked up
    kind, number = values.kind[condition.code], values.number[condition.code]
    numeric = (kind == ValueKind.INT) | (kind == ValueKind.DOUBLE)
    texts = (kind == ValueKind.STRING) & np.isin(values.hash[condition.code], condition.hashes)
    bools = (kind == ValueKind.BOOL) & np.isin(number, [float(b) for b in condition.bools])
    held: NDArray[np.bool_] = texts | bools | (numeric & np.isin(number, condition.numbers))
    return held


def _numbers(code: int, scan: wire.Scan) -> NDArray[np.int64]:
    """Of each item: the place in the list of names of a field."""
    if code == SEVERITY:
        number = scan.column("severity").astype(np.int64)
        return np.where((number > 0) & (number <= 24), (number + 3) // 4, 0)
    number = scan.column("kind" if code == KIND else "status").astype(np.int64)
    names = SPAN_KINDS if code == KIND else STATUS_CODES
    return np.where((number >= 0) & (number < len(names)), number, 0)

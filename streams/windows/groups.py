"""Groups: what is aggregated, found by its hash, with what of it never changes as bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.config.windows import WindowRule
from schemas.records import MalformedRecord
from streams.wire import hash64

from .encoding import attributes, metric_head, resource
from .index import HashIndex
from .merging import GROUP, gather_texts
from .naming import KINDS, outputs
from .writing import METRIC, TEXT

__all__ = ["IGNORED", "OVERFLOW", "Descriptor", "Groups", "describe", "identity_of"]

IGNORED = -1
"""In place of a row."""
OVERFLOW = {"otel.metric.overflow": True}
"""Attributes of the group that holds what is beyond the limit (metrics SDK specification)."""
OVERFLOW_GROUPS_MAX = 1000
"""A rule has no more of these; there is one for each tenant and metric."""
_REMEMBERED_MAX = 100_000
_ROWS_MIN = 64


class Descriptor(NamedTuple):
    """What ``windows.partials`` says of a group."""

    tenant: str
    service: str
    metric: str
    unit: str
    kind: str
    attributes: dict[str, Any]


def describe(text: bytes) -> Descriptor:
    """From JSON. Raises MalformedRecord."""
    try:
        said = json.loads(text)
        found = Descriptor(*(said.get(name, "") for name in Descriptor._fields))
    except (ValueError, AttributeError, RecursionError):
        raise MalformedRecord("group whose descriptor is no JSON object") from None
    found = found._replace(attributes=found.attributes or {})
    if not all(isinstance(each, str) for each in found[:5]) or not isinstance(
        found.attributes, dict
    ):
        raise MalformedRecord("group whose descriptor has values of other types")
    if found.kind not in KINDS:
        raise MalformedRecord(f"group of kind {found.kind[:40]!r}")
    return found


def identity_of(rule: str, said: Descriptor) -> int:
    """Hash of what a series is, whatever its kind and unit."""
    parts = [rule, said.tenant, said.service, said.metric, said.attributes]
    return hash64(json.dumps(parts, separators=(",", ":")).encode())


class Groups:
    """All groups of a partition, one row each.

    Args:
        rules: groups refer to them by their place.
        limit: groups of a rule; what comes beyond is merged into one with ``OVERFLOW``.
    """

    def __init__(self, rules: Sequence[WindowRule], limit: int) -> None:
        self.rules = tuple(rules)
        self._limit = limit
        self.overflowed = np.zeros(len(rules), np.int64)
        """Groups of each rule that found no room, each time."""
        self.changed = np.zeros(len(rules), np.int64)
        """Series of each rule that came with another kind or unit."""
        self.width = max(len(rule.lengths_ms) for rule in rules)
        self.reset()

    def reset(self) -> None:
        """As new."""
        self.index = HashIndex()
        self.table = np.zeros(_ROWS_MIN, GROUP)
        self.heads = np.full((_ROWS_MIN, self.width), -1, np.int32)
        self.texts = np.zeros(4096, np.uint8)
        self.texts_top = 0
        self.tenants: dict[str, int] = {}
        self.services: dict[str, int] = {}
        self.service_texts = np.zeros(16, TEXT)
        self.shapes: dict[tuple[int, str, str, str], int] = {}
        self.shape_stops = np.zeros(17, np.int32)
        self.metrics = np.zeros(16, METRIC)
        self.in_rule = [0] * len(self.rules)
        """Groups of each rule, those for overflow not among them."""
        self._overflowing = [0] * len(self.rules)
        self._remembered: dict[int, int] = {}
        self._identities = HashIndex()

    def __len__(self) -> int:
        return self.index.count

    @property
    def rows(self) -> NDArray[Any]:
        """The rows in use."""
        return self.table[: self.index.count]

    def place(
        self, rules: NDArray[np.int64], hashes: NDArray[np.uint64], text: Callable[[int], bytes]
    ) -> NDArray[np.int32]:
        """Row of each group, made where there is none.

        IGNORED where the rule is -1, or where not even the groups for overflow have room.
        ``text(i)``: descriptor of the i-th. Raises MalformedRecord, and has done nothing then.
        """
        found = self.index.find(hashes)
        found[rules < 0] = IGNORED
        missing = np.flatnonzero((found < 0) & (rules >= 0)).tolist()
        if not missing:
            return found
        new = []
        for i in missing:
            key = int(hashes[i])
            row = self._remembered.get(key)
            if row is not None:
                found[i] = row
                self.overflowed[rules[i]] += 1
            else:
                new.append((i, int(rules[i]), key, describe(text(i))))
        for i, rule, key, said in new:
            found[i] = self._new(rule, key, said)
        return found

    def _new(self, rule: int, key: int, said: Descriptor) -> int:
        known = int(self.index.find(np.array([key], np.uint64))[0])
        if known >= 0:
            return known  # twice in one record
        if self.in_rule[rule] < self._limit:
            self.in_rule[rule] += 1
            return self.add(rule, key, said)
        self.overflowed[rule] += 1
        row = self._overflow(rule, said)
        if len(self._remembered) >= _REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[key] = row
        return row

    def _overflow(self, rule: int, said: Descriptor) -> int:
        parts = [self.rules[rule].name, said.tenant, said.metric, said.unit, said.kind]
        key = hash64(json.dumps(["overflow", *parts]).encode())
        row = int(self.index.find(np.array([key], np.uint64))[0])
        if row >= 0:
            return row
        if self._overflowing[rule] >= OVERFLOW_GROUPS_MAX:
            return IGNORED
        self._overflowing[rule] += 1
        row = self.add(rule, key, said._replace(service="", attributes=OVERFLOW))
        self.table[row]["overflow"] = 1
        return row

    def add(self, rule: int, key: int, said: Descriptor) -> int:
        """A new group's row, whatever the limit says."""
        row = self.index.count
        if row >= len(self.table):
            size = max(2 * row, _ROWS_MIN) if row < 1 << 14 else row * 5 // 4
            self.table = np.resize(self.table, size)
            heads = np.full((size, self.width), -1, np.int32)
            heads[:row] = self.heads[:row]
            self.heads = heads
        self.index.add(np.array([key], np.uint64))
        encoded = attributes(said.attributes)
        group = self.table[row]
        tenant, service = self._tenant(said.tenant), self._service(said.service)
        shape = self._shape(rule, said.kind, said.metric, said.unit)
        identity = 0
        if self.rules[rule].signal == "metrics":
            identity = identity_of(self.rules[rule].name, said)
            self._note_identity(rule, identity)
        group["key"], group["identity"] = key, identity
        group["order"] = _order(said, self.rules[rule].name)
        group["last_ms"] = -(1 << 62)
        group["attributes_at"], group["attributes_size"] = self._text(encoded), len(encoded)
        group["tenant"], group["service"], group["shape"] = tenant, service, shape
        group["rule"], group["cumulative"] = rule, -1
        group["overflow"], group["points"], group["kind"] = 0, 0, KINDS.index(said.kind)
        self.heads[row] = -1
        return row

    def _note_identity(self, rule: int, identity: int) -> None:
        key = np.array([identity], np.uint64)
        if self._identities.find(key)[0] >= 0:
            self.changed[rule] += 1
        else:
            self._identities.add(key)

    def _text(self, data: bytes) -> int:
        at = self.texts_top
        stop = at + len(data)
        if stop > len(self.texts):
            self.texts = np.resize(self.texts, max(stop, len(self.texts) * 5 // 4))
        self.texts[at:stop] = np.frombuffer(data, np.uint8)
        self.texts_top = stop
        return at

    def _tenant(self, name: str) -> int:
        return self.tenants.setdefault(name, len(self.tenants))

    def _service(self, name: str) -> int:
        at = self.services.get(name)
        if at is None:
            at = self.services[name] = len(self.services)
            if at >= len(self.service_texts):
                self.service_texts = np.resize(self.service_texts, 2 * at)
            data = resource(name)
            self.service_texts[at]["at"], self.service_texts[at]["size"] = (
                self._text(data), len(data)
            )  # fmt: skip
        return at

    def _shape(self, rule: int, kind: str, metric: str, unit: str) -> int:
        key = (rule, kind, metric, unit)
        at = self.shapes.get(key)
        if at is None:
            at = self.shapes[key] = len(self.shapes)
            if at + 1 >= len(self.shape_stops):
                self.shape_stops = np.resize(self.shape_stops, 2 * at + 1)
            made = outputs(self.rules[rule], kind, metric, unit)
            stop = int(self.shape_stops[at])
            if stop + len(made) > len(self.metrics):
                self.metrics = np.resize(self.metrics, 2 * (stop + len(made)))
            for output in made:
                head = metric_head(output)
                self.metrics[stop] = (
                    self._text(head), len(head), output.what, output.statistic, 0
                )  # fmt: skip
                stop += 1
            self.shape_stops[at + 1] = stop
        return at

    def forget(self, keep: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Keep only some groups; gives the new row of each old one, -1: it is gone.

        Whoever has rows of groups must put the new ones in their place, and make ``heads`` anew.
        """
        mapped = np.full(len(keep), -1, np.int32)
        mapped[keep] = np.arange(int(keep.sum()), dtype=np.int32)
        self.load(self.dump(keep))
        return mapped

    def dump(self, keep: NDArray[np.bool_] | None = None) -> tuple[Any, ...]:
        """Rows, texts of attributes one after the other, and the names that rows refer to."""
        rows = (self.rows if keep is None else self.rows[keep]).copy()
        sizes = rows["attributes_size"].astype(np.int64)
        stops = np.cumsum(sizes)
        texts = np.empty(int(stops[-1]) if len(stops) else 0, np.uint8)
        gather_texts(self.texts, rows["attributes_at"].copy(), sizes, texts)
        rows["attributes_at"] = stops - sizes
        names = []
        for column, interned in (
            ("tenant", self.tenants), ("service", self.services), ("shape", self.shapes)
        ):  # fmt: skip
            used, inverse = np.unique(rows[column], return_inverse=True)
            listed = list(interned)
            names.append([listed[at] for at in used.tolist()])
            rows[column] = inverse
        return rows, texts, names

    def load(self, dumped: tuple[Any, ...]) -> None:
        """Take over what ``dump`` gave."""
        rows, texts, (tenants, services, shapes) = dumped
        self.reset()
        self.texts, self.texts_top = np.resize(texts, max(len(texts), 4096)), len(texts)
        for name in tenants:
            self._tenant(name)
        for name in services:
            self._service(name)
        for rule, kind, metric, unit in shapes:
            self._shape(rule, kind, metric, unit)
        self.table = np.resize(rows, max(len(rows), _ROWS_MIN)) if len(rows) else self.table
        self.heads = np.full((len(self.table), self.width), -1, np.int32)
        self.index = HashIndex(np.ascontiguousarray(rows["key"]))
        counts = np.bincount(rows["rule"][rows["overflow"] == 0], minlength=len(self.rules))
        self.in_rule = counts.tolist()
        counts = np.bincount(rows["rule"][rows["overflow"] == 1], minlength=len(self.rules))
        self._overflowing = counts.tolist()
        identities = np.unique(rows["identity"])
        self._identities = HashIndex(identities[identities != 0])


def _order(said: Descriptor, rule: str) -> int:
    """Groups in this order have tenants, services and metrics together, but for collisions."""
    tenant = hash64(said.tenant.encode("utf-8", "replace")) >> 52
    service = hash64(said.service.encode("utf-8", "replace")) >> 36
    shape = hash64(f"{rule}\0{said.kind}\0{said.metric}\0{said.unit}".encode("utf-8", "replace"))
    return tenant << 52 | service << 24 | shape >> 40

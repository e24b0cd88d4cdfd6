"""Groups: what is aggregated, found by its hash, with what of it never changes as bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.config.windows import WindowRule
from streams.wire import hash64

from .described import Described, describe, identity_of
from .encoding import attributes
from .index import HashIndex, grown
from .merging import GROUP, gather_texts
from .names import Names
from .naming import KINDS

__all__ = ["IGNORED", "OVERFLOW", "Groups"]

IGNORED = -1
"""In place of a row."""
OVERFLOW: dict[str, str | bool | int | float] = {"otel.metric.overflow": True}
"""Attributes of the group that holds what is beyond the limit (metrics SDK specification)."""
PARTITION = "otlp_streams.partition"
"""Attribute beside it: each partition has such a group, and backends need one writer a series."""
OVERFLOW_GROUPS_MAX = 1000
"""A rule has no more of these; there is one for each tenant and metric."""
_REMEMBERED_MAX = 100_000
_ROWS_MIN = 64
_LONG_AGO = -(1 << 62)


class Groups:
    """All groups of a partition, one row each.

    Args:
        rules: groups refer to them by their place.
        limit: groups of a rule; what comes beyond is merged into one with ``OVERFLOW``.
        partition: of ``windows``.
    """

    def __init__(self, rules: Sequence[WindowRule], limit: int, partition: int = 0) -> None:
        self.rules = tuple(rules)
        self._limit = limit
        self._overflow_attributes = OVERFLOW | {PARTITION: partition}
        self.overflowed = np.zeros(len(rules), np.int64)
        """Groups of each rule that found no room, each time."""
        self.changed = np.zeros(len(rules), np.int64)
        """Series of each rule that came with another kind or unit."""
        self.width = max(len(rule.lengths_ms) for rule in rules)
        self.reset()

    def reset(self) -> None:
        """As new."""
        self.names = Names(self.rules)
        self.index = HashIndex()
        self.table = np.zeros(_ROWS_MIN, GROUP)
        self.heads = np.full((_ROWS_MIN, self.width), -1, np.int32)
        self.in_rule = [0] * len(self.rules)
        """Groups of each rule, those for overflow not among them."""
        self._overflows: list[dict[int, int]] = [{} for _ in self.rules]
        """Rows of those, by hash."""
        self._remembered: dict[int, int] = {}
        """Where groups went that found no room."""
        self._identities = HashIndex()
        self._new: list[tuple[int, ...]] = []
        """Rows that are not in the table yet."""

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
        new: dict[int, tuple[int, Described]] = {}
        rows: dict[int, int] = {}
        for i in missing:
            key = int(hashes[i])
            if key in self._remembered:
                rows[key] = self._remembered[key]
            elif key not in new:
                new[key] = (int(rules[i]), describe(text(i)))
        for i in missing:
            self.overflowed[rules[i]] += int(hashes[i]) in rows
        rows |= {key: self._row(rule, key, said) for key, (rule, said) in new.items()}
        self._write()
        found[missing] = [rows[int(hashes[i])] for i in missing]
        return found

    def _row(self, rule: int, key: int, said: Described) -> int:
        if self.in_rule[rule] < self._limit:
            self.in_rule[rule] += 1
            return self._add(rule, key, said, overflow=0)
        self.overflowed[rule] += 1
        row = self._overflow(rule, said)
        if len(self._remembered) >= _REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[key] = row
        return row

    def _overflow(self, rule: int, said: Described) -> int:
        parts = [self.rules[rule].name, said.tenant, said.metric, said.unit, said.kind]
        key = hash64(json.dumps(["overflow", *parts]).encode())
        rows = self._overflows[rule]
        if key not in rows:
            if len(rows) >= OVERFLOW_GROUPS_MAX:
                return IGNORED
            said = said._replace(service="", attributes=self._overflow_attributes)
            rows[key] = self._add(rule, key, said, overflow=1)
        return rows[key]

    def _add(self, rule: int, key: int, said: Described, *, overflow: int) -> int:
        names = self.names
        tenant, service = names.tenant(said.tenant), names.service(said.service)
        shape = names.shape((rule, said.kind, said.metric, said.unit))
        identity = 0
        if self.rules[rule].signal == "metrics":
            identity = identity_of(self.rules[rule].name, said)
            self._note_identity(rule, identity)
        encoded = attributes(said.attributes)
        self._new.append(
            (
                key, identity, names.order(tenant, service, shape), _LONG_AGO, names.text(encoded),
                len(encoded), tenant, service, shape, rule, -1, overflow, 0,
                KINDS.index(said.kind),
            )
        )  # fmt: skip
        return self.index.count + len(self._new) - 1

    def _write(self) -> None:
        start = self.index.count
        stop = start + len(self._new)
        if stop > len(self.table):
            size = max(stop, 2 * start if start < 1 << 14 else start * 5 // 4)
            self.table, self.heads = grown(self.table, size), grown(self.heads, size)
        self.table[start:stop] = self._new
        self.heads[start:stop] = -1
        self.index.add(self.table["key"][start:stop])
        self._new = []

    def _note_identity(self, rule: int, identity: int) -> None:
        key = np.array([identity], np.uint64)
        if self._identities.find(key)[0] >= 0:
            self.changed[rule] += 1
        else:
            self._identities.add(key)

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
        gather_texts(self.names.texts, rows["attributes_at"].copy(), sizes, texts)
        rows["attributes_at"] = stops - sizes
        names = []
        for column, interned in (
            ("tenant", self.names.tenants), ("service", self.names.services),
            ("shape", self.names.shapes),
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
        names = self.names
        names.texts, names.texts_top = grown(texts, max(len(texts), 4096)), len(texts)
        for tenant in tenants:
            names.tenant(tenant)
        for service in services:
            names.service(service)
        for rule, kind, metric, unit in shapes:
            names.shape((rule, kind, metric, unit))
        self.table = grown(rows, max(len(rows), _ROWS_MIN))
        self.heads = np.full((len(self.table), self.width), -1, np.int32)
        self.index = HashIndex(np.ascontiguousarray(rows["key"]))
        for at in np.flatnonzero(rows["overflow"]).tolist():
            self._overflows[int(rows["rule"][at])][int(rows["key"][at])] = at
        own = rows["rule"][rows["overflow"] == 0]
        self.in_rule = np.bincount(own, minlength=len(self.rules)).tolist()
        identities = np.unique(rows["identity"])
        self._identities = HashIndex(identities[identities != 0])

"""What windows are, in plain Python, from what the items of all sources add up to.

``Expected`` takes ``partials_oracle.Gathered`` of everything that has come, nothing of it late, and
gives the messages of each window as ``messages`` makes them; ``read`` makes plain numbers of
messages, so that both can be compared.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from schemas.batches import Record
from schemas.config import WindowRule, Windows
from tests.streams.windows.messages import Exemplar, Group, message
from tests.streams.windows.partials_oracle import Cell, Gathered

__all__ = ["Expected", "Key", "Window", "assert_equal", "read", "read_windows"]

Bounds = tuple[float, ...] | None
Window = tuple[str, int, int]
"""Rule, length and end in milliseconds."""
Key = tuple[Any, ...]
Point = dict[str, Any]
_MS = 1_000_000


@dataclass
class _Sum(Cell):
    """A group in a window; explicit buckets by bounds that all parts share."""

    bounds: Bounds = None
    known: bool = False

    def take(self, cell: Cell, bounds: Bounds) -> None:
        self.count += cell.count
        self.errors += cell.errors
        self.zero += cell.zero
        self.sums += cell.sums
        self.least += cell.least
        self.most += cell.most
        if cell.last is not None:
            self.last = max(self.last or (0, -math.inf), cell.last)
        if cell.exemplar is not None:
            self.exemplify(*cell.exemplar)
        if bounds is None:
            self.add(cell.scale, dict(cell.buckets))
            return
        shared = bounds if self.bounds is None else tuple(b for b in self.bounds if b in bounds)
        mine = fold(self.buckets, self.bounds or (), shared)
        for place, count in fold(cell.buckets, bounds, shared).items():
            mine[False, place[1]] = mine.get((False, place[1]), 0) + count
        self.bounds = shared
        self.buckets.clear()
        self.buckets.update(mine)


def fold(buckets: Any, bounds: Sequence[float], fewer: Sequence[float]) -> dict[Any, int]:
    """Counts of explicit buckets on fewer of their bounds."""
    found: dict[Any, int] = {}
    for (_, place), count in buckets.items():
        upper = bounds[place] if place < len(bounds) else math.inf
        at = sum(bound < upper for bound in fewer)
        found[False, at] = found.get((False, at), 0) + count
    return found


@dataclass
class Expected:
    """Of a configuration, and when each rule's first closed window began."""

    settings: Windows
    first_ms: dict[str, int]
    groups: dict[tuple[Window, tuple[str, str]], _Sum] = field(default_factory=dict)

    def add(self, gathered: Gathered) -> None:
        """Everything that sources have said, all at once."""
        pane_ms = self.settings.pane_ms
        for (group, pane, bounds), cell in gathered.cells.items():
            self._take(group, pane * pane_ms, cell, bounds)
        streams: dict[Any, list[Any]] = defaultdict(list)
        for row, stream in gathered.rows:
            streams[row[0], stream].append(row)
        for rows in streams.values():
            self._increases(rows)

    def _take(self, group: tuple[str, str], time_ms: int, cell: Cell, bounds: Bounds) -> None:
        rule = next(each for each in self.settings.rules if each.name == group[0])
        for length in rule.lengths_ms:
            window = (rule.name, length, time_ms // length * length + length)
            self.groups.setdefault((window, group), _Sum()).take(cell, bounds)

    def _increases(self, rows: list[Any]) -> None:
        """Of one stream of one group; rows as in ``partials_oracle``."""
        rows.sort(key=lambda row: (row[1], row[2], row[4] or 0.0, row[3]))
        before = None
        for row in rows:
            group, time, start = row[0], row[1], row[2]
            kind = json.loads(group[1])["kind"]
            if before is None:
                whole = start > 0 and start >= self.first_ms[group[0]] * _MS
                taken = self._all(kind, row) if whole else None
            elif time <= before[1] or 0 < start < before[2]:
                continue
            elif start > 0 and (start > before[1] or 0 < before[2] < start):
                taken = self._all(kind, row)
            elif time - before[1] > self.settings.stale_after * 1e9 or (
                kind == "histogram" and row[8] != before[8]
            ):
                taken = None
            else:
                taken = self._difference(kind, before, row)
            if taken is not None:
                self._take(group, time // _MS, taken, row[8])
            before = row if start or before is None else (*row[:2], before[2], *row[3:])

    def _all(self, kind: str, row: Any) -> Cell:
        cell = Cell()
        cell.scale = row[9]
        if kind == "sum":
            cell.count, cell.sums = 1, [row[4]]
            return cell
        cell.count, cell.zero = row[3], row[7]
        cell.sums = [math.nan if row[4] is None else row[4]]
        if row[3]:
            cell.least = [math.nan if row[5] is None else row[5]]
            cell.most = [math.nan if row[6] is None else row[6]]
        cell.buckets.update(dict(row[10]))
        return cell

    def _difference(self, kind: str, before: Any, row: Any) -> Cell:
        cell = Cell()
        if kind == "sum":
            if row[4] < before[4]:
                return self._all(kind, row)
            cell.count, cell.sums = 1, [row[4] - before[4]]
            return cell
        old, new = Cell(), Cell()
        old.add(before[9], dict(before[10]))
        new.add(row[9], dict(row[10]))
        if kind != "histogram":
            scale = min(old.scale, new.scale)
            old.add(scale, {})
            new.add(scale, {})
        grown = {at: new.buckets[at] - old.buckets[at] for at in {*new.buckets, *old.buckets}}
        if row[3] < before[3] or row[7] < before[7] or any(n < 0 for n in grown.values()):
            return self._all(kind, row)
        cell.scale = new.scale
        cell.count, cell.zero = row[3] - before[3], row[7] - before[7]
        sums = (row[4], before[4])
        cell.sums = [math.nan if None in sums else row[4] - before[4]]
        if cell.count:
            cell.least = cell.most = [math.nan]
        cell.buckets.update({at: count for at, count in grown.items() if count})
        return cell

    def windows(self) -> dict[Window, list[Group]]:
        """Groups of each window that has any."""
        found: dict[Window, list[Group]] = defaultdict(list)
        rules = {rule.name: rule for rule in self.settings.rules}
        for (window, (rule, text)), total in self.groups.items():
            found[window].append(_group(rules[rule], json.loads(text), total))
        return found


def _group(rule: WindowRule, said: Any, total: _Sum) -> Group:
    scale, buckets = total.fitted() if total.bounds is None else (3, dict(total.buckets))
    exemplar = total.exemplar
    return Group(
        said["kind"],
        said["service"],
        said["tenant"],
        said["metric"],
        said["unit"],
        rule.output or "",
        tuple(said["attributes"].items()),
        count=total.count,
        errors=total.errors,
        sum=math.fsum(total.sums),
        min=_extreme(min, total.least),
        max=_extreme(max, total.most),
        zero=total.zero,
        scale=scale,
        positive={at: count for (negative, at), count in buckets.items() if not negative},
        negative={at: count for (negative, at), count in buckets.items() if negative},
        bounds=total.bounds or (),
        last=total.last[1] if total.last else math.nan,
        exemplar=None
        if exemplar is None
        else Exemplar(
            exemplar[0],
            exemplar[1],
            (exemplar[2] << 64 | exemplar[3]).to_bytes(16, "big") if any(exemplar[2:4]) else b"",
            exemplar[4].to_bytes(8, "big") if exemplar[4] else b"",
        ),
    )


def _extreme(choose: Any, values: list[float]) -> float:
    return math.nan if not values or any(map(math.isnan, values)) else float(choose(values))


# --- messages ------------------------------------------------------------------------------------


def read(request: ExportMetricsServiceRequest, tenant: str = "") -> dict[Key, list[Point]]:
    """Points by tenant, service, scope, metric and attributes.

    One each, but for a series whose kind has changed from one distribution to another.
    """
    found: dict[Key, list[Point]] = defaultdict(list)
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                data = metric.WhichOneof("data")
                held = getattr(metric, data)
                head = (str(resource.resource), str(scope.scope), metric.name)
                for point in held.data_points:
                    key = (tenant, *head, str(list(point.attributes)))
                    said = {name.name: value for name, value in point.ListFields()}
                    del said["start_time_unix_nano"], said["time_unix_nano"]
                    said.pop("attributes", None)
                    plain = {name: _plain(value) for name, value in said.items()}
                    plain["of"] = (
                        *(data, metric.unit, getattr(held, "aggregation_temporality", 0)),
                        *(getattr(held, "is_monotonic", False), point.start_time_unix_nano),
                        point.time_unix_nano,
                    )
                    found[(*key, data, metric.unit)].append(plain)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, int | float | str | bytes | bool):
        return value
    if hasattr(value, "ListFields"):
        return {name.name: _plain(each) for name, each in value.ListFields()}
    return [_plain(each) for each in value]


def read_windows(records: Iterable[Record]) -> dict[Window, dict[Key, list[Point]]]:
    """Points of each window from its messages; every message is what the library would write."""
    found: dict[Window, dict[Key, list[Point]]] = {}
    for record in records:
        headers = dict(record.headers)
        rule, length, end = headers["window"].decode().split("/")
        request = ExportMetricsServiceRequest.FromString(record.value)
        assert request.SerializeToString() == record.value
        window = found.setdefault((rule, int(length), int(end)), {})
        if "window.closed" not in headers:
            for key, points in read(request, headers.get("tenant", b"").decode()).items():
                window.setdefault(key, []).extend(points)
    return found


def expected_points(window: Window, groups: Sequence[Group]) -> dict[Key, list[Point]]:
    """The same of groups."""
    found: dict[Key, list[Point]] = defaultdict(list)
    for group in groups:
        for key, points in read(message(*window, [group]), group.tenant).items():
            found[key] += points
    return found


def assert_equal(found: dict[Key, list[Point]], wanted: dict[Key, list[Point]]) -> None:
    """Everything but the order of additions."""
    assert found.keys() == wanted.keys()
    for key, points in wanted.items():
        pairs = zip(*(sorted(each, key=_exact) for each in (found[key], points)), strict=True)
        for mine, other in pairs:
            assert _exact(mine) == _exact(other), (mine, other)
            for name in _ROUNDED:
                left, right = mine.get(name, 0.0), other.get(name, 0.0)
                assert math.isclose(left, right, rel_tol=1e-12, abs_tol=1e-6), key


_ROUNDED = ("sum", "as_double")


def _exact(point: Point) -> str:
    """What no order changes; of what may be rounded, whether it is there."""
    return repr(sorted((k, None if k in _ROUNDED else v) for k, v in point.items()))

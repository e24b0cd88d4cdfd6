"""What partials are, in plain Python from the official library's objects: the truth for `Partials`.

``expected`` takes whole messages; ``merged`` puts records together, however many there are. Both
give ``Gathered``, in which only sums may differ by rounding.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from schemas.batches import Batch, Record
from schemas.config import WindowRule, Windows
from schemas.config.windows import SEVERITIES, SPAN_KINDS, STATUS_CODES, attribute_name
from schemas.signals import Signal
from streams.windows.grouping import RULE_SIGNALS
from streams.windows.records import Partial, decode
from tests.strategies import REQUESTS
from tests.streams.wire.oracle import items

SCALE, BUCKETS = 3, 160
Bucket = tuple[bool, int]
"""Whether negative, and the index."""
Exemplar = tuple[float, int, int, int, int]


@dataclass
class Distribution:
    count: int = 0
    sums: list[float] = field(default_factory=list)
    least: list[float] = field(default_factory=list)
    most: list[float] = field(default_factory=list)
    zero: int = 0
    scale: int = SCALE
    buckets: Counter[Bucket] = field(default_factory=Counter)

    def add(self, scale: int, buckets: dict[Bucket, int]) -> None:
        """Take buckets in, at the coarser of the two scales; that of none says nothing."""
        if not buckets:
            return
        coarser = min(scale, self.scale)
        held: Counter[Bucket] = Counter()
        for at, found in ((self.scale, self.buckets), (scale, buckets)):
            for (negative, index), count in found.items():
                held[negative, index >> (at - coarser)] += count
        self.scale, self.buckets = coarser, +held

    def fitted(self) -> tuple[int, dict[Bucket, int]]:
        """Its buckets, made coarser until there are few enough of either sign."""
        scale, buckets = self.scale, self.buckets
        while any(
            indices and max(indices) - min(indices) >= BUCKETS
            for sign in (False, True)
            for indices in [[i for negative, i in buckets if negative == sign]]
        ):
            coarser: Counter[Bucket] = Counter()
            for (negative, index), count in buckets.items():
                coarser[negative, index >> 1] += count
            scale, buckets = scale - 1, coarser
        return scale, dict(buckets)


@dataclass
class Cell(Distribution):
    errors: int = 0
    last: tuple[int, float] | None = None
    exemplar: Exemplar | None = None

    def exemplify(self, value: float, time: int, high: int, low: int, span: int) -> None:
        new = (value, time, high, low, span)
        if self.exemplar is None or (-new[0], *new[1:]) < (-self.exemplar[0], *self.exemplar[1:]):
            self.exemplar = new


Group = tuple[str, str]
"""Rule and descriptor."""
Point = tuple[Any, ...]


@dataclass
class Gathered:
    cells: dict[tuple[Group, int, tuple[float, ...] | None], Cell] = field(default_factory=dict)
    points: Counter[Point] = field(default_factory=Counter)
    streams: dict[Point, Any] = field(default_factory=dict)
    rows: list[tuple[Point, Any]] = field(default_factory=list)
    """Cumulative points, each with its stream: points of two streams can be equal."""
    dropped: Counter[str] = field(default_factory=Counter)
    items: Counter[str] = field(default_factory=Counter)
    progress_ms: int = 0
    no_duration: int = 0

    def cell(self, group: Group, pane: int, bounds: tuple[float, ...] | None) -> Cell:
        return self.cells.setdefault((group, pane, bounds), Cell())


def index_of(value: float) -> int:
    """The i with base^i < value <= base^(i+1) and base = 2^(1/8): in whole numbers."""
    power = Fraction(value) ** 8
    e = power.numerator.bit_length() - power.denominator.bit_length()
    while Fraction(2) ** e >= power:
        e -= 1
    while Fraction(2) ** (e + 1) < power:
        e += 1
    return e


def scalar(value: Any) -> Any:
    """Of an AnyValue; None for what is no scalar."""
    which = value.WhichOneof("value")
    if which not in ("string_value", "bool_value", "int_value", "double_value"):
        return None
    return getattr(value, which)


def first(attributes: Any, key: str) -> Any:
    return next((scalar(each.value) for each in attributes if each.key == key), None)


def attribute(item: Any, key: str) -> Any:
    """What ``by`` and ``match`` name."""
    message = item.message
    if key == "span.name":
        return message.name
    if key == "span.kind":
        return SPAN_KINDS[message.kind if 0 <= message.kind < len(SPAN_KINDS) else 0]
    if key == "status.code":
        code = message.status.code
        return STATUS_CODES[code if 0 <= code < len(STATUS_CODES) else 0]
    if key == "severity":
        number = message.severity_number
        return SEVERITIES[(number + 3) // 4 if 0 < number <= 24 else 0]
    if key.startswith("resource."):
        return first(item.envelopes[1].resource.attributes, key.removeprefix("resource."))
    if key.startswith("scope."):
        return first(item.envelopes[2].scope.attributes, key.removeprefix("scope."))
    return first(message.attributes, key)


def takes(rule: WindowRule, item: Any) -> bool:
    if rule.metric is not None:
        parts, name = rule.metric.split("*"), item.envelopes[3].name
        # At most one star in these tests.
        if len(parts) == 1:
            if name != rule.metric:
                return False
        elif len(name) < len(parts[0] + parts[1]) or not (
            name.startswith(parts[0]) and name.endswith(parts[1])
        ):
            return False
    for key, values in (rule.match or {}).items():
        value = attribute(item, key)
        if not any(type(value) is type(each) and value == each for each in values):
            return False
    return True


def described(rule: WindowRule, kind: str, tenant: str, item: Any, metric: Any) -> Group:
    service = first(item.envelopes[1].resource.attributes, "service.name")
    attributes = {attribute_name(key): attribute(item, key) for key in rule.by}
    return rule.name, json.dumps(
        {
            "tenant": tenant,
            "service": "" if service is None else service,
            "metric": metric.name if metric is not None else "",
            "unit": metric.unit if metric is not None else "",
            "kind": kind,
            "attributes": {k: v for k, v in sorted(attributes.items()) if v is not None},
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


KINDS = {
    ("gauge", 0, False): ("gauge", False),
    ("sum", 1, True): ("sum", False),
    ("sum", 2, True): ("sum", True),
    ("sum", 1, False): ("up_down_sum_delta", False),
    ("sum", 2, False): ("up_down_sum", False),
    ("histogram", 1, False): ("histogram", False),
    ("histogram", 2, False): ("histogram", True),
    ("exponential_histogram", 1, False): ("exponential_histogram", False),
    ("exponential_histogram", 2, False): ("exponential_histogram", True),
    ("summary", 0, False): ("summary", True),
}
"""By data, temporality and monotonicity: kind, and whether points travel one by one."""


def expected(settings: Windows, signal: Signal, batches: Iterable[Batch]) -> Gathered:
    """Of messages that the official library can read."""
    found = Gathered()
    rules = [rule for rule in settings.rules if rule.signal == RULE_SIGNALS[signal]]
    for batch in batches:
        request = REQUESTS[signal].FromString(batch.value)
        every = list(items(signal, request))
        if any(name == "sampling.rekeyed" for name, _ in batch.headers):
            found.dropped["rekeyed"] += len(every)
            continue
        for item in every:
            _take(found, settings, rules, signal, batch, item)
    return found


def _take(
    found: Gathered,
    settings: Windows,
    rules: Sequence[WindowRule],
    signal: Signal,
    batch: Batch,
    item: Any,
) -> None:
    message = item.message
    metric = item.envelopes[3] if signal == Signal.METRICS else None
    nanos = {
        Signal.TRACES: lambda: message.end_time_unix_nano,
        Signal.LOGS: lambda: message.time_unix_nano or message.observed_time_unix_nano,
        Signal.METRICS: lambda: message.time_unix_nano,
    }[signal]()
    mine = [rule for rule in rules if takes(rule, item)]
    wanted = bool(mine) or signal != Signal.METRICS
    time_ms = nanos // 1_000_000
    if nanos == 0 or time_ms > batch.timestamp_ms + settings.max_ahead * 1000:
        if wanted:
            found.dropped["ahead" if nanos else "timeless"] += 1
        return
    found.progress_ms = max(found.progress_ms, min(time_ms, batch.timestamp_ms))
    pane = time_ms // settings.pane_ms
    tenant = next((v for k, v in batch.headers if k == "tenant"), b"").decode()
    if metric is not None:
        if mine:
            _take_point(found, settings, mine, tenant, pane, item, metric)
        return
    if signal == Signal.TRACES:
        start = message.start_time_unix_nano
        duration = (nanos - start) / 1e9 if 0 < start <= nanos else 0.0
        found.no_duration += not 0 < start <= nanos
    for rule in mine:
        found.items[rule.name] += 1
        group = described(rule, RULE_SIGNALS[signal], tenant, item, None)
        cell = found.cell(group, pane, None)
        cell.count += 1
        if signal != Signal.TRACES:
            continue
        cell.errors += message.status.code == 2
        _add_value(cell, duration)
        number = int.from_bytes(message.trace_id, "big")
        if number:
            span = int.from_bytes(message.span_id, "big")
            cell.exemplify(duration, nanos, number >> 64, number & (2**64 - 1), span)


def _add_value(cell: Cell, value: float) -> None:
    cell.sums.append(value)
    cell.least.append(value)
    cell.most.append(value)
    if value == 0:
        cell.zero += 1
    else:
        cell.add(SCALE, {(value < 0, index_of(abs(value))): 1})


def point_fault(settings: Windows, data: str, point: Any) -> str | None:
    """Why a point is not aggregated (schemas of the wire's own test, in short)."""
    if point.flags & 1:
        return "no_recorded_value"
    if data in ("gauge", "sum"):
        which = point.WhichOneof("value")
        if which is None:
            return "no_value"
        return None if math.isfinite(getattr(point, which)) else "not_finite"
    known = [point.sum] if data == "summary" or point.HasField("sum") else []
    if data != "summary":
        known += [getattr(point, name) for name in ("min", "max") if point.HasField(name)]
    if not all(map(math.isfinite, known)):
        return "not_finite"
    if data == "histogram":
        counts, bounds = list(point.bucket_counts), list(point.explicit_bounds)
        if (counts or bounds) and len(counts) != len(bounds) + 1:
            return "bucket_counts"
        if counts and sum(counts) != point.count:
            return "bucket_counts"
        if sorted(set(bounds)) != bounds or not all(map(math.isfinite, bounds)):
            return "bucket_bounds"
    if data == "exponential_histogram":
        total = sum(point.positive.bucket_counts) + sum(point.negative.bucket_counts)
        if total + point.zero_count != point.count:
            return "bucket_counts"
    return None


def _take_point(
    found: Gathered,
    settings: Windows,
    rules: Sequence[WindowRule],
    tenant: str,
    pane: int,
    item: Any,
    metric: Any,
) -> None:
    point, data = item.message, metric.WhichOneof("data")
    held = getattr(metric, data)
    fault = point_fault(settings, data, point)
    key = (data, getattr(held, "aggregation_temporality", 0), getattr(held, "is_monotonic", False))
    if fault is None and key not in KINDS:
        fault = "no_temporality"
    if fault is None and data == "histogram":
        fault = "too_many_buckets" if len(point.bucket_counts) > settings.buckets_max else None
    if fault is None and KINDS[key][0] == "sum" and getattr(point, point.WhichOneof("value")) < 0:
        fault = "negative"
    if fault is not None:
        found.dropped[fault] += 1
        return
    kind, cumulative = KINDS[key]
    for rule in rules:
        found.items[rule.name] += 1
        group = described(rule, kind, tenant, item, metric)
        if cumulative:
            said = _point(kind, group, point)
            found.points[said] += 1
            stream = (
                *(str(item.envelopes[1].resource), str(item.envelopes[2].scope), metric.name),
                *(metric.unit, str(point.attributes)),
            )
            found.streams[said] = stream
            found.rows.append((said, stream))
            continue
        bounds = tuple(point.explicit_bounds) if data == "histogram" else None
        cell = found.cell(group, pane, bounds)
        if data in ("gauge", "sum"):
            value = float(getattr(point, point.WhichOneof("value")))
            cell.count += 1
            if kind in ("gauge", "up_down_sum"):
                _add_value(cell, value)
                cell.last = max(cell.last or (0, -math.inf), (point.time_unix_nano, value))
            else:
                cell.sums.append(value)
        elif point.count:
            cell.count += point.count
            cell.sums.append(_optional(point, "sum"))
            cell.least.append(_optional(point, "min"))
            cell.most.append(_optional(point, "max"))
            cell.zero += getattr(point, "zero_count", 0)
            cell.add(*_buckets(kind, point))
        for each in point.exemplars:
            number = int.from_bytes(each.trace_id, "big")
            span = int.from_bytes(each.span_id, "big")
            at = (each.time_unix_nano, number >> 64, number & (2**64 - 1), span)
            cell.exemplify(each.as_double, *at)


def _optional(point: Any, name: str) -> float:
    return float(getattr(point, name)) if point.HasField(name) else math.nan


def _buckets(kind: str, point: Any) -> tuple[int, dict[Bucket, int]]:
    if kind == "histogram":
        counts = list(point.bucket_counts) or [point.count]
        return SCALE, {(False, i): count for i, count in enumerate(counts) if count}
    scale, shift = min(point.scale, SCALE), max(point.scale - SCALE, 0)
    buckets: Counter[Bucket] = Counter()
    for negative, side in ((False, point.positive), (True, point.negative)):
        for i, count in enumerate(side.bucket_counts):
            if count:
                buckets[negative, (side.offset + i) >> shift] += count
    return scale, dict(buckets)


def _point(kind: str, group: Group, point: Any) -> Point:
    """A cumulative point as a row: NaN as None, so that rows can be equal."""
    if kind == "sum":
        total = float(getattr(point, point.WhichOneof("value")))
        rest: tuple[Any, ...] = (0, total, None, None, 0, None, SCALE, ())
    elif kind == "summary":
        rest = (point.count, point.sum, None, None, 0, None, SCALE, ())
    else:
        held = Distribution()
        held.scale, held.buckets = SCALE, Counter()
        if kind == "histogram" and not point.bucket_counts and not point.count:
            scale, buckets = SCALE, {}
        elif kind == "histogram":
            scale, buckets = _buckets(kind, point)
        else:
            held.scale, content = _buckets(kind, point)
            held.buckets = Counter(content)
            scale, buckets = held.fitted()
        rest = (
            *(point.count, *(_known(_optional(point, n)) for n in ("sum", "min", "max"))),
            getattr(point, "zero_count", 0),
            tuple(point.explicit_bounds) if kind == "histogram" else None,
            *(scale, tuple(sorted(buckets.items()))),
        )
    return (group, point.time_unix_nano, point.start_time_unix_nano, *rest)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


# --- records -------------------------------------------------------------------------------------


def merged(records: Iterable[Record]) -> Gathered:
    """Everything that records say together; ``streams`` holds the hashes."""
    found = Gathered()
    for record in records:
        _merge(found, decode(record.value))
    return found


def _merge(found: Gathered, partial: Partial) -> None:
    groups: list[Group] = []
    start = 0
    for rule, stop in zip(
        partial.groups.rule.tolist(), partial.groups.text_stop.tolist(), strict=True
    ):
        text = partial.key_text[start:stop].decode()
        groups.append((partial.header.rules[rule][0], text))
        start = stop
    bounds: list[tuple[float, ...]] = []
    start = 0
    for stop in partial.bounds_stop.tolist():
        bounds.append(tuple(partial.bound[start:stop].tolist()))
        start = stop
    found.progress_ms = max(found.progress_ms, partial.header.progress_ms)
    rows = (partial.buckets.negative, partial.buckets.index, partial.buckets.count)
    every = list(zip(*(column.tolist() for column in rows), strict=True))
    start = 0
    cells = partial.cells
    for i in range(len(cells.count)):
        buckets = {
            (n == 1, at): count for n, at, count in every[start : int(cells.buckets_stop[i])]
        }
        start = int(cells.buckets_stop[i])
        limits = bounds[cells.bounds[i]] if cells.bounds[i] >= 0 else None
        cell = found.cell(groups[cells.group[i]], int(cells.pane[i]), limits)
        cell.count += int(cells.count[i])
        cell.errors += int(cells.errors[i])
        cell.zero += int(cells.zero[i])
        cell.sums.append(float(cells.sum[i]))
        if cells.count[i]:
            cell.least.append(float(cells.min[i]))
            cell.most.append(float(cells.max[i]))
        cell.add(int(cells.scale[i]), buckets)
        if cells.last_time[i]:
            last = (int(cells.last_time[i]), float(cells.last[i]))
            cell.last = max(cell.last or (0, -math.inf), last)
        if not math.isnan(cells.exemplar_value[i]):
            cell.exemplify(
                float(cells.exemplar_value[i]), int(cells.exemplar_time[i]),
                int(cells.exemplar_trace_high[i]), int(cells.exemplar_trace_low[i]),
                int(cells.exemplar_span[i]),
            )  # fmt: skip
    points = partial.points
    for i in range(len(points.count)):
        stop = int(points.buckets_stop[i])
        held = tuple(sorted(((n == 1, at), count) for n, at, count in every[start:stop]))
        start = stop
        kind = json.loads(groups[points.group[i]][1])["kind"]
        said = (
            *(groups[points.group[i]], int(points.time[i]), int(points.start[i])),
            *(int(points.count[i]), _known(float(points.sum[i])), _known(float(points.min[i]))),
            *(_known(float(points.max[i])), int(points.zero[i])),
            bounds[points.bounds[i]] if kind == "histogram" else None,
            *(int(points.scale[i]), held),
        )
        found.points[said] += 1
        found.streams[said] = int(points.stream[i])


def assert_same(found: Gathered, wanted: Gathered, *, extremes: bool = True) -> None:
    """Everything but the order of additions."""
    assert found.cells.keys() == wanted.cells.keys()
    for key, cell in wanted.cells.items():
        other = found.cells[key]
        assert other.count == cell.count, key
        assert (other.errors, other.zero) == (cell.errors, cell.zero), key
        total, held = math.fsum(cell.sums), math.fsum(other.sums)
        most = max((abs(each) for each in cell.sums), default=0.0)
        assert math.isnan(total) == math.isnan(held), key
        assert math.isnan(total) or abs(total - held) <= 2**-52 * (len(cell.sums) * most) * 4, key
        assert _extreme(min, other.least) == _extreme(min, cell.least), key
        assert _extreme(max, other.most) == _extreme(max, cell.most), key
        assert other.fitted() == cell.fitted(), key
        assert (other.last, other.exemplar) == (cell.last, cell.exemplar), key
    assert found.points == wanted.points
    assert found.progress_ms == wanted.progress_ms


def _extreme(choose: Any, values: list[float]) -> float | None:
    """None: one is not known, or there is none."""
    return None if not values or any(map(math.isnan, values)) else choose(values)

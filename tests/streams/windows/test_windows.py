"""From items to windows, through both operators: what plain Python makes of them all at once."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from schemas.batches import Batch, Record
from schemas.operators import Scanned
from schemas.signals import Signal
from streams import wire
from streams.windows.counts_windows import WindowCounts
from streams.windows.partials import Partials
from streams.windows.records import decode
from streams.windows.windows import Windows
from tests.streams.windows.partials_oracle import Gathered, expected
from tests.streams.windows.traffic import NOW_MS, SETTINGS, batches
from tests.streams.windows.windows_oracle import (
    Expected,
    Window,
    assert_equal,
    expected_points,
    read,
    read_windows,
)

# Items come up to 12 s after their time; sources are waited for.
CONFIG = SETTINGS.model_copy(update={"allowed_lateness": 13.0, "source_timeout": 86_400.0})
TOPICS = {"spans": "traces", "logs": "logs", "metrics": "metrics"}
bounded = settings(
    max_examples=60, deadline=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


def windows(counts: WindowCounts | None = None, **update: Any) -> Windows:
    return Windows(
        CONFIG.model_copy(update=update), topics=TOPICS, output="windows", export="out",
        partition=0, max_bytes=4_000, counts=counts,
    )  # fmt: skip


def told(
    signal: Signal, source: int, sources: int, taken: Sequence[Batch], rng: Any
) -> list[Record]:
    """What a source says, with commits anywhere, and that it is idle then."""
    operator = Partials(
        CONFIG, signal=signal, source=TOPICS[_RULES[signal]], partition=source, partitions=sources,
        output="partials", output_partitions=1,
    )  # fmt: skip
    records: list[Record] = []
    for batch in taken:
        scan = wire.scan(signal, batch.value, strict_ids=False)
        records += operator.process(Scanned(batch, scan)).records
        if rng.random() < 0.5:
            records += operator.flush()
    records += operator.flush()
    return [*records, *operator.tick(NOW_MS + 1_000_000).records]


_RULES = {Signal.TRACES: "spans", Signal.LOGS: "logs", Signal.METRICS: "metrics"}


def shuffled(parts: Sequence[Sequence[Record]], rng: Any) -> list[Record]:
    """Together in any order that keeps that of each."""
    order = [i for i, part in enumerate(parts) for _ in part]
    rng.shuffle(order)
    rest = [iter(part) for part in parts]
    return [next(rest[i]) for i in order]


def run(operator: Windows, records: Iterable[Record]) -> list[Record]:
    """All records, and then time passes until everything is closed."""
    made: list[Record] = []
    for offset, record in enumerate(records):
        batch = Batch("partials", 0, offset, NOW_MS + offset, None, record.value, ())
        made += operator.process(Scanned(batch, decode(record.value))).records
    return [*made, *operator.tick(NOW_MS + 1_000_000).records]


def first_closed(records: Iterable[Record]) -> dict[str, int]:
    """Where the first closed window of each rule began."""
    found: dict[str, int] = {}
    for record in records:
        if "window" in dict(record.headers):
            rule, length, end = dict(record.headers)["window"].decode().split("/")
            found.setdefault(rule, int(end) - int(length))
    return found


@pytest.mark.parametrize("signal", Signal)
@bounded
@given(draw=st.data())
def test_windows_are_what_all_items_add_up_to(signal: Signal, draw: st.DataObject) -> None:
    """For any split into sources, messages and commits, and any order within lateness."""
    sources = draw.draw(st.integers(1, 3))
    rng = random.Random(draw.draw(st.integers(0, 2**32)))
    gathered, said = [], []
    for source in range(sources):
        taken = [batch for batch, _ in draw.draw(batches(signal, 4))]
        gathered.append(expected(CONFIG, signal, taken))
        said.append(told(signal, source, sources, taken, rng))
    counts = WindowCounts()
    made = run(windows(counts), shuffled(said, rng))
    assert not +counts.late
    assert counts.ignored.total() == 0
    oracle = Expected(CONFIG, first_closed(made))
    oracle.add(_together(gathered))
    wanted = oracle.windows()
    found = read_windows(record for record in made if record.topic == "windows")
    for window, points in found.items():
        assert_equal(points, expected_points(window, wanted.pop(window, [])))
    assert not wanted
    assert all(len(record.value) <= 4_000 for record in made)
    sums_add_up(found, made, mixed(oracle))


def _together(parts: Sequence[Gathered]) -> Gathered:
    """Of all sources; cells of one group and pane become parts of one."""
    found = Gathered()
    for part in parts:
        for (group, pane, bounds), cell in part.cells.items():
            mine = found.cell(group, pane, bounds)
            mine.count += cell.count
            mine.errors += cell.errors
            mine.zero += cell.zero
            mine.sums += cell.sums
            mine.least += cell.least
            mine.most += cell.most
            mine.add(*cell.fitted()) if bounds is None else mine.buckets.update(cell.buckets)
            if cell.last is not None:
                mine.last = max(mine.last or cell.last, cell.last)
            if cell.exemplar is not None:
                mine.exemplify(*cell.exemplar)
        found.rows += part.rows
    return found


def mixed(oracle: Expected) -> set[str]:
    """Metrics that come in several kinds: there, one key can stand for several series."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for _, (_, text) in oracle.groups:
        said = json.loads(text)
        kinds[f"window.{said['metric']}"].add(said["kind"])
    return {name for name, each in kinds.items() if name != "window." and len(each) > 1}


def sums_add_up(found: dict[Window, Any], made: Sequence[Record], left_out: set[str]) -> None:
    """What backends get never goes down, and is the sum of what the windows say."""
    lengths = {rule.name: rule.export_length_ms for rule in CONFIG.rules}
    deltas: dict[Any, float] = defaultdict(float)
    # A sum that calls itself monotonic and has negative parts is not.
    falling: set[Any] = set()
    for (rule, length, _), points in sorted(found.items(), key=lambda each: each[0][2]):
        if length == lengths[rule]:
            for key, each in points.items():
                deltas[key] += sum(map(_number, each))
                if any(_number(point) < 0 for point in each):
                    falling.add(key)
    totals: dict[Any, float] = {}
    starts: dict[Any, int] = {}
    for record in made:
        if record.topic != "out":
            continue
        tenant = dict(record.headers).get("tenant", b"").decode()
        request = ExportMetricsServiceRequest.FromString(record.value)
        assert request.SerializeToString() == record.value
        for key, points in read(request, tenant).items():
            for point in points:
                data, _, temporality, monotonic, start, _ = point["of"]
                assert temporality == (0 if data == "gauge" else 2)
                if data == "gauge" or key[3] in left_out:
                    continue
                assert starts.setdefault(key, start) == start
                if (monotonic or data != "sum") and key not in falling:
                    assert _number(point) >= totals.get(key, 0.0)
                totals[key] = _number(point)
    for key, total in totals.items():
        assert total == pytest.approx(deltas[key], rel=1e-9, abs=1e-6)


def _number(point: Any) -> float:
    """Of a sum its value, of a distribution its count."""
    return float(point.get("as_int", point.get("as_double", point.get("count", 0))))

"""Partials are what the official library's objects add up to, however they come and go."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas.batches import Batch, Record
from schemas.config import WindowRule, Windows
from schemas.errors import MalformedMessage
from schemas.operators import Scanned
from schemas.signals import Signal
from streams import wire
from streams.windows.partial_counts import DROPPED, PartialCounts
from streams.windows.partials import Partials
from streams.windows.records import Partial, decode
from tests.strategies import REQUESTS
from tests.streams.windows.partials_oracle import Gathered, assert_same, expected, merged
from tests.streams.windows.traffic import NOW_MS, SETTINGS, batches, message

bounded = settings(
    max_examples=80, deadline=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
PARTITIONS = 4
RULES = {Signal.TRACES: "spans", Signal.LOGS: "logs", Signal.METRICS: "metrics"}


def partials(
    signal: Signal, config: Windows = SETTINGS, counts: PartialCounts | None = None
) -> Partials:
    return Partials(
        config, signal=signal, source="source", partition=3, partitions=8, output="partials",
        output_partitions=PARTITIONS, counts=counts,
    )  # fmt: skip


def scanned(batch: Batch, signal: Signal, replayed: bool = False) -> Scanned:
    return Scanned(batch, wire.scan(signal, batch.value, strict_ids=False), replayed)


def run(
    operator: Partials, signal: Signal, taken: Iterable[Batch], flushes: Iterable[int] = ()
) -> list[Record]:
    """Records of these batches, with a commit after each of ``flushes`` and at the end."""
    records: list[Record] = []
    points = set(flushes)
    for number, batch in enumerate(taken):
        records += operator.process(scanned(batch, signal)).records
        if number in points:
            records += operator.flush()
    return [*records, *operator.flush()]


def assert_gathered(found: Gathered, wanted: Gathered, counts: PartialCounts, name: str) -> None:
    assert_same(found, wanted)
    dropped = Counter({reason: n for (_, reason), n in counts.dropped.items() if n})
    assert dropped == wanted.dropped
    taken = {rule: n for (_, rule), n in counts.items.items() if n}
    assert taken == {rule: n for rule, n in wanted.items.items() if n}
    assert {signal for signal, _ in counts.items} <= {name}
    assert counts.no_duration == wanted.no_duration
    # One hash for one stream, another for another.
    streams = {(found.streams[row], wanted.streams[row]) for row in wanted.points}
    assert len({a for a, _ in streams}) == len({b for _, b in streams}) == len(streams)


@pytest.mark.parametrize("signal", Signal)
@bounded
@given(draw=st.data())
def test_partials_are_what_the_items_add_up_to(signal: Signal, draw: st.DataObject) -> None:
    drawn = draw.draw(batches(signal))
    taken = [batch for batch, _ in drawn]
    wanted = expected(SETTINGS, signal, taken)
    counts = PartialCounts()
    records = run(partials(signal, counts=counts), signal, taken)
    found = merged(records)
    assert_gathered(found, wanted, counts, RULES[signal])
    owners: dict[tuple[str, str], set[int | None]] = {}
    for record in records:
        for each in described([record]):
            owners.setdefault((each["tenant"], each["service"]), set()).add(record.partition)
    assert all(len(places) == 1 for places in owners.values())


@pytest.mark.parametrize("signal", Signal)
@bounded
@given(draw=st.data())
def test_however_items_are_split_and_commits_come(signal: Signal, draw: st.DataObject) -> None:
    """Messages in pieces, commits anywhere, tables that are full at once: the same together."""
    drawn = draw.draw(batches(signal))
    whole = [batch for batch, _ in drawn]
    pieces: list[Batch] = []
    for batch, parts in drawn:
        cuts = sorted(draw.draw(st.lists(st.integers(0, len(parts)), max_size=3)))
        for start, stop in zip([0, *cuts], [*cuts, len(parts)], strict=True):
            pieces.append(batch._replace(value=message(signal, parts[start:stop])))
    flushes = draw.draw(st.lists(st.integers(0, len(pieces)), max_size=4))
    config = SETTINGS.model_copy(update={"partials_max": draw.draw(st.sampled_from([1, 3, 100]))})
    counts = PartialCounts()
    records = run(partials(signal, config, counts), signal, pieces, flushes)
    assert_gathered(merged(records), expected(SETTINGS, signal, whole), counts, RULES[signal])
    assert counts.records == len(records)
    assert counts.bytes == sum(len(record.value) for record in records)
    if counts.early:
        assert config.partials_max < 100


def headers(records: Sequence[Record]) -> list[Any]:
    return [decode(record.value).header for record in records]


def spans(*ends_ms: int, stamp_ms: int = NOW_MS, offset: int = 0, **more: Any) -> Batch:
    """A message of spans of 5 ms that end so much after ``NOW_MS``."""
    request = REQUESTS[Signal.TRACES]()
    scoped = request.resource_spans.add().scope_spans.add()
    for n, end in enumerate(ends_ms):
        nanos = (NOW_MS + end) * 1_000_000
        scoped.spans.add(
            trace_id=b"t" * 16, span_id=n.to_bytes(7, "big") + b"s", name=f"n{n}",
            end_time_unix_nano=nanos, start_time_unix_nano=max(nanos - 5_000_000, 0), **more,
        )  # fmt: skip
    return Batch("source", 3, offset, stamp_ms, None, request.SerializeToString(), ())


def test_every_partition_hears_at_a_commit_how_far_the_source_is() -> None:
    operator = partials(Signal.TRACES)
    assert not operator.flush(), "nothing has come"
    operator.process(scanned(spans(-3000, -7000), Signal.TRACES))
    records = operator.flush()
    assert {record.partition for record in records} == set(range(PARTITIONS))
    assert {record.topic for record in records} == {"partials"}
    for header in headers(records):
        assert (header.topic, header.partition, header.partitions) == ("source", 3, 8)
        assert header.progress_ms == NOW_MS - 3000
        assert header.at_ms == header.now_ms == NOW_MS
        assert not header.idle
        assert header.pane_ms == SETTINGS.pane_ms
        assert header.rules == tuple(
            (rule.name, rule.digest) for rule in SETTINGS.rules if rule.signal == "spans"
        )
    assert not operator.flush(), "nothing has come since"
    operator.process(scanned(spans(-9000, stamp_ms=NOW_MS + 50), Signal.TRACES))
    later = headers(operator.flush())
    assert {header.progress_ms for header in later} == {NOW_MS - 3000}, "it never goes back"
    assert {header.at_ms for header in later} == {NOW_MS + 50}


def test_progress_is_never_beyond_the_broker_s_time() -> None:
    operator = partials(Signal.TRACES)
    operator.process(scanned(spans(30_000, 61_000), Signal.TRACES))
    assert {header.progress_ms for header in headers(operator.flush())} == {NOW_MS}


def test_what_is_too_far_ahead_or_has_no_time_moves_nobody_s_windows() -> None:
    counts = PartialCounts()
    operator = partials(Signal.TRACES, counts=counts)
    far = SETTINGS.max_ahead * 1000 + 1
    operator.process(scanned(spans(int(far), 10**9, -NOW_MS), Signal.TRACES))
    found = merged(operator.flush())
    assert found.progress_ms == 0
    assert not found.cells
    assert counts.dropped == {("spans", "ahead"): 2, ("spans", "timeless"): 1}


def test_idle_partitions_say_so_once_and_now_and_then() -> None:
    operator = partials(Signal.TRACES)
    first = operator.tick(NOW_MS).records
    assert [header.idle for header in headers(first)] == [True] * PARTITIONS, "nothing ever came"
    assert {header.progress_ms for header in headers(first)} == {0}
    assert not operator.tick(NOW_MS + 1000).records
    operator.process(scanned(spans(-3000, stamp_ms=NOW_MS + 2000), Signal.TRACES))
    assert not any(header.idle for header in headers(operator.flush()))
    said = []
    for second in range(1, 70):
        records = operator.tick(NOW_MS + 2000 + second * 1000).records
        assert all(header.idle for header in headers(records))
        assert all(header.now_ms == NOW_MS + 2000 + second * 1000 for header in headers(records))
        assert len(records) in (0, PARTITIONS)
        said += [second] if records else []
    assert said == [5, 25, 45, 65], "after idle_after, then three times within source_timeout"


def test_a_tick_that_speaks_says_what_was_gathered() -> None:
    operator = partials(Signal.TRACES)
    operator.process(scanned(spans(-3000), Signal.TRACES))
    records = operator.tick(NOW_MS + 5000).records
    assert merged(records).cells
    assert not operator.flush()


@pytest.mark.parametrize("signal", Signal)
def test_a_replay_is_silent(signal: Signal) -> None:
    counts = PartialCounts()
    operator = partials(signal, counts=counts)
    value = spans(-1000).value if signal == Signal.TRACES else b""
    batch = Batch("source", 3, 0, NOW_MS, None, value, ())
    outcome = operator.process(scanned(batch, signal, replayed=True))
    assert not outcome.records
    assert outcome.replay_from is None
    assert not operator.flush()
    assert counts == PartialCounts()


def test_a_signal_without_rules_says_nothing() -> None:
    operator = partials(Signal.METRICS, Windows())
    operator.process(scanned(Batch("source", 3, 0, NOW_MS, None, b"", ()), Signal.METRICS))
    assert not operator.flush()
    assert not operator.tick(NOW_MS).records


def test_a_message_without_items_moves_the_broker_s_time() -> None:
    operator = partials(Signal.LOGS)
    operator.process(scanned(Batch("source", 3, 0, NOW_MS, None, b"", ()), Signal.LOGS))
    assert {(h.progress_ms, h.at_ms) for h in headers(operator.flush())} == {(0, NOW_MS)}


def test_tenants_are_kept_apart_and_sent_spans_are_not_counted_twice() -> None:
    counts = PartialCounts()
    operator = partials(Signal.TRACES, counts=counts)
    for n, tenant in enumerate([b"", b"a", b"a", b"\xff"]):
        batch = spans(-1, offset=n)
        operator.process(scanned(batch._replace(headers=(("tenant", tenant),)), Signal.TRACES))
    sent = spans(-1, -1, offset=9)._replace(headers=(("sampling.rekeyed", b"source/5"),))
    operator.process(scanned(sent, Signal.TRACES))
    found = merged(operator.flush())
    by_tenant = {
        json.loads(text)["tenant"]: cell.count
        for ((rule, text), _, _), cell in found.cells.items()
        if rule == "services"
    }
    assert by_tenant == {"": 1, "a": 2, "\ufffd": 1}
    assert counts.dropped == {("spans", "rekeyed"): 2}


def test_what_comes_back_from_the_dead_letters_is_not_counted_twice() -> None:
    """Too large to be passed on, it was understood all the same; what was malformed was not."""
    counts = PartialCounts()
    operator = partials(Signal.TRACES, counts=counts)
    replayed = ("deadletter.replayed", b"1")
    for headers in ((), (replayed, ("deadletter.was", b"too_large")), (replayed,)):
        batch = spans(-1, -1)._replace(headers=headers)
        operator.process(scanned(batch, Signal.TRACES))
    assert counts.items["spans", "services"] == 4
    assert counts.dropped == {("spans", "sent_back"): 2}


def test_more_than_partials_max_is_said_before_the_commit_without_moving_windows() -> None:
    config = SETTINGS.model_copy(update={"partials_max": 10})
    counts = PartialCounts()
    operator = partials(Signal.TRACES, config, counts)
    operator.process(scanned(spans(-9000), Signal.TRACES))
    operator.flush()
    batch = spans(*range(-400, 0), offset=1)
    early = operator.process(scanned(batch, Signal.TRACES)).records
    assert counts.early
    assert {header.progress_ms for header in headers(early)} == {NOW_MS - 9000}
    last = operator.flush()
    assert {header.progress_ms for header in headers(last)} == {NOW_MS - 1}
    found = merged([*early, *last])
    total = sum(c.count for ((rule, _), _, _), c in found.cells.items() if rule == "services")
    assert total == 400


def test_records_have_a_size_and_only_the_last_one_says_how_far() -> None:
    config = SETTINGS.model_copy(update={"record_max": 12_000})
    operator = partials(Signal.TRACES, config)
    operator.process(scanned(spans(*range(-3000, 0)), Signal.TRACES))
    records = operator.flush()
    assert len(records) > 3 * PARTITIONS
    assert max(len(record.value) for record in records) <= config.record_max
    for partition in range(PARTITIONS):
        told = [h.progress_ms for h in headers([r for r in records if r.partition == partition])]
        assert told == [0] * (len(told) - 1) + [NOW_MS - 1]
    found = merged(records)
    assert sum(c.count for ((r, _), _, _), c in found.cells.items() if r == "services") == 3000


def described(records: Iterable[Record]) -> list[Any]:
    found: list[Any] = []
    for record in records:
        partial = decode(record.value)
        start = 0
        for stop in partial.groups.text_stop.tolist():
            found.append(json.loads(partial.key_text[start:stop]))
            start = stop
    return found


def test_all_of_a_service_and_tenant_is_on_one_partition() -> None:
    config = Windows(
        rules=(
            WindowRule(name="services", signal="spans", export=False),
            WindowRule(name="spans", signal="spans", by=("span.name",)),
        )
    )
    operator = partials(Signal.TRACES, config)
    request = REQUESTS[Signal.TRACES]()
    for service in range(40):
        resource = request.resource_spans.add()
        # What stands in a name must not be taken for the descriptor's own.
        resource.resource.attributes.add(
            key="service.name"
        ).value.string_value = f'{service},"metric":"x'
        for name in "abc":
            template = REQUESTS[Signal.TRACES].FromString(spans(-1).value)
            span = template.resource_spans[0].scope_spans[0].spans[0]
            span.name = name
            resource.scope_spans.add().spans.append(span)
    for tenant in (b"", b"t"):
        batch = spans(-1)._replace(
            value=request.SerializeToString(), headers=(("tenant", tenant),) if tenant else ()
        )
        operator.process(scanned(batch, Signal.TRACES))
    places: dict[tuple[str, str], set[int | None]] = {}
    for record in operator.flush():
        for each in described([record]):
            places.setdefault((each["tenant"], each["service"]), set()).add(record.partition)
    assert len(places) == 80
    assert all(len(found) == 1 for found in places.values())
    assert set().union(*places.values()) == set(range(PARTITIONS))


def test_texts_in_groups_are_cut_and_stay_different() -> None:
    config = Windows(rules=(WindowRule(name="r", signal="spans", by=("span.name",)),))
    counts = PartialCounts()
    operator = partials(Signal.TRACES, config, counts)
    request = REQUESTS[Signal.TRACES].FromString(spans(-1, -1, -1).value)
    for span, end in zip(request.resource_spans[0].scope_spans[0].spans, "aab", strict=True):
        span.name = "é" * 5000 + end
    batch = spans(-1)._replace(value=request.SerializeToString())
    operator.process(scanned(batch, Signal.TRACES))
    names = [each["attributes"]["span.name"] for each in described(operator.flush())]
    assert len(set(names)) == 2
    assert all(len(name.encode()) < 1100 and name.startswith("é" * 500) for name in names)
    assert counts.cut_values == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [("v", "v"), (True, True), (5, 5), (-(2**53) + 1, -(2**53) + 1), (2**60 + 1, 2.0**60),
     (2.5, 2.5), (math.inf, "inf"), (math.nan, "nan"), (b"x", None)],
)  # fmt: skip
def test_values_to_group_by(value: Any, said: Any) -> None:
    config = Windows(rules=(WindowRule(name="r", signal="spans", by=("k",)),))
    counts = PartialCounts()
    operator = partials(Signal.TRACES, config, counts)
    kind = {str: "string", bool: "bool", int: "int", float: "double", bytes: "bytes"}[type(value)]
    attributes = [{"key": "k", "value": {f"{kind}_value": value}}]
    operator.process(scanned(spans(-1, attributes=attributes), Signal.TRACES))
    (group,) = described(operator.flush())
    assert group["attributes"] == ({} if said is None else {"k": said})
    assert type(group["attributes"].get("k")) is type(said)
    assert counts.unused_attributes == (said is None)


def test_integers_that_are_no_double_are_one_group_where_they_are_one_text() -> None:
    config = Windows(rules=(WindowRule(name="r", signal="spans", by=("k",)),))
    operator = partials(Signal.TRACES, config)
    for number in (2**60, 2**60 + 1):
        attributes = [{"key": "k", "value": {"int_value": number}}]
        operator.process(scanned(spans(-1, attributes=attributes), Signal.TRACES))
    assert len(described(operator.flush())) == 1


def test_tables_that_were_large_become_small_again() -> None:
    operator = partials(Signal.TRACES)
    operator.process(scanned(spans(*range(-9000, 0)), Signal.TRACES))
    operator.flush()
    large = len(operator._tables.bucket_pairs)
    for n in range(3):
        operator.process(scanned(spans(-1, offset=n), Signal.TRACES))
        found = merged(operator.flush())
        assert sum(cell.count for cell in found.cells.values()) == 2
    assert len(operator._tables.bucket_pairs) <= large / 4


def test_there_is_no_state_to_take_over() -> None:
    operator = partials(Signal.TRACES)
    assert operator.snapshot() == ()
    operator.restore([])
    with pytest.raises(MalformedMessage):
        operator.restore([b"x"])


def test_every_reason_is_documented() -> None:
    assert set(DROPPED) >= {fault.name.lower() for fault in wire.PointFault if fault.name}


def test_an_empty_record_has_no_columns() -> None:
    operator = partials(Signal.LOGS)
    (first, *_) = operator.tick(NOW_MS).records
    partial: Partial = decode(first.value)
    assert partial.header.columns == ()
    assert not len(partial.groups.hash)
    assert len(first.value) < 600
